-- How checkpoints fare on benchmarks, as measured elsewhere and imported.
-- Grain: one row per (family, model, seed, step, name, source).
create or replace view analysis.checkpoint_metrics as
select
    model.family,
    model.name as model,
    run.seed,
    checkpoint.step,
    metric.name,
    metric.source,
    metric.value,
    metric.standard_error,
    metric.n,
    metric.higher_is_better,
    model.parameters,
    checkpoint.tokens_seen,
    checkpoint.flops,
    checkpoint.status,
    run.outlier,
    metric.imported_at,
    metric.checkpoint_id
from warehouse.checkpoint_metric as metric
inner join warehouse.checkpoint as checkpoint on metric.checkpoint_id = checkpoint.checkpoint_id
inner join warehouse.run as run on checkpoint.run_id = run.run_id
inner join warehouse.model as model on run.model_id = model.model_id;

comment on view analysis.checkpoint_metrics is
    'Benchmark results of checkpoints: one number for each task and metric, measured elsewhere.';
comment on column analysis.checkpoint_metrics.family is 'suite of the model, such as pythia';
comment on column analysis.checkpoint_metrics.model is 'name of the model within its family';
comment on column analysis.checkpoint_metrics.seed is 'seed of the training run';
comment on column analysis.checkpoint_metrics.step is 'optimiser steps taken';
comment on column analysis.checkpoint_metrics.name is 'task and metric, such as lambada_openai/perplexity';
comment on column analysis.checkpoint_metrics.source is
    'where the result came from, such as lm-evaluation-harness, 0-shot; results of several sources are not to be mixed';
comment on column analysis.checkpoint_metrics.value is 'the result, in the unit of its metric';
comment on column analysis.checkpoint_metrics.standard_error is
    'standard error that the source gives, over the items of the task; NULL where it gives none';
comment on column analysis.checkpoint_metrics.n is 'items it was measured on; NULL where the source does not say';
comment on column analysis.checkpoint_metrics.higher_is_better is
    'which way the metric improves: true upwards, false downwards; NULL where not known';
comment on column analysis.checkpoint_metrics.parameters is 'parameters, embeddings included; NULL before it was read';
comment on column analysis.checkpoint_metrics.tokens_seen is 'training tokens seen';
comment on column analysis.checkpoint_metrics.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.checkpoint_metrics.status is
    'ok, missing, duplicate, suspect, quarantined or failed as it was found; NULL if it was not read';
comment on column analysis.checkpoint_metrics.outlier is 'the training run is flagged';
comment on column analysis.checkpoint_metrics.imported_at is 'when the result was imported';
comment on column analysis.checkpoint_metrics.checkpoint_id is 'key of warehouse.checkpoint';
