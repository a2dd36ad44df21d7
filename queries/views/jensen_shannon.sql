-- How far the predictions of all seeds of a model lie apart at each token, as their Jensen-Shannon divergence: entropy of
-- their mean prediction less the mean of their entropies. From facts; name a step or a model.
-- Grain: one row per (comparison of kind seed, token_id).
-- Source: an extension; generalised Jensen-Shannon divergence of n distributions of equal weight.
-- requires: chosen_run_set, comparisons
create or replace view analysis.jensen_shannon as
select
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    chunk.chunk_id * 256 + item.place - 1 as token_id,
    item.mixture_entropy - item.mean_entropy as divergence,
    item.mixture_entropy,
    item.mean_entropy,
    comparison.n_seeds,
    chunk.chunk_id,
    comparison.complete,
    comparison.comparison_id
from analysis.comparisons as comparison
cross join lateral (
    select array_agg(distinct pair.evaluation_p) as evaluations
    from warehouse.comparison_member as member
    inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
    where member.comparison_id = comparison.comparison_id
) as seeds
inner join warehouse.convergence_chunk as chunk on comparison.comparison_id = chunk.comparison_id
cross join lateral (
    select
        part.place,
        -- The same for every seed; double precision, because a difference of reals loses digits.
        min(part.mixture_entropy)::double precision as mixture_entropy,
        -- The mixture is of all seeds, and so are the entropies.
        case when count(part.entropy) = comparison.n_seeds
            then sum(part.entropy::double precision) / count(part.entropy)
        end as mean_entropy
    from warehouse.score_chunk as score
    cross join lateral unnest(chunk.mixture_entropy, score.entropy) with ordinality
        as part (mixture_entropy, entropy, place)
    where score.chunk_id = chunk.chunk_id and score.evaluation_id = any(seeds.evaluations)
    group by part.place
) as item
where comparison.kind = 'seed' and comparison.run_set = analysis.chosen_run_set() and comparison.n_pairs > 0;

comment on view analysis.jensen_shannon is
    'Jensen-Shannon divergence of the predictions of all seeds of a model at every token.';
comment on column analysis.jensen_shannon.corpus is 'name of the corpus';
comment on column analysis.jensen_shannon.protocol is 'name of the protocol';
comment on column analysis.jensen_shannon.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.jensen_shannon.family is 'suite of the models, such as pythia';
comment on column analysis.jensen_shannon.model is 'name of the model within its family';
comment on column analysis.jensen_shannon.step is 'optimiser steps taken';
comment on column analysis.jensen_shannon.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.jensen_shannon.divergence is
    'Jensen-Shannon divergence of the seeds'' predictions, in nats: from 0 to log of n_seeds, but for rounding';
comment on column analysis.jensen_shannon.mixture_entropy is
    'entropy of the mean of the seeds'' predictions, in nats; NULL where all were not measured together';
comment on column analysis.jensen_shannon.mean_entropy is
    'mean of the entropies of the seeds'' predictions, in nats; NULL unless all are known';
comment on column analysis.jensen_shannon.n_seeds is 'seeds that take part';
comment on column analysis.jensen_shannon.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.jensen_shannon.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.jensen_shannon.comparison_id is 'key of warehouse.comparison';
