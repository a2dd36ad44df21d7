-- How far the mean KL over tokens with a value lies from the mean KL over all tokens.
-- Grain: one row per (comparison, layer, value).
-- Source: the slides to Fehlauer et al. 2025 (sigma, for kind step); errors, tests and robust score are an extension.
-- requires: chosen_run_set, comparisons, student_t
create or replace view analysis.relative_divergence as
with sums as (
    select
        comparison.comparison_id,
        comparison.kind,
        comparison.corpus,
        comparison.protocol,
        comparison.run_set,
        comparison.family,
        comparison.model,
        comparison.step,
        comparison.model_q,
        comparison.step_q,
        layer.layer_id,
        layer.name as layer,
        category.value,
        part.n as n_tokens,
        part.clusters as n_clusters,
        part.clusters >= settings.min_clusters as enough_clusters,
        comparison.n_pairs,
        comparison.complete,
        part.sum_kl,
        total.sum_kl as total_kl,
        part.sum_kl / part.n as mean_kl,
        total.sum_kl / total.n as total_mean_kl,
        part.cluster_xx,
        part.cluster_xn,
        part.cluster_nn,
        part.cross_xx,
        part.cross_xn,
        part.cross_nx,
        part.cross_nn,
        total.cluster_xx as total_xx,
        total.cluster_xn as total_xn,
        total.cluster_nn as total_nn
    from analysis.comparisons as comparison
    inner join warehouse.annotation_layer as total_layer
        on comparison.corpus_id = total_layer.corpus_id and total_layer.is_total
    inner join warehouse.convergence_summary as total
        on comparison.comparison_id = total.comparison_id and total_layer.layer_id = total.layer_id
    inner join warehouse.convergence_summary as part on comparison.comparison_id = part.comparison_id
    inner join warehouse.annotation_layer as layer on part.layer_id = layer.layer_id and not layer.is_total
    inner join warehouse.annotation_category as category
        on part.layer_id = category.layer_id and part.category_id = category.category_id
    cross join warehouse.settings
    where comparison.n_pairs > 0 and comparison.run_set = analysis.chosen_run_set()
),

-- Residuals of the two ratio estimators: V of the value, A of all tokens, one per cluster; here the sums over clusters
-- of their squares and products. The overall mean holds the value's own tokens, hence the product.
residuals as (
    select
        *,
        mean_kl / nullif(total_mean_kl, 0) as sigma,
        cluster_xx - 2 * mean_kl * cluster_xn + mean_kl * mean_kl * cluster_nn as vv,
        cross_xx - total_mean_kl * cross_xn - mean_kl * cross_nx + mean_kl * total_mean_kl * cross_nn as va,
        total_xx - 2 * total_mean_kl * total_xn + total_mean_kl * total_mean_kl * total_nn as aa
    from sums
),

ratios as (
    select
        *,
        ln(nullif(sigma, 0)) as log_sigma,
        -- Rounding may leave a difference of nothing just below 0.
        case when sum_kl > 0 and enough_clusters and n_clusters > 1 then sqrt(
            n_clusters / (n_clusters - 1.0::double precision) * greatest(
                vv / (sum_kl * sum_kl) - 2 * va / (sum_kl * total_kl) + aa / (total_kl * total_kl),
                0
            )
        ) end as se_log_sigma
    from residuals
),

scores as (
    select
        *,
        log_sigma / nullif(se_log_sigma, 0) as z
    from ratios
),

-- The names stand in the partitions, beside the keys that imply them, so that a filter on a name reaches the tables.
tests as (
    select
        *,
        analysis.student_t(z, n_clusters - 1) as p_value,
        count(log_sigma) over layer_values as n_values,
        row_number() over (layer_values order by log_sigma) as place
    from scores
    window layer_values as (
        partition by
            comparison_id, layer_id, kind, corpus, protocol, run_set, family, model, step, model_q, step_q, layer
    )
),

-- Benjamini and Hochberg: p times tests over rank; then, from the largest p down, never above a larger one's.
ranks as (
    select
        *,
        p_value * count(p_value) over layer_values / nullif(
            -- All but those above it; counted from the largest, so that one order does for this and the next step.
            count(p_value) over layer_values + 1 - rank() over (layer_values order by p_value desc nulls last), 0
        ) as rank_value,
        avg(log_sigma) filter (where place in ((n_values + 1) / 2, (n_values + 2) / 2)) over layer_values as median
    from tests
    window layer_values as (
        partition by
            comparison_id, layer_id, kind, corpus, protocol, run_set, family, model, step, model_q, step_q, layer
    )
),

-- A step of its own, which finds its rows in the order of the one before.
adjusted as (
    select
        *,
        case
            when p_value is not null then min(rank_value) over (layer_values order by p_value desc nulls last)
        end as q_value
    from ranks
    window layer_values as (
        partition by
            comparison_id, layer_id, kind, corpus, protocol, run_set, family, model, step, model_q, step_q, layer
    )
),

deviations as (
    select
        *,
        row_number() over (layer_values order by abs(log_sigma - median)) as deviation_place
    from adjusted
    window layer_values as (
        partition by
            comparison_id, layer_id, kind, corpus, protocol, run_set, family, model, step, model_q, step_q, layer
    )
),

spreads as (
    select
        *,
        avg(abs(log_sigma - median)) filter (
            where deviation_place in ((n_values + 1) / 2, (n_values + 2) / 2)
        ) over layer_values as median_deviation
    from deviations
    window layer_values as (
        partition by
            comparison_id, layer_id, kind, corpus, protocol, run_set, family, model, step, model_q, step_q, layer
    )
)

select
    spreads.kind,
    spreads.corpus,
    spreads.protocol,
    spreads.run_set,
    spreads.family,
    spreads.model,
    spreads.step,
    spreads.model_q,
    spreads.step_q,
    spreads.layer,
    spreads.value,
    spreads.n_tokens,
    spreads.sigma,
    spreads.log_sigma,
    spreads.se_log_sigma,
    spreads.z,
    spreads.p_value,
    spreads.q_value,
    case
        when spreads.n_values >= settings.robust_min_values
            then 0.6745 * (spreads.log_sigma - spreads.median) / nullif(spreads.median_deviation, 0)
    end as robust_score,
    spreads.n_clusters,
    case when spreads.se_log_sigma is not null then spreads.n_clusters - 1 end as df,
    spreads.mean_kl,
    spreads.total_mean_kl,
    spreads.n_pairs,
    spreads.complete,
    spreads.comparison_id
from spreads
cross join warehouse.settings;

comment on view analysis.relative_divergence is
'Relative divergence: mean KL over the tokens with a value over that of all tokens, with error and test.';
comment on column analysis.relative_divergence.kind is
'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.relative_divergence.corpus is 'name of the corpus';
comment on column analysis.relative_divergence.protocol is 'name of the protocol';
comment on column analysis.relative_divergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.relative_divergence.family is 'suite of models';
comment on column analysis.relative_divergence.model is 'model that gives p';
comment on column analysis.relative_divergence.step is 'training step that gives p';
comment on column analysis.relative_divergence.model_q is 'model that gives q';
comment on column analysis.relative_divergence.step_q is 'training step that gives q';
comment on column analysis.relative_divergence.layer is 'name of the annotation layer';
comment on column analysis.relative_divergence.value is 'value of the layer';
comment on column analysis.relative_divergence.n_tokens is 'tokens with the value';
comment on column analysis.relative_divergence.sigma is
'mean KL of the value / mean KL of all tokens: above 1 its predictions differ more; NULL when no prediction differs';
comment on column analysis.relative_divergence.log_sigma is 'natural log of sigma; NULL when sigma is 0 or NULL';
comment on column analysis.relative_divergence.se_log_sigma is
'standard error of log_sigma over clusters, the overall mean taken as random; NULL below settings.min_clusters';
comment on column analysis.relative_divergence.z is 'log_sigma / se_log_sigma';
comment on column analysis.relative_divergence.p_value is
'two-sided p of z, from Student''s t with df degrees of freedom: the chance of such a z where sigma is 1';
comment on column analysis.relative_divergence.q_value is
'p_value adjusted for the values of the layer in this comparison (Benjamini-Hochberg): rate of false discoveries';
comment on column analysis.relative_divergence.robust_score is
'0.6745 (log_sigma - median) / MAD over the values of the layer, to rank by; NULL for few values or where MAD is 0';
comment on column analysis.relative_divergence.n_clusters is
'clusters with such tokens: documents, or chunks of 256 tokens where documents are few';
comment on column analysis.relative_divergence.df is 'degrees of freedom of z: n_clusters - 1';
comment on column analysis.relative_divergence.mean_kl is 'mean KL over tokens with the value and pairs, in nats';
comment on column analysis.relative_divergence.total_mean_kl is 'mean KL over all tokens and pairs, in nats';
comment on column analysis.relative_divergence.n_pairs is 'ordered pairs averaged';
comment on column analysis.relative_divergence.complete is 'all ordered pairs wanted are measured';
comment on column analysis.relative_divergence.comparison_id is 'key of warehouse.comparison';
