-- The tokens with one trend in one model, followed through every model of its family: does a larger one learn what a
-- smaller one does not? Geometric mean perplexity against step, tokens, FLOPs, or perplexity of the whole corpus.
-- Source: Xia et al. 2023.
-- requires: chosen_run_set, evaluations, perplexity, refuse, token_trend_with
create or replace function analysis.subset_trajectory(
    of_model text,
    of_trend text,
    of_seed integer default null,
    start double precision default 0.1,
    predictor text default 'step',
    variant text default 'paper'
)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    seed integer,
    step integer,
    n_tokens bigint,
    surprisal double precision,
    perplexity double precision,
    validation_perplexity double precision,
    tokens_seen bigint,
    flops double precision,
    parameters bigint,
    outlier boolean
)
language sql stable parallel safe
as $$
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    sum(part.n)::bigint as n_tokens,
    sum(part.x) / nullif(sum(part.n), 0)::double precision as surprisal,
    analysis.perplexity(sum(part.x) / nullif(sum(part.n), 0)::double precision) as perplexity,
    analysis.perplexity(evaluation.mean_surprisal) as validation_perplexity,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.parameters,
    evaluation.outlier
from (
    select
        token.corpus,
        token.protocol,
        token.family,
        token.seed,
        token.chunk_id,
        array_agg(coalesce(token.trend = asked.trend, false) order by token.token_id) as chosen
    from analysis.token_trend_with(
        subset_trajectory.start, subset_trajectory.predictor, subset_trajectory.variant
    ) as token
    cross join lateral (
        select case
            when subset_trajectory.of_trend in ('upward', 'downward', 'stagnated', 'unclassified')
                then subset_trajectory.of_trend
            else analysis.refuse(format(
                'Trend is upward, downward, stagnated or unclassified, not %s.',
                coalesce(subset_trajectory.of_trend, 'NULL')
            ))::text
        end as trend
    ) as asked
    where
        token.model = subset_trajectory.of_model
        -- Rows speak of the run that is followed: nobody would see that a flagged one chose its tokens, unless asked to.
        and case
            when subset_trajectory.of_seed is null then not token.outlier or analysis.chosen_run_set() = 'all'
            else token.seed = subset_trajectory.of_seed
        end
    group by token.corpus, token.protocol, token.family, token.seed, token.chunk_id
) as subset
inner join analysis.evaluations as evaluation
    on subset.corpus = evaluation.corpus
    and subset.protocol = evaluation.protocol
    and subset.family = evaluation.family
    and (subset_trajectory.of_seed is not null or subset.seed = evaluation.seed)
inner join warehouse.score_chunk as chunk
    on evaluation.evaluation_id = chunk.evaluation_id and subset.chunk_id = chunk.chunk_id
cross join lateral (
    select
        count(item.surprisal) as n,
        -- double precision, because a sum of reals loses digits
        sum(item.surprisal::double precision) as x
    from unnest(chunk.surprisal, subset.chosen) as item (surprisal, is_chosen)
    where item.is_chosen
) as part
group by
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    evaluation.mean_surprisal,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.parameters,
    evaluation.outlier
$$;

comment on function analysis.subset_trajectory(text, text, integer, double precision, text, text) is
'The tokens with trend of_trend in of_model, followed through every model of its family: one row per corpus, protocol,
family, model, seed and step. of_seed: the run whose tokens they are; NULL: for each run that of the same seed, without
flagged runs except in run set all. start, predictor, variant: as in token_trend_with. n_tokens: tokens followed that
are measured; surprisal: their mean, in nats; perplexity: its exponential, the geometric mean of their perplexities;
validation_perplexity: that of all tokens of the corpus; tokens_seen, flops: training so far; parameters: of the model;
outlier: the run is flagged';
