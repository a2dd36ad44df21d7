-- Two-sided p of a correlation, which is that of the slope of a regression on one variable: t = r sqrt((n - 2) / (1 - r^2)).
-- One expression, so that a query takes it in.
-- Source: the t test of a least-squares slope.
-- requires: student_t
create or replace function analysis.correlation_p_value(r double precision, n bigint) returns double precision
language sql immutable parallel safe
as $$
select analysis.student_t(
    -- On a line without any scatter t has no bound.
    coalesce(r * sqrt(greatest(n - 2, 0) / nullif(greatest(1 - r * r, 0), 0)), r * 'infinity'),
    n::integer - 2
)
$$;

comment on function analysis.correlation_p_value(double precision, bigint) is
'two-sided p of a correlation r of n points, from Student''s t with n - 2 degrees of freedom; that of the slope of a
regression on one variable too. NULL without r or without degrees of freedom';
