-- Convergence with its standard errors over the tokens of each value of each layer, from stored sums.
-- Grain: one row per (comparison, layer, value); the layer of all tokens is in it, and carries the totals.
-- Source: expected and conditional convergence of Fehlauer et al. 2025; jackknife over seeds, ratio estimator over text.
-- requires: chosen_run_set, cluster_error, comparisons, jackknife_error
create or replace view analysis.convergence_by_value as
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
    layer.name as layer,
    category.value,
    layer.is_total,
    summary.n as n_tokens,
    -- a difference, because the negative of 0 shows as -0
    0 - summary.sum_kl / nullif(summary.n, 0) as convergence,
    seeds.standard_error as se_seed,
    clusters.standard_error as se_document,
    sqrt(
        seeds.standard_error * seeds.standard_error + clusters.standard_error * clusters.standard_error
    ) as se_total,
    comparison.sd_pairs,
    sqrt(
        greatest(summary.sum_kl2 - summary.sum_kl * summary.sum_kl / nullif(summary.n, 0), 0)
        / nullif(summary.n - 1, 0)
    ) as sd_tokens,
    comparison.n_pairs,
    comparison.complete,
    0 - summary.max_kl as min_convergence,
    0 - summary.min_kl as max_convergence,
    comparison.n_seeds,
    comparison.n_seeds - 1 as df_seed,
    comparison.cluster,
    summary.clusters as n_clusters,
    summary.clusters - 1 as df_document,
    comparison.log2_step_ratio,
    comparison.surprisal_difference,
    category.value_number,
    category.lower,
    category.upper,
    comparison.comparison_id,
    layer.layer_id,
    category.category_id,
    comparison.preferred
from analysis.comparisons as comparison
inner join warehouse.convergence_summary as summary on comparison.comparison_id = summary.comparison_id
inner join warehouse.annotation_layer as layer on summary.layer_id = layer.layer_id
inner join warehouse.annotation_category as category
    on summary.layer_id = category.layer_id and summary.category_id = category.category_id
left join lateral analysis.jackknife_error(
    -- How many seeds a pair has: one where both sides have the same label. What a study lists may have both kinds of
    -- pairs, and then there is no jackknife.
    case comparison.kind when 'seed' then 2 when 'custom' then null else 1 end,
    comparison.n_pairs,
    summary.n,
    summary.seed_sums,
    comparison.seed_pairs,
    summary.pair_square_sum
) as seeds on true
cross join lateral (
    select
        analysis.cluster_error(
            summary.clusters,
            (select settings.min_clusters from warehouse.settings as settings),
            summary.n,
            summary.sum_kl,
            summary.cluster_xx,
            summary.cluster_xn,
            summary.cluster_nn
        ) as standard_error
) as clusters
where comparison.run_set = analysis.chosen_run_set() and comparison.n_pairs > 0;

comment on view analysis.convergence_by_value is
    'Convergence by value of an annotation layer, totals included; expected and conditional convergence read it.';
comment on column analysis.convergence_by_value.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.convergence_by_value.corpus is 'name of the corpus';
comment on column analysis.convergence_by_value.protocol is 'name of the protocol';
comment on column analysis.convergence_by_value.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.convergence_by_value.family is 'suite of the models, such as pythia';
comment on column analysis.convergence_by_value.model is 'model that gives p';
comment on column analysis.convergence_by_value.step is 'training step that gives p';
comment on column analysis.convergence_by_value.model_q is 'model that gives q';
comment on column analysis.convergence_by_value.step_q is 'training step that gives q';
comment on column analysis.convergence_by_value.layer is 'name of the annotation layer';
comment on column analysis.convergence_by_value.value is 'value of the layer';
comment on column analysis.convergence_by_value.is_total is 'the row is of all tokens, not of a value';
comment on column analysis.convergence_by_value.n_tokens is 'tokens with a measured KL';
comment on column analysis.convergence_by_value.convergence is
    'minus the mean KL over ordered pairs and tokens, in nats; never positive, rises as the models agree';
comment on column analysis.convergence_by_value.se_seed is
    'standard error by jackknife over seeds, in nats: how much other training runs would change it';
comment on column analysis.convergence_by_value.se_document is
    'standard error over clusters of tokens, in nats: how much other text would change it';
comment on column analysis.convergence_by_value.se_total is
    'sqrt(se_seed^2 + se_document^2), in nats: other runs and other text';
comment on column analysis.convergence_by_value.sd_pairs is
    'standard deviation of the pairs'' mean KL over all tokens, in nats; a spread, not an error';
comment on column analysis.convergence_by_value.sd_tokens is
    'standard deviation of the tokens'' convergence, in nats; a spread, not an error';
comment on column analysis.convergence_by_value.n_pairs is 'ordered pairs averaged';
comment on column analysis.convergence_by_value.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.convergence_by_value.min_convergence is 'least convergence of a token, in nats';
comment on column analysis.convergence_by_value.max_convergence is 'greatest convergence of a token, in nats';
comment on column analysis.convergence_by_value.n_seeds is 'seeds that take part';
comment on column analysis.convergence_by_value.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.convergence_by_value.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.convergence_by_value.n_clusters is 'clusters that hold such tokens';
comment on column analysis.convergence_by_value.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.convergence_by_value.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.convergence_by_value.surprisal_difference is
    'mean over pairs of the mean surprisal of p less that of q over all tokens, in nats; NULL for seed';
comment on column analysis.convergence_by_value.value_number is 'the value as a number';
comment on column analysis.convergence_by_value.lower is 'lower bound of a numeric bin, included';
comment on column analysis.convergence_by_value.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.convergence_by_value.comparison_id is 'key of warehouse.comparison';
comment on column analysis.convergence_by_value.layer_id is 'key of warehouse.annotation_layer';
comment on column analysis.convergence_by_value.category_id is 'number of the value within its layer';
comment on column analysis.convergence_by_value.preferred is
    'of several next steps of the earlier one the nearest, of several last steps the latest; true for other kinds';
