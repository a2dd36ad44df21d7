-- Sums that an evaluation should have for a value of a summarised layer and has not, or has and should not have.
select
    coalesce(wanted.evaluation_id, summary.evaluation_id) as evaluation_id,
    coalesce(wanted.layer_id, summary.layer_id) as layer_id,
    coalesce(wanted.category_id, summary.category_id) as category_id,
    summary.evaluation_id is null as is_missing
from (
    select
        evaluation.evaluation_id,
        category.layer_id,
        category.category_id
    from warehouse.evaluation as evaluation
    inner join warehouse.checkpoint as checkpoint on evaluation.checkpoint_id = checkpoint.checkpoint_id
    inner join warehouse.run as run on checkpoint.run_id = run.run_id
    inner join warehouse.annotation_layer as layer
        on
            evaluation.corpus_id = layer.corpus_id
            and layer.summarised
            and coalesce(layer.model_id = run.model_id, true)
    inner join warehouse.annotation_category as category on layer.layer_id = category.layer_id
    where evaluation.status = 'complete' and category.n_tokens > 0
) as wanted
full join warehouse.score_summary as summary
    on
        wanted.evaluation_id = summary.evaluation_id
        and wanted.layer_id = summary.layer_id
        and wanted.category_id = summary.category_id
where
    (wanted.evaluation_id is null or summary.evaluation_id is null)
    -- A value whose tokens were all left unmeasured has no sums.
    and (
        wanted.evaluation_id is null
        or exists (
            select
            from warehouse.score_chunk as chunk
            inner join warehouse.annotation_chunk as annotation on chunk.chunk_id = annotation.chunk_id
            cross join lateral unnest(chunk.surprisal, annotation.category_ids) as item (surprisal, category_id)
            where
                chunk.evaluation_id = wanted.evaluation_id
                and annotation.layer_id = wanted.layer_id
                and item.category_id = wanted.category_id
                and item.surprisal is not null
        )
    );
