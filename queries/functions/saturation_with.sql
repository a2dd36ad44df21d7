-- The best checkpoint of every curve over training, and how far the last one has fallen behind it.
-- A direction that is given stands for all curves that it asks for, whatever they say themselves.
-- Source: Godey et al. 2024, saturation of small models.
-- requires: training_curves
create or replace function analysis.saturation_with(
    metric_name text default null, improves_upwards boolean default null
)
returns table (
    family text,
    model text,
    seed integer,
    metric text,
    source text,
    corpus text,
    protocol text,
    run_set text,
    best_step integer,
    best_value double precision,
    final_step integer,
    final_value double precision,
    final_to_best double precision,
    steps_since_best integer,
    se_best double precision,
    se_final double precision,
    n_steps integer,
    higher_is_better boolean,
    outlier boolean
)
language sql stable parallel safe
as $$
select
    turn.family,
    turn.model,
    turn.seed,
    turn.metric,
    turn.source,
    turn.corpus,
    turn.protocol,
    turn.run_set,
    turn.best_step,
    turn.best[1] as best_value,
    turn.final_step,
    turn.final[2] as final_value,
    turn.final[2] / nullif(turn.best[1], 0) as final_to_best,
    turn.final_step - turn.best_step as steps_since_best,
    turn.best[3] as se_best,
    turn.final[3] as se_final,
    turn.n_steps,
    turn.higher_is_better,
    turn.outlier
from (
    select
        extreme.*,
        extreme.final[1]::integer as final_step,
        case when extreme.higher_is_better then extreme.greatest else extreme.least end as best,
        case when extreme.higher_is_better then -extreme.greatest[2] else extreme.least[2] end::integer as best_step
    from (
        select
            curve.family,
            curve.model,
            curve.seed,
            curve.metric,
            curve.source,
            curve.corpus,
            curve.protocol,
            curve.run_set,
            curve.outlier,
            -- Arrays are ordered by their first elements, then by the next: of equal values the earliest is the best.
            min(array[curve.value, curve.step, curve.standard_error]) as least,
            max(array[curve.value, -curve.step, curve.standard_error]) as greatest,
            max(array[curve.step, curve.value, curve.standard_error]) as final,
            count(*)::integer as n_steps,
            coalesce(
                saturation_with.improves_upwards,
                -- Where a curve contradicts itself nothing is known.
                case when bool_or(curve.higher_is_better) = bool_and(curve.higher_is_better)
                    then bool_or(curve.higher_is_better)
                end
            ) as higher_is_better
        from analysis.training_curves as curve
        where saturation_with.metric_name is null or curve.metric = saturation_with.metric_name
        group by
            curve.family,
            curve.model,
            curve.seed,
            curve.metric,
            curve.source,
            curve.corpus,
            curve.protocol,
            curve.run_set,
            curve.outlier
    ) as extreme
    where extreme.higher_is_better is not null
) as turn
$$;

comment on function analysis.saturation_with(text, boolean) is
'Saturation of the curves called metric_name (all, where it is NULL), in the direction improves_upwards: true for
accuracies, false for losses; where it is NULL, the direction that the curve itself has, and no row for a curve without
one. Columns are those of view saturation: family, model, seed, metric, source, corpus, protocol, run_set, best_step,
best_value, final_step, final_value, final_to_best, steps_since_best, se_best, se_final, n_steps, higher_is_better,
outlier';
