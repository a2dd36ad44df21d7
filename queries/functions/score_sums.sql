-- Sums of an evaluation over the tokens of each value of a layer, from its scores at every token.
-- What warehouse.score_summary keeps, for one evaluation and any layer, one of too many values for summaries too.
-- It is not taken into the query that calls it, and dear, so that a condition on names decides before it is called.
create or replace function analysis.score_sums(evaluation integer, layer integer)
returns table (
    category_id integer,
    clusters integer,
    n bigint,
    n_correct bigint,
    sum_surprisal double precision,
    sum_surprisal2 double precision,
    min_surprisal double precision,
    max_surprisal double precision,
    sum_entropy double precision,
    cluster_xx double precision,
    cluster_xn double precision,
    cluster_nn double precision
)
language sql stable parallel safe
cost 100000 rows 40
set work_mem = '64MB'
as $$
with item as (
    -- Arrays are unnested in the select list, side by side, which takes half the time of a lateral join.
    select
        chunk.chunk_id,
        unnest(annotation.category_ids) as category_id,
        unnest(case corpus.cluster when 'document' then token.documents end) as document,
        unnest(chunk.surprisal)::double precision as surprisal,
        unnest(chunk.entropy)::double precision as entropy,
        unnest(chunk.rank) as rank
    from warehouse.score_chunk as chunk
    inner join warehouse.annotation_chunk as annotation
        on chunk.chunk_id = annotation.chunk_id and annotation.layer_id = score_sums.layer
    inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
    inner join warehouse.corpus as corpus on token.corpus_id = corpus.corpus_id
    where chunk.evaluation_id = score_sums.evaluation
),

cell as (
    select
        item.category_id,
        count(*) as n,
        count(*) filter (where item.rank = 1) as n_correct,
        count(item.rank) as n_ranks,
        sum(item.surprisal) as x,
        sum(item.surprisal * item.surprisal) as x2,
        min(item.surprisal) as least,
        max(item.surprisal) as greatest,
        sum(item.entropy) as entropy,
        count(item.entropy) as n_entropies
    from item
    where item.surprisal is not null and item.category_id is not null
    group by item.category_id, coalesce(item.document, item.chunk_id)
)

select
    cell.category_id,
    count(*)::integer as clusters,
    sum(cell.n)::bigint as n,
    -- Unknown where a token that has a surprisal has no rank, or no entropy.
    case when sum(cell.n_ranks) = sum(cell.n) then sum(cell.n_correct)::bigint end as n_correct,
    sum(cell.x) as sum_surprisal,
    sum(cell.x2) as sum_surprisal2,
    min(cell.least) as min_surprisal,
    max(cell.greatest) as max_surprisal,
    case when sum(cell.n_entropies) = sum(cell.n) then sum(cell.entropy) end as sum_entropy,
    sum(cell.x * cell.x) as cluster_xx,
    sum(cell.x * cell.n) as cluster_xn,
    sum(cell.n::double precision * cell.n) as cluster_nn
from cell
group by cell.category_id
$$;

comment on function analysis.score_sums(integer, integer) is
    'Sums of one evaluation over the tokens of each value of one layer, from facts; as warehouse.score_summary.';
