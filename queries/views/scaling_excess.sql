-- How far the loss of every checkpoint lies above a fitted scaling law, models that were too small for the fit included.
-- Grain: one row per (fit, model, seed, step).
-- Source: Godey et al. 2024, excess over the extrapolated law.
-- requires: scaling_law, scaling_losses
create or replace view analysis.scaling_excess as
select
    fit.name as fit,
    point.corpus,
    point.protocol,
    point.metric,
    point.source,
    point.family,
    point.model,
    point.seed,
    point.step,
    point.loss,
    expected.loss as predicted_loss,
    point.loss / nullif(expected.loss, 0) - 1 as excess,
    point.standard_error / nullif(expected.loss, 0) as se_excess,
    counted.parameters,
    counted.tokens,
    not point.outlier
    and expected.loss is not null
    and coalesce(point.parameters, counted.parameters) >= (fit.settings ->> 'min_parameters')::bigint
    and point.step >= (fit.settings ->> 'from_step')::integer as is_fitted,
    point.outlier,
    fit.fit_id,
    point.checkpoint_id
from warehouse.scaling_fit as law
inner join warehouse.fit as fit on law.fit_id = fit.fit_id
inner join analysis.scaling_losses as point
    on
        fit.family = point.family
        and fit.settings ->> 'metric' = point.metric
        and fit.corpus_id is not distinct from point.corpus_id
        and fit.protocol_id is not distinct from point.protocol_id
        and fit.settings ->> 'source' is not distinct from point.source
-- What the warehouse does not know of a checkpoint, the fit may have been told.
cross join lateral (
    select
        coalesce(
            case fit.settings ->> 'parameters'
                when 'total' then point.parameters
                else point.parameters_without_embeddings
            end,
            (fit.settings -> 'sizes' ->> point.model)::bigint
        ) as parameters,
        coalesce(point.tokens_seen, point.step * (fit.settings ->> 'tokens_per_step')::bigint) as tokens
) as counted
cross join lateral (
    select
        analysis.scaling_law(
            law.a,
            law.alpha,
            law.b,
            law.beta,
            law.e,
            counted.parameters::double precision,
            counted.tokens::double precision
        ) as loss
) as expected;

comment on view analysis.scaling_excess is
    'Excess over scaling laws: the loss of each checkpoint against what a fitted law expects of its size and training.';
comment on column analysis.scaling_excess.fit is 'name of the fit, as in scaling_fits';
comment on column analysis.scaling_excess.corpus is 'name of the corpus; NULL for imported losses';
comment on column analysis.scaling_excess.protocol is 'name of the protocol; NULL for imported losses';
comment on column analysis.scaling_excess.metric is 'surprisal, or what the imported loss is called';
comment on column analysis.scaling_excess.source is 'where an imported loss came from; NULL for what was measured here';
comment on column analysis.scaling_excess.family is 'suite of the model, such as pythia';
comment on column analysis.scaling_excess.model is 'name of the model within its family';
comment on column analysis.scaling_excess.seed is 'seed of the training run';
comment on column analysis.scaling_excess.step is 'optimiser steps taken';
comment on column analysis.scaling_excess.loss is 'the loss L, in nats';
comment on column analysis.scaling_excess.predicted_loss is
    'loss that the law expects, in nats; NULL where size or training are not known, and at step 0';
comment on column analysis.scaling_excess.excess is
    'loss over predicted_loss, less 1: a share, above 0 where the checkpoint is worse than the law; NULL likewise';
comment on column analysis.scaling_excess.se_excess is
    'standard error of the excess by that of the loss, the law taken as given; NULL where the loss has none';
comment on column analysis.scaling_excess.parameters is 'N: parameters as the fit counts them';
comment on column analysis.scaling_excess.tokens is 'T: training tokens seen';
comment on column analysis.scaling_excess.is_fitted is
    'qualifies for the fit: large enough, late enough, of no flagged run; also where it came in after the fit';
comment on column analysis.scaling_excess.outlier is 'the training run is flagged, and left out of the fit';
comment on column analysis.scaling_excess.fit_id is 'key of warehouse.fit';
comment on column analysis.scaling_excess.checkpoint_id is 'key of warehouse.checkpoint';
