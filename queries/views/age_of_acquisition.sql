-- When a training run learns each token: the step at which its surprisal has come halfway down from that of a uniform
-- guess.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Chang, Tu and Bergen 2023; the crossing, where they fit a sigmoid or a GAM, is an
-- extension.
-- requires: token_learning
create or replace view analysis.age_of_acquisition as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed,
    token.token_id,
    token.age_of_acquisition,
    token.chunk_id,
    token.outlier
from analysis.token_learning as token;

comment on view analysis.age_of_acquisition is
    'Age of acquisition: the step at which the surprisal of a token has fallen halfway from log V to its minimum.';
comment on column analysis.age_of_acquisition.corpus is 'name of the corpus';
comment on column analysis.age_of_acquisition.protocol is 'name of the protocol';
comment on column analysis.age_of_acquisition.family is 'suite of the model, such as pythia';
comment on column analysis.age_of_acquisition.model is 'name of the model within its family';
comment on column analysis.age_of_acquisition.seed is 'seed of the training run';
comment on column analysis.age_of_acquisition.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.age_of_acquisition.age_of_acquisition is
    'step at which surprisal first falls to halfway between log V and its minimum, linear in log step; NULL if never';
comment on column analysis.age_of_acquisition.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.age_of_acquisition.outlier is 'the training run is flagged, and left out of run set default';
