-- How far the predictions of all seeds of a model lie apart over all tokens, as their mean Jensen-Shannon divergence.
-- From facts, one comparison at a time, so that a condition on comparisons decides how many are read: name one. No error
-- over seeds: a jackknife would need the entropy of the mean prediction of all seeds but one, which is not kept.
-- Grain: one row per comparison of kind seed.
-- Source: an extension; ratio estimator over text.
-- requires: chosen_run_set, cluster_error, comparisons, jensen_shannon
create or replace view analysis.expected_jensen_shannon as
select
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    sums.n as n_tokens,
    sums.x / sums.n as divergence,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.x,
        sums.xx,
        sums.xn,
        sums.nn
    ) as se_document,
    sums.mixture_entropy / sums.n as mixture_entropy,
    sums.mean_entropy / sums.n as mean_entropy,
    comparison.n_seeds,
    comparison.complete,
    comparison.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    comparison.comparison_id
from analysis.comparisons as comparison
cross join lateral (
    select
        sum(part.n)::bigint as n,
        sum(part.x) as x,
        sum(part.mixture_entropy) as mixture_entropy,
        sum(part.mean_entropy) as mean_entropy,
        count(*)::integer as clusters,
        sum(part.x * part.x) as xx,
        sum(part.x * part.n) as xn,
        sum(part.n::double precision * part.n) as nn
    from (
        select
            count(*) as n,
            sum(token.divergence) as x,
            sum(token.mixture_entropy) as mixture_entropy,
            sum(token.mean_entropy) as mean_entropy
        from analysis.jensen_shannon as token
        inner join warehouse.token_chunk as place on token.chunk_id = place.chunk_id
        where token.comparison_id = comparison.comparison_id and token.divergence is not null
        group by case comparison.cluster
            when 'document' then place.documents[token.token_id % 256 + 1]
            else token.chunk_id
        end
    ) as part
) as sums
where
    comparison.kind = 'seed'
    and comparison.run_set = analysis.chosen_run_set()
    and comparison.n_pairs > 0
    and sums.n > 0;

comment on view analysis.expected_jensen_shannon is
    'Expected Jensen-Shannon divergence of the predictions of all seeds of a model: its mean over all tokens.';
comment on column analysis.expected_jensen_shannon.corpus is 'name of the corpus';
comment on column analysis.expected_jensen_shannon.protocol is 'name of the protocol';
comment on column analysis.expected_jensen_shannon.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.expected_jensen_shannon.family is 'suite of the models, such as pythia';
comment on column analysis.expected_jensen_shannon.model is 'name of the model within its family';
comment on column analysis.expected_jensen_shannon.step is 'optimiser steps taken';
comment on column analysis.expected_jensen_shannon.n_tokens is 'tokens at which it is known';
comment on column analysis.expected_jensen_shannon.divergence is
    'mean Jensen-Shannon divergence of the seeds'' predictions, in nats; 0 where they agree';
comment on column analysis.expected_jensen_shannon.se_document is
    'standard error over clusters of tokens, in nats; NULL below settings.min_clusters of them';
comment on column analysis.expected_jensen_shannon.mixture_entropy is
    'mean entropy of the mean of the seeds'' predictions over these tokens, in nats';
comment on column analysis.expected_jensen_shannon.mean_entropy is
    'mean entropy of the seeds'' predictions over these tokens, in nats';
comment on column analysis.expected_jensen_shannon.n_seeds is 'seeds that take part';
comment on column analysis.expected_jensen_shannon.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.expected_jensen_shannon.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.expected_jensen_shannon.n_clusters is 'clusters that hold such tokens';
comment on column analysis.expected_jensen_shannon.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.expected_jensen_shannon.comparison_id is 'key of warehouse.comparison';
