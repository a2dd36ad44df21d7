-- Surprisal, entropy and accuracy of a checkpoint over all tokens with the standard error of each, from its scores at
-- every token: stored sums have the error of surprisal alone. Reads the facts of the evaluations that conditions leave.
-- Grain: one row per evaluation.
-- Source: ratio estimator over text (extension).
-- requires: cluster_error, evaluations
create or replace view analysis.expected_surprisal_exact as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    sums.n as n_tokens,
    sums.surprisal / sums.n as surprisal,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.surprisal,
        sums.surprisal_xx,
        sums.surprisal_xn,
        sums.nn
    ) as se_surprisal,
    sums.entropy / sums.n as entropy,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.entropy,
        sums.entropy_xx,
        sums.entropy_xn,
        sums.nn
    ) as se_entropy,
    sums.correct / sums.n as accuracy,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.correct,
        sums.correct_xx,
        sums.correct_xn,
        sums.nn
    ) as se_accuracy,
    evaluation.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
cross join lateral (
    select
        count(*)::integer as clusters,
        sum(part.n)::bigint as n,
        sum(part.n::double precision * part.n) as nn,
        sum(part.surprisal) as surprisal,
        sum(part.surprisal * part.surprisal) as surprisal_xx,
        sum(part.surprisal * part.n) as surprisal_xn,
        -- Unknown where a token that has a surprisal has no entropy, or no rank.
        case when sum(part.n_entropies) = sum(part.n) then sum(part.entropy) end as entropy,
        sum(part.entropy * part.entropy) as entropy_xx,
        sum(part.entropy * part.n) as entropy_xn,
        case when sum(part.n_ranks) = sum(part.n) then sum(part.correct) end as correct,
        sum(part.correct * part.correct) as correct_xx,
        sum(part.correct * part.n) as correct_xn
    from (
        select
            count(*) as n,
            -- double precision, because a sum of reals loses digits
            sum(item.surprisal::double precision) as surprisal,
            sum(item.entropy::double precision) as entropy,
            count(*) filter (where item.rank = 1)::double precision as correct,
            count(item.entropy) as n_entropies,
            count(item.rank) as n_ranks
        from warehouse.score_chunk as chunk
        inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
        cross join lateral unnest(chunk.surprisal, chunk.entropy, chunk.rank, token.documents)
            as item (surprisal, entropy, rank, document)
        where chunk.evaluation_id = evaluation.evaluation_id and item.surprisal is not null
        group by case evaluation.cluster when 'document' then item.document else chunk.chunk_id end
    ) as part
) as sums
where sums.n > 0;

comment on view analysis.expected_surprisal_exact is
    'Surprisal, entropy and accuracy of a checkpoint over all tokens, each with its standard error over the text.';
comment on column analysis.expected_surprisal_exact.corpus is 'name of the corpus';
comment on column analysis.expected_surprisal_exact.protocol is 'name of the protocol';
comment on column analysis.expected_surprisal_exact.family is 'suite of the model, such as pythia';
comment on column analysis.expected_surprisal_exact.model is 'name of the model within its family';
comment on column analysis.expected_surprisal_exact.seed is 'seed of the training run';
comment on column analysis.expected_surprisal_exact.step is 'optimiser steps taken';
comment on column analysis.expected_surprisal_exact.n_tokens is 'tokens scored';
comment on column analysis.expected_surprisal_exact.surprisal is 'mean surprisal, in nats';
comment on column analysis.expected_surprisal_exact.se_surprisal is
    'its standard error over clusters of tokens, in nats';
comment on column analysis.expected_surprisal_exact.entropy is 'mean entropy of the predictions, in nats';
comment on column analysis.expected_surprisal_exact.se_entropy is
    'its standard error over clusters of tokens, in nats; that of the KL to uniform too';
comment on column analysis.expected_surprisal_exact.accuracy is 'share of tokens of rank 1';
comment on column analysis.expected_surprisal_exact.se_accuracy is 'its standard error over clusters of tokens';
comment on column analysis.expected_surprisal_exact.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.expected_surprisal_exact.n_clusters is 'clusters that hold such tokens';
comment on column analysis.expected_surprisal_exact.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.expected_surprisal_exact.tokens_seen is 'training tokens seen';
comment on column analysis.expected_surprisal_exact.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.expected_surprisal_exact.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.expected_surprisal_exact.evaluation_id is 'key of warehouse.evaluation';
