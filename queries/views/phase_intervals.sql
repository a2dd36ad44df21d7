-- How far the text determines the boundaries between phases of training: intervals from a bootstrap over documents.
-- Grain: one row per (fit, model, boundary).
-- Source: an extension; `warehouse fit phases` fits it.
-- requires: fits
create or replace view analysis.phase_intervals as
select
    fit.name,
    fit.corpus,
    fit.protocol,
    fit.family,
    model.name as model,
    result.boundary,
    result.step,
    result.lower,
    result.upper,
    result.share,
    result.confidence,
    result.n_documents,
    result.n_samples,
    (fit.settings ->> 'seed')::bigint as seed,
    fit.made_at,
    fit.fit_id
from analysis.fits as fit
inner join warehouse.phase_interval as result on fit.fit_id = result.fit_id
inner join warehouse.model as model on result.model_id = model.model_id;

comment on view analysis.phase_intervals is
    'Intervals of the estimated boundaries between phases: how far other documents would move them.';
comment on column analysis.phase_intervals.name is 'name of the fit, phases unless it was given another';
comment on column analysis.phase_intervals.corpus is 'name of the corpus';
comment on column analysis.phase_intervals.protocol is 'name of the protocol';
comment on column analysis.phase_intervals.family is 'suite of models';
comment on column analysis.phase_intervals.model is 'name of the model within its family';
comment on column analysis.phase_intervals.boundary is
    'uniform_end, peak or trough: last step of the uniform phase, first and last step of the sharp divergence';
comment on column analysis.phase_intervals.step is
    'step estimated from all documents when it was fitted; NULL where the curve has no such boundary';
comment on column analysis.phase_intervals.lower is
    'lower end of the interval, a measured step; NULL where no sample has such a boundary';
comment on column analysis.phase_intervals.upper is 'upper end of the interval, a measured step';
comment on column analysis.phase_intervals.share is
    'share of the samples whose curve has such a boundary; the interval is of these';
comment on column analysis.phase_intervals.confidence is
    'share of the boundaries of samples that the interval holds, at least';
comment on column analysis.phase_intervals.n_documents is 'documents of the text that samples were drawn from';
comment on column analysis.phase_intervals.n_samples is 'samples, each of as many documents, drawn with replacement';
comment on column analysis.phase_intervals.seed is 'seed of the random numbers';
comment on column analysis.phase_intervals.made_at is 'when it was fitted';
comment on column analysis.phase_intervals.fit_id is 'key of warehouse.fit';
