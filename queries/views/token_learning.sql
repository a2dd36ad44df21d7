-- How a training run learns each token: when, how far, how steadily, and how much of it is lost again on the way.
-- Grain: one row per (corpus, protocol, family, model, seed, token_id).
-- Source: Chang, Tu and Bergen 2023; the crossing, where they fit a sigmoid or a GAM, and the
-- running mean over three checkpoints, where they smooth with a GAM, are an extension.
-- requires: interpolated_step, surprisal_curves
create or replace view analysis.token_learning as
select
    curve.corpus,
    curve.protocol,
    curve.family,
    curve.model,
    curve.seed,
    curve.chunk_id * 256 + item.place - 1 as token_id,
    case
        when level.n_steps < cardinality(curve.steps) then null
        -- below from its first step on
        when change.crossing = 1 + (curve.steps[1] = 0)::integer then curve.steps[change.crossing]
        else analysis.interpolated_step(
            curve.steps[change.crossing - 1],
            curve.steps[change.crossing],
            curve.surprisal[change.crossing - 1][item.place],
            curve.surprisal[change.crossing][item.place],
            level.threshold
        )
    end as age_of_acquisition,
    case when level.n_late_steps >= settings.late_min_steps then level.confidence end as confidence,
    case when level.n_late_steps >= settings.late_min_steps then level.variability end as variability,
    case when level.n_steps = cardinality(curve.steps) then change.forgettability end as forgettability,
    level.lowest_surprisal,
    level.n_steps,
    level.n_late_steps,
    curve.chunk_id,
    curve.outlier
from analysis.surprisal_curves as curve
cross join warehouse.settings as settings
cross join generate_series(1, 256) as item (place)
cross join lateral (
    select
        count(*)::integer as n_steps,
        min(point.surprisal) filter (where point.step > 0) as lowest_surprisal,
        (
            ln(curve.vocabulary_size::double precision) + min(point.surprisal) filter (where point.step > 0)
        ) / 2 as threshold,
        (count(*) filter (where point.is_late))::integer as n_late_steps,
        avg(point.surprisal) filter (where point.is_late) as confidence,
        stddev_samp(point.surprisal) filter (where point.is_late) as variability
    from (
        select
            moment.step,
            moment.step >= settings.late_training * curve.last_training_step as is_late,
            -- double precision, because a sum of reals loses digits
            curve.surprisal[moment.place::integer][item.place]::double precision as surprisal
        from unnest(curve.steps) with ordinality as moment (step, place)
    ) as point
    where point.surprisal <> 'NaN'
) as level
cross join lateral (
    select
        min(moment.place) filter (
            where moment.step > 0 and curve.surprisal[moment.place][item.place] <= level.threshold
        ) as crossing,
        -- From one mean of three to the next, one value comes in and one goes out.
        sum(
            greatest(
                curve.surprisal[moment.place + 3][item.place]::double precision
                - curve.surprisal[moment.place][item.place]::double precision,
                0
            ) / 3
        ) filter (where moment.place + 3 <= cardinality(curve.steps)) as forgettability
    from (
        select
            measured.step,
            measured.place::integer as place
        from unnest(curve.steps) with ordinality as measured (step, place)
    ) as moment
) as change
where item.place <= array_length(curve.surprisal, 2);

comment on view analysis.token_learning is
    'Learning of every token in a training run: age of acquisition, confidence, variability, forgettability.';
comment on column analysis.token_learning.corpus is 'name of the corpus';
comment on column analysis.token_learning.protocol is 'name of the protocol';
comment on column analysis.token_learning.family is 'suite of the model, such as pythia';
comment on column analysis.token_learning.model is 'name of the model within its family';
comment on column analysis.token_learning.seed is 'seed of the training run';
comment on column analysis.token_learning.token_id is 'token that is predicted; joins tokens and token_annotation';
comment on column analysis.token_learning.age_of_acquisition is
    'step at which surprisal first falls to halfway between log V and its minimum, linear in log step; NULL if never';
comment on column analysis.token_learning.confidence is
    'mean surprisal over the last quarter of training, in nats; NULL below settings.late_min_steps checkpoints';
comment on column analysis.token_learning.variability is
    'standard deviation of surprisal over the last quarter of training, in nats; NULL where confidence is';
comment on column analysis.token_learning.forgettability is
    'sum of the increases of surprisal, smoothed by a running mean over three checkpoints, in nats; NULL below four';
comment on column analysis.token_learning.lowest_surprisal is 'least surprisal after step 0, in nats';
comment on column analysis.token_learning.n_steps is
    'checkpoints that measured the token; the age and forgettability ask for all of the run''s';
comment on column analysis.token_learning.n_late_steps is 'of these, in the last quarter of training';
comment on column analysis.token_learning.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_learning.outlier is 'the training run is flagged, and left out of run set default';
