-- Divergence that two seeds of a model should have on a paradigm and have not, or have and should not have;
-- `warehouse refresh` computes it.
select
    coalesce(wanted.evaluation_p, divergence.evaluation_p) as evaluation_p,
    coalesce(wanted.evaluation_q, divergence.evaluation_q) as evaluation_q,
    coalesce(wanted.paradigm_id, divergence.paradigm_id) as paradigm_id,
    divergence.evaluation_p is null as is_missing
from (
    select
        evaluation_p.evaluation_id as evaluation_p,
        evaluation_q.evaluation_id as evaluation_q,
        paradigm.paradigm_id
    from warehouse.evaluation as evaluation_p
    inner join warehouse.paradigm as paradigm
        on evaluation_p.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
    inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
    inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
    inner join warehouse.run as run_q on run_p.model_id = run_q.model_id and run_p.run_id <> run_q.run_id
    inner join warehouse.checkpoint as checkpoint_q
        on run_q.run_id = checkpoint_q.run_id and checkpoint_p.step = checkpoint_q.step
    inner join warehouse.evaluation as evaluation_q
        on
            checkpoint_q.checkpoint_id = evaluation_q.checkpoint_id
            and evaluation_p.corpus_id = evaluation_q.corpus_id
            and evaluation_p.protocol_id = evaluation_q.protocol_id
    where evaluation_p.status = 'complete' and evaluation_q.status = 'complete'
) as wanted
full join warehouse.paradigm_divergence as divergence
    on
        wanted.evaluation_p = divergence.evaluation_p
        and wanted.evaluation_q = divergence.evaluation_q
        and wanted.paradigm_id = divergence.paradigm_id
where wanted.evaluation_p is null or divergence.evaluation_p is null;
