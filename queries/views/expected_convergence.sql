-- How alike models predict, over all tokens of a corpus.
-- Grain: one row per comparison.
-- Source: Fehlauer et al. 2025, expected convergence.
-- requires: convergence_by_value
create or replace view analysis.expected_convergence as
select
    total.kind,
    total.corpus,
    total.protocol,
    total.run_set,
    total.family,
    total.model,
    total.step,
    total.model_q,
    total.step_q,
    total.n_tokens,
    total.n_pairs,
    total.convergence,
    total.se_seed,
    total.se_document,
    total.se_total,
    total.sd_pairs,
    total.sd_tokens,
    total.complete,
    total.min_convergence,
    total.max_convergence,
    total.n_seeds,
    total.df_seed,
    total.cluster,
    total.n_clusters,
    total.df_document,
    total.log2_step_ratio,
    total.surprisal_difference,
    total.comparison_id,
    total.preferred
from analysis.convergence_by_value as total
where total.is_total;

comment on view analysis.expected_convergence is
    'Expected convergence: minus the mean KL between models over all tokens, step by step.';
comment on column analysis.expected_convergence.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.expected_convergence.corpus is 'name of the corpus';
comment on column analysis.expected_convergence.protocol is 'name of the protocol';
comment on column analysis.expected_convergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.expected_convergence.family is 'suite of the models, such as pythia';
comment on column analysis.expected_convergence.model is 'model that gives p';
comment on column analysis.expected_convergence.step is 'training step that gives p';
comment on column analysis.expected_convergence.model_q is 'model that gives q';
comment on column analysis.expected_convergence.step_q is 'training step that gives q';
comment on column analysis.expected_convergence.n_tokens is 'tokens with a measured KL';
comment on column analysis.expected_convergence.n_pairs is 'ordered pairs averaged';
comment on column analysis.expected_convergence.convergence is
    'minus the mean KL over ordered pairs and tokens, in nats; never positive, rises as the models agree';
comment on column analysis.expected_convergence.se_seed is
    'standard error by jackknife over seeds, in nats: how much other training runs would change it';
comment on column analysis.expected_convergence.se_document is
    'standard error over clusters of tokens, in nats: how much other text would change it';
comment on column analysis.expected_convergence.se_total is
    'sqrt(se_seed^2 + se_document^2), in nats: other runs and other text';
comment on column analysis.expected_convergence.sd_pairs is
    'standard deviation of the pairs'' mean KL over all tokens, in nats; a spread, not an error';
comment on column analysis.expected_convergence.sd_tokens is
    'standard deviation of the tokens'' convergence, in nats; a spread, not an error';
comment on column analysis.expected_convergence.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.expected_convergence.min_convergence is 'least convergence of a token, in nats';
comment on column analysis.expected_convergence.max_convergence is 'greatest convergence of a token, in nats';
comment on column analysis.expected_convergence.n_seeds is 'seeds that take part';
comment on column analysis.expected_convergence.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.expected_convergence.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.expected_convergence.n_clusters is 'clusters that hold such tokens';
comment on column analysis.expected_convergence.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.expected_convergence.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.expected_convergence.surprisal_difference is
    'mean over pairs of the mean surprisal of p less that of q, in nats; NULL for seed, whose pairs go both ways';
comment on column analysis.expected_convergence.comparison_id is 'key of warehouse.comparison';
comment on column analysis.expected_convergence.preferred is
    'of several next steps of the earlier one the nearest, of several last steps the latest; true for other kinds';
