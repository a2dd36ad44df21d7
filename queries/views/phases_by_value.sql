-- Phases of training of every curve of convergence: that of all tokens, and those of tokens with one value of a layer.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, layer, value, phase); what does not occur is
-- absent. The layer of all tokens is in it; phase_boundaries, phase_statistics and conditional_phases read it.
-- Source: Fehlauer et al. 2025 and the slides to it (boundaries drawn by eye, over all tokens); estimated boundaries,
-- phases of a value, and what the last phase regains are an extension.
-- requires: convergence_by_value, estimate_phases
create or replace view analysis.phases_by_value as
with curve as (
    select
        corpus,
        protocol,
        run_set,
        family,
        model,
        layer,
        value,
        is_total,
        value_number,
        layer_id,
        category_id,
        max(n_tokens) as n_tokens,
        array_agg(step order by step) as steps,
        array_agg(convergence order by step) as convergences,
        array_agg(se_seed order by step) as seed_errors,
        array_agg(se_document order by step) as document_errors,
        array_agg(df_seed order by step) as seed_df,
        array_agg(df_document order by step) as document_df,
        array_agg(n_seeds order by step) as seeds
    from analysis.convergence_by_value
    where kind = 'seed' and complete and convergence is not null
    group by corpus, protocol, run_set, family, model, layer, value, is_total, value_number, layer_id, category_id
)

select
    phase.definition,
    curve.corpus,
    curve.protocol,
    curve.run_set,
    curve.family,
    curve.model,
    curve.layer,
    curve.value,
    curve.is_total,
    curve.n_tokens,
    phase.position,
    phase.phase,
    phase.first_step,
    phase.last_step,
    phase.published_first_step,
    phase.published_last_step,
    curve.steps[place.first - 1] as before_first_step,
    curve.steps[place.first + 1] as after_first_step,
    curve.steps[place.last - 1] as before_last_step,
    curve.steps[place.last + 1] as after_last_step,
    phase.converges,
    phase.diverges,
    phase.reconverges,
    phase.peak_step,
    phase.trough_step,
    cardinality(curve.steps) as n_steps,
    means.n_checkpoints,
    curve.convergences[place.last] - curve.convergences[place.first] as convergence_change,
    means.slope_per_log2_step,
    means.mean_convergence,
    case
        when phase.is_last and curve.convergences[place.peak] > curve.convergences[place.trough]
            then
                (curve.convergences[cardinality(curve.steps)] - curve.convergences[place.trough])
                / (curve.convergences[place.peak] - curve.convergences[place.trough])
    end as reconverged_fraction,
    case
        when phase.is_last
            then 1 - curve.convergences[cardinality(curve.steps)] / nullif(curve.convergences[place.trough], 0)
    end as divergence_reduction,
    curve.value_number,
    curve.steps,
    means.se_seed,
    means.se_document,
    means.df_seed,
    means.df_document,
    means.fewest_seeds,
    means.most_seeds,
    -- Phases share their boundary step: it counts for the earlier one, and the first phase has its first step as well.
    case when phase.is_first then phase.first_step - 1 else coalesce(phase.published_first_step, phase.first_step) end
        as counts_after,
    curve.layer_id,
    curve.category_id
from curve
cross join lateral (
    select
        found.*,
        found.position = min(found.position) over (partition by found.definition) as is_first,
        found.position = max(found.position) over (partition by found.definition) as is_last
    from (
        -- Estimated phases have an extent: a curve that turns at its first step has no uniform phase. Where the models
        -- diverge and never come back the sharp divergence ends at the trough, and what follows is no phase.
        select
            'estimated' as definition,
            extent.position,
            extent.phase,
            extent.first_step,
            extent.last_step,
            null::integer as published_first_step,
            null::integer as published_last_step,
            turn.peak as peak_step,
            turn.trough as trough_step,
            turn.converges,
            turn.diverges,
            turn.reconverges
        from warehouse.settings as settings
        cross join lateral analysis.estimate_phases(
            curve.steps, curve.convergences, settings.phase_change, settings.phase_uniform
        ) as turn
        cross join lateral (
            values
            (1::smallint, 'uniform', curve.steps[1], turn.uniform_end, turn.uniform_end > curve.steps[1]),
            (2::smallint, 'sharp_convergence', turn.uniform_end, turn.peak, turn.converges),
            (3::smallint, 'sharp_divergence', turn.peak, turn.trough, turn.diverges),
            (4::smallint, 'slow_reconvergence', turn.trough, curve.steps[cardinality(curve.steps)], turn.reconverges)
        ) as extent (position, phase, first_step, last_step, occurs)
        where extent.occurs and cardinality(curve.steps) >= settings.phase_min_steps
        union all
        -- The published phases end in a divergence and what follows it: their first steps are peak and trough.
        select
            definition.definition,
            definition.position,
            definition.phase,
            inside.first_step,
            inside.last_step,
            definition.first_step as published_first_step,
            definition.last_step as published_last_step,
            max(inside.first_step) filter (where definition.phases_after = 1) over phases as peak_step,
            max(inside.first_step) filter (where definition.phases_after = 0) over phases as trough_step,
            null as converges,
            null as diverges,
            null as reconverges
        from (
            select
                published.*,
                count(*) over (partition by published.definition) - published.position as phases_after
            from warehouse.phase_definition as published
        ) as definition
        -- A published boundary that was not measured takes the nearest measured step inside the phase.
        cross join lateral (
            select
                min(measured.step) as first_step,
                max(measured.step) as last_step,
                -- The step two phases share counts for the earlier one.
                coalesce(bool_or(measured.step > definition.first_step or definition.position = 1), false) as occurs
            from unnest(curve.steps) as measured (step)
            where
                measured.step >= definition.first_step
                and (measured.step <= definition.last_step or definition.last_step is null)
        ) as inside
        where inside.occurs
        window phases as (partition by definition.definition)
    ) as found
) as phase
cross join lateral (
    select
        array_position(curve.steps, phase.first_step) as first,
        array_position(curve.steps, phase.last_step) as last,
        array_position(curve.steps, phase.peak_step) as peak,
        array_position(curve.steps, phase.trough_step) as trough
) as place
left join lateral (
    select
        count(*) filter (where measured.counts) as n_checkpoints,
        avg(measured.convergence) filter (where measured.counts) as mean_convergence,
        -- The error of a mean is at most the mean of the errors: so it would be if nothing of them averaged out.
        case when bool_and(measured.se_seed is not null) filter (where measured.counts)
            then avg(measured.se_seed) filter (where measured.counts)
        end as se_seed,
        case when bool_and(measured.se_document is not null) filter (where measured.counts)
            then avg(measured.se_document) filter (where measured.counts)
        end as se_document,
        min(measured.df_seed) filter (where measured.counts) as df_seed,
        min(measured.df_document) filter (where measured.counts) as df_document,
        min(measured.n_seeds) filter (where measured.counts) as fewest_seeds,
        max(measured.n_seeds) filter (where measured.counts) as most_seeds,
        regr_slope(measured.convergence, measured.log2_step) as slope_per_log2_step
    from (
        select
            point.convergence,
            point.se_seed,
            point.se_document,
            point.df_seed,
            point.df_document,
            point.n_seeds,
            ln(point.step + 1.0::double precision) / ln(2.0::double precision) as log2_step,
            phase.is_first or point.step > coalesce(phase.published_first_step, phase.first_step) as counts
        from unnest(
            curve.steps[place.first:place.last],
            curve.convergences[place.first:place.last],
            curve.seed_errors[place.first:place.last],
            curve.document_errors[place.first:place.last],
            curve.seed_df[place.first:place.last],
            curve.document_df[place.first:place.last],
            curve.seeds[place.first:place.last]
        ) as point (step, convergence, se_seed, se_document, df_seed, df_document, n_seeds)
    ) as measured
) as means on true;

comment on view analysis.phases_by_value is
    'Phases of training of all tokens and by value of a layer; the views of phases read it.';
comment on column analysis.phases_by_value.definition is
    'whose boundaries: fehlauer-2025 or slides, published, or estimated';
comment on column analysis.phases_by_value.corpus is 'name of the corpus';
comment on column analysis.phases_by_value.protocol is 'name of the protocol';
comment on column analysis.phases_by_value.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.phases_by_value.family is 'suite of models';
comment on column analysis.phases_by_value.model is 'name of the model within its family';
comment on column analysis.phases_by_value.layer is 'name of the annotation layer';
comment on column analysis.phases_by_value.value is 'value of the layer';
comment on column analysis.phases_by_value.is_total is 'the row is of all tokens, not of a value';
comment on column analysis.phases_by_value.n_tokens is 'tokens with a measured KL';
comment on column analysis.phases_by_value.position is 'order of the phase within its definition, from 1';
comment on column analysis.phases_by_value.phase is 'name of the phase';
comment on column analysis.phases_by_value.first_step is 'first measured step of the phase';
comment on column analysis.phases_by_value.last_step is 'last measured step of the phase';
comment on column analysis.phases_by_value.published_first_step is 'first step as published; NULL for estimated';
comment on column analysis.phases_by_value.published_last_step is
    'last step as published; NULL for estimated, and for the end of training';
comment on column analysis.phases_by_value.before_first_step is
    'measured step before first_step, NULL where there is none: the boundary lies between it and after_first_step';
comment on column analysis.phases_by_value.after_first_step is 'measured step after first_step';
comment on column analysis.phases_by_value.before_last_step is
    'measured step before last_step: the boundary lies between it and after_last_step';
comment on column analysis.phases_by_value.after_last_step is 'measured step after last_step, NULL where there is none';
comment on column analysis.phases_by_value.converges is
    'estimated: the curve rises by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.phases_by_value.diverges is
    'estimated: the curve falls by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.phases_by_value.reconverges is
    'estimated: it regains at least settings.phase_change of that fall by the last step; NULL where published';
comment on column analysis.phases_by_value.peak_step is
    'step where convergence ends its rise and divergence begins, NULL where there is none';
comment on column analysis.phases_by_value.trough_step is
    'step where divergence ends; NULL where the models do not diverge, or training ends before';
comment on column analysis.phases_by_value.n_steps is 'measured steps of the curve';
comment on column analysis.phases_by_value.n_checkpoints is 'steps measured in the phase, those the means are over';
comment on column analysis.phases_by_value.convergence_change is
    'convergence at last_step minus that at first_step, in nats; above 0 where the models come to agree';
comment on column analysis.phases_by_value.slope_per_log2_step is
    'least-squares slope of convergence on log2(step + 1), both ends included, in nats per doubling; NULL for one step';
comment on column analysis.phases_by_value.mean_convergence is
    'mean of convergence over the steps that count, in nats; never positive';
comment on column analysis.phases_by_value.reconverged_fraction is
    'last phase only: share of the fall from peak to trough regained by the last step; NULL where nothing fell';
comment on column analysis.phases_by_value.divergence_reduction is
    'last phase only: 1 - KL at the last step / KL at the trough; NULL without a trough';
comment on column analysis.phases_by_value.value_number is 'the value as a number';
comment on column analysis.phases_by_value.steps is 'measured steps of the curve, ascending';
comment on column analysis.phases_by_value.se_seed is
    'upper bound of the standard error of mean_convergence over seeds, in nats: the mean of that of its steps';
comment on column analysis.phases_by_value.se_document is
    'upper bound of its standard error over clusters of tokens, in nats: the mean of that of its steps';
comment on column analysis.phases_by_value.df_seed is 'degrees of freedom of se_seed, the least of its steps';
comment on column analysis.phases_by_value.df_document is 'degrees of freedom of se_document, the least of its steps';
comment on column analysis.phases_by_value.counts_after is 'the means are over the steps of the phase after this one';
comment on column analysis.phases_by_value.layer_id is 'key of warehouse.annotation_layer';
comment on column analysis.phases_by_value.category_id is 'number of the value within its layer';
comment on column analysis.phases_by_value.fewest_seeds is
    'fewest seeds of a step of the phase; where it is not most_seeds, steps are means over different runs';
comment on column analysis.phases_by_value.most_seeds is 'most seeds of a step of the phase';
