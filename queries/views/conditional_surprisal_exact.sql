-- Conditional surprisal from the scores of every token, for any layer: what conditional_surprisal says from stored sums,
-- and what it has no sums for. Reads the facts of the evaluations and layers that conditions leave.
-- Grain: one row per (evaluation, layer, value).
-- Source: Fehlauer et al. 2025, conditional surprisal; ratio estimator over text.
-- requires: cluster_error, evaluations, score_sums
create or replace view analysis.conditional_surprisal_exact as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    layer.name as layer,
    category.value,
    summary.n as n_tokens,
    summary.sum_surprisal / nullif(summary.n, 0) as surprisal,
    summary.sum_entropy / nullif(summary.n, 0) as entropy,
    summary.n_correct / nullif(summary.n, 0)::double precision as accuracy,
    analysis.cluster_error(
        summary.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        summary.n,
        summary.sum_surprisal,
        summary.cluster_xx,
        summary.cluster_xn,
        summary.cluster_nn
    ) as se_document,
    sqrt(
        greatest(
            summary.sum_surprisal2 - summary.sum_surprisal * summary.sum_surprisal / nullif(summary.n, 0), 0
        ) / nullif(summary.n - 1, 0)
    ) as sd_tokens,
    summary.min_surprisal,
    summary.max_surprisal,
    evaluation.cluster,
    summary.clusters as n_clusters,
    summary.clusters - 1 as df_document,
    category.value_number,
    category.lower,
    category.upper,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.annotation_layer as layer
    on evaluation.corpus_id = layer.corpus_id and coalesce(layer.model_id = evaluation.model_id, true)
-- It asks for every name, so that conditions on any of them come before it.
cross join lateral analysis.score_sums(
    evaluation.evaluation_id,
    case
        when
            (
                evaluation.corpus, evaluation.protocol, evaluation.model, evaluation.seed, evaluation.step, layer.name
            ) is not null
            then layer.layer_id
    end
) as summary
inner join warehouse.annotation_category as category
    on layer.layer_id = category.layer_id and summary.category_id = category.category_id
where not layer.is_total;

comment on view analysis.conditional_surprisal_exact is
    'Conditional surprisal from facts, for any layer: the same columns as conditional_surprisal, and slower.';
comment on column analysis.conditional_surprisal_exact.corpus is 'name of the corpus';
comment on column analysis.conditional_surprisal_exact.protocol is 'name of the protocol';
comment on column analysis.conditional_surprisal_exact.family is 'suite of the model, such as pythia';
comment on column analysis.conditional_surprisal_exact.model is 'name of the model within its family';
comment on column analysis.conditional_surprisal_exact.seed is 'seed of the training run';
comment on column analysis.conditional_surprisal_exact.step is 'optimiser steps taken';
comment on column analysis.conditional_surprisal_exact.layer is 'name of the annotation layer';
comment on column analysis.conditional_surprisal_exact.value is 'value of the layer';
comment on column analysis.conditional_surprisal_exact.n_tokens is 'tokens scored';
comment on column analysis.conditional_surprisal_exact.surprisal is 'mean surprisal, in nats';
comment on column analysis.conditional_surprisal_exact.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.conditional_surprisal_exact.accuracy is 'share of tokens of rank 1';
comment on column analysis.conditional_surprisal_exact.se_document is
    'standard error of the mean surprisal over clusters of tokens, in nats';
comment on column analysis.conditional_surprisal_exact.sd_tokens is
    'standard deviation of the tokens'' surprisal, in nats; a spread, not an error';
comment on column analysis.conditional_surprisal_exact.min_surprisal is 'least surprisal of a token, in nats';
comment on column analysis.conditional_surprisal_exact.max_surprisal is 'greatest surprisal of a token, in nats';
comment on column analysis.conditional_surprisal_exact.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.conditional_surprisal_exact.n_clusters is 'clusters that hold such tokens';
comment on column analysis.conditional_surprisal_exact.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.conditional_surprisal_exact.value_number is 'the value as a number';
comment on column analysis.conditional_surprisal_exact.lower is 'lower bound of a numeric bin, included';
comment on column analysis.conditional_surprisal_exact.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.conditional_surprisal_exact.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.conditional_surprisal_exact.evaluation_id is 'key of warehouse.evaluation';
