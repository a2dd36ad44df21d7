-- How well a model predicts the correct and the incorrect options of a task.
-- Grain: one row per (corpus, protocol, family, model, seed, step, paradigm).
-- Source: Xia et al. 2023, perplexity of options; from sums over documents.
-- requires: evaluations
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
    exp(option.surprisal_correct / nullif(option.n_tokens_correct, 0)) as perplexity_correct,
    exp(option.surprisal_incorrect / nullif(option.n_tokens_incorrect, 0)) as perplexity_incorrect,
    option.n_tokens_correct,
    option.n_tokens_incorrect,
    option.n_correct,
    option.n_incorrect,
    score.n_correct / nullif(score.n_items, 0)::double precision as accuracy,
    sqrt(
        score.n_correct / nullif(score.n_items, 0)::double precision
        * (1 - score.n_correct / nullif(score.n_items, 0)::double precision)
        / nullif(score.n_items - 1, 0)
    ) as se_accuracy,
    evaluation.outlier,
    evaluation.evaluation_id,
    paradigm.paradigm_id
from analysis.evaluations as evaluation
inner join warehouse.paradigm_score as score on evaluation.evaluation_id = score.evaluation_id
inner join warehouse.paradigm as paradigm on score.paradigm_id = paradigm.paradigm_id and paradigm.kind = 'options'
cross join lateral (
    select
        count(*) filter (where role.role = 'correct') as n_correct,
        count(*) filter (where role.role <> 'correct') as n_incorrect,
        sum(sums.n_tokens) filter (where role.role = 'correct') as n_tokens_correct,
        sum(sums.n_tokens) filter (where role.role <> 'correct') as n_tokens_incorrect,
        sum(sums.surprisal) filter (where role.role = 'correct') as surprisal_correct,
        sum(sums.surprisal) filter (where role.role <> 'correct') as surprisal_incorrect
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
) as option;

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
