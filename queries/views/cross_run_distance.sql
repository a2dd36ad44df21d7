-- How far the learning curves of two training runs of a model lie apart, on average over tokens.
-- Grain: one row per (corpus, protocol, family, model, seed_p, seed_q), the smaller seed first.
-- Source: Chang, Tu and Bergen 2023. Flagged runs are left out.
-- requires: token_cross_run_distance
create or replace view analysis.cross_run_distance as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed_p,
    token.seed_q,
    avg(token.distance) as distance,
    count(token.distance) as n_tokens
from analysis.token_cross_run_distance as token
group by token.corpus, token.protocol, token.family, token.model, token.seed_p, token.seed_q;

comment on view analysis.cross_run_distance is
    'Distance of the learning curves of two runs of a model: mean squared difference of surprisal.';
comment on column analysis.cross_run_distance.corpus is 'name of the corpus';
comment on column analysis.cross_run_distance.protocol is 'name of the protocol';
comment on column analysis.cross_run_distance.family is 'suite of the model, such as pythia';
comment on column analysis.cross_run_distance.model is 'name of the model within its family';
comment on column analysis.cross_run_distance.seed_p is 'seed of one run';
comment on column analysis.cross_run_distance.seed_q is 'seed of another run of the model, greater than seed_p';
comment on column analysis.cross_run_distance.distance is
    'mean over tokens of the mean squared difference of surprisal over steps, in nats squared';
comment on column analysis.cross_run_distance.n_tokens is 'tokens that both runs measured at some step';
