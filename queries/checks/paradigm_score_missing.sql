-- Results that an evaluation should have for a paradigm of its corpus and has not, or has and should not have;
-- `warehouse refresh` computes them.
select
    coalesce(wanted.evaluation_id, score.evaluation_id) as evaluation_id,
    coalesce(wanted.paradigm_id, score.paradigm_id) as paradigm_id,
    score.evaluation_id is null as is_missing
from (
    select
        evaluation.evaluation_id,
        paradigm.paradigm_id
    from warehouse.evaluation as evaluation
    inner join warehouse.paradigm as paradigm on evaluation.corpus_id = paradigm.corpus_id
    where evaluation.status = 'complete' and paradigm.kind <> 'spans'
) as wanted
full join warehouse.paradigm_score as score
    on wanted.evaluation_id = score.evaluation_id and wanted.paradigm_id = score.paradigm_id
where wanted.evaluation_id is null or score.evaluation_id is null;
