-- An evaluation that is only planned, or stands for one whose scores nobody has, but holds scores, sums or KL to a
-- reference: a unit is to be whole or absent.
select
    evaluation.evaluation_id,
    held.what
from warehouse.evaluation as evaluation
inner join (
    select distinct
        evaluation_id,
        'score_chunk' as what
    from warehouse.score_chunk
    union all
    select distinct
        evaluation_id,
        'score_summary'
    from warehouse.score_summary
    union all
    select distinct
        evaluation_id,
        'reference_evaluation'
    from warehouse.reference_evaluation
    union all
    select distinct
        evaluation_id,
        'top_chunk'
    from warehouse.top_chunk
    union all
    select distinct
        evaluation_id,
        'document_score_chunk'
    from warehouse.document_score_chunk
    union all
    select distinct
        evaluation_id,
        'paradigm_score'
    from warehouse.paradigm_score
) as held on evaluation.evaluation_id = held.evaluation_id
where evaluation.status <> 'complete';
