-- Where the phases of training begin and end, as published and as estimated from the measured curve.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, phase); what does not occur is absent.
-- Source: Fehlauer et al. 2025 and the slides to it (boundaries drawn by eye); `estimated` is an extension.
-- requires: phases_by_value
create or replace view analysis.phase_boundaries as
select
    total.definition,
    total.corpus,
    total.protocol,
    total.run_set,
    total.family,
    total.model,
    total.position,
    total.phase,
    total.first_step,
    total.last_step,
    total.published_first_step,
    total.published_last_step,
    total.before_first_step,
    total.after_first_step,
    total.before_last_step,
    total.after_last_step,
    total.converges,
    total.diverges,
    total.reconverges,
    total.peak_step,
    total.trough_step,
    total.n_steps
from analysis.phases_by_value as total
where total.is_total;

comment on view analysis.phase_boundaries is
    'Phases of training, published and estimated: first and last step; the intervals are in phase_intervals.';
comment on column analysis.phase_boundaries.definition is
    'whose boundaries: fehlauer-2025 or slides, published, or estimated';
comment on column analysis.phase_boundaries.corpus is 'name of the corpus';
comment on column analysis.phase_boundaries.protocol is 'name of the protocol';
comment on column analysis.phase_boundaries.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.phase_boundaries.family is 'suite of models';
comment on column analysis.phase_boundaries.model is 'name of the model within its family';
comment on column analysis.phase_boundaries.position is 'order of the phase within its definition, from 1';
comment on column analysis.phase_boundaries.phase is 'name of the phase';
comment on column analysis.phase_boundaries.first_step is 'first measured step of the phase';
comment on column analysis.phase_boundaries.last_step is 'last measured step of the phase';
comment on column analysis.phase_boundaries.published_first_step is 'first step as published; NULL for estimated';
comment on column analysis.phase_boundaries.published_last_step is
    'last step as published; NULL for estimated, and for the end of training';
comment on column analysis.phase_boundaries.before_first_step is
    'measured step before first_step, NULL where there is none: the boundary lies between it and after_first_step';
comment on column analysis.phase_boundaries.after_first_step is 'measured step after first_step';
comment on column analysis.phase_boundaries.before_last_step is
    'measured step before last_step: the boundary lies between it and after_last_step';
comment on column analysis.phase_boundaries.after_last_step is
    'measured step after last_step, NULL where there is none';
comment on column analysis.phase_boundaries.converges is
    'estimated: the curve rises by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.phase_boundaries.diverges is
    'estimated: the curve falls by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.phase_boundaries.reconverges is
    'estimated: it regains at least settings.phase_change of that fall by the last step; NULL where published';
comment on column analysis.phase_boundaries.peak_step is
    'step where convergence ends its rise and divergence begins, NULL where there is none';
comment on column analysis.phase_boundaries.trough_step is
    'step where divergence ends; NULL where the models do not diverge, or training ends before';
comment on column analysis.phase_boundaries.n_steps is 'measured steps of the curve';
