-- Whether a token is predicted better or worse as a training run goes on, from a tenth of training to its end.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Xia et al. 2023; the autocorrelation is an extension. Other settings: token_trend_with.
-- requires: token_trend_with
create or replace view analysis.token_trend as
select
    token.corpus,
    token.protocol,
    token.family,
    token.model,
    token.seed,
    token.token_id,
    token.trend,
    token.slope,
    token.p_value,
    token.autocorrelation,
    token.n_steps,
    token.start_step,
    token.chunk_id,
    token.outlier
from analysis.token_trend_with() as token;

comment on view analysis.token_trend is
    'Trend of every token over a training run: a regression of its perplexity on steps, from a tenth of training on.';
comment on column analysis.token_trend.corpus is 'name of the corpus';
comment on column analysis.token_trend.protocol is 'name of the protocol';
comment on column analysis.token_trend.family is 'suite of the model, such as pythia';
comment on column analysis.token_trend.model is 'name of the model within its family';
comment on column analysis.token_trend.seed is 'seed of the training run';
comment on column analysis.token_trend.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_trend.trend is
    'upward, downward, stagnated or unclassified; NULL below settings.trend_min_steps checkpoints';
comment on column analysis.token_trend.slope is
    'slope of perplexity, as a multiple of that at the start, per step; above 0 where prediction gets worse';
comment on column analysis.token_trend.p_value is
    'two-sided p of the slope, from Student''s t; NULL for a curve that never moves';
comment on column analysis.token_trend.autocorrelation is
    'lag-1 autocorrelation of the regression''s residuals; NULL where a checkpoint lacks the token';
comment on column analysis.token_trend.n_steps is 'checkpoints of the regression';
comment on column analysis.token_trend.start_step is 'first step of the regression';
comment on column analysis.token_trend.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_trend.outlier is 'the training run is flagged, and left out of run set default';
