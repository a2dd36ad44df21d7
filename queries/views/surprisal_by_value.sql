-- Surprisal, entropy and accuracy over the tokens of each value of each layer, from stored sums.
-- Grain: one row per (evaluation, layer, value); the layer of all tokens is in it, and carries the totals.
-- Source: conditional surprisal of Fehlauer et al. 2025; ratio estimator over text.
-- requires: cluster_error, evaluations
create or replace view analysis.surprisal_by_value as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    layer.name as layer,
    category.value,
    layer.is_total,
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
    evaluation.vocabulary_size,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id,
    layer.layer_id,
    category.category_id
from analysis.evaluations as evaluation
inner join warehouse.score_summary as summary on evaluation.evaluation_id = summary.evaluation_id
inner join warehouse.annotation_layer as layer on summary.layer_id = layer.layer_id
inner join warehouse.annotation_category as category
    on summary.layer_id = category.layer_id and summary.category_id = category.category_id;

comment on view analysis.surprisal_by_value is
    'Surprisal by value of an annotation layer, totals included; expected and conditional surprisal read it.';
comment on column analysis.surprisal_by_value.corpus is 'name of the corpus';
comment on column analysis.surprisal_by_value.protocol is 'name of the protocol';
comment on column analysis.surprisal_by_value.family is 'suite of the model, such as pythia';
comment on column analysis.surprisal_by_value.model is 'name of the model within its family';
comment on column analysis.surprisal_by_value.seed is 'seed of the training run';
comment on column analysis.surprisal_by_value.step is 'optimiser steps taken';
comment on column analysis.surprisal_by_value.layer is 'name of the annotation layer';
comment on column analysis.surprisal_by_value.value is 'value of the layer';
comment on column analysis.surprisal_by_value.is_total is 'the row is of all tokens, not of a value';
comment on column analysis.surprisal_by_value.n_tokens is 'tokens scored';
comment on column analysis.surprisal_by_value.surprisal is 'mean surprisal, in nats';
comment on column analysis.surprisal_by_value.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.surprisal_by_value.accuracy is 'share of tokens of rank 1';
comment on column analysis.surprisal_by_value.se_document is
    'standard error of the mean surprisal over clusters of tokens, in nats';
comment on column analysis.surprisal_by_value.sd_tokens is
    'standard deviation of the tokens'' surprisal, in nats; a spread, not an error';
comment on column analysis.surprisal_by_value.min_surprisal is 'least surprisal of a token, in nats';
comment on column analysis.surprisal_by_value.max_surprisal is 'greatest surprisal of a token, in nats';
comment on column analysis.surprisal_by_value.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.surprisal_by_value.n_clusters is 'clusters that hold such tokens';
comment on column analysis.surprisal_by_value.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.surprisal_by_value.value_number is 'the value as a number';
comment on column analysis.surprisal_by_value.lower is 'lower bound of a numeric bin, included';
comment on column analysis.surprisal_by_value.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.surprisal_by_value.vocabulary_size is 'entries that the probabilities are spread over';
comment on column analysis.surprisal_by_value.tokens_seen is 'training tokens seen';
comment on column analysis.surprisal_by_value.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.surprisal_by_value.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.surprisal_by_value.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.surprisal_by_value.layer_id is 'key of warehouse.annotation_layer';
comment on column analysis.surprisal_by_value.category_id is 'number of the value within its layer';
