-- Sums that a comparison should have for a value of a summarised layer and has not, or has and should not have.
select
    coalesce(wanted.comparison_id, summary.comparison_id) as comparison_id,
    coalesce(wanted.layer_id, summary.layer_id) as layer_id,
    coalesce(wanted.category_id, summary.category_id) as category_id,
    summary.comparison_id is null as is_missing
from (
    select
        comparison.comparison_id,
        comparison.kind,
        category.layer_id,
        category.category_id,
        layer.is_total
    from warehouse.comparison as comparison
    inner join warehouse.annotation_layer as layer
        on
            comparison.corpus_id = layer.corpus_id
            and layer.summarised
            and coalesce(layer.model_id = comparison.model_id, true)
    inner join warehouse.annotation_category as category on layer.layer_id = category.layer_id
    where comparison.n_pairs > 0 and category.n_tokens > 0
) as wanted
full join warehouse.convergence_summary as summary
    on
        wanted.comparison_id = summary.comparison_id
        and wanted.layer_id = summary.layer_id
        and wanted.category_id = summary.category_id
where
    (wanted.comparison_id is null or summary.comparison_id is null)
    -- A value whose tokens were all left unmeasured has no sums.
    and (
        wanted.comparison_id is null
        -- Of kind cross no KL of tokens is kept, so that a layer loaded after it has no sums of it.
        or wanted.kind = 'cross' and wanted.is_total
        or wanted.kind <> 'cross' and exists (
            select
            from warehouse.convergence_chunk as chunk
            inner join warehouse.annotation_chunk as annotation on chunk.chunk_id = annotation.chunk_id
            cross join lateral unnest(chunk.kl, annotation.category_ids) as item (kl, category_id)
            where
                chunk.comparison_id = wanted.comparison_id
                and annotation.layer_id = wanted.layer_id
                and item.category_id = wanted.category_id
                and item.kl is not null
        )
    );
