-- Whether models agree about tokens: the share of the tokens with a trend in one model that have it in another one too.
-- Runs of the same seed are held against each other; flagged ones are left out.
-- Source: Xia et al. 2023, who take a small model and a larger one; the share expected by chance is an extension.
-- requires: chosen_run_set, token_trend_with
create or replace function analysis.trend_overlap_with(
    start double precision default 0.1, predictor text default 'step', variant text default 'paper'
)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    other_model text,
    seed integer,
    trend text,
    n_tokens bigint,
    n_shared bigint,
    share double precision,
    expected_share double precision
)
language sql stable parallel safe
as $$
-- All models of a token in one row, because the planner takes a join on so many names for one of a single row.
with token as (
    select
        classified.corpus,
        classified.protocol,
        classified.family,
        classified.seed,
        classified.token_id,
        array_agg(classified.model) as models,
        array_agg(classified.trend) as trends
    from analysis.token_trend_with(
        trend_overlap_with.start, trend_overlap_with.predictor, trend_overlap_with.variant
    ) as classified
    where classified.trend is not null and (not classified.outlier or analysis.chosen_run_set() = 'all')
    group by classified.corpus, classified.protocol, classified.family, classified.seed, classified.token_id
),

-- Before they are taken in pairs: few lists of trends occur.
alike as (
    select
        token.corpus,
        token.protocol,
        token.family,
        token.seed,
        token.models,
        token.trends,
        count(*) as n
    from token
    group by token.corpus, token.protocol, token.family, token.seed, token.models, token.trends
),

pair as (
    select
        alike.corpus,
        alike.protocol,
        alike.family,
        alike.seed,
        one.model,
        other.model as other_model,
        one.trend,
        other.trend as other_trend,
        sum(alike.n) as n
    from alike
    cross join lateral unnest(alike.models, alike.trends) as one (model, trend)
    cross join lateral unnest(alike.models, alike.trends) as other (model, trend)
    where one.model <> other.model
    group by
        alike.corpus,
        alike.protocol,
        alike.family,
        alike.seed,
        one.model,
        other.model,
        one.trend,
        other.trend
),

overlap as (
    select
        pair.corpus,
        pair.protocol,
        pair.family,
        pair.seed,
        pair.model,
        pair.other_model,
        class.trend,
        sum(pair.n)::bigint as n,
        coalesce(sum(pair.n) filter (where pair.trend = class.trend), 0)::bigint as n_tokens,
        coalesce(sum(pair.n) filter (where pair.other_trend = class.trend), 0)::bigint as n_other,
        coalesce(sum(pair.n) filter (where class.trend = all(array[pair.trend, pair.other_trend])), 0)::bigint
            as n_shared
    from pair
    cross join (values ('upward'), ('downward'), ('stagnated'), ('unclassified')) as class (trend)
    group by
        pair.corpus, pair.protocol, pair.family, pair.seed, pair.model, pair.other_model, class.trend
)

select
    overlap.corpus,
    overlap.protocol,
    overlap.family,
    overlap.model,
    overlap.other_model,
    overlap.seed,
    overlap.trend,
    overlap.n_tokens,
    overlap.n_shared,
    overlap.n_shared / nullif(overlap.n_tokens, 0)::double precision as share,
    overlap.n_other / overlap.n::double precision as expected_share
from overlap
$$;

comment on function analysis.trend_overlap_with(double precision, text, text) is
'How far the tokens with a trend in one model have it in another, as view trend_overlap, with the settings of
token_trend_with: start, predictor, variant. One row per corpus, protocol, family, model, other_model, seed and trend,
over the tokens that have a trend in both. n_tokens: with this trend in model; n_shared: of these, with it in
other_model; share: n_shared / n_tokens; expected_share: of all tokens in other_model, what chance would give';
