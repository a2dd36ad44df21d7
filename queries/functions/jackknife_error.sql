-- Standard error of a mean over ordered pairs when training runs (seeds), not pairs, are independent.
-- Source: jackknife over seeds. theta(-g) = (S - S_g) / (K - K_g), se^2 = (n-1)/n sum (theta(-g) - mean)^2;
-- from four seeds with all pairs on, less the bias 2B / ((n-1)(n-2)) of the interaction of two seeds.
-- seeds_per_pair NULL: as the pairs say, and no error where some have one seed and others two.
-- A set of at most one row, so that a query that joins it takes it in, which no argument may hinder by holding a
-- query; a scalar function, or one that is not taken in, would cost several times more.
create or replace function analysis.jackknife_error(
    seeds_per_pair integer,
    n_pairs integer,
    n_tokens bigint,
    seed_sums double precision [],
    seed_pairs integer [],
    pair_square_sum double precision
) returns table (standard_error double precision)
language sql immutable parallel safe
as $$
with seed as (
    -- Unnested side by side in the select list, which takes half the time of doing so in from.
    select
        unnest(seed_pairs)::double precision as pairs,
        -- Everything below is a mean over tokens, so that it does not grow with the corpus.
        unnest(seed_sums) / nullif(n_tokens, 0) as total
),

weighted as (
    select
        seed.total,
        seed.total / nullif(seed.pairs, 0) as mean,
        seed.pairs,
        1 / nullif(n_pairs - seed.pairs, 0) as weight
    from seed
),

spread as (
    select
        count(*)::double precision as n,
        coalesce(seeds_per_pair, case sum(weighted.pairs) when n_pairs then 1 when 2 * n_pairs then 2 end) as per_pair,
        sum(weighted.total) as total,
        -- Variances and covariance by functions of two arguments, which gather what they need once for all of them.
        regr_sxx(weighted.weight * weighted.total, weighted.weight) / count(*) as weights,
        regr_sxy(weighted.weight * weighted.total, weighted.weight) / count(*) as both,
        regr_syy(weighted.weight * weighted.total, weighted.weight) / count(*) as totals,
        var_pop(weighted.mean) as means
    from weighted
    having count(*) = regr_count(weighted.weight * weighted.total, weighted.weight)
),

jackknife as (
    select
        spread.n,
        spread.per_pair,
        spread.total / spread.per_pair / nullif(n_pairs, 0) as mean,
        -- variance of theta(-g) = (S - S_g) * weight_g, the sums taken apart so that one pass does
        (spread.n - 1) * (
            spread.weights * (spread.total / spread.per_pair) ^ 2
            - 2 * spread.both * spread.total / spread.per_pair
            + spread.totals
        ) as variance,
        spread.n * spread.means as means
    from spread
)

select sqrt(
    greatest(
        jackknife.variance - case
            when jackknife.n >= 4 and jackknife.per_pair = 2 and pair_square_sum is not null
                then 2 * (
                    pair_square_sum / (4 * nullif(n_tokens, 0)::double precision * n_tokens)
                    - jackknife.n * (jackknife.n - 1) / 2 * jackknife.mean ^ 2
                    -- a_i = (n - 1) / (n - 2) (r_i - mean)
                    - (jackknife.n - 1) ^ 2 / (jackknife.n - 2) * jackknife.means
                )
                / (jackknife.n * (jackknife.n - 3) / 2) / ((jackknife.n - 1) * (jackknife.n - 2))
            else 0
        end,
        0
    )
)
from jackknife
where jackknife.n >= jackknife.per_pair + 1
$$;

comment on function analysis.jackknife_error(
    integer, integer, bigint, double precision [], integer [], double precision
) is 'Standard error of a mean over pairs, jackknife over seeds; no row below three seeds (two where a pair has one).';
