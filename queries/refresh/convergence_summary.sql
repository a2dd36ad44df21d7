-- Sums of a comparison over the tokens of each value of each summarised layer, from facts.
-- x is a token's mean KL; d is a cluster (document or chunk), v a value. Tokens without KL or value count nowhere.
create temporary table refresh_layer as
select
    comparison.comparison_id,
    layer.layer_id,
    corpus.cluster
from refresh_unit as unit
inner join warehouse.comparison as comparison on unit.id = comparison.comparison_id
inner join warehouse.corpus as corpus on comparison.corpus_id = corpus.corpus_id
inner join warehouse.annotation_layer as layer
    on
        comparison.corpus_id = layer.corpus_id
        and layer.summarised
        and coalesce(layer.model_id = comparison.model_id, true)
where comparison.n_pairs > 0;

analyze refresh_layer;

-- X_vd and N_vd
create temporary table refresh_cell as
select
    layer.comparison_id,
    layer.layer_id,
    item.category_id,
    case layer.cluster when 'document' then item.document else chunk.chunk_id end as cluster,
    count(*) as n,
    sum(item.kl) as x,
    sum(item.kl * item.kl) as x2,
    min(item.kl) as min_x,
    max(item.kl) as max_x
from refresh_layer as layer
inner join warehouse.convergence_chunk as chunk on layer.comparison_id = chunk.comparison_id
inner join warehouse.annotation_chunk as annotation
    on layer.layer_id = annotation.layer_id and chunk.chunk_id = annotation.chunk_id
inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
cross join lateral unnest(chunk.kl::double precision [], annotation.category_ids, token.documents)
    as item (kl, category_id, document)
where item.kl is not null and item.category_id is not null
group by 1, 2, 3, 4;

analyze refresh_cell;

-- X_d and N_d
create temporary table refresh_cluster as
select
    comparison.comparison_id,
    case comparison.cluster when 'document' then item.document else chunk.chunk_id end as cluster,
    count(*) as n,
    sum(item.kl) as x
from (select distinct
    comparison_id,
    cluster
from refresh_layer) as comparison
inner join warehouse.convergence_chunk as chunk on comparison.comparison_id = chunk.comparison_id
inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
cross join lateral unnest(chunk.kl::double precision [], token.documents) as item (kl, document)
where item.kl is not null
group by 1, 2;

analyze refresh_cluster;

-- KL of each pair over the tokens with a value. Arrays are unnested in the select list, side by side, and summed by the
-- pair alone: that takes half the time of a lateral join and of grouping by seeds.
create temporary table refresh_pair as
select
    total.comparison_id,
    total.layer_id,
    total.category_id,
    run_p.seed as seed_p,
    run_q.seed as seed_q,
    total.n,
    total.total
from (
    select
        item.comparison_id,
        item.pair_id,
        item.layer_id,
        item.category_id,
        count(item.kl) as n,
        coalesce(sum(item.kl::double precision), 0) as total
    from (
        select
            layer.comparison_id,
            member.pair_id,
            layer.layer_id,
            unnest(annotation.category_ids) as category_id,
            unnest(chunk.kl) as kl
        from refresh_layer as layer
        inner join warehouse.comparison_member as member on layer.comparison_id = member.comparison_id
        inner join warehouse.divergence_chunk as chunk on member.pair_id = chunk.pair_id
        inner join warehouse.annotation_chunk as annotation
            on layer.layer_id = annotation.layer_id and chunk.chunk_id = annotation.chunk_id
    ) as item
    where item.category_id is not null
    group by item.comparison_id, item.pair_id, item.layer_id, item.category_id
) as total
inner join warehouse.comparison_pair as pair on total.pair_id = pair.pair_id
inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id;

analyze refresh_pair;

-- Keys of their own, so that joining them below is quick whatever the planner makes of these sizes.
create temporary table refresh_seed (
    comparison_id integer,
    layer_id integer,
    category_id integer,
    seed_sums double precision [],
    primary key (comparison_id, layer_id, category_id)
);

insert into refresh_seed
select
    touching.comparison_id,
    touching.layer_id,
    touching.category_id,
    array_agg(touching.total order by touching.seed)
from (
    select
        side.comparison_id,
        side.layer_id,
        side.category_id,
        side.seed,
        sum(side.total) as total
    from (
        select
            comparison_id,
            layer_id,
            category_id,
            seed_p as seed,
            total
        from refresh_pair
        union all
        -- A pair within one run touches its seed once.
        select
            comparison_id,
            layer_id,
            category_id,
            seed_q,
            total
        from refresh_pair
        where seed_q <> seed_p
    ) as side
    group by side.comparison_id, side.layer_id, side.category_id, side.seed
) as touching
group by touching.comparison_id, touching.layer_id, touching.category_id;

create temporary table refresh_square (
    comparison_id integer,
    layer_id integer,
    category_id integer,
    n_pairs bigint,
    n_within bigint,
    most_tokens bigint,
    pair_square_sum double precision,
    primary key (comparison_id, layer_id, category_id)
);

insert into refresh_square
select
    both_ways.comparison_id,
    both_ways.layer_id,
    both_ways.category_id,
    sum(both_ways.directions) filter (where both_ways.low <> both_ways.high),
    count(*) filter (where both_ways.low = both_ways.high),
    max(both_ways.n),
    sum(both_ways.total * both_ways.total)
from (
    select
        comparison_id,
        layer_id,
        category_id,
        least(seed_p, seed_q) as low,
        greatest(seed_p, seed_q) as high,
        count(*) as directions,
        max(n) as n,
        sum(total) as total
    from refresh_pair
    group by comparison_id, layer_id, category_id, least(seed_p, seed_q), greatest(seed_p, seed_q)
) as both_ways
group by both_ways.comparison_id, both_ways.layer_id, both_ways.category_id;

create temporary table refreshed as
with sums as (
    select
        cell.comparison_id,
        cell.layer_id,
        cell.category_id,
        count(*)::integer as clusters,
        sum(cell.n)::bigint as n,
        sum(cell.x) as sum_kl,
        sum(cell.x2) as sum_kl2,
        min(cell.min_x) as min_kl,
        max(cell.max_x) as max_kl,
        sum(cell.x * cell.x) as cluster_xx,
        sum(cell.x * cell.n) as cluster_xn,
        sum(cell.n::double precision * cell.n) as cluster_nn,
        sum(cell.x * whole.x) as cross_xx,
        sum(cell.x * whole.n) as cross_xn,
        sum(cell.n * whole.x) as cross_nx,
        sum(cell.n::double precision * whole.n) as cross_nn
    from refresh_cell as cell
    inner join refresh_cluster as whole on cell.comparison_id = whole.comparison_id and cell.cluster = whole.cluster
    group by cell.comparison_id, cell.layer_id, cell.category_id
)

select
    sums.*,
    -- Defined for four seeds or more, all ordered pairs of them measured and no other.
    case
        when
            cardinality(seeds.seed_sums) >= 4
            and squares.most_tokens = sums.n
            and squares.n_within = 0
            and squares.n_pairs = cardinality(seeds.seed_sums) * (cardinality(seeds.seed_sums) - 1)
            then squares.pair_square_sum
    end as pair_square_sum,
    -- A mean over pairs has the tokens that all of them have: a pair that has more of a value is no part of that mean.
    case
        when squares.most_tokens = sums.n then seeds.seed_sums
        else array_fill(null::double precision, array[cardinality(seeds.seed_sums)])
    end as seed_sums
from sums
inner join refresh_seed as seeds
    on
        sums.comparison_id = seeds.comparison_id
        and sums.layer_id = seeds.layer_id
        and sums.category_id = seeds.category_id
inner join refresh_square as squares
    on
        sums.comparison_id = squares.comparison_id
        and sums.layer_id = squares.layer_id
        and sums.category_id = squares.category_id;

drop table refresh_layer, refresh_cell, refresh_cluster, refresh_pair, refresh_seed, refresh_square;
