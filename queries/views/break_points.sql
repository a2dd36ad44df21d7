-- Where each curve over training speeds up most, one doubling of training to either side.
-- Grain: one row per (family, model, seed, metric, source, corpus, protocol, run_set).
-- Source: Chen et al. 2024, of any curve; break_points_with takes another distance or axis.
-- requires: break_points_with
create or replace view analysis.break_points as
select
    point.family,
    point.model,
    point.seed,
    point.metric,
    point.source,
    point.corpus,
    point.protocol,
    point.run_set,
    point.break_step,
    point.acceleration,
    point.change_before,
    point.change_after,
    point.value,
    point.standard_error,
    point.higher_is_better,
    point.n_steps,
    point.outlier
from analysis.break_points_with() as point;

comment on view analysis.break_points is
    'Break points: the step after which a curve of training_curves improves most over what it did before.';
comment on column analysis.break_points.family is 'suite of the model, such as pythia';
comment on column analysis.break_points.model is 'name of the model within its family';
comment on column analysis.break_points.seed is 'seed of the training run; NULL for convergence, which is of all seeds';
comment on column analysis.break_points.metric is 'name of the curve in training_curves';
comment on column analysis.break_points.source is 'where an imported result came from; NULL for what was measured here';
comment on column analysis.break_points.corpus is 'name of the corpus; NULL for imported results';
comment on column analysis.break_points.protocol is 'name of the protocol; NULL for imported results';
comment on column analysis.break_points.run_set is
    'default: without flagged runs; all: with them, where one takes part; NULL for a curve of one run';
comment on column analysis.break_points.break_step is
    'measured step of the greatest acceleration, the first of several; NULL where no step has room on both sides';
comment on column analysis.break_points.acceleration is
    'change_after - change_before, in the unit of the metric: how much more it improves after than before';
comment on column analysis.break_points.change_before is
    'improvement over the doubling of training up to the step, in the unit of the metric; below 0 where it got worse';
comment on column analysis.break_points.change_after is
    'improvement over the doubling of training after the step, in the unit of the metric';
comment on column analysis.break_points.value is
    'the metric at the step, in its unit; nats for surprisal, KL and convergence';
comment on column analysis.break_points.standard_error is
    'standard error of the value, as in training_curves; NULL where that has none';
comment on column analysis.break_points.higher_is_better is
    'which way the metric improves: true upwards, false downwards; NULL where neither, then read as it stands';
comment on column analysis.break_points.n_steps is 'measured steps of the curve';
comment on column analysis.break_points.outlier is
    'the training run is flagged; false for convergence, which leaves flagged runs to run_set';
