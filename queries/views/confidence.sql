-- How well a training run predicts each token in the end.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Chang, Tu and Bergen 2023.
-- requires: token_learning
create or replace view analysis.confidence as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed,
    token.token_id,
    token.confidence,
    token.chunk_id,
    token.outlier
from analysis.token_learning as token;

comment on view analysis.confidence is
    'Confidence: the mean surprisal of a token over the last quarter of training.';
comment on column analysis.confidence.corpus is 'name of the corpus';
comment on column analysis.confidence.protocol is 'name of the protocol';
comment on column analysis.confidence.family is 'suite of the model, such as pythia';
comment on column analysis.confidence.model is 'name of the model within its family';
comment on column analysis.confidence.seed is 'seed of the training run';
comment on column analysis.confidence.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.confidence.confidence is
    'mean surprisal over the last quarter of training, in nats; NULL below settings.late_min_steps checkpoints';
comment on column analysis.confidence.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.confidence.outlier is 'the training run is flagged, and left out of run set default';
