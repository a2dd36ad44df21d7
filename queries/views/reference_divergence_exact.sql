-- KL of a checkpoint to a reference with its standard error, from the KL at every token: the stored mean has none.
-- Reads the facts of the evaluations and references that conditions leave.
-- Grain: one row per (evaluation, reference) that was measured.
-- Source: Fehlauer et al. 2025; ratio estimator over text (extension).
-- requires: cluster_error, evaluations
create or replace view analysis.reference_divergence_exact as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    reference.name as reference,
    sums.n as n_tokens,
    sums.kl / sums.n as kl_reference,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.kl,
        sums.kl_xx,
        sums.kl_xn,
        sums.nn
    ) as se_document,
    evaluation.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.reference_evaluation as held on evaluation.evaluation_id = held.evaluation_id
inner join warehouse.reference_distribution as reference on held.reference_id = reference.reference_id
cross join lateral (
    select
        count(*)::integer as clusters,
        sum(part.n)::bigint as n,
        sum(part.n::double precision * part.n) as nn,
        sum(part.kl) as kl,
        sum(part.kl * part.kl) as kl_xx,
        sum(part.kl * part.n) as kl_xn
    from (
        select
            count(*) as n,
            -- double precision, because a sum of reals loses digits
            sum(item.kl::double precision) as kl
        from warehouse.reference_chunk as chunk
        inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
        cross join lateral unnest(chunk.kl, token.documents) as item (kl, document)
        where
            chunk.evaluation_id = held.evaluation_id
            and chunk.reference_id = held.reference_id
            and item.kl is not null
        group by case evaluation.cluster when 'document' then item.document else chunk.chunk_id end
    ) as part
) as sums
where sums.n > 0;

comment on view analysis.reference_divergence_exact is
    'KL of each checkpoint to each reference distribution, with its standard error over the text.';
comment on column analysis.reference_divergence_exact.corpus is 'name of the corpus';
comment on column analysis.reference_divergence_exact.protocol is 'name of the protocol';
comment on column analysis.reference_divergence_exact.family is 'suite of the model, such as pythia';
comment on column analysis.reference_divergence_exact.model is 'name of the model within its family';
comment on column analysis.reference_divergence_exact.seed is 'seed of the training run';
comment on column analysis.reference_divergence_exact.step is 'optimiser steps taken';
comment on column analysis.reference_divergence_exact.reference is 'name of the reference distribution';
comment on column analysis.reference_divergence_exact.n_tokens is 'tokens measured';
comment on column analysis.reference_divergence_exact.kl_reference is
    'mean KL(model || reference) over tokens, in nats';
comment on column analysis.reference_divergence_exact.se_document is
    'its standard error over clusters of tokens, in nats';
comment on column analysis.reference_divergence_exact.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.reference_divergence_exact.n_clusters is 'clusters that hold such tokens';
comment on column analysis.reference_divergence_exact.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.reference_divergence_exact.tokens_seen is 'training tokens seen';
comment on column analysis.reference_divergence_exact.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.reference_divergence_exact.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.reference_divergence_exact.evaluation_id is 'key of warehouse.evaluation';
