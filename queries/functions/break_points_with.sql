-- Where a curve over training speeds up most: how much it improves after a step, less how much before.
-- A curve is known at its measured steps and straight between them on the axis; candidates are the measured steps that
-- have the whole of delta on either side. On axis log_step the curve is over log2(step + 1) and delta in doublings; on
-- axis step, delta is in steps, and one step compares the slopes that meet at a measured step.
-- Source: Chen et al. 2024. A metric that improves by falling is turned over first: as it stands it would give the end
-- of its drop. One that neither way improves is read as it stands.
-- requires: refuse, training_curves
create or replace function analysis.break_points_with(
    delta double precision default 1,
    axis text default 'log_step',
    upwards boolean default null
) returns table (
    family text,
    model text,
    seed integer,
    metric text,
    source text,
    corpus text,
    protocol text,
    run_set text,
    break_step integer,
    acceleration double precision,
    change_before double precision,
    change_after double precision,
    value double precision,
    standard_error double precision,
    higher_is_better boolean,
    n_steps integer,
    outlier boolean
)
language sql stable parallel safe
as $$
with point as (
    select
        measured.*,
        case
            when coalesce(break_points_with.delta, 0) <= 0 then analysis.refuse(format(
                'Delta is the distance to either side, above 0, and not %s.', coalesce(break_points_with.delta::text, 'NULL')
            ))
            when break_points_with.axis = 'log_step'
                then ln(measured.step + 1.0::double precision) / ln(2.0::double precision)
            when break_points_with.axis = 'step' then measured.step
            else analysis.refuse(format('Axis is step or log_step, not %s.', break_points_with.axis))
        end as x
    from analysis.training_curves as measured
),

curve as (
    select
        point.family,
        point.model,
        point.seed,
        point.metric,
        point.source,
        point.corpus,
        point.protocol,
        point.run_set,
        point.outlier,
        coalesce(
            break_points_with.upwards,
            -- Where a curve contradicts itself nothing is known.
            case when bool_or(point.higher_is_better) = bool_and(point.higher_is_better)
                then bool_or(point.higher_is_better)
            end
        ) as improves_upwards,
        count(*)::integer as n,
        array_agg(point.step order by point.step) as steps,
        array_agg(point.x order by point.step) as x,
        array_agg(point.value order by point.step) as f,
        array_agg(point.standard_error order by point.step) as errors
    from point
    group by
        point.family, point.model, point.seed, point.metric, point.source, point.corpus, point.protocol, point.run_set,
        point.outlier
)

select
    curve.family,
    curve.model,
    curve.seed,
    curve.metric,
    curve.source,
    curve.corpus,
    curve.protocol,
    curve.run_set,
    break.step as break_step,
    break.change_after - break.change_before as acceleration,
    break.change_before,
    break.change_after,
    break.f as value,
    break.standard_error,
    curve.improves_upwards as higher_is_better,
    curve.n as n_steps,
    curve.outlier
from curve
left join lateral (
    select
        here.step,
        here.f,
        here.standard_error,
        turned.way * (here.f - side.f_before) as change_before,
        turned.way * (side.f_after - here.f) as change_after
    from unnest(curve.steps, curve.x, curve.f, curve.errors) as here (step, x, f, standard_error)
    cross join lateral (select case when curve.improves_upwards = false then -1 else 1 end as way) as turned
    -- Logarithms are rounded: what misses an end of the curve by that is at the end.
    cross join lateral (
        select
            greatest(here.x - break_points_with.delta, curve.x[1]) as x_before,
            least(here.x + break_points_with.delta, curve.x[curve.n]) as x_after
    ) as reach
    -- The measured step at or before each, and before the last one.
    cross join lateral (
        select
            width_bucket(reach.x_before, curve.x) as i,
            least(width_bucket(reach.x_after, curve.x), curve.n - 1) as j
    ) as place
    cross join lateral (
        select
            curve.f[place.i] + (curve.f[place.i + 1] - curve.f[place.i])
            * (reach.x_before - curve.x[place.i]) / (curve.x[place.i + 1] - curve.x[place.i]) as f_before,
            curve.f[place.j] + (curve.f[place.j + 1] - curve.f[place.j])
            * (reach.x_after - curve.x[place.j]) / (curve.x[place.j + 1] - curve.x[place.j]) as f_after
    ) as side
    where
        here.x - break_points_with.delta >= curve.x[1] - 1e-9
        and here.x + break_points_with.delta <= curve.x[curve.n] + 1e-9
    order by turned.way * (side.f_before + side.f_after - 2 * here.f) desc, here.step
    limit 1
) as break on true
$$;

comment on function analysis.break_points_with(double precision, text, boolean) is
'Break points of every curve of training_curves, as in view break_points, for a distance of delta to either side on an
axis: log_step, in doublings of step + 1, or step, in steps. upwards: take curves as improving by rising (true) or by
falling (false), whatever they say of themselves; NULL, the default, takes their higher_is_better';
