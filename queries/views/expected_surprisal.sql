-- How well a checkpoint predicts, over all tokens of a corpus.
-- Grain: one row per evaluation.
-- Source: cross-entropy of the model on the corpus, with the ratio estimator over text.
-- requires: surprisal_by_value
create or replace view analysis.expected_surprisal as
select
    total.corpus,
    total.protocol,
    total.family,
    total.model,
    total.seed,
    total.step,
    total.n_tokens,
    total.surprisal,
    total.entropy,
    total.accuracy,
    total.se_document,
    total.sd_tokens,
    total.min_surprisal,
    total.max_surprisal,
    total.cluster,
    total.n_clusters,
    total.df_document,
    total.tokens_seen,
    total.flops,
    total.outlier,
    total.evaluation_id
from analysis.surprisal_by_value as total
where total.is_total;

comment on view analysis.expected_surprisal is
    'Expected surprisal: mean surprisal (cross-entropy), entropy and accuracy of a checkpoint over all tokens.';
comment on column analysis.expected_surprisal.corpus is 'name of the corpus';
comment on column analysis.expected_surprisal.protocol is 'name of the protocol';
comment on column analysis.expected_surprisal.family is 'suite of the model, such as pythia';
comment on column analysis.expected_surprisal.model is 'name of the model within its family';
comment on column analysis.expected_surprisal.seed is 'seed of the training run';
comment on column analysis.expected_surprisal.step is 'optimiser steps taken';
comment on column analysis.expected_surprisal.n_tokens is 'tokens scored';
comment on column analysis.expected_surprisal.surprisal is 'mean surprisal, in nats';
comment on column analysis.expected_surprisal.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.expected_surprisal.accuracy is 'share of tokens of rank 1';
comment on column analysis.expected_surprisal.se_document is
    'standard error of the mean surprisal over clusters of tokens, in nats';
comment on column analysis.expected_surprisal.sd_tokens is
    'standard deviation of the tokens'' surprisal, in nats; a spread, not an error';
comment on column analysis.expected_surprisal.min_surprisal is 'least surprisal of a token, in nats';
comment on column analysis.expected_surprisal.max_surprisal is 'greatest surprisal of a token, in nats';
comment on column analysis.expected_surprisal.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.expected_surprisal.n_clusters is 'clusters that hold such tokens';
comment on column analysis.expected_surprisal.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.expected_surprisal.tokens_seen is 'training tokens seen';
comment on column analysis.expected_surprisal.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.expected_surprisal.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.expected_surprisal.evaluation_id is 'key of warehouse.evaluation';
