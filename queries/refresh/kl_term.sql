-- What one outcome adds to KL(p || q): p (d + exp(-d) - 1), d = log p - log q; where d is small, its series, in which
-- nothing cancels. One expression, so that a query takes it in.
create or replace function pg_temp.kl_term(p double precision, q double precision, d double precision)
returns double precision
language sql immutable
as $$
select case
    when abs(d) < 0.01 then p * d * d * (0.5 - d / 6 + d * d / 24 - d * d * d / 120 + d * d * d * d / 720)
    when abs(d) < 1 then p * (d + exp(-d) - 1)
    else p * d - p + q
end
$$;
