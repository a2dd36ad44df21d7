-- KL between two checkpoints at each token, for every ordered pair of a comparison.
-- Grain: one row per (comparison, seed_p, seed_q, token_id).
-- Source: Fehlauer et al. 2025; KL(p || q) = sum of p (log p - log q) over the vocabulary.
-- requires: chosen_run_set, comparisons
create or replace view analysis.pairwise_kl as
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
    run_p.seed as seed_p,
    run_q.seed as seed_q,
    chunk.chunk_id * 256 + item.ordinality - 1 as token_id,
    -- double precision, because a sum of reals loses digits
    item.kl::double precision as kl,
    chunk.chunk_id,
    pair.pair_id,
    comparison.comparison_id
from analysis.comparisons as comparison
inner join warehouse.comparison_member as member on comparison.comparison_id = member.comparison_id
inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
inner join warehouse.divergence_chunk as chunk on pair.pair_id = chunk.pair_id
cross join lateral unnest(chunk.kl) with ordinality as item (kl, ordinality)
-- Of kind cross only sums are kept; a pair that was measured for another kind too is shown under that one.
where comparison.run_set = analysis.chosen_run_set() and comparison.kind <> 'cross';

comment on view analysis.pairwise_kl is 'KL of every ordered pair of checkpoints at every token.';
comment on column analysis.pairwise_kl.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.pairwise_kl.corpus is 'name of the corpus';
comment on column analysis.pairwise_kl.protocol is 'name of the protocol';
comment on column analysis.pairwise_kl.run_set is 'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.pairwise_kl.family is 'suite of the models, such as pythia';
comment on column analysis.pairwise_kl.model is 'model that gives p';
comment on column analysis.pairwise_kl.step is 'training step that gives p';
comment on column analysis.pairwise_kl.model_q is 'model that gives q';
comment on column analysis.pairwise_kl.step_q is 'training step that gives q';
comment on column analysis.pairwise_kl.seed_p is 'seed of the run that gives p';
comment on column analysis.pairwise_kl.seed_q is 'seed of the run that gives q';
comment on column analysis.pairwise_kl.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.pairwise_kl.kl is 'KL(p || q), in nats; never negative';
comment on column analysis.pairwise_kl.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.pairwise_kl.pair_id is 'key of warehouse.comparison_pair';
comment on column analysis.pairwise_kl.comparison_id is 'key of warehouse.comparison';
