-- Where the phases of training begin and end, as published and as estimated from the measured curve.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, phase); what does not occur is absent.
-- Source: Fehlauer et al. 2025 and the slides to it (boundaries drawn by eye); `estimated` is an extension.
-- requires: estimate_phases, expected_convergence
create or replace view analysis.phase_boundaries as
with curve as (
    select
        corpus,
        protocol,
        run_set,
        family,
        model,
        array_agg(step order by step) as steps,
        array_agg(convergence order by step) as convergences
    from analysis.expected_convergence
    where kind = 'seed' and complete
    group by corpus, protocol, run_set, family, model
),

-- Estimated phases have an extent: a curve that turns at its first step has no uniform phase. Where the models diverge
-- and never come back the sharp divergence ends at the trough, and what follows is no phase.
estimated as (
    select
        curve.*,
        'estimated' as definition,
        phase.position,
        phase.phase,
        phase.first_step,
        phase.last_step,
        null::integer as published_first_step,
        null::integer as published_last_step,
        turn.peak as peak_step,
        turn.trough as trough_step,
        turn.converges,
        turn.diverges,
        turn.reconverges
    from curve
    cross join warehouse.settings
    cross join lateral analysis.estimate_phases(
        curve.steps, curve.convergences, settings.phase_change, settings.phase_uniform
    ) as turn
    cross join lateral (
        values
        (1::smallint, 'uniform', curve.steps[1], turn.uniform_end, turn.uniform_end > curve.steps[1]),
        (2::smallint, 'sharp_convergence', turn.uniform_end, turn.peak, turn.converges),
        (3::smallint, 'sharp_divergence', turn.peak, turn.trough, turn.diverges),
        (4::smallint, 'slow_reconvergence', turn.trough, curve.steps[cardinality(curve.steps)], turn.reconverges)
    ) as phase (position, phase, first_step, last_step, occurs)
    where phase.occurs and cardinality(curve.steps) >= settings.phase_min_steps
),

definition as (
    select
        definition,
        position,
        phase,
        first_step,
        last_step,
        count(*) over (partition by definition) - position as phases_after
    from warehouse.phase_definition
),

-- A published boundary that was not measured takes the nearest measured step inside the phase.
published as (
    select
        curve.*,
        definition.definition,
        definition.position,
        definition.phase,
        inside.first_step,
        inside.last_step,
        definition.first_step as published_first_step,
        definition.last_step as published_last_step,
        definition.phases_after
    from curve
    cross join definition
    cross join lateral (
        select
            min(step) as first_step,
            max(step) as last_step,
            -- The step two phases share counts for the earlier one.
            coalesce(bool_or(step > definition.first_step or definition.position = 1), false) as occurs
        from unnest(curve.steps) as step
        where step >= definition.first_step and (step <= definition.last_step or definition.last_step is null)
    ) as inside
    where inside.occurs
),

-- The published phases end in a divergence and what follows it, so its first and last step are peak and trough.
published_turns as (
    select
        *,
        max(first_step) filter (where phases_after = 1) over curves as peak_step,
        max(first_step) filter (where phases_after = 0) over curves as trough_step,
        null::boolean as converges,
        null::boolean as diverges,
        null::boolean as reconverges
    from published
    window curves as (partition by definition, corpus, protocol, run_set, family, model)
),

phases as (
    select
        definition,
        corpus,
        protocol,
        run_set,
        family,
        model,
        position,
        phase,
        first_step,
        last_step,
        published_first_step,
        published_last_step,
        steps,
        converges,
        diverges,
        reconverges,
        peak_step,
        trough_step
    from estimated
    union all
    select
        definition,
        corpus,
        protocol,
        run_set,
        family,
        model,
        position,
        phase,
        first_step,
        last_step,
        published_first_step,
        published_last_step,
        steps,
        converges,
        diverges,
        reconverges,
        peak_step,
        trough_step
    from published_turns
)

select
    definition,
    corpus,
    protocol,
    run_set,
    family,
    model,
    position,
    phase,
    first_step,
    last_step,
    published_first_step,
    published_last_step,
    steps[array_position(steps, first_step) - 1] as before_first_step,
    steps[array_position(steps, first_step) + 1] as after_first_step,
    steps[array_position(steps, last_step) - 1] as before_last_step,
    steps[array_position(steps, last_step) + 1] as after_last_step,
    converges,
    diverges,
    reconverges,
    peak_step,
    trough_step,
    cardinality(steps) as n_steps
from phases;

comment on view analysis.phase_boundaries is
'Phases of training, published and estimated: first and last step; the last of one is the first of the next.';
comment on column analysis.phase_boundaries.definition is 'fehlauer-2025 or slides, published, or estimated';
comment on column analysis.phase_boundaries.corpus is 'name of the corpus';
comment on column analysis.phase_boundaries.protocol is 'name of the protocol';
comment on column analysis.phase_boundaries.run_set is 'default: without flagged runs; all: with them';
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
