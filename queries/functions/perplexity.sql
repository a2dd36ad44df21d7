-- Perplexity of a mean surprisal: e to its power. One expression, so that a query takes it in.
-- PostgreSQL takes overflow for an error; as in floating-point arithmetic elsewhere the answer is infinity.
create or replace function analysis.perplexity(surprisal double precision) returns double precision
language sql immutable parallel safe
as $$
select case when surprisal > 709 then 'infinity' else exp(surprisal) end
$$;

comment on function analysis.perplexity(double precision) is
'perplexity, exp of a mean surprisal in nats; infinity above 709 nats, NULL of NULL';
