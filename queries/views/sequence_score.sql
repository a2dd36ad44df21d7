-- How probable a model finds each document as a whole, and by token, word and byte.
-- Grain: one row per (corpus, protocol, family, model, seed, step, document).
-- Source: sums of surprisal over documents, kept when they were scored; bits per byte as in lm-evaluation-harness.
-- requires: evaluations
create or replace view analysis.sequence_score as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    document.document,
    document.name,
    -- differences, because the negative of 0 shows as -0; double precision, because a sum of reals loses digits
    0 - item.surprisal::double precision as log_probability,
    0 - item.surprisal::double precision - item.eos_surprisal::double precision as log_probability_with_eos,
    item.n_tokens,
    text.n_words,
    text.n_bytes,
    item.surprisal::double precision / nullif(item.n_tokens, 0) as surprisal_per_token,
    item.surprisal::double precision / nullif(text.n_words, 0) as surprisal_per_word,
    item.surprisal::double precision / nullif(text.n_bytes, 0) as surprisal_per_byte,
    item.surprisal::double precision / nullif(text.n_bytes, 0) / ln(2::double precision) as bits_per_byte,
    item.entropy::double precision / nullif(item.n_tokens, 0) as entropy_per_token,
    item.n_correct / nullif(item.n_tokens, 0)::double precision as accuracy,
    item.eos_surprisal::double precision as eos_surprisal,
    document.first_token_id,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.document_score_chunk as chunk on evaluation.evaluation_id = chunk.evaluation_id
cross join lateral unnest(chunk.n_tokens, chunk.n_correct, chunk.surprisal, chunk.eos_surprisal, chunk.entropy)
    with ordinality as item (n_tokens, n_correct, surprisal, eos_surprisal, entropy, ordinality)
inner join warehouse.document as document
    on
        evaluation.corpus_id = document.corpus_id
        and chunk.document_chunk * 256 + item.ordinality - 1 = document.document
-- The words and bytes of a document are those of the sum where it is over all of its tokens.
left join lateral (
    select
        document.n_words,
        document.byte_end - document.byte_start as n_bytes
    where item.n_tokens + (item.eos_surprisal is not null)::integer = document.n_tokens
) as text on true;

comment on view analysis.sequence_score is
    'Sequence scores: log-probability of each document, with and without its EOS, and by token, word and byte.';
comment on column analysis.sequence_score.corpus is 'name of the corpus';
comment on column analysis.sequence_score.protocol is 'name of the protocol';
comment on column analysis.sequence_score.family is 'suite of the model, such as pythia';
comment on column analysis.sequence_score.model is 'name of the model within its family';
comment on column analysis.sequence_score.seed is 'seed of the training run';
comment on column analysis.sequence_score.step is 'optimiser steps taken';
comment on column analysis.sequence_score.document is 'number of the document within its corpus, from 0';
comment on column analysis.sequence_score.name is 'name of the document';
comment on column analysis.sequence_score.log_probability is
    'log p of the document, without its EOS, in nats; NULL where a token but its first was not measured';
comment on column analysis.sequence_score.log_probability_with_eos is
    'log p of the document and of its EOS, in nats; NULL where it has none';
comment on column analysis.sequence_score.n_tokens is
    'tokens in the sum, EOS left out; context that is not to be scored is not among them';
comment on column analysis.sequence_score.n_words is
    'words: runs of characters other than white space; NULL unless the sum is over the whole document';
comment on column analysis.sequence_score.n_bytes is
    'bytes of its text as UTF-8; NULL unless the sum is over the whole document';
comment on column analysis.sequence_score.surprisal_per_token is 'mean surprisal of its tokens, EOS left out, in nats';
comment on column analysis.sequence_score.surprisal_per_word is 'surprisal per word, in nats; NULL where n_words is';
comment on column analysis.sequence_score.surprisal_per_byte is 'surprisal per byte, in nats; NULL where n_bytes is';
comment on column analysis.sequence_score.bits_per_byte is
    'surprisal per byte in bits: its sum / (ln 2 x bytes); NULL where n_bytes is';
comment on column analysis.sequence_score.entropy_per_token is
    'mean entropy of the predictions, in nats; NULL where it is not known';
comment on column analysis.sequence_score.accuracy is 'share of its tokens of rank 1; NULL where ranks are not known';
comment on column analysis.sequence_score.eos_surprisal is 'surprisal of its EOS, in nats; NULL where it has none';
comment on column analysis.sequence_score.first_token_id is 'token_id of its first token';
comment on column analysis.sequence_score.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.sequence_score.evaluation_id is 'key of warehouse.evaluation';
