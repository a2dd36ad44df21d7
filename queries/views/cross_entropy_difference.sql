-- How far apart any two checkpoints predict, against how much better one of them predicts than the other.
-- Grain: one row per comparison of kind cross: a model at a step, and another model at any step.
-- Source: the slides to Fehlauer et al. 2025, mean KL against the difference of cross-entropies.
-- requires: expected_convergence
create or replace view analysis.cross_entropy_difference as
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
    comparison.n_tokens,
    0 - comparison.convergence as mean_kl,
    comparison.surprisal_difference,
    comparison.se_seed,
    comparison.se_document,
    comparison.se_total,
    comparison.df_seed,
    comparison.n_pairs,
    comparison.complete,
    comparison.log2_step_ratio,
    comparison.comparison_id
from analysis.expected_convergence as comparison
where comparison.kind = 'cross';

comment on view analysis.cross_entropy_difference is
    'Mean KL between checkpoints of different models against the difference of their cross-entropies (kind cross).';
comment on column analysis.cross_entropy_difference.kind is 'cross';
comment on column analysis.cross_entropy_difference.corpus is 'name of the corpus';
comment on column analysis.cross_entropy_difference.protocol is 'name of the protocol';
comment on column analysis.cross_entropy_difference.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.cross_entropy_difference.family is 'suite of the models, such as pythia';
comment on column analysis.cross_entropy_difference.model is 'model that gives p';
comment on column analysis.cross_entropy_difference.step is 'training step that gives p';
comment on column analysis.cross_entropy_difference.model_q is 'model that gives q';
comment on column analysis.cross_entropy_difference.step_q is 'training step that gives q';
comment on column analysis.cross_entropy_difference.n_tokens is 'tokens with a measured KL';
comment on column analysis.cross_entropy_difference.mean_kl is 'mean KL over pairs and tokens, in nats';
comment on column analysis.cross_entropy_difference.surprisal_difference is
    'mean over pairs of the mean surprisal of p less that of q, in nats: above 0 where q predicts better';
comment on column analysis.cross_entropy_difference.se_seed is
    'standard error of mean_kl by jackknife over seeds, in nats';
comment on column analysis.cross_entropy_difference.se_document is
    'standard error of mean_kl over clusters of tokens, in nats';
comment on column analysis.cross_entropy_difference.se_total is
    'sqrt(se_seed^2 + se_document^2), in nats: other runs and other text';
comment on column analysis.cross_entropy_difference.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.cross_entropy_difference.n_pairs is 'pairs averaged';
comment on column analysis.cross_entropy_difference.complete is 'all pairs that the plan wants are measured';
comment on column analysis.cross_entropy_difference.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.cross_entropy_difference.comparison_id is 'key of warehouse.comparison';
