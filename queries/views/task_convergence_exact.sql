-- How alike the seeds of a model answer the items of a paradigm, with its error over items: task_convergence from the sums
-- over documents, one step and paradigm at a time, so that a condition on names decides how many are read. Items that all
-- seeds answered count.
-- Grain: one row per (corpus, protocol, family, model, step, paradigm).
-- Source: Fehlauer et al. 2025, convergence on BLiMP; the standard error over independent items is an extension.
-- requires: chosen_run_set, evaluations
create or replace view analysis.task_convergence_exact as
with seeds as (
    select
        corpus,
        protocol,
        family,
        model,
        step,
        corpus_id,
        array_agg(evaluation_id) as evaluations,
        count(*)::integer as n_seeds,
        bool_or(outlier) as outlier
    from analysis.evaluations
    where analysis.chosen_run_set() = 'all' or not outlier
    group by corpus, protocol, family, model, step, corpus_id
    having count(*) >= 2
)

select
    seeds.corpus,
    seeds.protocol,
    analysis.chosen_run_set() as run_set,
    seeds.family,
    seeds.model,
    seeds.step,
    paradigm.name as paradigm,
    paradigm.kind as items,
    paradigm.category,
    task.n_items,
    seeds.n_seeds,
    -- a difference, because the negative of 0 shows as -0
    0 - task.kl as convergence,
    task.standard_error as se_item,
    0 - task.kl_with_eos as convergence_with_eos,
    task.standard_error_with_eos as se_item_with_eos,
    task.n_items - 1 as df_item,
    paradigm.paradigm_id
from seeds
inner join warehouse.paradigm as paradigm on seeds.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
cross join lateral (
    select
        count(*)::integer as n_items,
        avg(item.kl) as kl,
        stddev_samp(item.kl) / sqrt(count(*)) as standard_error,
        case when count(*) = count(item.kl_with_eos) then avg(item.kl_with_eos) end as kl_with_eos,
        case when count(*) = count(item.kl_with_eos) then stddev_samp(item.kl_with_eos) / sqrt(count(*)) end
            as standard_error_with_eos
    from (
        -- A sum over the ordered pairs of n seeds, sum_i p_i (log p_i - log q_i), without making the pairs:
        -- sum_i (n sum_s p_si log p_si - sum_s p_si sum_s log p_si).
        select
            greatest(sum(seeds.n_seeds * role.p_log_p - role.p * role.log_p), 0)
            / (seeds.n_seeds * (seeds.n_seeds - 1)) as kl,
            case when count(*) = count(role.p_with_eos)
                then
                    greatest(
                        sum(seeds.n_seeds * role.p_log_p_with_eos - role.p_with_eos * role.log_p_with_eos), 0
                    ) / (seeds.n_seeds * (seeds.n_seeds - 1))
            end as kl_with_eos
        from (
            select
                answer.item,
                answer.role,
                count(*) as n_seeds,
                -- exp() of a number below -745 is an error
                sum(exp(greatest(answer.log_p, -700)) * answer.log_p) as p_log_p,
                sum(exp(greatest(answer.log_p, -700))) as p,
                sum(answer.log_p) as log_p,
                case when count(*) = count(answer.log_p_with_eos)
                    then sum(exp(greatest(answer.log_p_with_eos, -700)) * answer.log_p_with_eos)
                end as p_log_p_with_eos,
                case when count(*) = count(answer.log_p_with_eos)
                    then sum(exp(greatest(answer.log_p_with_eos, -700)))
                end as p_with_eos,
                sum(answer.log_p_with_eos) as log_p_with_eos
            from (
                select
                    shifted.item,
                    shifted.role,
                    shifted.plain - ln(sum(exp(greatest(shifted.plain, -700))) over answers) as log_p,
                    shifted.with_eos - ln(sum(exp(greatest(shifted.with_eos, -700))) over answers) as log_p_with_eos
                from (
                    select
                        scored.*,
                        scored.score - max(scored.score) over answers as plain,
                        case when count(*) over answers = count(scored.score_with_eos) over answers
                            then scored.score_with_eos - max(scored.score_with_eos) over answers
                        end as with_eos,
                        count(*) over answers as n_roles,
                        count(scored.score) over answers as n_scored,
                        bool_or(scored.role in ('good', 'correct')) over answers as has_wanted
                    from (
                        select
                            chunk.evaluation_id,
                            part.item,
                            part.role,
                            0 - chunk.surprisal[part.document % 256 + 1]::double precision as score,
                            0 - chunk.surprisal[part.document % 256 + 1]::double precision
                            - chunk.eos_surprisal[part.document % 256 + 1]::double precision as score_with_eos
                        from warehouse.item as part
                        inner join warehouse.document_score_chunk as chunk
                            on part.document / 256 = chunk.document_chunk
                        where part.paradigm_id = paradigm.paradigm_id and chunk.evaluation_id = any(seeds.evaluations)
                    ) as scored
                    window answers as (partition by scored.evaluation_id, scored.item)
                ) as shifted
                where shifted.n_roles >= 2 and shifted.n_roles = shifted.n_scored and shifted.has_wanted
                window answers as (partition by shifted.evaluation_id, shifted.item)
            ) as answer
            group by answer.item, answer.role
        ) as role
        group by role.item
        having bool_and(role.n_seeds = seeds.n_seeds)
    ) as item
) as task
-- Run set all is for where a flagged run takes part.
where task.n_items > 0 and (analysis.chosen_run_set() = 'default' or seeds.outlier);

comment on view analysis.task_convergence_exact is
    'Task convergence with its error over items, from sums over documents: name a model, a step and a paradigm.';
comment on column analysis.task_convergence_exact.corpus is 'name of the corpus';
comment on column analysis.task_convergence_exact.protocol is 'name of the protocol';
comment on column analysis.task_convergence_exact.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.task_convergence_exact.family is 'suite of the model, such as pythia';
comment on column analysis.task_convergence_exact.model is 'name of the model within its family';
comment on column analysis.task_convergence_exact.step is 'optimiser steps taken';
comment on column analysis.task_convergence_exact.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.task_convergence_exact.items is 'minimal_pairs or options: what the items are';
comment on column analysis.task_convergence_exact.category is
    'wider group that the source names, such as a linguistic phenomenon';
comment on column analysis.task_convergence_exact.n_items is 'items that all seeds answered';
comment on column analysis.task_convergence_exact.n_seeds is 'seeds that take part';
comment on column analysis.task_convergence_exact.convergence is
    'minus the mean over items and ordered pairs of KL(p || q) over roles, without EOS, in nats';
comment on column analysis.task_convergence_exact.se_item is
    'standard error over items, in nats: other items of the paradigm, the same runs';
comment on column analysis.task_convergence_exact.convergence_with_eos is
    'the convergence with EOS counted, as in the paper, in nats; NULL where items have none';
comment on column analysis.task_convergence_exact.se_item_with_eos is 'its standard error over items, in nats';
comment on column analysis.task_convergence_exact.df_item is 'degrees of freedom of se_item: items less one';
comment on column analysis.task_convergence_exact.paradigm_id is 'key of warehouse.paradigm';
