-- Every checkpoint that a plan names, with its training run and its model, whether or not it could be read.
-- Grain: one row per (family, model, seed, step).
create or replace view analysis.checkpoints as
select
    model.family,
    model.name as model,
    run.seed,
    checkpoint.step,
    model.parameters,
    checkpoint.revision,
    checkpoint.status,
    checkpoint.reason,
    checkpoint.source,
    checkpoint.weights_sha256,
    checkpoint.tokens_seen,
    checkpoint.flops,
    checkpoint.learning_rate,
    run.outlier,
    run.note as run_note,
    model.parameters_without_embeddings,
    model.hidden_size,
    model.layers,
    model.vocabulary_width,
    model.context_length,
    model.architecture,
    model.objective,
    checkpoint.head_singular_values,
    checkpoint.note,
    checkpoint.released,
    checkpoint.checkpoint_id
from warehouse.checkpoint as checkpoint
inner join warehouse.run as run on checkpoint.run_id = run.run_id
inner join warehouse.model as model on run.model_id = model.model_id;

comment on view analysis.checkpoints is
    'Checkpoints: every model at every planned step, with what was found when it was read.';
comment on column analysis.checkpoints.family is 'suite of the model, such as pythia';
comment on column analysis.checkpoints.model is 'name of the model within its family';
comment on column analysis.checkpoints.seed is 'seed of the training run';
comment on column analysis.checkpoints.step is 'optimiser steps taken';
comment on column analysis.checkpoints.parameters is 'parameters, embeddings included';
comment on column analysis.checkpoints.revision is 'revision of the repository, or the path within the folder';
comment on column analysis.checkpoints.status is
    'ok, missing, duplicate, suspect, quarantined or failed; NULL before it was read';
comment on column analysis.checkpoints.reason is 'why the status is not ok';
comment on column analysis.checkpoints.source is 'folder or repository';
comment on column analysis.checkpoints.weights_sha256 is 'SHA-256 of the weights';
comment on column analysis.checkpoints.tokens_seen is 'training tokens seen';
comment on column analysis.checkpoints.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.checkpoints.learning_rate is
    'learning rate at the step, as the suite publishes it; NULL where it does not';
comment on column analysis.checkpoints.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.checkpoints.run_note is 'why the training run is flagged';
comment on column analysis.checkpoints.parameters_without_embeddings is
    'parameters other than input and output embeddings';
comment on column analysis.checkpoints.hidden_size is 'width d of the hidden states';
comment on column analysis.checkpoints.layers is 'transformer layers';
comment on column analysis.checkpoints.vocabulary_width is 'width V of the output head, padding included';
comment on column analysis.checkpoints.context_length is 'longest input, in tokens';
comment on column analysis.checkpoints.architecture is 'class of the model in transformers';
comment on column analysis.checkpoints.objective is 'causal or masked';
comment on column analysis.checkpoints.head_singular_values is 'singular values of the output head, descending';
comment on column analysis.checkpoints.note is 'what is remarkable about the checkpoint, and no fault';
comment on column analysis.checkpoints.released is
    'judged good by hand: the rules for duplicates and suspects leave it alone';
comment on column analysis.checkpoints.checkpoint_id is 'key of warehouse.checkpoint';
