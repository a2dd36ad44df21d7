-- How much of what a training run learned about each token it loses again on the way.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Chang, Tu and Bergen 2023; the running mean, where they smooth with a GAM, is an
-- extension.
-- requires: token_learning
create or replace view analysis.forgettability as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed,
    token.token_id,
    token.forgettability,
    token.chunk_id,
    token.outlier
from analysis.token_learning as token;

comment on view analysis.forgettability is
    'Forgettability: the sum of all increases of the smoothed surprisal of a token over a training run.';
comment on column analysis.forgettability.corpus is 'name of the corpus';
comment on column analysis.forgettability.protocol is 'name of the protocol';
comment on column analysis.forgettability.family is 'suite of the model, such as pythia';
comment on column analysis.forgettability.model is 'name of the model within its family';
comment on column analysis.forgettability.seed is 'seed of the training run';
comment on column analysis.forgettability.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.forgettability.forgettability is
    'sum of the increases of surprisal, smoothed by a running mean over three checkpoints, in nats; NULL below four';
comment on column analysis.forgettability.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.forgettability.outlier is 'the training run is flagged, and left out of run set default';
