-- How far each two seeds of a model agree: KL, correlations of their surprisals, and how often their first choice is one.
-- Grain: one row per (comparison of kind seed, seed_p, seed_q); all but KL is the same in both directions.
-- Source: Fehlauer et al. 2025 for KL of ordered pairs; the other statistics are an extension. Kept with the pair.
-- requires: chosen_run_set, comparisons
create or replace view analysis.seed_agreement as
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
    pair.n_tokens,
    pair.mean_kl as kl,
    pair.pearson,
    pair.spearman,
    pair.top1_agreement,
    comparison.complete,
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
where comparison.kind = 'seed' and comparison.run_set = analysis.chosen_run_set();

comment on view analysis.seed_agreement is
    'Agreement of each two seeds: mean KL, correlations of surprisals, share of equal top entries.';
comment on column analysis.seed_agreement.kind is 'seed';
comment on column analysis.seed_agreement.corpus is 'name of the corpus';
comment on column analysis.seed_agreement.protocol is 'name of the protocol';
comment on column analysis.seed_agreement.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.seed_agreement.family is 'suite of the models, such as pythia';
comment on column analysis.seed_agreement.model is 'model that gives p';
comment on column analysis.seed_agreement.step is 'training step that gives p';
comment on column analysis.seed_agreement.model_q is 'model that gives q';
comment on column analysis.seed_agreement.step_q is 'training step that gives q';
comment on column analysis.seed_agreement.seed_p is 'seed of the run that gives p';
comment on column analysis.seed_agreement.seed_q is 'seed of the run that gives q';
comment on column analysis.seed_agreement.n_tokens is 'tokens of the corpus, those without a KL among them';
comment on column analysis.seed_agreement.kl is 'mean KL(p || q) over tokens, in nats';
comment on column analysis.seed_agreement.pearson is
    'Pearson correlation of the two surprisals over tokens; NULL where one does not vary or is not known';
comment on column analysis.seed_agreement.spearman is
    'Spearman rank correlation of the two surprisals, ties at their mean rank; NULL likewise, or before a refresh';
comment on column analysis.seed_agreement.top1_agreement is
    'share of tokens with the same most probable entry; NULL where one of them is not known';
comment on column analysis.seed_agreement.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.seed_agreement.pair_id is 'key of warehouse.comparison_pair';
comment on column analysis.seed_agreement.comparison_id is 'key of warehouse.comparison';
