-- Shares of tokens that a training run predicts better and better, worse and worse, or no different, from a tenth of
-- training to its end, beside the shares that chance would give.
-- Grain: one row per (corpus, protocol, family, model, seed, trend).
-- Source: Xia et al. 2023; the shuffled shares and the autocorrelation are an extension. Other settings:
-- trend_shares_with.
-- requires: trend_shares_with
create or replace view analysis.trend_shares as
select
    class.corpus,
    class.protocol,
    class.family,
    class.model,
    class.seed,
    class.trend,
    class.n_tokens,
    class.share,
    class.shuffled_share,
    class.autocorrelation,
    class.n_classified,
    class.outlier
from analysis.trend_shares_with() as class;

comment on view analysis.trend_shares is
    'Shares of tokens with each trend in a training run, and the shares left when time is shuffled.';
comment on column analysis.trend_shares.corpus is 'name of the corpus';
comment on column analysis.trend_shares.protocol is 'name of the protocol';
comment on column analysis.trend_shares.family is 'suite of the model, such as pythia';
comment on column analysis.trend_shares.model is 'name of the model within its family';
comment on column analysis.trend_shares.seed is 'seed of the training run';
comment on column analysis.trend_shares.trend is 'upward, downward, stagnated or unclassified';
comment on column analysis.trend_shares.n_tokens is 'tokens with this trend';
comment on column analysis.trend_shares.share is 'share of the tokens that have a trend, n_classified';
comment on column analysis.trend_shares.shuffled_share is
    'the same after the values of each token were put in an order by chance: what the test finds in no order';
comment on column analysis.trend_shares.autocorrelation is
    'mean over tokens of the lag-1 autocorrelation of the regression''s residuals; the same for all trends';
comment on column analysis.trend_shares.n_classified is 'tokens that have a trend';
comment on column analysis.trend_shares.outlier is 'the training run is flagged, and left out of run set default';
