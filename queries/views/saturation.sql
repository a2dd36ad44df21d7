-- Saturation: where in training a model was at its best, and what became of it by the end, for every metric.
-- Grain: one row per curve over training whose metric has a direction: (family, model, seed, metric, source, corpus,
-- protocol, run_set).
-- Source: Godey et al. 2024; saturation_with gives a direction to metrics that have none.
-- requires: saturation_with
create or replace view analysis.saturation as
select
    family,
    model,
    seed,
    metric,
    source,
    corpus,
    protocol,
    run_set,
    best_step,
    best_value,
    final_step,
    final_value,
    final_to_best,
    steps_since_best,
    se_best,
    se_final,
    n_steps,
    higher_is_better,
    outlier
from analysis.saturation_with();

comment on view analysis.saturation is
    'Saturation: best and last checkpoint of every curve over training, their ratio, and the steps between them.';
comment on column analysis.saturation.family is 'suite of the model, such as pythia';
comment on column analysis.saturation.model is 'name of the model within its family';
comment on column analysis.saturation.seed is 'seed of the training run; NULL for convergence, which is of all seeds';
comment on column analysis.saturation.metric is 'name of the curve, as in training_curves';
comment on column analysis.saturation.source is
    'where an imported result came from; NULL for what was measured here';
comment on column analysis.saturation.corpus is 'name of the corpus; NULL for imported results';
comment on column analysis.saturation.protocol is 'name of the protocol; NULL for imported results';
comment on column analysis.saturation.run_set is
    'default: without flagged runs; all: with them, where one takes part; NULL for a curve of one run';
comment on column analysis.saturation.best_step is 'step of the best value; of equal ones, the first';
comment on column analysis.saturation.best_value is 'the best value, in the unit of the metric';
comment on column analysis.saturation.final_step is 'last step of the curve';
comment on column analysis.saturation.final_value is 'value at the last step, in the unit of the metric';
comment on column analysis.saturation.final_to_best is
    'final_value over best_value: 1 where the last checkpoint is the best; above 1 where a loss has risen again or a '
    'convergence fallen, below 1 where an accuracy has fallen; NULL where the best value is 0';
comment on column analysis.saturation.steps_since_best is 'final_step less best_step: 0 where there is no saturation';
comment on column analysis.saturation.se_best is
    'standard error of best_value, as in training_curves; it does not know that the best of several was chosen';
comment on column analysis.saturation.se_final is 'standard error of final_value, as in training_curves';
comment on column analysis.saturation.n_steps is 'checkpoints of the curve';
comment on column analysis.saturation.higher_is_better is 'direction of the metric: true upwards, false downwards';
comment on column analysis.saturation.outlier is
    'the training run is flagged; false for convergence, which leaves flagged runs to run_set';
