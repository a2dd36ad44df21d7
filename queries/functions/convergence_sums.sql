-- Sums of a comparison over the tokens of each value of a layer, from the KL of its pairs at every token.
-- What warehouse.convergence_summary keeps, for one comparison and any layer, one of too many values for summaries too.
-- It is not taken into the query that calls it, and dear, so that a condition on names decides before it is called.
create or replace function analysis.convergence_sums(comparison integer, layer integer)
returns table (
    category_id integer,
    clusters integer,
    n bigint,
    sum_kl double precision,
    sum_kl2 double precision,
    min_kl double precision,
    max_kl double precision,
    cluster_xx double precision,
    cluster_xn double precision,
    cluster_nn double precision,
    pair_square_sum double precision,
    seed_sums double precision []
)
language sql stable parallel safe
cost 1000000 rows 40
set work_mem = '64MB'
as $$
with member as (
    select
        pair.pair_id,
        run_p.seed as seed_p,
        run_q.seed as seed_q
    from warehouse.comparison_member as link
    inner join warehouse.comparison_pair as pair on link.pair_id = pair.pair_id
    inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
    inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
    inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
    inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
    inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
    inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
    where link.comparison_id = convergence_sums.comparison
),

-- Read twice: holding its arrays meanwhile would take gigabytes of a long text.
chunk as not materialized (
    select
        member.pair_id,
        fact.chunk_id,
        fact.kl,
        annotation.category_ids,
        case corpus.cluster when 'document' then token.documents end as documents
    from member
    inner join warehouse.divergence_chunk as fact on member.pair_id = fact.pair_id
    inner join warehouse.annotation_chunk as annotation
        on fact.chunk_id = annotation.chunk_id and annotation.layer_id = convergence_sums.layer
    inner join warehouse.token_chunk as token on fact.chunk_id = token.chunk_id
    inner join warehouse.corpus as corpus on token.corpus_id = corpus.corpus_id
),

-- Arrays are unnested in the select list, side by side, which takes half the time of a lateral join.
token_mean as (
    select
        -- The same in every pair; to group by more would take twice the time.
        min(item.category_id) as category_id,
        coalesce(min(item.document), item.chunk_id) as cluster_id,
        -- A token that one pair lacks has no mean.
        case when count(item.kl) = count(*) then sum(item.kl) / count(*) end as kl
    from (
        select
            chunk.chunk_id,
            generate_series(1, cardinality(chunk.kl)) as place,
            unnest(chunk.category_ids) as category_id,
            unnest(chunk.documents) as document,
            unnest(chunk.kl)::double precision as kl
        from chunk
    ) as item
    where item.category_id is not null
    group by item.chunk_id, item.place
),

cell as (
    select
        token_mean.category_id,
        count(*) as n,
        sum(token_mean.kl) as x,
        sum(token_mean.kl * token_mean.kl) as x2,
        min(token_mean.kl) as least,
        max(token_mean.kl) as greatest
    from token_mean
    where token_mean.kl is not null
    group by token_mean.category_id, token_mean.cluster_id
),

sums as (
    select
        cell.category_id,
        count(*)::integer as clusters,
        sum(cell.n)::bigint as n,
        sum(cell.x) as sum_kl,
        sum(cell.x2) as sum_kl2,
        min(cell.least) as min_kl,
        max(cell.greatest) as max_kl,
        sum(cell.x * cell.x) as cluster_xx,
        sum(cell.x * cell.n) as cluster_xn,
        sum(cell.n::double precision * cell.n) as cluster_nn
    from cell
    group by cell.category_id
),

pair_sum as (
    select
        item.category_id,
        item.pair_id,
        count(item.kl) as n,
        coalesce(sum(item.kl), 0) as total
    from (
        select
            chunk.pair_id,
            unnest(chunk.category_ids) as category_id,
            unnest(chunk.kl)::double precision as kl
        from chunk
    ) as item
    where item.category_id is not null
    group by item.category_id, item.pair_id
),

seed_sum as (
    select
        side.category_id,
        side.seed,
        sum(side.total) as total
    from (
        select
            pair_sum.category_id,
            pair_sum.total,
            -- A pair within one run touches its seed once.
            unnest(case when member.seed_p = member.seed_q then array[member.seed_p]
                else array[member.seed_p, member.seed_q]
            end) as seed
        from pair_sum
        inner join member on pair_sum.pair_id = member.pair_id
    ) as side
    group by side.category_id, side.seed
),

-- A mean over pairs has the tokens that all of them have: a pair that has more of a value is no part of that mean.
coverage as (
    select
        pair_sum.category_id,
        max(pair_sum.n) as n
    from pair_sum
    group by pair_sum.category_id
),

both_ways as (
    select
        pair_sum.category_id,
        count(*) as directions,
        sum(pair_sum.total) as total
    from pair_sum
    inner join member on pair_sum.pair_id = member.pair_id and member.seed_p <> member.seed_q
    group by pair_sum.category_id, least(member.seed_p, member.seed_q), greatest(member.seed_p, member.seed_q)
),

-- Defined for four seeds or more, all ordered pairs of them measured and no other.
complete as (
    select count(*) >= 12 and count(*) = count(distinct member.seed_p) * (count(distinct member.seed_p) - 1)
        and bool_and(member.seed_p <> member.seed_q) as is_so
    from member
)

select
    sums.*,
    case when complete.is_so and coverage.n = sums.n then squares.total end as pair_square_sum,
    case
        when coverage.n = sums.n then seeds.totals
        else array_fill(null::double precision, array[cardinality(seeds.totals)])
    end as seed_sums
from sums
cross join complete
inner join coverage on sums.category_id = coverage.category_id
inner join (
    select
        seed_sum.category_id,
        array_agg(seed_sum.total order by seed_sum.seed) as totals
    from seed_sum
    group by seed_sum.category_id
) as seeds on sums.category_id = seeds.category_id
left join (
    select
        both_ways.category_id,
        sum(both_ways.total * both_ways.total) as total
    from both_ways
    group by both_ways.category_id
) as squares on sums.category_id = squares.category_id
$$;

comment on function analysis.convergence_sums(integer, integer) is
    'Sums of one comparison over the tokens of each value of one layer, from facts; as warehouse.convergence_summary.';
