-- How far the learning curves of a token in two training runs of a model lie apart.
-- Grain: one row per (corpus, protocol, family, model, seed_p, seed_q, token_id), the smaller seed first.
-- Source: Chang, Tu and Bergen 2023. Flagged runs are left out.
-- requires: chosen_run_set, evaluations
create or replace view analysis.token_cross_run_distance as
-- The seeds of a step in one row and then in pairs: no join on names, which the planner takes for one of a single row.
with step as (
    select
        evaluation.corpus,
        evaluation.protocol,
        evaluation.family,
        evaluation.model,
        evaluation.step,
        array_agg(evaluation.seed) as seeds,
        array_agg(evaluation.evaluation_id) as evaluation_ids
    from analysis.evaluations as evaluation
    where not evaluation.outlier or analysis.chosen_run_set() = 'all'
    group by evaluation.corpus, evaluation.protocol, evaluation.family, evaluation.model, evaluation.step
),

pair as (
    select
        step.corpus,
        step.protocol,
        step.family,
        step.model,
        p.seed as seed_p,
        q.seed as seed_q,
        chunk_p.chunk_id,
        array_agg(step.step order by step.step) as steps,
        array_agg(array_replace(chunk_p.surprisal, null, 'NaN') order by step.step) as surprisal_p,
        array_agg(array_replace(chunk_q.surprisal, null, 'NaN') order by step.step) as surprisal_q
    from step
    cross join lateral unnest(step.seeds, step.evaluation_ids) as p (seed, evaluation_id)
    cross join lateral unnest(step.seeds, step.evaluation_ids) as q (seed, evaluation_id)
    inner join warehouse.score_chunk as chunk_p on p.evaluation_id = chunk_p.evaluation_id
    inner join warehouse.score_chunk as chunk_q
        on q.evaluation_id = chunk_q.evaluation_id and chunk_p.chunk_id = chunk_q.chunk_id
    where p.seed < q.seed
    group by step.corpus, step.protocol, step.family, step.model, p.seed, q.seed, chunk_p.chunk_id
)

select
    pair.corpus,
    pair.protocol,
    pair.family,
    pair.model,
    pair.seed_p,
    pair.seed_q,
    pair.chunk_id * 256 + item.place - 1 as token_id,
    curve.distance,
    curve.n_steps,
    pair.chunk_id
from pair
cross join generate_series(1, 256) as item (place)
cross join lateral (
    select
        avg((point.p - point.q) * (point.p - point.q)) as distance,
        count(*)::integer as n_steps
    from (
        select
            -- double precision, because a sum of reals loses digits
            pair.surprisal_p[moment.place][item.place]::double precision as p,
            pair.surprisal_q[moment.place][item.place]::double precision as q
        from (select generate_series(1, cardinality(pair.steps)) as place) as moment
        -- Kept apart, so that each element is looked up once.
        offset 0  -- noqa: AM09
    ) as point
    where point.p <> 'NaN' and point.q <> 'NaN'
) as curve
where item.place <= array_length(pair.surprisal_p, 2);

comment on view analysis.token_cross_run_distance is
    'Distance of the learning curves of a token in two runs of a model: mean squared difference of surprisal.';
comment on column analysis.token_cross_run_distance.corpus is 'name of the corpus';
comment on column analysis.token_cross_run_distance.protocol is 'name of the protocol';
comment on column analysis.token_cross_run_distance.family is 'suite of the model, such as pythia';
comment on column analysis.token_cross_run_distance.model is 'name of the model within its family';
comment on column analysis.token_cross_run_distance.seed_p is 'seed of one run';
comment on column analysis.token_cross_run_distance.seed_q is 'seed of another run of the model, greater than seed_p';
comment on column analysis.token_cross_run_distance.token_id is
    'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_cross_run_distance.distance is
    'mean over steps of the squared difference of surprisals, in nats squared; NULL where none has both';
comment on column analysis.token_cross_run_distance.n_steps is 'steps at which both runs measured the token';
comment on column analysis.token_cross_run_distance.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
