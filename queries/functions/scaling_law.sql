-- The loss that a scaling law expects of a model of some size after some tokens of training.
-- Exponents are kept from overflow and underflow, which PostgreSQL raises as errors.
-- Source: Hoffmann et al. 2022; Godey et al. 2024.
create or replace function analysis.scaling_law(
    a double precision,
    alpha double precision,
    b double precision,
    beta double precision,
    e double precision,
    parameters double precision,
    tokens double precision
)
returns double precision
language sql immutable parallel safe
as $$
select
    -- greatest and least pass over NULL, so what is not known has to be asked for.
    case when a > 0 and parameters > 0 and tokens > 0 and alpha is not null and beta is not null
        then
            exp(greatest(least(ln(a) - alpha * ln(parameters), 700), -700))
            + b * exp(greatest(least(-beta * ln(tokens), 700), -700))
            + e
    end
$$;

comment on function analysis.scaling_law(
    double precision,
    double precision,
    double precision,
    double precision,
    double precision,
    double precision,
    double precision
) is
'Loss of a scaling law, A / N^alpha + B / T^beta + E, in nats, for N parameters and T training tokens; NULL unless A, N
and T are above 0, and where something is not known';
