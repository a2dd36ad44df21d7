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
    ln(nullif(total.n_values, 0)::double precision) + total.sum_p_log_p as singular_entropy,
    exp(-total.sum_p_log_p) as effective_rank,
    total.sum_squares / nullif(total.greatest * total.greatest, 0) as stable_rank,
    total.greatest as spectral_norm,
    sqrt(total.sum_squares) as frobenius_norm,
    nullif(total.n_values, 0)::integer as n_values
from (
    select
        count(*) as n_values,
        max(item.value) as greatest,
        sum(item.value * item.value) as sum_squares,
        -- p log p is 0 where p is 0; of a matrix of zeros nothing can be said.
        sum(item.p * ln(nullif(item.p, 0))) as sum_p_log_p
    from (
        select
            one.value::double precision as value,
            one.value::double precision / nullif(sum(one.value::double precision) over (), 0) as p
        from unnest(spectrum_measures.singular_values) as one (value)
    ) as item
) as total
$$;

comment on function analysis.spectrum_measures(real[]) is
'Measures of a spectrum. singular_entropy: KL(p||uniform) of the singular values scaled to sum to 1, in nats;
effective_rank: exp of their entropy; stable_rank: squared Frobenius norm over squared spectral norm; spectral_norm: the
greatest of them; frobenius_norm: root of the sum of their squares; n_values: how many there are';
