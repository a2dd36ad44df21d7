-- How evenly a matrix uses its dimensions, from its singular values. One row, of NULL where there are none.
-- Source: Godey et al. 2024, singular entropy; effective rank (Roy and Vetterli 2007) and stable rank are extensions.
create or replace function analysis.spectrum_measures(singular_values real[])
returns table (
    singular_entropy double precision,
    effective_rank double precision,
    stable_rank double precision,
    spectral_norm double precision,
    frobenius_norm double precision,
    n_values integer
)
language sql immutable parallel safe
as $$
select
    -- The entropy of p = x / X is log X - sum(x log x) / X.
    ln(nullif(total.n_values, 0)::double precision) - (ln(total.x) - total.x_log_x / total.x) as singular_entropy,
    exp(ln(total.x) - total.x_log_x / total.x) as effective_rank,
    total.x2 / nullif(total.greatest * total.greatest, 0) as stable_rank,
    total.greatest as spectral_norm,
    sqrt(total.x2) as frobenius_norm,
    nullif(total.n_values, 0)::integer as n_values
from (
    select
        count(*) as n_values,
        max(one.value)::double precision as greatest,
        -- Of a matrix of zeros there is no share.
        nullif(sum(one.value::double precision), 0) as x,
        sum(one.value::double precision * one.value) as x2,
        -- x log x is 0 where x is 0.
        sum(one.value * ln(nullif(one.value, 0)::double precision)) as x_log_x
    from unnest(spectrum_measures.singular_values) as one (value)
) as total
$$;

comment on function analysis.spectrum_measures(real[]) is
'Measures of a spectrum. singular_entropy: KL(p||uniform) of the singular values scaled to sum to 1, in nats;
effective_rank: exp of their entropy; stable_rank: squared Frobenius norm over squared spectral norm; spectral_norm: the
greatest of them; frobenius_norm: root of the sum of their squares; n_values: how many there are';
