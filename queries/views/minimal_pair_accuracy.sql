-- On how many items of a paradigm a model finds the good side of a minimal pair more probable than the bad one.
-- Grain: one row per (corpus, protocol, family, model, seed, step, paradigm).
-- Source: Warstadt et al. 2020 (BLiMP); results by paradigm, kept when the evaluation was loaded.
-- requires: evaluations
create or replace view analysis.minimal_pair_accuracy as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    paradigm.name as paradigm,
    paradigm.category,
    score.n_items,
    score.n_correct / nullif(score.n_items, 0)::double precision as accuracy,
    sqrt(
        score.n_correct / nullif(score.n_items, 0)::double precision
        * (1 - score.n_correct / nullif(score.n_items, 0)::double precision)
        / nullif(score.n_items - 1, 0)
    ) as se_accuracy,
    score.n_correct_with_eos / nullif(score.n_items, 0)::double precision as accuracy_with_eos,
    sqrt(
        score.n_correct_with_eos / nullif(score.n_items, 0)::double precision
        * (1 - score.n_correct_with_eos / nullif(score.n_items, 0)::double precision)
        / nullif(score.n_items - 1, 0)
    ) as se_accuracy_with_eos,
    score.sum_margin / nullif(score.n_items, 0) as margin,
    sqrt(
        greatest(score.sum_margin2 - score.sum_margin * score.sum_margin / nullif(score.n_items, 0), 0)
        / nullif(score.n_items - 1, 0)
        / nullif(score.n_items, 0)
    ) as se_margin,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id,
    paradigm.paradigm_id
from analysis.evaluations as evaluation
inner join warehouse.paradigm_score as score on evaluation.evaluation_id = score.evaluation_id
inner join warehouse.paradigm as paradigm
    on score.paradigm_id = paradigm.paradigm_id and paradigm.kind = 'minimal_pairs';

comment on view analysis.minimal_pair_accuracy is
    'Accuracy on minimal pairs by paradigm; the accuracy of a benchmark is the plain mean over its paradigms.';
comment on column analysis.minimal_pair_accuracy.corpus is 'name of the corpus';
comment on column analysis.minimal_pair_accuracy.protocol is 'name of the protocol';
comment on column analysis.minimal_pair_accuracy.family is 'suite of the model, such as pythia';
comment on column analysis.minimal_pair_accuracy.model is 'name of the model within its family';
comment on column analysis.minimal_pair_accuracy.seed is 'seed of the training run';
comment on column analysis.minimal_pair_accuracy.step is 'optimiser steps taken';
comment on column analysis.minimal_pair_accuracy.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.minimal_pair_accuracy.category is
    'wider group that the source names, such as a linguistic phenomenon';
comment on column analysis.minimal_pair_accuracy.n_items is 'items both of whose sides were scored';
comment on column analysis.minimal_pair_accuracy.accuracy is
    'share of them whose good side is the more probable, without EOS';
comment on column analysis.minimal_pair_accuracy.se_accuracy is
    'standard error of the accuracy, items taken as independent: sqrt(a (1 - a) / (n - 1))';
comment on column analysis.minimal_pair_accuracy.accuracy_with_eos is
    'the accuracy with EOS counted; NULL where sides have none';
comment on column analysis.minimal_pair_accuracy.se_accuracy_with_eos is
    'standard error of the accuracy with EOS counted';
comment on column analysis.minimal_pair_accuracy.margin is 'mean of log p(good) - log p(bad), without EOS, in nats';
comment on column analysis.minimal_pair_accuracy.se_margin is
    'standard error of the mean margin, items taken as independent, in nats';
comment on column analysis.minimal_pair_accuracy.tokens_seen is 'training tokens seen';
comment on column analysis.minimal_pair_accuracy.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.minimal_pair_accuracy.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.minimal_pair_accuracy.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.minimal_pair_accuracy.paradigm_id is 'key of warehouse.paradigm';
