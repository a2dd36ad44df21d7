-- Shares of tokens with each trend, beside the shares after shuffling time: what the test finds where there is no order.
-- Autocorrelated noise makes trends out of nothing too, and shuffling takes that away, so its size stands by.
-- Source: Xia et al. 2023; the shuffled shares and the autocorrelation are an extension.
-- requires: token_trend_with
create or replace function analysis.trend_shares_with(
    start double precision default 0.1, predictor text default 'step', variant text default 'paper'
)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    seed integer,
    trend text,
    n_tokens bigint,
    share double precision,
    shuffled_share double precision,
    autocorrelation double precision,
    n_classified bigint,
    outlier boolean
)
language sql stable parallel safe
as $$
with token as (
    select
        observed.corpus,
        observed.protocol,
        observed.family,
        observed.model,
        observed.seed,
        observed.outlier,
        observed.trend,
        null as shuffled_trend,
        observed.autocorrelation
    from analysis.token_trend_with(
        trend_shares_with.start, trend_shares_with.predictor, trend_shares_with.variant
    ) as observed
    union all
    select
        drawn.corpus,
        drawn.protocol,
        drawn.family,
        drawn.model,
        drawn.seed,
        drawn.outlier,
        null as trend,
        drawn.trend as shuffled_trend,
        null as autocorrelation
    from analysis.token_trend_with(
        trend_shares_with.start, trend_shares_with.predictor, trend_shares_with.variant, true
    ) as drawn
),

run as (
    select
        token.corpus,
        token.protocol,
        token.family,
        token.model,
        token.seed,
        token.outlier,
        count(token.trend) as n_classified,
        count(token.shuffled_trend) as n_shuffled,
        avg(token.autocorrelation) filter (where token.trend is not null) as autocorrelation,
        count(*) filter (where token.trend = 'upward') as upward,
        count(*) filter (where token.trend = 'downward') as downward,
        count(*) filter (where token.trend = 'stagnated') as stagnated,
        count(*) filter (where token.trend = 'unclassified') as unclassified,
        count(*) filter (where token.shuffled_trend = 'upward') as shuffled_upward,
        count(*) filter (where token.shuffled_trend = 'downward') as shuffled_downward,
        count(*) filter (where token.shuffled_trend = 'stagnated') as shuffled_stagnated,
        count(*) filter (where token.shuffled_trend = 'unclassified') as shuffled_unclassified
    from token
    group by token.corpus, token.protocol, token.family, token.model, token.seed, token.outlier
)

select
    run.corpus,
    run.protocol,
    run.family,
    run.model,
    run.seed,
    class.trend,
    class.n_tokens,
    class.n_tokens / nullif(run.n_classified, 0)::double precision as share,
    class.n_shuffled / nullif(run.n_shuffled, 0)::double precision as shuffled_share,
    run.autocorrelation,
    run.n_classified,
    run.outlier
from run
cross join lateral (
    values
    ('upward', run.upward, run.shuffled_upward),
    ('downward', run.downward, run.shuffled_downward),
    ('stagnated', run.stagnated, run.shuffled_stagnated),
    ('unclassified', run.unclassified, run.shuffled_unclassified)
) as class (trend, n_tokens, n_shuffled)
$$;

comment on function analysis.trend_shares_with(double precision, text, text) is
'Shares of tokens with each trend in a training run, as view trend_shares, with the settings of token_trend_with: start,
predictor, variant. One row per run and trend: upward, downward, stagnated, unclassified. n_tokens: tokens with it;
share: of the tokens that have a trend, n_classified; shuffled_share: the same after each token''s values were put in an
order by chance; autocorrelation: mean over tokens of the lag-1 autocorrelation of residuals. The other columns are
those of token_trend: corpus, protocol, family, model, seed, outlier';
