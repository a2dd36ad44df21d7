-- The log of the sum of up to three masses that are given as logs. NULL adds nothing; three of them are NULL.
-- One expression without a subquery, so that a query takes it in. The greatest is taken out, or exp would underflow,
-- which PostgreSQL takes for an error; what is left of e^-700 beside it is nothing.
create or replace function analysis.log_sum_exp(a double precision, b double precision, c double precision)
returns double precision
language sql immutable parallel safe
as $$
select case
    when greatest(a, b, c) > '-infinity' then greatest(a, b, c) + ln(
        exp(greatest(a - greatest(a, b, c), -700)) * (a is not null)::integer
        + exp(greatest(b - greatest(a, b, c), -700)) * (b is not null)::integer
        + exp(greatest(c - greatest(a, b, c), -700)) * (c is not null)::integer
    )
    else greatest(a, b, c)
end
$$;

comment on function analysis.log_sum_exp(double precision, double precision, double precision) is
    'log(exp(a) + exp(b) + exp(c)); NULL stands for nothing, and only of three of them the result is NULL.';
