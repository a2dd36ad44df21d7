-- Sums of an evaluation over the tokens of each value of each summarised layer, from facts.
-- x is a token's surprisal; d is a cluster (document or chunk), v a value. Tokens without value count nowhere.
create temporary table refresh_layer as
select
    evaluation.evaluation_id,
    layer.layer_id,
    corpus.cluster
from refresh_unit as unit
inner join warehouse.evaluation as evaluation on unit.id = evaluation.evaluation_id
inner join warehouse.checkpoint as checkpoint on evaluation.checkpoint_id = checkpoint.checkpoint_id
inner join warehouse.run as run on checkpoint.run_id = run.run_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.annotation_layer as layer
    on
        evaluation.corpus_id = layer.corpus_id
        and layer.summarised
        and coalesce(layer.model_id = run.model_id, true)
where evaluation.status = 'complete';

analyze refresh_layer;

-- X_vd and N_vd
create temporary table refresh_cell as
select
    layer.evaluation_id,
    layer.layer_id,
    item.category_id,
    case layer.cluster when 'document' then item.document else chunk.chunk_id end as cluster,
    count(item.surprisal) as n,
    count(*) filter (where item.rank = 1) as n_correct,
    bool_or(item.surprisal is not null and item.rank is null) as lacks_ranks,
    bool_or(item.surprisal is not null and item.entropy is null) as lacks_entropies,
    coalesce(sum(item.surprisal), 0) as x,
    sum(item.surprisal * item.surprisal) as x2,
    min(item.surprisal) as min_x,
    max(item.surprisal) as max_x,
    coalesce(sum(item.entropy), 0) as entropy
from refresh_layer as layer
inner join warehouse.score_chunk as chunk on layer.evaluation_id = chunk.evaluation_id
inner join warehouse.annotation_chunk as annotation
    on layer.layer_id = annotation.layer_id and chunk.chunk_id = annotation.chunk_id
inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
cross join lateral unnest(
    chunk.surprisal::double precision [],
    chunk.entropy::double precision [],
    chunk.rank,
    annotation.category_ids,
    token.documents
) as item (surprisal, entropy, rank, category_id, document)
where item.category_id is not null
group by 1, 2, 3, 4;

create temporary table refreshed as
select
    cell.evaluation_id,
    cell.layer_id,
    cell.category_id,
    count(*) filter (where cell.n > 0)::integer as clusters,
    sum(cell.n)::bigint as n,
    case when not bool_or(cell.lacks_ranks) then sum(cell.n_correct)::bigint end as n_correct,
    sum(cell.x) as sum_surprisal,
    sum(cell.x2) as sum_surprisal2,
    min(cell.min_x) as min_surprisal,
    max(cell.max_x) as max_surprisal,
    case when not bool_or(cell.lacks_entropies) then sum(cell.entropy) end as sum_entropy,
    sum(cell.x * cell.x) as cluster_xx,
    sum(cell.x * cell.n) as cluster_xn,
    sum(cell.n::double precision * cell.n) as cluster_nn
from refresh_cell as cell
group by cell.evaluation_id, cell.layer_id, cell.category_id
having sum(cell.n) > 0;

drop table refresh_layer, refresh_cell;
