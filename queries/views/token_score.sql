-- How well a checkpoint predicts each token.
-- Grain: one row per (corpus, protocol, family, model, seed, step, token_id).
-- Source: surprisal and its companions as the docs define them; boundary masses after Oh and Schuler 2024.
-- requires: context_length, evaluations
create or replace view analysis.token_score as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    chunk.chunk_id * 256 + item.ordinality - 1 as token_id,
    -- double precision, because a sum of reals loses digits
    item.surprisal::double precision as surprisal,
    item.entropy::double precision as entropy,
    item.rank,
    item.top_vocab_id,
    item.top_surprisal::double precision as top_surprisal,
    item.space_logmass::double precision as space_logmass,
    item.punct_logmass::double precision as punct_logmass,
    item.eos_logmass::double precision as eos_logmass,
    item.pad_logmass::double precision as pad_logmass,
    chunk.chunk_id,
    analysis.context_length(
        evaluation.windows,
        chunk.chunk_id * 256 + item.ordinality - evaluation.first_token_id,
        case evaluation.windows when 'documents' then token.positions[item.ordinality] end,
        evaluation."window",
        evaluation.bos
    ) as context_length,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.score_chunk as chunk on evaluation.evaluation_id = chunk.evaluation_id
cross join lateral unnest(
    chunk.surprisal,
    chunk.entropy,
    chunk.rank,
    chunk.top_vocab_id,
    chunk.top_surprisal,
    chunk.space_logmass,
    chunk.punct_logmass,
    chunk.eos_logmass,
    chunk.pad_logmass
) with ordinality as item (
    surprisal,
    entropy,
    rank,
    top_vocab_id,
    top_surprisal,
    space_logmass,
    punct_logmass,
    eos_logmass,
    pad_logmass,
    ordinality
)
-- Beside the scores and not among their arrays: who does not ask for the context does not read it.
left join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id;

comment on view analysis.token_score is 'Scores of every token by every checkpoint.';
comment on column analysis.token_score.corpus is 'name of the corpus';
comment on column analysis.token_score.protocol is 'name of the protocol';
comment on column analysis.token_score.family is 'suite of the model, such as pythia';
comment on column analysis.token_score.model is 'name of the model within its family';
comment on column analysis.token_score.seed is 'seed of the training run';
comment on column analysis.token_score.step is 'optimiser steps taken';
comment on column analysis.token_score.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_score.surprisal is '-log p(token | context), in nats';
comment on column analysis.token_score.entropy is 'entropy of the prediction, in nats';
comment on column analysis.token_score.rank is
    '1 + entries of the vocabulary with a strictly greater logit than the token';
comment on column analysis.token_score.top_vocab_id is 'most probable entry of the vocabulary, the lowest id on a tie';
comment on column analysis.token_score.top_surprisal is '-log p of the most probable entry, in nats';
comment on column analysis.token_score.space_logmass is 'log of the probability of entries that start with white space';
comment on column analysis.token_score.punct_logmass is 'log of the probability of unspaced punctuation';
comment on column analysis.token_score.eos_logmass is 'log of the probability of the end of the text';
comment on column analysis.token_score.pad_logmass is
    'log of the probability that the model gives to ids beyond the tokenizer';
comment on column analysis.token_score.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_score.context_length is 'tokens that the model saw before this one, BOS included';
comment on column analysis.token_score.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.token_score.evaluation_id is 'key of warehouse.evaluation';
