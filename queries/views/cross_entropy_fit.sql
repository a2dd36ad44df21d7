-- How much of the KL from a step to the next goes along with the fall of cross-entropy, by value of a layer.
-- Grain: one row per (corpus, protocol, run_set, family, layer, value, predictor); steps to settings.fit_max_step.
-- Source: the slides to Fehlauer et al. 2025; the standard error is an extension.
-- requires: cross_entropy_fit_with
create or replace view analysis.cross_entropy_fit as
select
    fit.corpus,
    fit.protocol,
    fit.run_set,
    fit.family,
    fit.layer,
    fit.value,
    fit.predictor,
    fit.alpha,
    fit.intercept,
    fit.r2,
    fit.n,
    fit.se_alpha,
    fit.df,
    fit.n_models,
    fit.first_step,
    fit.last_step
from analysis.cross_entropy_fit_with() as fit;

comment on view analysis.cross_entropy_fit is
    'Least squares of mean KL, from a step to the next, on the ratio or the difference of cross-entropies, by value.';
comment on column analysis.cross_entropy_fit.corpus is 'name of the corpus';
comment on column analysis.cross_entropy_fit.protocol is 'name of the protocol';
comment on column analysis.cross_entropy_fit.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.cross_entropy_fit.family is 'suite of the models, such as pythia';
comment on column analysis.cross_entropy_fit.layer is 'name of the annotation layer; all: every token';
comment on column analysis.cross_entropy_fit.value is 'value of the layer';
comment on column analysis.cross_entropy_fit.predictor is
    'ratio: H(p) / H(q), or difference: H(p) - H(q), H being the cross-entropy of the value''s tokens';
comment on column analysis.cross_entropy_fit.alpha is
    'slope of mean KL on the predictor: nats per unit of the ratio, or nats per nat; times 100 a percentage';
comment on column analysis.cross_entropy_fit.intercept is 'mean KL that the line has where the predictor is 0, in nats';
comment on column analysis.cross_entropy_fit.r2 is
    'share of the variance of mean KL that the line explains; NULL where the predictor or mean KL does not vary';
comment on column analysis.cross_entropy_fit.n is 'points: comparisons';
comment on column analysis.cross_entropy_fit.se_alpha is
    'standard error of alpha, with points taken as independent, which those of one model are not; NULL below 3';
comment on column analysis.cross_entropy_fit.df is 'degrees of freedom of se_alpha: n - 2';
comment on column analysis.cross_entropy_fit.n_models is 'models that have points';
comment on column analysis.cross_entropy_fit.first_step is 'first step with a point';
comment on column analysis.cross_entropy_fit.last_step is 'last step with a point';
