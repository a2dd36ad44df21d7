-- Coefficients of the regressions that `warehouse fit regression` stored: what KL goes along with, step by step.
-- Grain: one row per (fit, step, predictor, value).
-- Source: Fehlauer et al. 2025 and its slides, whose plots show the effect on convergence, with the sign turned round.
-- requires: fits, student_t_quantile
create or replace view analysis.regression_coefficients as
-- Once for each number of clusters, because the quantile is found by bisection.
with quantiles as materialized (
    select
        clusters.n_clusters,
        analysis.student_t_quantile(0.95, clusters.n_clusters - 1) as t
    from (select distinct n_clusters from warehouse.regression_coefficient) as clusters
)

select
    fit.name,
    fit.corpus,
    fit.protocol,
    fit.family,
    fit.settings ->> 'kind' as kind,
    coefficient.step,
    coefficient.predictor,
    coefficient.value,
    coefficient.reference,
    coefficient.coefficient,
    coefficient.standard_error,
    coefficient.coefficient - quantiles.t * coefficient.standard_error as lower,
    coefficient.coefficient + quantiles.t * coefficient.standard_error as upper,
    coefficient.p_value,
    coefficient.r2,
    coefficient.n,
    coefficient.n_clusters,
    coefficient.n_with_value,
    coefficient.n_clusters_with_value,
    fit.fit_id
from analysis.fits as fit
inner join warehouse.regression_coefficient as coefficient on fit.fit_id = coefficient.fit_id
inner join quantiles on coefficient.n_clusters = quantiles.n_clusters;

comment on view analysis.regression_coefficients is
    'Effects on KL of frequency, part of speech, that of the token before and model: from `warehouse fit regression`.';
comment on column analysis.regression_coefficients.name is 'name of the fit';
comment on column analysis.regression_coefficients.corpus is 'name of the corpus';
comment on column analysis.regression_coefficients.protocol is 'name of the protocol';
comment on column analysis.regression_coefficients.family is 'suite of the models, such as pythia';
comment on column analysis.regression_coefficients.kind is
    'seed, step or final: which pairs were compared';
comment on column analysis.regression_coefficients.step is 'training step that gives p';
comment on column analysis.regression_coefficients.predictor is
    'intercept, log10_count, model, or the name of a layer such as pos';
comment on column analysis.regression_coefficients.value is
    'value of the predictor; empty for intercept and log10_count';
comment on column analysis.regression_coefficients.reference is
    'value that the coefficient is a difference from, which has no row; NULL for intercept and log10_count';
comment on column analysis.regression_coefficients.coefficient is
    'effect on KL in nats (log10_count: of a tenfold count), above 0 where predicted less alike; NULL: not to be told';
comment on column analysis.regression_coefficients.standard_error is
    'its standard error, clustered by vocabulary id, in nats; NULL below settings.min_clusters ids with the value';
comment on column analysis.regression_coefficients.lower is 'lower end of its 95 % interval, in nats';
comment on column analysis.regression_coefficients.upper is 'upper end of its 95 % interval, in nats';
comment on column analysis.regression_coefficients.p_value is
    'two-sided p of coefficient / standard_error, from Student''s t with n_clusters - 1 degrees of freedom';
comment on column analysis.regression_coefficients.r2 is
    'share of the variance of KL that the regression of the step explains';
comment on column analysis.regression_coefficients.n is 'observations of the step: tokens times models';
comment on column analysis.regression_coefficients.n_clusters is 'vocabulary ids of the step';
comment on column analysis.regression_coefficients.n_with_value is 'observations with the value';
comment on column analysis.regression_coefficients.n_clusters_with_value is 'vocabulary ids with the value';
comment on column analysis.regression_coefficients.fit_id is 'key of warehouse.fit';
