-- Conditional convergence from the KL of every pair at every token, for any layer: what conditional_convergence says from
-- stored sums, and what it has no sums for. Reads the facts of the comparisons and layers that conditions leave.
-- Grain: one row per (comparison, layer, value).
-- Source: Fehlauer et al. 2025, conditional convergence; jackknife over seeds, ratio estimator over text.
-- requires: chosen_run_set, cluster_error, comparisons, convergence_sums, jackknife_error
create or replace view analysis.conditional_convergence_exact as
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
    summary.n as n_tokens,
    -- a difference, because the negative of 0 shows as -0
    0 - summary.sum_kl / nullif(summary.n, 0) as convergence,
    seeds.standard_error as se_seed,
    clusters.standard_error as se_document,
    sqrt(
        seeds.standard_error * seeds.standard_error + clusters.standard_error * clusters.standard_error
    ) as se_total,
    comparison.n_pairs,
    comparison.complete,
    sqrt(
        greatest(summary.sum_kl2 - summary.sum_kl * summary.sum_kl / nullif(summary.n, 0), 0)
        / nullif(summary.n - 1, 0)
    ) as sd_tokens,
    0 - summary.max_kl as min_convergence,
    0 - summary.min_kl as max_convergence,
    comparison.n_seeds,
    comparison.n_seeds - 1 as df_seed,
    comparison.cluster,
    summary.clusters as n_clusters,
    summary.clusters - 1 as df_document,
    comparison.log2_step_ratio,
    category.value_number,
    category.lower,
    category.upper,
    comparison.comparison_id,
    comparison.preferred
from analysis.comparisons as comparison
inner join warehouse.annotation_layer as layer
    on comparison.corpus_id = layer.corpus_id and coalesce(layer.model_id = comparison.model_id, true)
-- It asks for every name, so that conditions on any of them come before it.
cross join lateral analysis.convergence_sums(
    comparison.comparison_id,
    case
        when (comparison.corpus, comparison.protocol, comparison.model, comparison.model_q, layer.name) is not null
            then layer.layer_id
    end
) as summary
inner join warehouse.annotation_category as category
    on layer.layer_id = category.layer_id and summary.category_id = category.category_id
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
where
    comparison.run_set = analysis.chosen_run_set()
    and comparison.n_pairs > 0
    -- Of kind cross only sums are kept.
    and comparison.kind <> 'cross'
    and not layer.is_total;

comment on view analysis.conditional_convergence_exact is
    'Conditional convergence from facts, for any layer: the same columns as conditional_convergence, and slower.';
comment on column analysis.conditional_convergence_exact.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.conditional_convergence_exact.corpus is 'name of the corpus';
comment on column analysis.conditional_convergence_exact.protocol is 'name of the protocol';
comment on column analysis.conditional_convergence_exact.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.conditional_convergence_exact.family is 'suite of the models, such as pythia';
comment on column analysis.conditional_convergence_exact.model is 'model that gives p';
comment on column analysis.conditional_convergence_exact.step is 'training step that gives p';
comment on column analysis.conditional_convergence_exact.model_q is 'model that gives q';
comment on column analysis.conditional_convergence_exact.step_q is 'training step that gives q';
comment on column analysis.conditional_convergence_exact.layer is 'name of the annotation layer';
comment on column analysis.conditional_convergence_exact.value is 'value of the layer';
comment on column analysis.conditional_convergence_exact.n_tokens is 'tokens with a measured KL';
comment on column analysis.conditional_convergence_exact.convergence is
    'minus the mean KL over ordered pairs and tokens, in nats; never positive, rises as the models agree';
comment on column analysis.conditional_convergence_exact.se_seed is
    'standard error by jackknife over seeds, in nats: how much other training runs would change it';
comment on column analysis.conditional_convergence_exact.se_document is
    'standard error over clusters of tokens, in nats: how much other text would change it';
comment on column analysis.conditional_convergence_exact.se_total is
    'sqrt(se_seed^2 + se_document^2), in nats: other runs and other text';
comment on column analysis.conditional_convergence_exact.n_pairs is 'ordered pairs averaged';
comment on column analysis.conditional_convergence_exact.complete is
    'all ordered pairs that the plan wants are measured';
comment on column analysis.conditional_convergence_exact.sd_tokens is
    'standard deviation of the tokens'' convergence, in nats; a spread, not an error';
comment on column analysis.conditional_convergence_exact.min_convergence is 'least convergence of a token, in nats';
comment on column analysis.conditional_convergence_exact.max_convergence is 'greatest convergence of a token, in nats';
comment on column analysis.conditional_convergence_exact.n_seeds is 'seeds that take part';
comment on column analysis.conditional_convergence_exact.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.conditional_convergence_exact.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.conditional_convergence_exact.n_clusters is 'clusters that hold such tokens';
comment on column analysis.conditional_convergence_exact.df_document is
    'degrees of freedom of se_document: clusters less one';
comment on column analysis.conditional_convergence_exact.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.conditional_convergence_exact.value_number is 'the value as a number';
comment on column analysis.conditional_convergence_exact.lower is 'lower bound of a numeric bin, included';
comment on column analysis.conditional_convergence_exact.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.conditional_convergence_exact.comparison_id is 'key of warehouse.comparison';
comment on column analysis.conditional_convergence_exact.preferred is
    'of several next steps of the earlier one the nearest, of several last steps the latest; true for other kinds';
