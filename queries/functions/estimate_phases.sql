-- Where a curve of convergence turns: end of the uniform phase, peak, trough.
-- Takes any curve of convergence over training steps: arrays of one length, steps ascending, no NULL.
-- Source: an extension; Fehlauer et al. 2025 drew the boundaries by eye. The trough is the deepest drawdown below the
-- running maximum, the peak the maximum before it, the uniform phase what comes before a noticeable rise (or fall).
create or replace function analysis.estimate_phases(
    steps integer[],
    convergence double precision[],
    phase_change double precision,
    phase_uniform double precision
) returns table (
    uniform_end integer, peak integer, trough integer, converges boolean, diverges boolean, reconverges boolean
)
language sql immutable parallel safe
as $$
with measured as (
    select
        point.step,
        point.c,
        ln(point.step + 1.0::double precision) as log_step,
        max(point.c) over (order by point.step) - point.c as drawdown
    from unnest(steps, convergence) as point (step, c)
),

curve as (
    select
        convergence[1] as first_c,
        convergence[cardinality(convergence)] as last_c,
        max(measured.log_step) as last_log_step,
        -- The least change of convergence that makes a phase. Models that never differ have none.
        nullif(-min(measured.c), 0) * phase_change as least_change
    from measured
),

deepest as (
    select
        measured.step,
        measured.c,
        coalesce(measured.drawdown >= curve.least_change, false) as diverges
    from measured cross join curve
    order by measured.drawdown desc, measured.step
    limit 1
),

highest as (
    select
        measured.step,
        measured.c,
        measured.c - curve.first_c as rise,
        measured.step > steps[1] and coalesce(measured.c - curve.first_c >= curve.least_change, false) as converges
    from measured cross join curve cross join deepest
    where measured.step <= deepest.step or not deepest.diverges
    order by measured.c desc, measured.step
    limit 1
),

uniform as (
    select
        max(measured.step) filter (
            where highest.converges
            and measured.step < highest.step
            and measured.c - curve.first_c < phase_uniform * highest.rise
        ) as end_of_no_rise,
        max(measured.step) filter (
            where deepest.diverges
            and measured.step < deepest.step
            and curve.first_c - measured.c < phase_uniform * (curve.first_c - deepest.c)
        ) as end_of_no_fall
    from measured cross join curve cross join deepest cross join highest
),

-- Without a divergence the highest step says little: a plateau has its maximum anywhere. Most of the rise will do.
plateau as (
    select min(measured.step) as step
    from measured cross join curve cross join highest cross join uniform
    where
        measured.step > uniform.end_of_no_rise
        and measured.c - curve.first_c >= (1 - phase_uniform) * highest.rise
),

turns as (
    select
        highest.converges,
        deepest.diverges,
        case when highest.converges then uniform.end_of_no_rise else uniform.end_of_no_fall end as uniform_end,
        case
            when highest.converges and deepest.diverges then highest.step
            when highest.converges then plateau.step
            else uniform.end_of_no_fall
        end as peak
    from highest cross join deepest cross join uniform cross join plateau
),

summit as (
    select
        measured.step,
        measured.c,
        measured.log_step,
        turns.diverges and curve.last_c - deepest.c >= phase_change * (measured.c - deepest.c) as reconverges
    from measured cross join curve cross join deepest
    inner join turns on measured.step = turns.peak
),

-- A curve that stays low has its trough where the fall ends: farthest below the line from the peak to the last step.
knee as (
    select measured.step
    from measured cross join curve cross join summit
    where measured.step > summit.step
    order by
        summit.c
        + (curve.last_c - summit.c) * (measured.log_step - summit.log_step) / (curve.last_log_step - summit.log_step)
        - measured.c desc,
        measured.step
    limit 1
)

select
    turns.uniform_end,
    turns.peak,
    case when turns.diverges then case when summit.reconverges then deepest.step else knee.step end end,
    turns.converges,
    turns.diverges,
    coalesce(summit.reconverges, false)
from turns cross join deepest left join summit on true left join knee on true
$$;

comment on function analysis.estimate_phases(integer[], double precision[], double precision, double precision) is
'The steps where a curve of convergence (nats, at most 0) turns: last step of the uniform phase, peak, trough.
NULL where the curve has no such turn. phase_change: least rise or fall that counts, as a share of the greatest KL;
phase_uniform: share of the rise below which training is still uniform. One row; steps ascending';
