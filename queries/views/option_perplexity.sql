-- How well a model predicts the correct and the incorrect options of a task.
-- Grain: one row per (corpus, protocol, family, model, seed, step, paradigm).
-- Source: Xia et al. 2023, perplexity of options; from sums over documents. Errors by the delta method (extension).
-- requires: cluster_error, evaluations, perplexity
create or replace view analysis.option_perplexity as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    paradigm.name as paradigm,
    paradigm.category,
    score.n_items,
    analysis.perplexity(option.surprisal_correct / nullif(option.n_tokens_correct, 0)) as perplexity_correct,
    analysis.perplexity(option.surprisal_incorrect / nullif(option.n_tokens_incorrect, 0)) as perplexity_incorrect,
    option.n_tokens_correct::bigint as n_tokens_correct,
    option.n_tokens_incorrect::bigint as n_tokens_incorrect,
    coalesce(option.n_correct, 0)::bigint as n_correct,
    coalesce(option.n_incorrect, 0)::bigint as n_incorrect,
    score.n_correct / nullif(score.n_items, 0)::double precision as accuracy,
    sqrt(
        score.n_correct / nullif(score.n_items, 0)::double precision
        * (1 - score.n_correct / nullif(score.n_items, 0)::double precision)
        / nullif(score.n_items - 1, 0)
    ) as se_accuracy,
    evaluation.outlier,
    evaluation.evaluation_id,
    paradigm.paradigm_id,
    analysis.perplexity(option.surprisal_correct / nullif(option.n_tokens_correct, 0)) * error.correct
        as se_perplexity_correct,
    analysis.perplexity(option.surprisal_incorrect / nullif(option.n_tokens_incorrect, 0)) * error.incorrect
        as se_perplexity_incorrect
from analysis.evaluations as evaluation
inner join warehouse.paradigm_score as score on evaluation.evaluation_id = score.evaluation_id
inner join warehouse.paradigm as paradigm on score.paradigm_id = paradigm.paradigm_id and paradigm.kind = 'options'
cross join lateral (
    select
        sum(item.options) filter (where item.is_correct) as n_correct,
        sum(item.options) filter (where not item.is_correct) as n_incorrect,
        sum(item.n_tokens) filter (where item.is_correct) as n_tokens_correct,
        sum(item.n_tokens) filter (where not item.is_correct) as n_tokens_incorrect,
        sum(item.surprisal) filter (where item.is_correct) as surprisal_correct,
        sum(item.surprisal) filter (where not item.is_correct) as surprisal_incorrect,
        -- Items are independent, the options of one are not.
        count(*) filter (where item.is_correct) as items_correct,
        count(*) filter (where not item.is_correct) as items_incorrect,
        sum(item.surprisal * item.surprisal) filter (where item.is_correct) as xx_correct,
        sum(item.surprisal * item.n_tokens) filter (where item.is_correct) as xn_correct,
        sum(item.n_tokens * item.n_tokens::double precision) filter (where item.is_correct) as nn_correct,
        sum(item.surprisal * item.surprisal) filter (where not item.is_correct) as xx_incorrect,
        sum(item.surprisal * item.n_tokens) filter (where not item.is_correct) as xn_incorrect,
        sum(item.n_tokens * item.n_tokens::double precision) filter (where not item.is_correct) as nn_incorrect
    from (
        select
            role.role = 'correct' as is_correct,
            count(*) as options,
            sum(sums.n_tokens) as n_tokens,
            sum(sums.surprisal) as surprisal
        from warehouse.item as role
        inner join warehouse.document_score_chunk as chunk
            on evaluation.evaluation_id = chunk.evaluation_id and role.document / 256 = chunk.document_chunk
        cross join lateral (
            select
                chunk.surprisal[role.document % 256 + 1]::double precision as surprisal,
                chunk.n_tokens[role.document % 256 + 1] as n_tokens
        ) as sums
        -- An option that was not measured has neither.
        where role.paradigm_id = paradigm.paradigm_id and sums.surprisal is not null
        group by role.item, role.role = 'correct'
    ) as item
) as option
cross join lateral (
    select
        analysis.cluster_error(
            option.items_correct::integer,
            (select settings.min_clusters from warehouse.settings as settings),
            option.n_tokens_correct::bigint,
            option.surprisal_correct,
            option.xx_correct,
            option.xn_correct,
            option.nn_correct
        ) as correct,
        analysis.cluster_error(
            option.items_incorrect::integer,
            (select settings.min_clusters from warehouse.settings as settings),
            option.n_tokens_incorrect::bigint,
            option.surprisal_incorrect,
            option.xx_incorrect,
            option.xn_incorrect,
            option.nn_incorrect
        ) as incorrect
) as error;

comment on view analysis.option_perplexity is
    'Options: perplexity of the correct and of the incorrect options of a task, over all their tokens.';
comment on column analysis.option_perplexity.corpus is 'name of the corpus';
comment on column analysis.option_perplexity.protocol is 'name of the protocol';
comment on column analysis.option_perplexity.family is 'suite of the model, such as pythia';
comment on column analysis.option_perplexity.model is 'name of the model within its family';
comment on column analysis.option_perplexity.seed is 'seed of the training run';
comment on column analysis.option_perplexity.step is 'optimiser steps taken';
comment on column analysis.option_perplexity.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.option_perplexity.category is
    'wider group that the source names, such as a linguistic phenomenon';
comment on column analysis.option_perplexity.n_items is 'items all of whose options were scored';
comment on column analysis.option_perplexity.perplexity_correct is
    'exp of the mean surprisal of the tokens of correct options, without EOS';
comment on column analysis.option_perplexity.perplexity_incorrect is
    'exp of the mean surprisal of the tokens of incorrect options, without EOS';
comment on column analysis.option_perplexity.n_tokens_correct is 'tokens of correct options';
comment on column analysis.option_perplexity.n_tokens_incorrect is 'tokens of incorrect options';
comment on column analysis.option_perplexity.n_correct is 'correct options scored';
comment on column analysis.option_perplexity.n_incorrect is 'incorrect options scored';
comment on column analysis.option_perplexity.accuracy is
    'share of items whose correct option is the most probable, without EOS';
comment on column analysis.option_perplexity.se_accuracy is
    'standard error of the accuracy, items taken as independent: sqrt(a (1 - a) / (n - 1))';
comment on column analysis.option_perplexity.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.option_perplexity.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.option_perplexity.paradigm_id is 'key of warehouse.paradigm';
comment on column analysis.option_perplexity.se_perplexity_correct is
    'standard error of perplexity_correct over items: perplexity x that of the mean surprisal; NULL below 5 items';
comment on column analysis.option_perplexity.se_perplexity_incorrect is
    'standard error of perplexity_incorrect over items, likewise';
