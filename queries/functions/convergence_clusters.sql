-- Tokens and their mean KL, summed over each cluster (document or chunk), of a comparison and one value of a layer.
-- Of all tokens, where clusters are documents, from sums over documents; where documents are few, where some tokens are
-- mere context and for a value of a layer, from the mean KL of every token of this one comparison.
-- A document whose pairs cover different numbers of tokens has no sum (NULL).
create or replace function analysis.convergence_clusters(comparison integer, layer integer, category integer)
returns table (cluster_id bigint, n double precision, x double precision)
language sql stable parallel safe
as $$
with cell as materialized (
    select
        chosen.comparison_id,
        corpus.cluster,
        layer.layer_id,
        layer.is_total and corpus.cluster = 'document' and not exists (
            select 1
            from warehouse.document as document
            where document.corpus_id = chosen.corpus_id and document.scored_from > 0
        ) as is_summed
    from warehouse.comparison as chosen
    inner join warehouse.corpus as corpus on chosen.corpus_id = corpus.corpus_id
    inner join warehouse.annotation_layer as layer on layer.layer_id = convergence_clusters.layer
    -- Of kind cross only sums are kept.
    where chosen.comparison_id = convergence_clusters.comparison and chosen.kind <> 'cross'
)

select
    chunk.document_chunk * 256 + item.place - 1 as cluster_id,
    max(item.n_tokens)::double precision as n,
    case when min(item.n_tokens) = max(item.n_tokens) then sum(item.kl::double precision) / count(*) end as x
from cell
inner join warehouse.comparison_member as member on cell.comparison_id = member.comparison_id and cell.is_summed
inner join warehouse.document_divergence_chunk as chunk on member.pair_id = chunk.pair_id
cross join lateral unnest(chunk.n_tokens, chunk.kl) with ordinality as item (n_tokens, kl, place)
group by chunk.document_chunk, item.place
having max(item.n_tokens) > 0
union all
select
    case cell.cluster when 'document' then item.document else chunk.chunk_id end as cluster_id,
    count(*)::double precision as n,
    sum(item.kl::double precision) as x
from cell
inner join warehouse.convergence_chunk as chunk on cell.comparison_id = chunk.comparison_id and not cell.is_summed
inner join warehouse.annotation_chunk as annotation
    on cell.layer_id = annotation.layer_id and chunk.chunk_id = annotation.chunk_id
inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
cross join lateral unnest(chunk.kl, annotation.category_ids, token.documents) as item (kl, category, document)
where item.kl is not null and item.category = convergence_clusters.category
group by 1
$$;

comment on function analysis.convergence_clusters(integer, integer, integer) is
'Sums of a comparison over clusters of tokens (documents, or chunks where documents are few), for one value of a layer:
n tokens and x, the sum of their mean KL in nats. convergence_difference pairs two of them cluster by cluster';
