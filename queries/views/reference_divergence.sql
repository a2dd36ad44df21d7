-- How far a checkpoint is from knowing nothing: KL to the uniform distribution and to named references.
-- Grain: one row per (evaluation, reference); an evaluation without references has one row, its reference NULL.
-- Source: Fehlauer et al. 2025; KL to uniform is log of the vocabulary size less the mean entropy.
-- requires: surprisal_by_value
create or replace view analysis.reference_divergence as
select
    total.corpus,
    total.protocol,
    total.family,
    total.model,
    total.seed,
    total.step,
    reference.name as reference,
    ln(nullif(total.vocabulary_size, 0)::double precision) - total.entropy as kl_uniform,
    held.mean_kl as kl_reference,
    total.surprisal as cross_entropy,
    total.entropy,
    total.n_tokens,
    total.vocabulary_size,
    reference.entropy as reference_entropy,
    reference.ngram_order,
    reference.smoothing,
    total.outlier,
    total.evaluation_id,
    reference.smoothing_weight,
    total.se_document as se_cross_entropy,
    total.cluster,
    total.n_clusters,
    total.df_document
from analysis.surprisal_by_value as total
left join warehouse.reference_evaluation as held on total.evaluation_id = held.evaluation_id
left join warehouse.reference_distribution as reference on held.reference_id = reference.reference_id
where total.is_total;

comment on view analysis.reference_divergence is
    'KL of each checkpoint to the uniform distribution and to reference distributions such as unigram counts.';
comment on column analysis.reference_divergence.corpus is 'name of the corpus';
comment on column analysis.reference_divergence.protocol is 'name of the protocol';
comment on column analysis.reference_divergence.family is 'suite of the model, such as pythia';
comment on column analysis.reference_divergence.model is 'name of the model within its family';
comment on column analysis.reference_divergence.seed is 'seed of the training run';
comment on column analysis.reference_divergence.step is 'optimiser steps taken';
comment on column analysis.reference_divergence.reference is
    'name of the reference distribution; NULL where none was measured';
comment on column analysis.reference_divergence.kl_uniform is
    'mean KL(model || uniform) over tokens, in nats: log of the vocabulary size less the mean entropy';
comment on column analysis.reference_divergence.kl_reference is 'mean KL(model || reference) over tokens, in nats';
comment on column analysis.reference_divergence.cross_entropy is 'mean surprisal of the tokens, in nats';
comment on column analysis.reference_divergence.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.reference_divergence.n_tokens is 'tokens scored';
comment on column analysis.reference_divergence.vocabulary_size is 'entries that the probabilities are spread over';
comment on column analysis.reference_divergence.reference_entropy is
    'entropy of the reference, in nats; of n-grams the mean over the contexts of the text that was counted';
comment on column analysis.reference_divergence.ngram_order is 'n of the reference; 1 is unigram';
comment on column analysis.reference_divergence.smoothing is
    'smoothing of its counts: add-one, none, or interpolated with the next lower order';
comment on column analysis.reference_divergence.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.reference_divergence.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.reference_divergence.smoothing_weight is
    'counts that the next lower order stands for; NULL where nothing is interpolated';
comment on column analysis.reference_divergence.se_cross_entropy is
    'standard error of cross_entropy over clusters of tokens, in nats';
comment on column analysis.reference_divergence.cluster is
    'what standard errors take as independent: document, or chunk where documents are few';
comment on column analysis.reference_divergence.n_clusters is 'clusters that hold scored tokens';
comment on column analysis.reference_divergence.df_document is
    'degrees of freedom of errors over clusters: clusters less one';
