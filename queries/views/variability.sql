-- How steadily a training run predicts each token in the end.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Chang, Tu and Bergen 2023.
-- requires: token_learning
create or replace view analysis.variability as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed,
    token.token_id,
    token.variability,
    token.chunk_id,
    token.outlier
from analysis.token_learning as token;

comment on view analysis.variability is
    'Variability: the standard deviation of the surprisal of a token over the last quarter of training.';
comment on column analysis.variability.corpus is 'name of the corpus';
comment on column analysis.variability.protocol is 'name of the protocol';
comment on column analysis.variability.family is 'suite of the model, such as pythia';
comment on column analysis.variability.model is 'name of the model within its family';
comment on column analysis.variability.seed is 'seed of the training run';
comment on column analysis.variability.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.variability.variability is
    'standard deviation of surprisal over the last quarter of training, in nats; NULL where confidence is';
comment on column analysis.variability.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.variability.outlier is 'the training run is flagged, and left out of run set default';
