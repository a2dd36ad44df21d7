-- What a checkpoint holds most probable at each token, where a study asked for it.
-- Grain: one row per (corpus, protocol, family, model, seed, step, token_id, place).
-- requires: evaluations
create or replace view analysis.token_top as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    chunk.chunk_id * 256 + (item.ordinality - 1) / chunk.k as token_id,
    (item.ordinality - 1) % chunk.k + 1 as place,
    item.vocab_id,
    piece.piece,
    -- double precision, because a sum of reals loses digits
    item.log_probability::double precision as log_probability,
    chunk.chunk_id,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.top_chunk as chunk on evaluation.evaluation_id = chunk.evaluation_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
cross join lateral unnest(chunk.vocab_ids, chunk.log_probabilities) with ordinality as item (
    vocab_id,
    log_probability,
    ordinality
)
left join warehouse.vocabulary as piece
    on corpus.tokenizer_id = piece.tokenizer_id and item.vocab_id = piece.vocab_id;

comment on view analysis.token_top is 'The most probable entries of the vocabulary at every token, by checkpoint.';
comment on column analysis.token_top.corpus is 'name of the corpus';
comment on column analysis.token_top.protocol is 'name of the protocol';
comment on column analysis.token_top.family is 'suite of the model, such as pythia';
comment on column analysis.token_top.model is 'name of the model within its family';
comment on column analysis.token_top.seed is 'seed of the training run';
comment on column analysis.token_top.step is 'optimiser steps taken';
comment on column analysis.token_top.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_top.place is 'place among the entries, 1 for the most probable';
comment on column analysis.token_top.vocab_id is 'id of the entry in the vocabulary';
comment on column analysis.token_top.piece is
    'the piece of text that the id stands for; NULL for padding beyond the tokenizer';
comment on column analysis.token_top.log_probability is 'log of the probability of the entry, in nats';
comment on column analysis.token_top.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_top.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.token_top.evaluation_id is 'key of warehouse.evaluation';
