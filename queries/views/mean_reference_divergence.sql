-- KL to the uniform distribution and to references, and cross-entropy, as means over the seeds of a model at each step.
-- Grain: one row per (corpus, protocol, run_set, family, model, step, reference).
-- Source: Fehlauer et al. 2025, KL to uniform and unigram; the standard errors are an extension.
-- requires: chosen_run_set, reference_divergence
create or replace view analysis.mean_reference_divergence as
select
    checkpoint.corpus,
    checkpoint.protocol,
    analysis.chosen_run_set() as run_set,
    checkpoint.family,
    checkpoint.model,
    checkpoint.step,
    checkpoint.reference,
    avg(checkpoint.kl_uniform) as kl_uniform,
    stddev_samp(checkpoint.kl_uniform) / sqrt(count(checkpoint.kl_uniform)) as se_seed_kl_uniform,
    avg(checkpoint.kl_reference) as kl_reference,
    stddev_samp(checkpoint.kl_reference) / sqrt(count(checkpoint.kl_reference)) as se_seed_kl_reference,
    avg(checkpoint.cross_entropy) as cross_entropy,
    stddev_samp(checkpoint.cross_entropy) / sqrt(count(checkpoint.cross_entropy)) as se_seed_cross_entropy,
    -- The error of a mean over seeds is at most the mean of their errors, and nearly that: they read the same text.
    case when count(*) = count(checkpoint.se_cross_entropy) then avg(checkpoint.se_cross_entropy) end
        as se_document_cross_entropy,
    count(*)::integer as n_seeds,
    count(*)::integer - 1 as df_seed,
    min(checkpoint.df_document) as df_document,
    min(checkpoint.ngram_order) as ngram_order
from analysis.reference_divergence as checkpoint
where not checkpoint.outlier or analysis.chosen_run_set() = 'all'
group by
    checkpoint.corpus,
    checkpoint.protocol,
    checkpoint.family,
    checkpoint.model,
    checkpoint.step,
    checkpoint.reference;

comment on view analysis.mean_reference_divergence is
    'KL to uniform and to references, and cross-entropy, by model and step: means over seeds with standard errors.';
comment on column analysis.mean_reference_divergence.corpus is 'name of the corpus';
comment on column analysis.mean_reference_divergence.protocol is 'name of the protocol';
comment on column analysis.mean_reference_divergence.run_set is 'default: without flagged runs; all: with them';
comment on column analysis.mean_reference_divergence.family is 'suite of the model, such as pythia';
comment on column analysis.mean_reference_divergence.model is 'name of the model within its family';
comment on column analysis.mean_reference_divergence.step is 'optimiser steps taken';
comment on column analysis.mean_reference_divergence.reference is
    'name of the reference distribution; NULL where none was measured';
comment on column analysis.mean_reference_divergence.kl_uniform is
    'mean over seeds of the mean KL(model || uniform), in nats';
comment on column analysis.mean_reference_divergence.se_seed_kl_uniform is
    'its standard error over seeds, in nats; NULL for one seed';
comment on column analysis.mean_reference_divergence.kl_reference is
    'mean over seeds of the mean KL(model || reference), in nats';
comment on column analysis.mean_reference_divergence.se_seed_kl_reference is
    'its standard error over seeds, in nats; NULL for one seed';
comment on column analysis.mean_reference_divergence.cross_entropy is 'mean over seeds of the mean surprisal, in nats';
comment on column analysis.mean_reference_divergence.se_seed_cross_entropy is
    'its standard error over seeds, in nats; NULL for one seed';
comment on column analysis.mean_reference_divergence.se_document_cross_entropy is
    'at most its standard error over clusters of tokens, in nats: the mean of the seeds''';
comment on column analysis.mean_reference_divergence.n_seeds is 'seeds that were measured';
comment on column analysis.mean_reference_divergence.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.mean_reference_divergence.df_document is
    'degrees of freedom of se_document_cross_entropy: clusters less one';
comment on column analysis.mean_reference_divergence.ngram_order is 'n of the reference; 1 is unigram';
