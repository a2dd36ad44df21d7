-- KL to the uniform distribution and to references, and cross-entropy, as means over the seeds of a model at each step.
-- Grain: one row per (corpus, protocol, run_set, family, model, step, reference). Only what is said of a reference is of
-- it: kl_uniform and cross_entropy are those of all seeds, and the same in every row of a step.
-- Source: Fehlauer et al. 2025, KL to uniform and unigram; the standard errors are an extension.
-- requires: chosen_run_set, reference_divergence
create or replace view analysis.mean_reference_divergence as
with of_seeds as (
    select
        checkpoint.corpus,
        checkpoint.protocol,
        checkpoint.family,
        checkpoint.model,
        checkpoint.step,
        -- Entropies may be lacking where scores were imported; a mean over some seeds would be none over n_seeds.
        case when count(*) = count(checkpoint.kl_uniform) then avg(checkpoint.kl_uniform) end as kl_uniform,
        case when count(*) = count(checkpoint.kl_uniform) then stddev_samp(checkpoint.kl_uniform) / sqrt(count(*)) end
            as se_seed_kl_uniform,
        avg(checkpoint.cross_entropy) as cross_entropy,
        stddev_samp(checkpoint.cross_entropy) / sqrt(count(*)) as se_seed_cross_entropy,
        -- The error of a mean over seeds is at most the mean of their errors, and nearly that: they read the same text.
        case when count(*) = count(checkpoint.se_cross_entropy) then avg(checkpoint.se_cross_entropy) end
            as se_document_cross_entropy,
        min(checkpoint.df_document) as df_document,
        count(*)::integer as n_seeds,
        bool_or(checkpoint.outlier) as outlier
    from (
        -- A checkpoint has a row for each reference.
        select distinct
            corpus,
            protocol,
            family,
            model,
            step,
            evaluation_id,
            kl_uniform,
            cross_entropy,
            se_cross_entropy,
            df_document,
            outlier
        from analysis.reference_divergence
        where not outlier or analysis.chosen_run_set() = 'all'
    ) as checkpoint
    group by checkpoint.corpus, checkpoint.protocol, checkpoint.family, checkpoint.model, checkpoint.step
),

of_reference as (
    select
        corpus,
        protocol,
        family,
        model,
        step,
        reference,
        avg(kl_reference) as kl_reference,
        stddev_samp(kl_reference) / sqrt(count(kl_reference)) as se_seed_kl_reference,
        count(kl_reference)::integer as n_seeds,
        min(ngram_order) as ngram_order
    from analysis.reference_divergence
    where reference is not null and (not outlier or analysis.chosen_run_set() = 'all')
    group by corpus, protocol, family, model, step, reference
)

select
    of_seeds.corpus,
    of_seeds.protocol,
    analysis.chosen_run_set() as run_set,
    of_seeds.family,
    of_seeds.model,
    of_seeds.step,
    of_reference.reference,
    of_seeds.kl_uniform,
    of_seeds.se_seed_kl_uniform,
    of_reference.kl_reference,
    of_reference.se_seed_kl_reference,
    of_seeds.cross_entropy,
    of_seeds.se_seed_cross_entropy,
    of_seeds.se_document_cross_entropy,
    of_seeds.n_seeds,
    of_seeds.n_seeds - 1 as df_seed,
    of_seeds.df_document,
    of_reference.ngram_order,
    of_reference.n_seeds as n_seeds_reference,
    of_reference.n_seeds - 1 as df_seed_reference
from of_seeds
left join of_reference
    on
        of_seeds.corpus = of_reference.corpus
        and of_seeds.protocol = of_reference.protocol
        and of_seeds.family = of_reference.family
        and of_seeds.model = of_reference.model
        and of_seeds.step = of_reference.step
-- Run set all is for where a flagged run takes part.
where analysis.chosen_run_set() = 'default' or of_seeds.outlier;

comment on view analysis.mean_reference_divergence is
    'KL to uniform and to references, and cross-entropy, by model and step: means over seeds with standard errors.';
comment on column analysis.mean_reference_divergence.corpus is 'name of the corpus';
comment on column analysis.mean_reference_divergence.protocol is 'name of the protocol';
comment on column analysis.mean_reference_divergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.mean_reference_divergence.family is 'suite of the model, such as pythia';
comment on column analysis.mean_reference_divergence.model is 'name of the model within its family';
comment on column analysis.mean_reference_divergence.step is 'optimiser steps taken';
comment on column analysis.mean_reference_divergence.reference is
    'name of the reference distribution; NULL where none was measured';
comment on column analysis.mean_reference_divergence.kl_uniform is
    'mean over seeds of the mean KL(model || uniform), in nats; NULL unless all are known';
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
    'upper bound of its standard error over clusters of tokens, in nats: the mean of the seeds''';
comment on column analysis.mean_reference_divergence.n_seeds is
    'seeds that kl_uniform and cross_entropy are means over';
comment on column analysis.mean_reference_divergence.df_seed is
    'degrees of freedom of their errors over seeds: seeds less one';
comment on column analysis.mean_reference_divergence.df_document is
    'degrees of freedom of se_document_cross_entropy: clusters less one';
comment on column analysis.mean_reference_divergence.ngram_order is 'n of the reference; 1 is unigram';
comment on column analysis.mean_reference_divergence.n_seeds_reference is
    'seeds that kl_reference is a mean over: fewer than n_seeds where some were not held against it; NULL without one';
comment on column analysis.mean_reference_divergence.df_seed_reference is
    'degrees of freedom of its error over seeds: seeds less one';
