-- How alike models predict, over the tokens with one value of an annotation layer.
-- Grain: one row per (comparison, layer, value).
-- Source: Fehlauer et al. 2025, conditional convergence.
-- requires: convergence_by_value
create or replace view analysis.conditional_convergence as
select
    part.kind,
    part.corpus,
    part.protocol,
    part.run_set,
    part.family,
    part.model,
    part.step,
    part.model_q,
    part.step_q,
    part.layer,
    part.value,
    part.n_tokens,
    part.convergence,
    part.se_seed,
    part.se_document,
    part.se_total,
    part.n_pairs,
    part.complete,
    part.sd_tokens,
    part.min_convergence,
    part.max_convergence,
    part.n_seeds,
    part.df_seed,
    part.cluster,
    part.n_clusters,
    part.df_document,
    part.log2_step_ratio,
    part.value_number,
    part.lower,
    part.upper,
    part.comparison_id,
    part.preferred
from analysis.convergence_by_value as part
where not part.is_total;

comment on view analysis.conditional_convergence is
    'Conditional convergence: minus the mean KL between models over the tokens with one value of a layer.';
comment on column analysis.conditional_convergence.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.conditional_convergence.corpus is 'name of the corpus';
comment on column analysis.conditional_convergence.protocol is 'name of the protocol';
comment on column analysis.conditional_convergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.conditional_convergence.family is 'suite of the models, such as pythia';
comment on column analysis.conditional_convergence.model is 'model that gives p';
comment on column analysis.conditional_convergence.step is 'training step that gives p';
comment on column analysis.conditional_convergence.model_q is 'model that gives q';
comment on column analysis.conditional_convergence.step_q is 'training step that gives q';
comment on column analysis.conditional_convergence.layer is 'name of the annotation layer';
comment on column analysis.conditional_convergence.value is 'value of the layer';
comment on column analysis.conditional_convergence.n_tokens is 'tokens with a measured KL';
comment on column analysis.conditional_convergence.convergence is
    'minus the mean KL over ordered pairs and tokens, in nats; never positive, rises as the models agree';
comment on column analysis.conditional_convergence.se_seed is
    'standard error by jackknife over seeds, in nats: how much other training runs would change it';
comment on column analysis.conditional_convergence.se_document is
    'standard error over clusters of tokens, in nats: how much other text would change it';
comment on column analysis.conditional_convergence.se_total is
    'sqrt(se_seed^2 + se_document^2), in nats: other runs and other text';
comment on column analysis.conditional_convergence.n_pairs is 'ordered pairs averaged';
comment on column analysis.conditional_convergence.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.conditional_convergence.sd_tokens is
    'standard deviation of the tokens'' convergence, in nats; a spread, not an error';
comment on column analysis.conditional_convergence.min_convergence is 'least convergence of a token, in nats';
comment on column analysis.conditional_convergence.max_convergence is 'greatest convergence of a token, in nats';
comment on column analysis.conditional_convergence.n_seeds is 'seeds that take part';
comment on column analysis.conditional_convergence.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.conditional_convergence.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.conditional_convergence.n_clusters is 'clusters that hold such tokens';
comment on column analysis.conditional_convergence.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.conditional_convergence.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.conditional_convergence.value_number is 'the value as a number';
comment on column analysis.conditional_convergence.lower is 'lower bound of a numeric bin, included';
comment on column analysis.conditional_convergence.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.conditional_convergence.comparison_id is 'key of warehouse.comparison';
comment on column analysis.conditional_convergence.preferred is
    'of several next steps of the earlier one the nearest, of several last steps the latest; true for other kinds';
