-- By how much a long context helps a model: the loss of tokens predicted from few ids less that from many.
-- Grain: one row per (corpus, protocol, family, model, seed, step, paradigm).
-- Source: Fehlauer et al. 2025, in-context learning score; an earlier one, loss[500] - loss[50], has the other sign.
-- requires: evaluations
create or replace view analysis.in_context_learning_score as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    paradigm.name as paradigm,
    span.n_items,
    span.score,
    span.se_score,
    span.surprisal_short,
    span.surprisal_long,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id,
    paradigm.paradigm_id,
    span.se_surprisal_short,
    span.se_surprisal_long
from analysis.evaluations as evaluation
inner join warehouse.paradigm as paradigm on evaluation.corpus_id = paradigm.corpus_id and paradigm.kind = 'spans'
cross join lateral (
    select
        count(*) as n_items,
        avg(short.surprisal - long.surprisal) as score,
        stddev_samp(short.surprisal - long.surprisal) / sqrt(count(*)) as se_score,
        avg(short.surprisal) as surprisal_short,
        avg(long.surprisal) as surprisal_long,
        stddev_samp(short.surprisal) / sqrt(count(*)) as se_surprisal_short,
        stddev_samp(long.surprisal) / sqrt(count(*)) as se_surprisal_long
    from warehouse.item as short_item
    inner join warehouse.item as long_item
        on
            short_item.paradigm_id = long_item.paradigm_id
            and short_item.item = long_item.item
            and long_item.role = 'long'
    inner join warehouse.document_score_chunk as short_chunk
        on
            evaluation.evaluation_id = short_chunk.evaluation_id
            and short_item.document / 256 = short_chunk.document_chunk
    inner join warehouse.document_score_chunk as long_chunk
        on
            evaluation.evaluation_id = long_chunk.evaluation_id
            and long_item.document / 256 = long_chunk.document_chunk
    cross join lateral (
        select short_chunk.surprisal[short_item.document % 256 + 1]::double precision as surprisal
    ) as short
    cross join lateral (
        select long_chunk.surprisal[long_item.document % 256 + 1]::double precision as surprisal
    ) as long
    where
        short_item.paradigm_id = paradigm.paradigm_id
        and short_item.role = 'short'
        and short.surprisal is not null
        and long.surprisal is not null
) as span
where span.n_items > 0;

comment on view analysis.in_context_learning_score is
    'In-context learning: loss from a short context less loss from a long one; positive when context helps.';
comment on column analysis.in_context_learning_score.corpus is 'name of the corpus';
comment on column analysis.in_context_learning_score.protocol is 'name of the protocol';
comment on column analysis.in_context_learning_score.family is 'suite of the model, such as pythia';
comment on column analysis.in_context_learning_score.model is 'name of the model within its family';
comment on column analysis.in_context_learning_score.seed is 'seed of the training run';
comment on column analysis.in_context_learning_score.step is 'optimiser steps taken';
comment on column analysis.in_context_learning_score.paradigm is 'name of the paradigm, task or condition';
comment on column analysis.in_context_learning_score.n_items is 'spans scored with both contexts';
comment on column analysis.in_context_learning_score.score is
    'mean of the surprisal from the short context less that from the long one, in nats';
comment on column analysis.in_context_learning_score.se_score is
    'standard error of the score, spans taken as independent, in nats';
comment on column analysis.in_context_learning_score.surprisal_short is
    'mean surprisal from the short context, in nats';
comment on column analysis.in_context_learning_score.surprisal_long is 'mean surprisal from the long context, in nats';
comment on column analysis.in_context_learning_score.tokens_seen is 'training tokens seen';
comment on column analysis.in_context_learning_score.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.in_context_learning_score.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.in_context_learning_score.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.in_context_learning_score.paradigm_id is 'key of warehouse.paradigm';
comment on column analysis.in_context_learning_score.se_surprisal_short is
    'standard error of surprisal_short, spans taken as independent, in nats; se_score pairs them';
comment on column analysis.in_context_learning_score.se_surprisal_long is
    'standard error of surprisal_long, spans taken as independent, in nats';
