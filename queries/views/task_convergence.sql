-- How alike the seeds of a model answer the items of a paradigm: each item's roles get the softmax of their
-- log-probabilities, and convergence is minus the mean KL between two seeds' answers, over items and ordered pairs.
-- Grain: one row per (corpus, protocol, family, model, step, paradigm).
-- Source: Fehlauer et al. 2025, convergence on BLiMP, there with EOS and each pair in one direction; the standard error
-- by jackknife over seeds, and all ordered pairs, are an extension.
-- requires: chosen_run_set, evaluations, jackknife_error
create or replace view analysis.task_convergence as
select
    task.corpus,
    task.protocol,
    analysis.chosen_run_set() as run_set,
    task.family,
    task.model,
    task.step,
    task.paradigm,
    task.items,
    task.category,
    task.n_items,
    task.n_pairs,
    task.n_seeds,
    -- a difference, because the negative of 0 shows as -0
    0 - task.kl as convergence,
    seeds.standard_error as se_seed,
    0 - task.kl_with_eos as convergence_with_eos,
    seeds_with_eos.standard_error as se_seed_with_eos,
    task.n_seeds - 1 as df_seed,
    task.paradigm_id
from (
    select
        seed.corpus,
        seed.protocol,
        seed.family,
        seed.model,
        seed.step,
        seed.paradigm,
        seed.items,
        seed.category,
        seed.paradigm_id,
        min(seed.n_items) as n_items,
        sum(seed.n_pairs)::integer as n_pairs,
        count(*)::integer as n_seeds,
        sum(seed.sum_kl) / sum(seed.n_pairs) as kl,
        -- Not known unless it is for every pair.
        case when count(*) = count(seed.sum_kl_with_eos) then sum(seed.sum_kl_with_eos) / sum(seed.n_pairs) end
            as kl_with_eos,
        array_agg((2 * seed.n_pairs)::integer order by seed.seed) as seed_pairs,
        array_agg(seed.touching order by seed.seed) as seed_sums,
        array_agg(seed.touching_with_eos order by seed.seed) as seed_sums_with_eos,
        sum(seed.squares) as squares,
        sum(seed.squares_with_eos) as squares_with_eos,
        bool_or(seed.outlier) as outlier
    from (
        -- A seed's pairs, in both directions.
        select
            evaluation.corpus,
            evaluation.protocol,
            evaluation.family,
            evaluation.model,
            evaluation.step,
            evaluation.seed,
            evaluation.outlier,
            paradigm.name as paradigm,
            paradigm.kind as items,
            paradigm.category,
            paradigm.paradigm_id,
            min(forth.n_items) as n_items,
            count(*) as n_pairs,
            sum(mean.kl) as sum_kl,
            case when count(*) = count(mean.kl_with_eos) then sum(mean.kl_with_eos) end as sum_kl_with_eos,
            sum(mean.kl + mean.kl_back) as touching,
            case when count(*) = count(mean.kl_with_eos + mean.kl_back_with_eos)
                then sum(mean.kl_with_eos + mean.kl_back_with_eos)
            end as touching_with_eos,
            -- Over all seeds they are the squares of both directions' sums, each unordered pair once.
            sum(mean.kl * (mean.kl + mean.kl_back)) as squares,
            sum(mean.kl_with_eos * (mean.kl_with_eos + mean.kl_back_with_eos)) as squares_with_eos
        from analysis.evaluations as evaluation
        inner join warehouse.paradigm_divergence as forth on evaluation.evaluation_id = forth.evaluation_p
        inner join warehouse.paradigm_divergence as back
            on
                forth.evaluation_q = back.evaluation_p
                and forth.evaluation_p = back.evaluation_q
                and forth.paradigm_id = back.paradigm_id
        inner join warehouse.paradigm as paradigm on forth.paradigm_id = paradigm.paradigm_id
        inner join warehouse.evaluation as evaluation_q on forth.evaluation_q = evaluation_q.evaluation_id
        inner join warehouse.checkpoint as checkpoint_q
            on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id and checkpoint_q.status = 'ok'
        inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
        cross join lateral (
            select
                forth.sum_kl / forth.n_items as kl,
                back.sum_kl / forth.n_items as kl_back,
                forth.sum_kl_with_eos / forth.n_items as kl_with_eos,
                back.sum_kl_with_eos / forth.n_items as kl_back_with_eos
        ) as mean
        where
            forth.n_items > 0
            and (analysis.chosen_run_set() = 'all' or not (evaluation.outlier or run_q.outlier))
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    ) as seed
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
) as task
left join lateral analysis.jackknife_error(
    2, task.n_pairs, 1::bigint, task.seed_sums, task.seed_pairs,
    case when task.n_pairs = task.n_seeds * (task.n_seeds - 1) then task.squares end
) as seeds on true
left join lateral analysis.jackknife_error(
    2, task.n_pairs, 1::bigint, task.seed_sums_with_eos, task.seed_pairs,
    case when task.n_pairs = task.n_seeds * (task.n_seeds - 1) then task.squares_with_eos end
) as seeds_with_eos on true
-- Run set all is for where a flagged run takes part.
where analysis.chosen_run_set() = 'default' or task.outlier;

comment on view analysis.task_convergence is
    'Task convergence: minus the mean KL between the answers of two seeds to the items of a paradigm.';
comment on column analysis.task_convergence.corpus is 'name of the corpus';
comment on column analysis.task_convergence.protocol is 'name of the protocol';
comment on column analysis.task_convergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.task_convergence.family is 'suite of the model, such as pythia';
comment on column analysis.task_convergence.model is 'name of the model within its family';
comment on column analysis.task_convergence.step is 'optimiser steps taken';
comment on column analysis.task_convergence.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.task_convergence.items is 'minimal_pairs or options: what the items are';
comment on column analysis.task_convergence.category is
    'wider group that the source names, such as a linguistic phenomenon';
comment on column analysis.task_convergence.n_items is 'items that both seeds of every pair have scored';
comment on column analysis.task_convergence.n_pairs is 'ordered pairs of seeds';
comment on column analysis.task_convergence.n_seeds is 'seeds that take part';
comment on column analysis.task_convergence.convergence is
    'minus the mean over items and ordered pairs of KL(p || q) over roles, without EOS, in nats';
comment on column analysis.task_convergence.se_seed is
    'standard error over seeds (jackknife), in nats; NULL below 3 seeds';
comment on column analysis.task_convergence.convergence_with_eos is
    'the convergence with EOS counted, as in the paper, in nats; NULL where items have none';
comment on column analysis.task_convergence.se_seed_with_eos is 'standard error over seeds with EOS counted, in nats';
comment on column analysis.task_convergence.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.task_convergence.paradigm_id is 'key of warehouse.paradigm';
