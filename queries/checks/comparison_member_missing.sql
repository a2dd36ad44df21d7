-- A pair that answers a comparison and is no member of it, or a member that does not answer it: other models or
-- steps, other seeds than its kind or its study wants, a checkpoint that is not ok, a flagged run, no KL of tokens.
select
    coalesce(wanted.comparison_id, member.comparison_id) as comparison_id,
    coalesce(wanted.pair_id, member.pair_id) as pair_id,
    member.pair_id is null as is_missing
from (
    select
        comparison.comparison_id,
        pair.pair_id
    from warehouse.comparison_pair as pair
    inner join warehouse.evaluation as p on pair.evaluation_p = p.evaluation_id
    inner join warehouse.checkpoint as checkpoint_p on p.checkpoint_id = checkpoint_p.checkpoint_id
    inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
    inner join warehouse.evaluation as q on pair.evaluation_q = q.evaluation_id
    inner join warehouse.checkpoint as checkpoint_q on q.checkpoint_id = checkpoint_q.checkpoint_id
    inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
    inner join warehouse.comparison as comparison
        on
            p.corpus_id = comparison.corpus_id
            and p.protocol_id = comparison.protocol_id
            and run_p.model_id = comparison.model_id
            and checkpoint_p.step = comparison.step
            and run_q.model_id = comparison.model_q_id
            and checkpoint_q.step = comparison.step_q
            and (comparison.kind = 'cross' or pair.token_facts)
            and case comparison.kind
                when 'seed' then run_p.run_id <> run_q.run_id
                when 'custom'
                    then exists (
                        select from warehouse.custom_pair as listed
                        where
                            listed.comparison_id = comparison.comparison_id
                            and listed.evaluation_p = pair.evaluation_p
                            and listed.evaluation_q = pair.evaluation_q
                    )
                else run_p.seed = run_q.seed
            end
    where
        checkpoint_p.status = 'ok'
        and checkpoint_q.status = 'ok'
        and (comparison.run_set = 'all' or not (run_p.outlier or run_q.outlier))
) as wanted
full join warehouse.comparison_member as member
    on wanted.comparison_id = member.comparison_id and wanted.pair_id = member.pair_id
where wanted.pair_id is null or member.pair_id is null;
