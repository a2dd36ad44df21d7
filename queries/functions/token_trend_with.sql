-- Whether a token is predicted better or worse as a training run goes on: a regression of its perplexity on time.
-- What is regressed is the token's perplexity divided by its perplexity at the start, which scales the slope and
-- changes no class. A change beyond e^300 counts as e^300, whose square can still be computed.
-- Source: Xia et al. 2023; predictor index, the checkpoint's number, as in the paper, log_step as in its code, or step,
-- which is as index where checkpoints are evenly spaced.
-- Shuffled curves and the autocorrelation are an extension.
-- requires: correlation_p_value, refuse, regressor, residual_autocorrelation, student_t_quantile
-- requires: surprisal_curves, trend_stagnates
create or replace function analysis.token_trend_with(
    start double precision default 0.1,
    predictor text default 'step',
    variant text default 'paper',
    shuffled boolean default false
)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    seed integer,
    token_id bigint,
    trend text,
    slope double precision,
    p_value double precision,
    autocorrelation double precision,
    n_steps integer,
    start_step integer,
    chunk_id bigint,
    outlier boolean
)
language sql stable parallel safe
as $$
select
    curve.corpus,
    curve.protocol,
    curve.family,
    curve.model,
    curve.seed,
    curve.chunk_id * 256 + item.place - 1 as token_id,
    case
        when fit.n_steps < settings.trend_min_steps then null
        when
            fit.slope > 0
            and fit.may_differ
            and analysis.correlation_p_value(fit.r, fit.n_steps) < settings.trend_p_value
            then 'upward'
        when
            fit.slope < 0
            and fit.may_differ
            and analysis.correlation_p_value(fit.r, fit.n_steps) < settings.trend_p_value
            then 'downward'
        when
            analysis.trend_stagnates(
                token_trend_with.variant,
                settings.trend_tolerance,
                fit.log_mean,
                fit.log_last,
                fit.variance,
                origin.surprisal
            )
            then 'stagnated'
        else 'unclassified'
    end as trend,
    fit.slope,
    analysis.correlation_p_value(fit.r, fit.n_steps) as p_value,
    fit.autocorrelation,
    fit.n_steps,
    curve.steps[beginning.place] as start_step,
    curve.chunk_id,
    curve.outlier
from analysis.surprisal_curves as curve
cross join warehouse.settings as settings
-- Where the regression begins: a share of training. In here rather than in a condition, which would be asked last.
cross join lateral (
    select case
        when token_trend_with.predictor is null or token_trend_with.predictor not in ('step', 'log_step', 'index')
            then analysis.refuse(format(
                'Predictor is step, log_step or index, not %s.', coalesce(token_trend_with.predictor, 'NULL')
            ))
        when token_trend_with.variant is null or token_trend_with.variant not in ('paper', 'code')
            then analysis.refuse(format(
                'Variant is paper or code, not %s.', coalesce(token_trend_with.variant, 'NULL')
            ))
        when token_trend_with.start between 0 and 1 then token_trend_with.start
        else analysis.refuse(format(
            'Start is a share of training, from 0 to 1, and not %s.', coalesce(token_trend_with.start::text, 'NULL')
        ))
    end as share
) as asked
-- The measured step nearest to the start's share of training, of two the earlier. Step 0 has no logarithm.
cross join lateral (
    select measured.place::integer as place
    from unnest(curve.steps) with ordinality as measured (step, place)
    where measured.step > 0 or token_trend_with.predictor <> 'log_step'
    order by abs(measured.step - asked.share * curve.last_training_step), measured.step
    limit 1
) as beginning
-- Of the axis of time, which all tokens share: its ends, and the squares of its intervals.
cross join lateral (
    select
        min(time.x) as first,
        max(time.x) as last,
        sum((time.x - time.x_before) * (time.x - time.x_before)) as run_run
    from (
        select
            analysis.regressor(token_trend_with.predictor, curve.steps, moment.place) as x,
            case when moment.place > beginning.place
                then analysis.regressor(token_trend_with.predictor, curve.steps, moment.place - 1)
            end as x_before
        from (select generate_series(beginning.place, cardinality(curve.steps)) as place) as moment
    ) as time
) as axis
cross join generate_series(1, 256) as item (place)
-- For a shuffled curve: where its values come from, by chance and the same every time.
cross join lateral (
    select
        case when token_trend_with.shuffled then array(
            select moment.place
            from (select generate_series(beginning.place, cardinality(curve.steps)) as place) as moment
            order by hashint8extended(curve.chunk_id * 256 + item.place - 1, moment.place), moment.place
        ) end as places
    offset 0  -- once a token, not once a value
) as drawn
cross join lateral (
    select
        curve.surprisal[
            case when token_trend_with.shuffled then drawn.places[1] else beginning.place end
        ][item.place]::double precision as surprisal
    offset 0
) as origin
cross join lateral (
    select
        count(*)::integer as n_steps,
        regr_slope(point.y, point.x) as slope,
        corr(point.y, point.x) as r,
        -- A t that is too small for the normal distribution is too small at any number of checkpoints, which spares
        -- most curves their p.
        power(corr(point.y, point.x), 2) * (count(*) - 2) >= (
            select coalesce(power(analysis.student_t_quantile(1 - its.trend_p_value, 1000000), 2), 0) * 0.999
            from warehouse.settings as its
        ) * (1 - power(corr(point.y, point.x), 2)) as may_differ,
        -- Only where no checkpoint is lacking do neighbours in the list follow each other.
        case when count(*) = cardinality(curve.steps) - beginning.place + 1 then analysis.residual_autocorrelation(
            regr_slope(point.y, point.x),
            sum((point.y - point.y_before) * (point.y - point.y_before)) filter (where not point.is_first),
            sum((point.y - point.y_before) * (point.x - point.x_before)) filter (where not point.is_first),
            axis.run_run,
            1 - regr_avgy(point.y, point.x)
            - regr_slope(point.y, point.x) * (axis.first - regr_avgx(point.y, point.x)),
            max(point.y) filter (where point.is_last) - regr_avgy(point.y, point.x)
            - regr_slope(point.y, point.x) * (axis.last - regr_avgx(point.y, point.x)),
            regr_syy(point.y, point.x) - regr_slope(point.y, point.x) * regr_sxy(point.y, point.x),
            regr_syy(point.y, point.x)
        ) end as autocorrelation,
        avg(point.log_y) as log_mean,
        max(point.log_y) filter (where point.is_last) as log_last,
        regr_syy(point.y, point.x) / nullif(count(*), 0) as variance
    from (
        select
            value.place = beginning.place as is_first,
            value.place = cardinality(curve.steps) as is_last,
            value.surprisal - origin.surprisal as log_y,
            exp(least(greatest(value.surprisal - origin.surprisal, -300), 300)) as y,
            exp(least(greatest(value.surprisal_before - origin.surprisal, -300), 300)) as y_before,
            analysis.regressor(token_trend_with.predictor, curve.steps, value.place) as x,
            case when value.place > beginning.place
                then analysis.regressor(token_trend_with.predictor, curve.steps, value.place - 1)
            end as x_before
        from (
            select
                moment.place,
                curve.surprisal[
                    case when token_trend_with.shuffled then drawn.places[moment.place - beginning.place + 1]
                        else moment.place end
                ][item.place]::double precision as surprisal,
                curve.surprisal[
                    case when token_trend_with.shuffled then drawn.places[moment.place - beginning.place]
                        else moment.place - 1 end
                ][item.place]::double precision as surprisal_before
            from (
                select generate_series(beginning.place, cardinality(curve.steps)) as place
            ) as moment
            offset 0  -- each element is looked up once
        ) as value
        where value.surprisal <> 'NaN' and origin.surprisal <> 'NaN'
        offset 0  -- a perplexity is taken once, not once a sum
    ) as point
) as fit
where item.place <= array_length(curve.surprisal, 2)
$$;

comment on function analysis.token_trend_with(double precision, text, text, boolean) is
'Trend of every token over a training run, as view token_trend, with other settings. start: the share of training that
has passed where the regression begins; predictor: step, log_step (natural logarithm) or index (number of the
checkpoint); variant of the rule for stagnated tokens: paper or code; shuffled: the values of each curve in an order by
chance, the same every time. Any other argument is refused. trend: upward, downward, stagnated, unclassified, or NULL
below settings.trend_min_steps checkpoints; slope: of perplexity, as a multiple of that at the start, by predictor;
p_value: of the slope, two-sided; autocorrelation: of the residuals at lag 1; n_steps: checkpoints of the regression;
start_step: the first of them. The other columns are those of token_score: corpus, protocol, family, model, seed,
token_id, chunk_id, outlier';
