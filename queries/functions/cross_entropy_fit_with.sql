-- How much of the KL between checkpoints goes along with the change of their cross-entropy, by value of a layer.
-- Least squares over all models and steps of a family; a point is a comparison's mean.
-- Source: the slides to Fehlauer et al. 2025, for kind step to step 32,000; the standard error is an extension.
-- requires: cross_entropy_points
create or replace function analysis.cross_entropy_fit_with(max_step integer default null, kind text default 'step')
returns table (
    corpus text,
    protocol text,
    run_set text,
    family text,
    layer text,
    value text,
    predictor text,
    alpha double precision,
    intercept double precision,
    r2 double precision,
    n bigint,
    se_alpha double precision,
    df bigint,
    n_models bigint,
    first_step integer,
    last_step integer
)
language sql stable parallel safe
as $$
with sums as (
    select
        point.corpus,
        point.protocol,
        point.run_set,
        point.family,
        point.layer,
        point.value,
        axis.predictor,
        regr_slope(point.mean_kl, axis.x) as alpha,
        regr_intercept(point.mean_kl, axis.x) as intercept,
        regr_r2(point.mean_kl, axis.x) as r2,
        regr_count(point.mean_kl, axis.x) as n,
        regr_sxx(point.mean_kl, axis.x) as sxx,
        regr_syy(point.mean_kl, axis.x) as syy,
        regr_sxy(point.mean_kl, axis.x) as sxy,
        count(distinct point.model) as n_models,
        min(point.step) as first_step,
        max(point.step) as last_step
    from analysis.cross_entropy_points as point
    cross join lateral (
        values ('ratio', point.ratio), ('difference', point.difference)
    ) as axis (predictor, x)
    where
        point.kind = cross_entropy_fit_with.kind
        and point.step <= coalesce(
            cross_entropy_fit_with.max_step, (select settings.fit_max_step from warehouse.settings as settings)
        )
        and axis.x is not null
    group by
        point.corpus, point.protocol, point.run_set, point.family, point.layer, point.value, axis.predictor
)

select
    sums.corpus,
    sums.protocol,
    sums.run_set,
    sums.family,
    sums.layer,
    sums.value,
    sums.predictor,
    sums.alpha,
    sums.intercept,
    sums.r2,
    sums.n,
    -- Rounding may leave less than nothing of a perfect fit.
    sqrt(
        greatest(sums.syy - sums.sxy * sums.sxy / nullif(sums.sxx, 0), 0)
        / nullif(greatest(sums.n - 2, 0), 0)
        / nullif(sums.sxx, 0)
    ) as se_alpha,
    nullif(greatest(sums.n - 2, 0), 0) as df,
    sums.n_models,
    sums.first_step,
    sums.last_step
from sums
$$;

comment on function analysis.cross_entropy_fit_with(integer, text) is
'cross_entropy_fit, which has its columns explained, for steps up to max_step (default: settings.fit_max_step) and any
kind of comparison but seed, such as step_reverse or final; step is that of p';
