-- Mean KL of a comparison beside the cross-entropies of its two sides, over the tokens with one value of a layer.
-- Grain: one row per (comparison, layer, value), the layer of all tokens (`all`) included. Complete comparisons with
-- both sides of every pair scored; not kind seed, whose pairs go both ways.
-- Source: the slides to Fehlauer et al. 2025, KL against the ratio and the difference of cross-entropies.
-- requires: chosen_run_set, comparisons
create or replace view analysis.cross_entropy_points as
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
    scored.layer,
    scored.value,
    scored.n as n_tokens,
    scored.sum_kl / scored.n as mean_kl,
    scored.cross_entropy,
    scored.cross_entropy_q,
    scored.cross_entropy / nullif(scored.cross_entropy_q, 0) as ratio,
    scored.cross_entropy - scored.cross_entropy_q as difference,
    comparison.n_pairs,
    comparison.comparison_id
from analysis.comparisons as comparison
-- Once a comparison, for all values together: means over its pairs of the mean surprisal on either side. The sides are
-- stacked and grouped, so that an evaluation's sums are read in one go and not value after value; the sums of KL are in
-- there too, since the planner would do all of this again for each value that it joined from outside.
cross join lateral (
    select
        layer.name as layer,
        category.value,
        part.n,
        part.sum_kl,
        avg(summary.sum_surprisal / summary.n) filter (where side.gives_p) as cross_entropy,
        avg(summary.sum_surprisal / summary.n) filter (where not side.gives_p) as cross_entropy_q,
        count(*) filter (where side.gives_p) as n_scored,
        count(*) filter (where not side.gives_p) as n_scored_q
    from warehouse.comparison_member as member
    inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
    cross join lateral (
        values (true, pair.evaluation_p), (false, pair.evaluation_q)
    ) as side (gives_p, evaluation_id)
    inner join warehouse.score_summary as summary on side.evaluation_id = summary.evaluation_id
    inner join warehouse.annotation_layer as layer on summary.layer_id = layer.layer_id
    inner join warehouse.convergence_summary as part
        on
            member.comparison_id = part.comparison_id
            and summary.layer_id = part.layer_id
            and summary.category_id = part.category_id
    inner join warehouse.annotation_category as category
        on part.layer_id = category.layer_id and part.category_id = category.category_id
    where member.comparison_id = comparison.comparison_id
    group by layer.layer_id, layer.name, part.category_id, category.value, part.n, part.sum_kl
) as scored
where
    comparison.complete
    and comparison.preferred
    and comparison.kind <> 'seed'
    and comparison.run_set = analysis.chosen_run_set()
    and scored.n_scored = comparison.n_pairs
    and scored.n_scored_q = comparison.n_pairs;

comment on view analysis.cross_entropy_points is
    'Mean KL of comparisons beside the cross-entropies of both sides, by value: the points of cross_entropy_fit.';
comment on column analysis.cross_entropy_points.kind is
    'step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.cross_entropy_points.corpus is 'name of the corpus';
comment on column analysis.cross_entropy_points.protocol is 'name of the protocol';
comment on column analysis.cross_entropy_points.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.cross_entropy_points.family is 'suite of the models, such as pythia';
comment on column analysis.cross_entropy_points.model is 'model that gives p';
comment on column analysis.cross_entropy_points.step is 'training step that gives p';
comment on column analysis.cross_entropy_points.model_q is 'model that gives q';
comment on column analysis.cross_entropy_points.step_q is 'training step that gives q';
comment on column analysis.cross_entropy_points.layer is 'name of the annotation layer; all: every token';
comment on column analysis.cross_entropy_points.value is 'value of the layer';
comment on column analysis.cross_entropy_points.n_tokens is 'tokens with a measured KL';
comment on column analysis.cross_entropy_points.mean_kl is 'mean KL over pairs and these tokens, in nats';
comment on column analysis.cross_entropy_points.cross_entropy is
    'mean over pairs of the mean surprisal of these tokens under p, in nats';
comment on column analysis.cross_entropy_points.cross_entropy_q is
    'mean over pairs of the mean surprisal of these tokens under q, in nats';
comment on column analysis.cross_entropy_points.ratio is
    'cross_entropy / cross_entropy_q: above 1 where q predicts these tokens better';
comment on column analysis.cross_entropy_points.difference is
    'cross_entropy - cross_entropy_q, in nats: above 0 where q predicts these tokens better';
comment on column analysis.cross_entropy_points.n_pairs is 'pairs averaged';
comment on column analysis.cross_entropy_points.comparison_id is 'key of warehouse.comparison';
