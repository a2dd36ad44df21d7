-- How evenly a checkpoint's output head uses its dimensions, from the spectrum that was kept when it was read.
-- Grain: one row per good checkpoint with a spectrum.
-- Source: Godey et al. 2024, singular entropy; the ranks are extensions.
-- requires: checkpoints, spectrum_measures
create or replace view analysis.head_spectrum as
select
    checkpoint.family,
    checkpoint.model,
    checkpoint.seed,
    checkpoint.step,
    spectrum.singular_entropy,
    spectrum.effective_rank,
    spectrum.stable_rank,
    spectrum.spectral_norm,
    spectrum.frobenius_norm,
    spectrum.n_values,
    checkpoint.hidden_size,
    checkpoint.vocabulary_width,
    checkpoint.parameters,
    checkpoint.tokens_seen,
    checkpoint.flops,
    checkpoint.outlier,
    checkpoint.checkpoint_id
from analysis.checkpoints as checkpoint
cross join lateral analysis.spectrum_measures(checkpoint.head_singular_values) as spectrum
where checkpoint.status = 'ok' and cardinality(checkpoint.head_singular_values) > 0;

comment on view analysis.head_spectrum is
    'Spectrum of the output head over training: singular entropy and measures of rank, a row per checkpoint.';
comment on column analysis.head_spectrum.family is 'suite of the model, such as pythia';
comment on column analysis.head_spectrum.model is 'name of the model within its family';
comment on column analysis.head_spectrum.seed is 'seed of the training run';
comment on column analysis.head_spectrum.step is 'optimiser steps taken';
comment on column analysis.head_spectrum.singular_entropy is
    'KL(p||uniform) of the singular values scaled to sum to 1, in nats: 0 where all are equal, log n_values where all '
    'but one are 0; NULL for a head of zeros';
comment on column analysis.head_spectrum.effective_rank is
    'exp of the entropy of the singular values scaled to sum to 1, from 1 to n_values; an extension';
comment on column analysis.head_spectrum.stable_rank is
    'squared Frobenius norm over squared spectral norm, from 1 to n_values; an extension';
comment on column analysis.head_spectrum.spectral_norm is 'greatest singular value of the head';
comment on column analysis.head_spectrum.frobenius_norm is
    'root of the sum of the squared singular values, which is that of the squared weights';
comment on column analysis.head_spectrum.n_values is 'singular values, one for each dimension of the hidden states';
comment on column analysis.head_spectrum.hidden_size is 'width d of the hidden states';
comment on column analysis.head_spectrum.vocabulary_width is 'width V of the output head, padding included';
comment on column analysis.head_spectrum.parameters is 'parameters, embeddings included';
comment on column analysis.head_spectrum.tokens_seen is 'training tokens seen';
comment on column analysis.head_spectrum.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.head_spectrum.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.head_spectrum.checkpoint_id is 'key of warehouse.checkpoint';
