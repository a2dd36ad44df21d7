-- How alike models predict at each token.
-- Grain: one row per (comparison, token_id).
-- Source: Fehlauer et al. 2025; convergence is minus the mean KL over ordered pairs.
-- requires: chosen_run_set, comparisons
create or replace view analysis.token_convergence as
select
    comparison.kind,
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    comparison.model_q,
    comparison.step_q,
    chunk.chunk_id * 256 + item.ordinality - 1 as token_id,
    -- Double precision, because a sum of reals loses digits; a difference, because the negative of 0 shows as -0.
    0 - item.kl::double precision as convergence,
    comparison.n_pairs,
    chunk.chunk_id,
    comparison.complete,
    item.mixture_entropy::double precision as mixture_entropy,
    comparison.comparison_id
from analysis.comparisons as comparison
inner join warehouse.convergence_chunk as chunk on comparison.comparison_id = chunk.comparison_id
cross join lateral unnest(chunk.kl, chunk.mixture_entropy) with ordinality as item (kl, mixture_entropy, ordinality)
where comparison.run_set = analysis.chosen_run_set() and comparison.n_pairs > 0;

comment on view analysis.token_convergence is
    'Convergence at every token: minus the mean KL over the ordered pairs of a comparison.';
comment on column analysis.token_convergence.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.token_convergence.corpus is 'name of the corpus';
comment on column analysis.token_convergence.protocol is 'name of the protocol';
comment on column analysis.token_convergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.token_convergence.family is 'suite of the models, such as pythia';
comment on column analysis.token_convergence.model is 'model that gives p';
comment on column analysis.token_convergence.step is 'training step that gives p';
comment on column analysis.token_convergence.model_q is 'model that gives q';
comment on column analysis.token_convergence.step_q is 'training step that gives q';
comment on column analysis.token_convergence.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_convergence.convergence is
    'minus the mean KL over ordered pairs, in nats; never positive, rises as the models agree';
comment on column analysis.token_convergence.n_pairs is 'ordered pairs averaged';
comment on column analysis.token_convergence.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_convergence.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.token_convergence.mixture_entropy is
    'entropy of the mean of the seeds'' predictions, in nats; kind seed only';
comment on column analysis.token_convergence.comparison_id is 'key of warehouse.comparison';
