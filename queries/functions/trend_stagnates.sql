-- Whether a curve of perplexity ends where it began: both ends near its geometric mean. One expression, so that a query
-- takes it in. Everything in logarithms, of perplexity divided by that at the start, so that the first value is 0.
-- Source: Xia et al. 2023. The paper compares the ends with the mean; its code compares the mean with the ends, and asks
-- for a variance below the mean as well, both of perplexities that are not divided.
create or replace function analysis.trend_stagnates(
    variant text,
    tolerance double precision,
    log_mean double precision,
    log_last double precision,
    variance double precision,
    start_surprisal double precision
) returns boolean
language sql immutable parallel safe
as $$
select case variant
    when 'paper'
        then -log_mean between ln(1 - tolerance) and ln(1 + tolerance)
        and log_last - log_mean between ln(1 - tolerance) and ln(1 + tolerance)
    when 'code'
        then log_mean > ln(1 - tolerance)
        and log_mean < ln(1 + tolerance)
        and log_mean - log_last > ln(1 - tolerance)
        and log_mean - log_last < ln(1 + tolerance)
        and coalesce(ln(nullif(variance, 0)) + start_surprisal < log_mean, variance = 0)
end
$$;

comment on function analysis.trend_stagnates(
    text, double precision, double precision, double precision, double precision, double precision
) is
'whether the first and the last value of a curve of perplexity lie within a tolerance of its geometric mean. variant:
paper or code, as Xia et al. 2023; log_mean and log_last: mean and last of log perplexity less the first, in nats;
variance: of perplexity over the first; start_surprisal: log of the first, in nats';
