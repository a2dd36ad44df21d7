-- A listed pair whose comparison is not of kind custom, or is of other models, steps, corpus or protocol; or a comparison
-- of kind custom without any listed pair.
select
    comparison.comparison_id,
    listed.evaluation_p,
    listed.evaluation_q
from warehouse.comparison as comparison
left join warehouse.custom_pair as listed on comparison.comparison_id = listed.comparison_id
left join warehouse.evaluation as p on listed.evaluation_p = p.evaluation_id
left join warehouse.checkpoint as checkpoint_p on p.checkpoint_id = checkpoint_p.checkpoint_id
left join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
left join warehouse.evaluation as q on listed.evaluation_q = q.evaluation_id
left join warehouse.checkpoint as checkpoint_q on q.checkpoint_id = checkpoint_q.checkpoint_id
left join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
where
    (comparison.kind = 'custom') <> (listed.comparison_id is not null)
    or p.corpus_id <> comparison.corpus_id
    or p.protocol_id <> comparison.protocol_id
    or q.corpus_id <> comparison.corpus_id
    or q.protocol_id <> comparison.protocol_id
    or (run_p.model_id, checkpoint_p.step) <> (comparison.model_id, comparison.step)
    or (run_q.model_id, checkpoint_q.step) <> (comparison.model_q_id, comparison.step_q);
