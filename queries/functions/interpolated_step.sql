-- Where a curve that falls from one checkpoint to the next crosses a level: linear in the logarithm of the step.
-- One expression, so that a query takes it in.
create or replace function analysis.interpolated_step(
    step_before integer,
    step_after integer,
    value_before double precision,
    value_after double precision,
    level double precision
) returns double precision
language sql immutable parallel safe
as $$
select exp(
    ln(step_before::double precision)
    + (value_before - level) / nullif(value_before - value_after, 0)
    * (ln(step_after::double precision) - ln(step_before::double precision))
)
$$;

comment on function analysis.interpolated_step(
    integer, integer, double precision, double precision, double precision
) is
'step at which a curve crosses a level between two checkpoints, linear in log step; steps above 0. NULL where the curve
does not move';
