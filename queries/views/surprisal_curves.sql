-- Learning curves: the surprisal of 256 consecutive tokens at every step of a training run, as one matrix. Other views
-- build on it, since reading a token's curve from a matrix is several times faster than gathering it from rows.
-- Grain: one row per (corpus, protocol, family, model, seed, chunk_id).
-- requires: evaluations
create or replace view analysis.surprisal_curves as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    chunk.chunk_id,
    array_agg(evaluation.step order by evaluation.step) as steps,
    -- NaN for NULL: in an array with NULLs PostgreSQL counts from the first element to find any.
    array_agg(array_replace(chunk.surprisal, null, 'NaN') order by evaluation.step) as surprisal,
    -- The last step that a plan names, so that the share of training does not depend on what is measured so far.
    (
        select max(checkpoint.step)
        from warehouse.checkpoint as checkpoint
        inner join warehouse.run as run on checkpoint.run_id = run.run_id
        where run.model_id = evaluation.model_id and run.seed = evaluation.seed
    ) as last_training_step,
    evaluation.vocabulary_size,
    evaluation.outlier
from analysis.evaluations as evaluation
inner join warehouse.score_chunk as chunk on evaluation.evaluation_id = chunk.evaluation_id
group by
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    chunk.chunk_id,
    evaluation.vocabulary_size,
    evaluation.outlier,
    evaluation.model_id;

comment on view analysis.surprisal_curves is
    'Surprisal of 256 consecutive tokens at every step of a training run, as a matrix; other views build on it.';
comment on column analysis.surprisal_curves.corpus is 'name of the corpus';
comment on column analysis.surprisal_curves.protocol is 'name of the protocol';
comment on column analysis.surprisal_curves.family is 'suite of the model, such as pythia';
comment on column analysis.surprisal_curves.model is 'name of the model within its family';
comment on column analysis.surprisal_curves.seed is 'seed of the training run';
comment on column analysis.surprisal_curves.chunk_id is 'token_id / 256 of the tokens';
comment on column analysis.surprisal_curves.steps is 'measured steps, ascending';
comment on column analysis.surprisal_curves.surprisal is
    '-log p(token | context), in nats: [step][token], both from 1; NaN, not NULL, where it was not measured';
comment on column analysis.surprisal_curves.last_training_step is 'last step of the run that a plan names';
comment on column analysis.surprisal_curves.vocabulary_size is 'entries that the probabilities are spread over';
comment on column analysis.surprisal_curves.outlier is 'the training run is flagged, and left out of run set default';
