-- Standard error of a mean over ordered pairs when training runs (seeds), not pairs, are independent.
-- Source: jackknife over seeds. theta(-g) = (S - S_g) / (K - K_g), se^2 = (n-1)/n sum (theta(-g) - mean)^2;
-- from four seeds with all pairs on, less the bias 2B / ((n-1)(n-2)) of the interaction of two seeds.
-- A set of at most one row, so that a query that joins it takes it in; a scalar function would cost three times more.
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
    select
        cardinality(seed_sums)::double precision as n,
        item.pairs::double precision as pairs,
        -- Everything below is a mean over tokens, so that it does not grow with the corpus.
        item.total / nullif(n_tokens, 0) as total,
        sum(item.total) over () / seeds_per_pair / nullif(n_tokens, 0) as grand_total
    from unnest(seed_sums, seed_pairs) as item (total, pairs)
),

without_seed as (
    select
        seed.n,
        (seed.grand_total - seed.total) / nullif(n_pairs - seed.pairs, 0) as theta,
        -- a_i of the bias: how far a seed's own mean lies from the mean of all pairs
        (seed.n - 1) / nullif(seed.n - 2, 0)
        * (seed.total / nullif(seed.pairs, 0) - seed.grand_total / nullif(n_pairs, 0)) as effect,
        seed.grand_total / nullif(n_pairs, 0) as mean
    from seed
),

spread as (
    select
        without_seed.n,
        (without_seed.n - 1) * var_pop(without_seed.theta) as variance,
        pair_square_sum / (4 * nullif(n_tokens, 0)::double precision * n_tokens)
        - without_seed.n * (without_seed.n - 1) / 2 * min(without_seed.mean) ^ 2 as pair_squares,
        (without_seed.n - 2) * sum(without_seed.effect * without_seed.effect) as seed_squares
    from without_seed
    group by without_seed.n
    having count(*) = count(without_seed.theta)
)

select sqrt(
    greatest(
        spread.variance - case
            when spread.n >= 4 and seeds_per_pair = 2 and pair_square_sum is not null
                then 2 * (spread.pair_squares - spread.seed_squares)
                    / (spread.n * (spread.n - 3) / 2) / ((spread.n - 1) * (spread.n - 2))
            else 0
        end,
        0
    )
)
from spread
where spread.n >= seeds_per_pair + 1
$$;

comment on function analysis.jackknife_error(
    integer, integer, bigint, double precision [], integer [], double precision
) is 'Standard error of a mean over pairs, jackknife over seeds; no row below three seeds (two where a pair has one).';
