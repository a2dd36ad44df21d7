-- Everything that a model has one number for at each of its checkpoints, as curves over training.
-- Grain: one row per (family, model, seed, metric, source, corpus, protocol, run_set, step).
-- Source: the views that it reads, and benchmark results that were imported.
-- requires: checkpoint_metrics, convergence_by_value, evaluations, minimal_pair_accuracy, reference_divergence
-- requires: surprisal_by_value
create or replace view analysis.training_curves as
-- One run of a model on a text. No conditions on names here: those of a query go down to each part.
select
    scored.family,
    scored.model,
    scored.seed,
    metric.name as metric,
    null::text as source,
    scored.corpus,
    scored.protocol,
    null::text as run_set,
    scored.step,
    metric.value,
    metric.standard_error,
    metric.higher_is_better,
    scored.outlier
from analysis.surprisal_by_value as scored
cross join lateral (
    values
    ('surprisal', scored.surprisal, scored.se_document, false),
    ('accuracy', scored.accuracy, null, true),
    ('entropy', scored.entropy, null, null),
    ('kl_uniform', ln(nullif(scored.vocabulary_size, 0)::double precision) - scored.entropy, null, null)
) as metric (name, value, standard_error, higher_is_better)
where scored.is_total and metric.value is not null

union all

select
    family,
    model,
    seed,
    'kl_' || reference as metric,
    null as source,
    corpus,
    protocol,
    null as run_set,
    step,
    kl_reference as value,
    null as standard_error,
    null as higher_is_better,
    outlier
from analysis.reference_divergence
where reference is not null and kl_reference is not null

union all

select
    family,
    model,
    seed,
    'anisotropy' as metric,
    null as source,
    corpus,
    protocol,
    null as run_set,
    step,
    anisotropy as value,
    null as standard_error,
    null as higher_is_better,
    outlier
from analysis.evaluations
where anisotropy is not null

union all

select
    family,
    model,
    seed,
    'minimal_pair_accuracy/' || paradigm as metric,
    null as source,
    corpus,
    protocol,
    null as run_set,
    step,
    accuracy as value,
    se_accuracy as standard_error,
    true as higher_is_better,
    outlier
from analysis.minimal_pair_accuracy
where accuracy is not null

union all

-- A benchmark's accuracy is the plain mean over its paradigms.
select
    family,
    model,
    seed,
    'minimal_pair_accuracy' as metric,
    null as source,
    corpus,
    protocol,
    null as run_set,
    step,
    avg(accuracy) as value,
    case when count(se_accuracy) = count(*) then sqrt(sum(se_accuracy * se_accuracy)) / count(*) end
        as standard_error,
    true as higher_is_better,
    outlier
from analysis.minimal_pair_accuracy
where accuracy is not null
group by family, model, seed, corpus, protocol, step, outlier

union all

-- All seeds of a model together, at one point a step, whichever lists of steps there are. Of reverse kinds q is the
-- earlier side, and p of final_reverse always the last step.
select
    family,
    model,
    null as seed,
    case kind when 'seed' then 'convergence' else 'convergence_' || kind end as metric,
    null as source,
    corpus,
    protocol,
    run_set,
    case when kind in ('step_reverse', 'final_reverse') then step_q else step end as step,
    convergence as value,
    se_total as standard_error,
    true as higher_is_better,
    false as outlier
from analysis.convergence_by_value
where
    is_total
    and complete
    and preferred
    and kind in ('seed', 'step', 'step_reverse', 'final', 'final_reverse')

union all

-- What was measured elsewhere needs no files here: a checkpoint may be missing or damaged, but not another one's.
select
    family,
    model,
    seed,
    name as metric,
    source,
    null as corpus,
    null as protocol,
    null as run_set,
    step,
    value,
    standard_error,
    higher_is_better,
    outlier
from analysis.checkpoint_metrics
where status is null or status in ('ok', 'missing', 'failed');

comment on view analysis.training_curves is
    'Curves over training by name: surprisal, convergence, KL to references, accuracies, imported benchmark results.';
comment on column analysis.training_curves.family is 'suite of the model, such as pythia';
comment on column analysis.training_curves.model is 'name of the model within its family';
comment on column analysis.training_curves.seed is
    'seed of the training run; NULL for convergence, which is of all seeds';
comment on column analysis.training_curves.metric is
    'surprisal, accuracy, entropy, kl_uniform, kl_unigram, anisotropy, convergence, ...; or an imported result';
comment on column analysis.training_curves.source is
    'where an imported result came from; NULL for what was measured here';
comment on column analysis.training_curves.corpus is 'name of the corpus; NULL for imported results';
comment on column analysis.training_curves.protocol is 'name of the protocol; NULL for imported results';
comment on column analysis.training_curves.run_set is
    'default: without flagged runs; all: with them, where one takes part; NULL for a curve of one run';
comment on column analysis.training_curves.step is 'optimiser steps taken, in reverse kinds by q';
comment on column analysis.training_curves.value is
    'surprisal, entropy, KL and convergence in nats, accuracies as shares, results in the unit of their metric';
comment on column analysis.training_curves.standard_error is
    'standard error: se_document of surprisal, se_total of convergence, over items of the rest; NULL where none';
comment on column analysis.training_curves.higher_is_better is
    'which way the metric improves: true upwards, false downwards; NULL where neither is better';
comment on column analysis.training_curves.outlier is
    'the training run is flagged; false for convergence, which leaves flagged runs to run_set';
