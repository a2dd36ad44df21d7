-- Lag-1 autocorrelation of the residuals e of a regression of y on x: sum e_t e_(t-1) / sum e_t^2, from sums over points
-- in order. 2 sum e_t e_(t-1) = 2 sum e_t^2 - e_1^2 - e_n^2 - sum (e_t - e_(t-1))^2, whose last sum is, with a slope b,
-- that of (rise - b run)^2. Sums of differences keep their digits. One expression, so that a query takes it in.
-- Source: an extension; the sum of squared differences is that of Durbin and Watson 1950.
create or replace function analysis.residual_autocorrelation(
    slope double precision,
    rise_rise double precision,
    rise_run double precision,
    run_run double precision,
    first_residual double precision,
    last_residual double precision,
    residual_squares double precision,
    all_squares double precision
) returns double precision
language sql immutable parallel safe
as $$
select 1 - (
    rise_rise
    - 2 * slope * rise_run
    + slope * slope * run_run
    + first_residual * first_residual
    + last_residual * last_residual
) / 2 / case when residual_squares > 1e-9 * all_squares then residual_squares end
$$;

comment on function analysis.residual_autocorrelation(
    double precision, double precision, double precision, double precision, double precision, double precision,
    double precision, double precision
) is
'lag-1 autocorrelation of the residuals of a regression on one variable, from the slope, the sums over neighbours of
rise^2, rise x run and run^2, the first and the last residual, and the sums of squares of residuals and of y about its
mean. NULL on a line, where residuals are what rounding leaves';
