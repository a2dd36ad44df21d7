-- What was scored: complete evaluations of good checkpoints, with every name. Other views build on it.
-- Grain: one row per (corpus, protocol, family, model, seed, step).
create or replace view analysis.evaluations as
select
    corpus.name as corpus,
    protocol.name as protocol,
    model.family,
    model.name as model,
    run.seed,
    checkpoint.step,
    evaluation.mean_surprisal,
    evaluation.anisotropy,
    checkpoint.tokens_seen,
    checkpoint.flops,
    model.parameters,
    run.outlier,
    evaluation."window",
    protocol.bos,
    protocol.windows,
    case protocol.vocabulary when 'tokenizer' then tokenizer.length else model.vocabulary_width end as vocabulary_size,
    corpus.cluster,
    corpus.first_token_id,
    evaluation.seconds,
    evaluation.measured_at,
    evaluation.top_k,
    evaluation.evaluation_id,
    evaluation.checkpoint_id,
    evaluation.corpus_id,
    evaluation.protocol_id,
    model.model_id
from warehouse.evaluation as evaluation
inner join warehouse.checkpoint as checkpoint on evaluation.checkpoint_id = checkpoint.checkpoint_id
inner join warehouse.run as run on checkpoint.run_id = run.run_id
inner join warehouse.model as model on run.model_id = model.model_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.tokenizer as tokenizer on corpus.tokenizer_id = tokenizer.tokenizer_id
inner join warehouse.protocol as protocol on evaluation.protocol_id = protocol.protocol_id
where evaluation.status = 'complete' and checkpoint.status = 'ok';

comment on view analysis.evaluations is 'Evaluations: checkpoints that were scored on a corpus, and the conditions.';
comment on column analysis.evaluations.corpus is 'name of the corpus';
comment on column analysis.evaluations.protocol is 'name of the protocol';
comment on column analysis.evaluations.family is 'suite of the model, such as pythia';
comment on column analysis.evaluations.model is 'name of the model within its family';
comment on column analysis.evaluations.seed is 'seed of the training run';
comment on column analysis.evaluations.step is 'optimiser steps taken';
comment on column analysis.evaluations.mean_surprisal is 'mean surprisal over tokens, in nats';
comment on column analysis.evaluations.anisotropy is 'mean cosine between the final hidden states of two tokens';
comment on column analysis.evaluations.tokens_seen is 'training tokens seen';
comment on column analysis.evaluations.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.evaluations.parameters is 'parameters, embeddings included';
comment on column analysis.evaluations.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.evaluations.window is 'longest input used, in tokens';
comment on column analysis.evaluations.bos is 'the sequence begins with BOS';
comment on column analysis.evaluations.windows is
    'concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids';
comment on column analysis.evaluations.vocabulary_size is 'entries that the probabilities are spread over';
comment on column analysis.evaluations.cluster is
    'what standard errors take as independent: document, or chunk where documents are few';
comment on column analysis.evaluations.first_token_id is 'token_id of the first token of the corpus';
comment on column analysis.evaluations.seconds is 'time taken to read and score';
comment on column analysis.evaluations.measured_at is 'when it was computed';
comment on column analysis.evaluations.top_k is 'most probable entries kept for each token, in token_top';
comment on column analysis.evaluations.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.evaluations.checkpoint_id is 'key of warehouse.checkpoint';
comment on column analysis.evaluations.corpus_id is 'key of warehouse.corpus';
comment on column analysis.evaluations.protocol_id is 'key of warehouse.protocol';
comment on column analysis.evaluations.model_id is 'key of warehouse.model';
