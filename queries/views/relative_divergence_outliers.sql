-- Values whose predictions differ clearly more, or less, than those of all tokens.
-- Grain: one row per (comparison, layer, value) that passes every threshold of warehouse.settings.
-- Below settings.min_clusters clusters q_value is NULL, so no such value is an outlier.
-- Source: an extension; the slides to Fehlauer et al. 2025 look for values off the line at 1.
-- requires: relative_divergence
create or replace view analysis.relative_divergence_outliers as
select
    divergence.kind,
    divergence.corpus,
    divergence.protocol,
    divergence.run_set,
    divergence.family,
    divergence.model,
    divergence.step,
    divergence.model_q,
    divergence.step_q,
    divergence.layer,
    divergence.value,
    divergence.n_tokens,
    divergence.sigma,
    divergence.log_sigma,
    divergence.se_log_sigma,
    divergence.z,
    divergence.p_value,
    divergence.q_value,
    divergence.robust_score,
    divergence.n_clusters,
    divergence.df,
    divergence.n_pairs,
    divergence.complete,
    divergence.mean_kl,
    divergence.total_mean_kl,
    divergence.comparison_id
from analysis.relative_divergence as divergence
cross join warehouse.settings
where
    divergence.q_value <= settings.outlier_q_value
    and abs(divergence.log_sigma) >= ln(settings.outlier_ratio)
    and divergence.n_tokens >= settings.outlier_min_tokens;

comment on view analysis.relative_divergence_outliers is
'Relative divergence that is clearly not 1: significant, large and on enough tokens, as warehouse.settings says.';
comment on column analysis.relative_divergence_outliers.kind is
'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.relative_divergence_outliers.corpus is 'name of the corpus';
comment on column analysis.relative_divergence_outliers.protocol is 'name of the protocol';
comment on column analysis.relative_divergence_outliers.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.relative_divergence_outliers.family is 'suite of models';
comment on column analysis.relative_divergence_outliers.model is 'model that gives p';
comment on column analysis.relative_divergence_outliers.step is 'training step that gives p';
comment on column analysis.relative_divergence_outliers.model_q is 'model that gives q';
comment on column analysis.relative_divergence_outliers.step_q is 'training step that gives q';
comment on column analysis.relative_divergence_outliers.layer is 'name of the annotation layer';
comment on column analysis.relative_divergence_outliers.value is 'value of the layer';
comment on column analysis.relative_divergence_outliers.n_tokens is 'tokens with the value';
comment on column analysis.relative_divergence_outliers.sigma is
'mean KL of the value / mean KL of all tokens: above 1 its predictions differ more; NULL when no prediction differs';
comment on column analysis.relative_divergence_outliers.log_sigma is
'natural log of sigma; NULL when sigma is 0 or NULL';
comment on column analysis.relative_divergence_outliers.se_log_sigma is
'standard error of log_sigma over clusters, the overall mean taken as random; NULL below settings.min_clusters';
comment on column analysis.relative_divergence_outliers.z is 'log_sigma / se_log_sigma';
comment on column analysis.relative_divergence_outliers.p_value is
'two-sided p of z, from Student''s t with df degrees of freedom: the chance of such a z where sigma is 1';
comment on column analysis.relative_divergence_outliers.q_value is
'p_value adjusted for the values of the layer in this comparison (Benjamini-Hochberg): rate of false discoveries';
comment on column analysis.relative_divergence_outliers.robust_score is
'0.6745 (log_sigma - median) / MAD over the values of the layer, to rank by; NULL for few values or where MAD is 0';
comment on column analysis.relative_divergence_outliers.n_clusters is
'clusters with such tokens: documents, or chunks of 256 tokens where documents are few';
comment on column analysis.relative_divergence_outliers.df is 'degrees of freedom of z: n_clusters - 1';
comment on column analysis.relative_divergence_outliers.n_pairs is 'ordered pairs averaged';
comment on column analysis.relative_divergence_outliers.complete is
'all ordered pairs that the plan wants are measured';
comment on column analysis.relative_divergence_outliers.mean_kl is
'mean KL over tokens with the value and pairs, in nats';
comment on column analysis.relative_divergence_outliers.total_mean_kl is 'mean KL over all tokens and pairs, in nats';
comment on column analysis.relative_divergence_outliers.comparison_id is 'key of warehouse.comparison';
