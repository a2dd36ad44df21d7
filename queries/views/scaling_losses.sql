-- Losses that a scaling law may be about: the mean surprisal of every evaluation, and imported results by their names.
-- Grain: one row per (corpus, protocol, metric, source, family, model, seed, step).
-- Source: surprisal is measured here, and has a corpus and a protocol; the others were imported, and have a source.
-- requires: checkpoint_metrics, checkpoints, evaluations, surprisal_by_value
create or replace view analysis.scaling_losses as
select
    evaluation.corpus,
    evaluation.protocol,
    'surprisal' as metric,
    null::text as source,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    scored.surprisal as loss,
    scored.se_document as standard_error,
    model.parameters,
    model.parameters_without_embeddings,
    evaluation.tokens_seen,
    evaluation.outlier,
    evaluation.corpus_id,
    evaluation.protocol_id,
    evaluation.checkpoint_id
from analysis.evaluations as evaluation
inner join analysis.surprisal_by_value as scored on evaluation.evaluation_id = scored.evaluation_id
inner join warehouse.model as model on evaluation.model_id = model.model_id
where scored.is_total and scored.surprisal is not null

union all

-- What was measured elsewhere needs no files here: a checkpoint may be missing or damaged, but not another one's.
select
    null as corpus,
    null as protocol,
    result.name as metric,
    result.source,
    result.family,
    result.model,
    result.seed,
    result.step,
    result.value as loss,
    result.standard_error,
    checkpoint.parameters,
    checkpoint.parameters_without_embeddings,
    checkpoint.tokens_seen,
    result.outlier,
    null as corpus_id,
    null as protocol_id,
    result.checkpoint_id
from analysis.checkpoint_metrics as result
inner join analysis.checkpoints as checkpoint on result.checkpoint_id = checkpoint.checkpoint_id
where
    (result.status is null or result.status in ('ok', 'missing', 'failed'))
    -- What improves upwards is no loss.
    and result.higher_is_better is not true;

comment on view analysis.scaling_losses is
    'Losses with the size and the training of their checkpoints: what `warehouse fit scaling` fits.';
comment on column analysis.scaling_losses.corpus is 'name of the corpus; NULL for imported results';
comment on column analysis.scaling_losses.protocol is 'name of the protocol; NULL for imported results';
comment on column analysis.scaling_losses.metric is 'surprisal, or what an imported result is called';
comment on column analysis.scaling_losses.source is
    'where an imported result came from; NULL for what was measured here';
comment on column analysis.scaling_losses.family is 'suite of the model, such as pythia';
comment on column analysis.scaling_losses.model is 'name of the model within its family';
comment on column analysis.scaling_losses.seed is 'seed of the training run';
comment on column analysis.scaling_losses.step is 'optimiser steps taken';
comment on column analysis.scaling_losses.loss is
    'mean surprisal of the tokens, in nats; of imported results the value, a loss in nats only if the metric is one';
comment on column analysis.scaling_losses.standard_error is
    'standard error of the loss: of surprisal over clusters of tokens, of a result as its source gives it';
comment on column analysis.scaling_losses.parameters is 'parameters, embeddings included; NULL before it was read';
comment on column analysis.scaling_losses.parameters_without_embeddings is
    'parameters other than input and output embeddings; NULL before it was read';
comment on column analysis.scaling_losses.tokens_seen is 'training tokens seen; NULL where not known';
comment on column analysis.scaling_losses.outlier is 'the training run is flagged, and left out of fits';
comment on column analysis.scaling_losses.corpus_id is 'key of warehouse.corpus';
comment on column analysis.scaling_losses.protocol_id is 'key of warehouse.protocol';
comment on column analysis.scaling_losses.checkpoint_id is 'key of warehouse.checkpoint';
