-- Anisotropy of the final hidden states beside the spectrum of the head and the loss, over training.
-- Grain: one row per evaluation.
-- Source: Godey et al. 2024.
-- requires: evaluations, spectrum_measures
create or replace view analysis.representation_geometry as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    evaluation.anisotropy,
    spectrum.singular_entropy,
    spectrum.effective_rank,
    spectrum.stable_rank,
    evaluation.mean_surprisal as cross_entropy,
    spectrum.n_values,
    evaluation.parameters,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
inner join warehouse.checkpoint as checkpoint on evaluation.checkpoint_id = checkpoint.checkpoint_id
cross join lateral analysis.spectrum_measures(checkpoint.head_singular_values) as spectrum
where evaluation.anisotropy is not null or spectrum.n_values is not null;

comment on view analysis.representation_geometry is
    'Geometry over training: anisotropy of the final hidden states on a corpus, singular entropy of the head, loss.';
comment on column analysis.representation_geometry.corpus is 'name of the corpus';
comment on column analysis.representation_geometry.protocol is 'name of the protocol';
comment on column analysis.representation_geometry.family is 'suite of the model, such as pythia';
comment on column analysis.representation_geometry.model is 'name of the model within its family';
comment on column analysis.representation_geometry.seed is 'seed of the training run';
comment on column analysis.representation_geometry.step is 'optimiser steps taken';
comment on column analysis.representation_geometry.anisotropy is
    'mean cosine between the final hidden states of two tokens of the corpus; NULL where not measured';
comment on column analysis.representation_geometry.singular_entropy is
    'KL(p||uniform) of the head''s singular values scaled to sum to 1, in nats';
comment on column analysis.representation_geometry.effective_rank is
    'exp of the entropy of the head''s singular values scaled to sum to 1; an extension';
comment on column analysis.representation_geometry.stable_rank is
    'squared Frobenius norm of the head over its squared spectral norm; an extension';
comment on column analysis.representation_geometry.cross_entropy is 'mean surprisal of the tokens, in nats';
comment on column analysis.representation_geometry.n_values is
    'singular values of the head, one for each dimension of the hidden states; NULL where they were not kept';
comment on column analysis.representation_geometry.parameters is 'parameters, embeddings included';
comment on column analysis.representation_geometry.tokens_seen is 'training tokens seen';
comment on column analysis.representation_geometry.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.representation_geometry.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.representation_geometry.evaluation_id is 'key of warehouse.evaluation';
