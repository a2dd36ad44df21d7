-- A comparison of run set all in which no flagged run takes part, or one of run set default in which one would take part
-- and that has none of run set all beside it.
select
    coalesce(twin.comparison_id, flagged.comparison_id) as comparison_id,
    twin.comparison_id is null as is_missing
from (
    select distinct
        comparison.kind,
        comparison.corpus_id,
        comparison.protocol_id,
        comparison.model_id,
        comparison.step,
        comparison.model_q_id,
        comparison.step_q,
        comparison.comparison_id
    from warehouse.comparison as comparison
    inner join warehouse.run as run_p on comparison.model_id = run_p.model_id
    inner join warehouse.checkpoint as checkpoint_p
        on run_p.run_id = checkpoint_p.run_id and comparison.step = checkpoint_p.step
    inner join warehouse.evaluation as p
        on
            checkpoint_p.checkpoint_id = p.checkpoint_id
            and comparison.corpus_id = p.corpus_id
            and comparison.protocol_id = p.protocol_id
    inner join warehouse.run as run_q on comparison.model_q_id = run_q.model_id
    inner join warehouse.checkpoint as checkpoint_q
        on run_q.run_id = checkpoint_q.run_id and comparison.step_q = checkpoint_q.step
    inner join warehouse.evaluation as q
        on
            checkpoint_q.checkpoint_id = q.checkpoint_id
            and comparison.corpus_id = q.corpus_id
            and comparison.protocol_id = q.protocol_id
    where
        comparison.run_set = 'default'
        and (run_p.outlier or run_q.outlier)
        and case comparison.kind
            when 'seed' then run_p.run_id <> run_q.run_id
            when 'custom'
                then exists (
                    select from warehouse.custom_pair as listed
                    where
                        listed.comparison_id = comparison.comparison_id
                        and listed.evaluation_p = p.evaluation_id
                        and listed.evaluation_q = q.evaluation_id
                )
            else run_p.seed = run_q.seed
        end
) as flagged
full join (
    select *
    from warehouse.comparison
    where run_set = 'all'
) as twin
    on
        flagged.kind = twin.kind
        and flagged.corpus_id = twin.corpus_id
        and flagged.protocol_id = twin.protocol_id
        and flagged.model_id = twin.model_id
        and flagged.step = twin.step
        and flagged.model_q_id = twin.model_q_id
        and flagged.step_q = twin.step_q
where flagged.comparison_id is null or twin.comparison_id is null;
