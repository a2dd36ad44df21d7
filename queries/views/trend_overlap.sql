-- How much of the class of tokens with a trend in one model, a small one say, lies in that class in another.
-- Grain: one row per (corpus, protocol, family, model, other_model, seed, trend).
-- Source: Xia et al. 2023; the share expected by chance is an extension. Other settings: trend_overlap_with.
-- requires: trend_overlap_with
create or replace view analysis.trend_overlap as
select
    pair.corpus,
    pair.protocol,
    pair.family,
    pair.model,
    pair.other_model,
    pair.seed,
    pair.trend,
    pair.n_tokens,
    pair.n_shared,
    pair.share,
    pair.expected_share
from analysis.trend_overlap_with() as pair;

comment on view analysis.trend_overlap is
    'Share of the tokens with a trend in one model that have it in another one too.';
comment on column analysis.trend_overlap.corpus is 'name of the corpus';
comment on column analysis.trend_overlap.protocol is 'name of the protocol';
comment on column analysis.trend_overlap.family is 'suite of the model, such as pythia';
comment on column analysis.trend_overlap.model is 'name of the model within its family';
comment on column analysis.trend_overlap.other_model is 'another model of the family';
comment on column analysis.trend_overlap.seed is 'seed of both training runs';
comment on column analysis.trend_overlap.trend is 'upward, downward, stagnated or unclassified';
comment on column analysis.trend_overlap.n_tokens is
    'tokens with this trend in model, of those that have a trend in both';
comment on column analysis.trend_overlap.n_shared is 'of these, tokens with this trend in other_model too';
comment on column analysis.trend_overlap.share is
    'n_shared / n_tokens: how much of the class of model lies in that of other_model; NULL for an empty class';
comment on column analysis.trend_overlap.expected_share is
    'share of all tokens with this trend in other_model: what share would be by chance';
