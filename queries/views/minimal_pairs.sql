-- How much more probable a model finds the good side of each minimal pair than the bad one.
-- Grain: one row per (corpus, protocol, family, model, seed, step, paradigm, item).
-- Source: Warstadt et al. 2020 (BLiMP), full-sentence log-probabilities; from sums over documents.
-- requires: evaluations
create or replace view analysis.minimal_pairs as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    paradigm.name as paradigm,
    paradigm.category,
    good.item,
    0 - good_score.surprisal as log_probability_good,
    0 - bad_score.surprisal as log_probability_bad,
    bad_score.surprisal - good_score.surprisal as margin,
    bad_score.surprisal > good_score.surprisal as is_correct,
    bad_score.surprisal + bad_score.eos_surprisal
    - (good_score.surprisal + good_score.eos_surprisal) as margin_with_eos,
    bad_score.surprisal + bad_score.eos_surprisal
    > good_score.surprisal + good_score.eos_surprisal as is_correct_with_eos,
    good_score.n_tokens as n_tokens_good,
    bad_score.n_tokens as n_tokens_bad,
    good.document as document_good,
    bad.document as document_bad,
    evaluation.outlier,
    evaluation.evaluation_id,
    paradigm.paradigm_id
from analysis.evaluations as evaluation
inner join warehouse.paradigm as paradigm
    on evaluation.corpus_id = paradigm.corpus_id and paradigm.kind = 'minimal_pairs'
inner join warehouse.item as good on paradigm.paradigm_id = good.paradigm_id and good.role = 'good'
inner join warehouse.item as bad
    on paradigm.paradigm_id = bad.paradigm_id and bad.role = 'bad' and good.item = bad.item
inner join warehouse.document_score_chunk as good_chunk
    on evaluation.evaluation_id = good_chunk.evaluation_id and good.document / 256 = good_chunk.document_chunk
inner join warehouse.document_score_chunk as bad_chunk
    on evaluation.evaluation_id = bad_chunk.evaluation_id and bad.document / 256 = bad_chunk.document_chunk
cross join lateral (
    select
        good_chunk.surprisal[good.document % 256 + 1]::double precision as surprisal,
        good_chunk.eos_surprisal[good.document % 256 + 1]::double precision as eos_surprisal,
        good_chunk.n_tokens[good.document % 256 + 1] as n_tokens
) as good_score
cross join lateral (
    select
        bad_chunk.surprisal[bad.document % 256 + 1]::double precision as surprisal,
        bad_chunk.eos_surprisal[bad.document % 256 + 1]::double precision as eos_surprisal,
        bad_chunk.n_tokens[bad.document % 256 + 1] as n_tokens
) as bad_score;

comment on view analysis.minimal_pairs is
    'Minimal pairs: log-probability of the good and of the bad side of each item, and by how much they differ.';
comment on column analysis.minimal_pairs.corpus is 'name of the corpus';
comment on column analysis.minimal_pairs.protocol is 'name of the protocol';
comment on column analysis.minimal_pairs.family is 'suite of the model, such as pythia';
comment on column analysis.minimal_pairs.model is 'name of the model within its family';
comment on column analysis.minimal_pairs.seed is 'seed of the training run';
comment on column analysis.minimal_pairs.step is 'optimiser steps taken';
comment on column analysis.minimal_pairs.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.minimal_pairs.category is
    'wider group that the source names, such as a linguistic phenomenon';
comment on column analysis.minimal_pairs.item is 'number of the item within the paradigm, from 0';
comment on column analysis.minimal_pairs.log_probability_good is 'log p of the good side, without EOS, in nats';
comment on column analysis.minimal_pairs.log_probability_bad is 'log p of the bad side, without EOS, in nats';
comment on column analysis.minimal_pairs.margin is
    'log p(good) - log p(bad), without EOS, in nats; positive when the model prefers the good side';
comment on column analysis.minimal_pairs.is_correct is
    'the good side is the more probable, without EOS; NULL where a side was not measured';
comment on column analysis.minimal_pairs.margin_with_eos is
    'the margin with EOS counted, in nats; NULL where a side has none';
comment on column analysis.minimal_pairs.is_correct_with_eos is
    'the good side is the more probable with EOS counted; NULL where a side has none';
comment on column analysis.minimal_pairs.n_tokens_good is 'tokens of the good side that count';
comment on column analysis.minimal_pairs.n_tokens_bad is 'tokens of the bad side that count';
comment on column analysis.minimal_pairs.document_good is 'document of the good side';
comment on column analysis.minimal_pairs.document_bad is 'document of the bad side';
comment on column analysis.minimal_pairs.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.minimal_pairs.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.minimal_pairs.paradigm_id is 'key of warehouse.paradigm';
