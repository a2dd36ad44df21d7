-- How well a checkpoint predicts the tokens with one value of an annotation layer.
-- Grain: one row per (evaluation, layer, value).
-- Source: Fehlauer et al. 2025, conditional surprisal.
-- requires: surprisal_by_value
create or replace view analysis.conditional_surprisal as
select
    part.corpus,
    part.protocol,
    part.family,
    part.model,
    part.seed,
    part.step,
    part.layer,
    part.value,
    part.n_tokens,
    part.surprisal,
    part.entropy,
    part.accuracy,
    part.se_document,
    part.sd_tokens,
    part.min_surprisal,
    part.max_surprisal,
    part.cluster,
    part.n_clusters,
    part.df_document,
    part.value_number,
    part.lower,
    part.upper,
    part.outlier,
    part.evaluation_id
from analysis.surprisal_by_value as part
where not part.is_total;

comment on view analysis.conditional_surprisal is
    'Conditional surprisal: mean surprisal, entropy and accuracy over the tokens with one value of a layer.';
comment on column analysis.conditional_surprisal.corpus is 'name of the corpus';
comment on column analysis.conditional_surprisal.protocol is 'name of the protocol';
comment on column analysis.conditional_surprisal.family is 'suite of the model, such as pythia';
comment on column analysis.conditional_surprisal.model is 'name of the model within its family';
comment on column analysis.conditional_surprisal.seed is 'seed of the training run';
comment on column analysis.conditional_surprisal.step is 'optimiser steps taken';
comment on column analysis.conditional_surprisal.layer is 'name of the annotation layer';
comment on column analysis.conditional_surprisal.value is 'value of the layer';
comment on column analysis.conditional_surprisal.n_tokens is 'tokens scored';
comment on column analysis.conditional_surprisal.surprisal is 'mean surprisal, in nats';
comment on column analysis.conditional_surprisal.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.conditional_surprisal.accuracy is 'share of tokens of rank 1';
comment on column analysis.conditional_surprisal.se_document is
    'standard error of the mean surprisal over clusters of tokens, in nats';
comment on column analysis.conditional_surprisal.sd_tokens is
    'standard deviation of the tokens'' surprisal, in nats; a spread, not an error';
comment on column analysis.conditional_surprisal.min_surprisal is 'least surprisal of a token, in nats';
comment on column analysis.conditional_surprisal.max_surprisal is 'greatest surprisal of a token, in nats';
comment on column analysis.conditional_surprisal.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.conditional_surprisal.n_clusters is 'clusters that hold such tokens';
comment on column analysis.conditional_surprisal.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.conditional_surprisal.value_number is 'the value as a number';
comment on column analysis.conditional_surprisal.lower is 'lower bound of a numeric bin, included';
comment on column analysis.conditional_surprisal.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.conditional_surprisal.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.conditional_surprisal.evaluation_id is 'key of warehouse.evaluation';
