-- Whether a subset of tokens gets worse for a while before it gets better again: the most prominent peak of its curve.
-- A peak's prominence is its height above the higher of the lowest points before and after it, in log perplexity.
-- Source: double descent of Xia et al. 2023, seen by eye there; peak and prominence are an extension.
-- requires: subset_trajectory
create or replace function analysis.double_descent(
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
    n_steps integer,
    peak_step integer,
    peak_perplexity double precision,
    prominence double precision,
    outlier boolean
)
language sql stable parallel safe
as $$
select distinct on (turn.corpus, turn.protocol, turn.family, turn.model, turn.seed)
    turn.corpus,
    turn.protocol,
    turn.family,
    turn.model,
    turn.seed,
    turn.n_steps,
    case when turn.rise > 0 and turn.fall > 0 then turn.step end as peak_step,
    case when turn.rise > 0 and turn.fall > 0 then turn.perplexity end as peak_perplexity,
    -- 0 without a peak; NULL where no step has one on either side
    case when turn.rise is not null and turn.fall is not null then greatest(least(turn.rise, turn.fall), 0) end
        as prominence,
    turn.outlier
from (
    select
        trajectory.*,
        (count(*) over run)::integer as n_steps,
        trajectory.surprisal - min(trajectory.surprisal) over (
            run order by trajectory.step rows between unbounded preceding and 1 preceding
        ) as rise,
        trajectory.surprisal - min(trajectory.surprisal) over (
            run order by trajectory.step rows between 1 following and unbounded following
        ) as fall
    from analysis.subset_trajectory(
        double_descent.of_model,
        double_descent.of_trend,
        double_descent.of_seed,
        double_descent.start,
        double_descent.predictor,
        double_descent.variant
    ) as trajectory
    where trajectory.n_tokens > 0
    window run as (
        partition by trajectory.corpus, trajectory.protocol, trajectory.family, trajectory.model, trajectory.seed
    )
) as turn
order by
    turn.corpus,
    turn.protocol,
    turn.family,
    turn.model,
    turn.seed,
    case when turn.rise + turn.fall is not null then least(turn.rise, turn.fall) end desc nulls last,
    turn.step
$$;

comment on function analysis.double_descent(text, text, integer, double precision, text, text) is
'The most prominent peak of each curve of subset_trajectory, with its settings of_model, of_trend, of_seed, start,
predictor, variant: where a subset of tokens gets worse before it gets better again. One row per corpus, protocol,
family, model and seed. n_steps: checkpoints of the curve; peak_step, peak_perplexity: where the peak is, NULL without
one; prominence: log perplexity there less that at the higher of the lowest points before and after it, in nats; 0
without a peak, NULL below three checkpoints; outlier: the run is flagged';
