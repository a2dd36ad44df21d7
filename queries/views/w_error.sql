-- What a head of rank d must lose: the curve of W-error over d, for every checkpoint whose spectrum was kept.
-- Grain: one row per (family, model, seed, step, d), d from 0 to the width of the hidden states.
-- Source: Godey et al. 2024, W-error. No matrix of rank d is nearer to the head than this (Eckart and Young 1936).
-- requires: checkpoints
create or replace view analysis.w_error as
select
    checkpoint.family,
    checkpoint.model,
    checkpoint.seed,
    checkpoint.step,
    curve.d,
    curve.w_error,
    checkpoint.hidden_size,
    checkpoint.outlier,
    checkpoint.checkpoint_id
from analysis.checkpoints as checkpoint
cross join lateral (
    select
        (item.place - 1)::integer as d,
        -- Summed from the smallest value on, so that a small remainder keeps its digits.
        sqrt(
            sum(item.square) over (order by item.place desc rows unbounded preceding)
            / nullif(sum(item.square) over (), 0)
        ) as w_error
    from (
        select
            one.place,
            one.value::double precision * one.value as square
        -- One more value, for what remains of the full rank: nothing.
        from unnest(checkpoint.head_singular_values || 0::real) with ordinality as one (value, place)
    ) as item
) as curve
where checkpoint.status = 'ok' and cardinality(checkpoint.head_singular_values) > 0;

comment on view analysis.w_error is
    'W-error: relative distance of the output head from the nearest matrix of rank d, for every d.';
comment on column analysis.w_error.family is 'suite of the model, such as pythia';
comment on column analysis.w_error.model is 'name of the model within its family';
comment on column analysis.w_error.seed is 'seed of the training run';
comment on column analysis.w_error.step is 'optimiser steps taken';
comment on column analysis.w_error.d is 'rank, from 0 to the width of the hidden states';
comment on column analysis.w_error.w_error is
    'norm of the singular values after the d-th over that of all: a share, 1 at d = 0, 0 at full rank; NULL for a head '
    'of zeros';
comment on column analysis.w_error.hidden_size is 'width of the hidden states';
comment on column analysis.w_error.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.w_error.checkpoint_id is 'key of warehouse.checkpoint';
