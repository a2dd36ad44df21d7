-- How much of the KL between checkpoints goes along with the change of their cross-entropy, by value of a layer.
-- Least squares over all models and steps of a family; a point is a comparison's mean.
-- Source: the slides to Fehlauer et al. 2025, for kind step to step 32,000; the standard error is an extension.
-- requires: cross_entropy_points, refuse
create or replace function analysis.cross_entropy_fit_with(
    max_step integer default null, kind text default 'step', models text[] default null
)
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
with chosen as (
    select
        point.*,
        -- The earlier step, whichever side has it.
        case when point.kind in ('step_reverse', 'final_reverse') then point.step_q else point.step end as earlier_step
    from analysis.cross_entropy_points as point
),

sums as (
    select
        point.corpus,
        point.protocol,
        point.run_set,
        point.family,
        point.layer,
        point.value,
        count(distinct point.model) as n_models,
        min(point.earlier_step) as first_step,
        max(point.earlier_step) as last_step,
        regr_slope(point.mean_kl, point.ratio) as alpha_ratio,
        regr_intercept(point.mean_kl, point.ratio) as intercept_ratio,
        -- PostgreSQL says 1, or what rounding leaves, where mean KL does not vary.
        case
            when max(point.mean_kl) filter (where point.ratio is not null)
                > min(point.mean_kl) filter (where point.ratio is not null)
                then regr_r2(point.mean_kl, point.ratio)
        end as r2_ratio,
        regr_sxx(point.mean_kl, point.ratio) as sxx_ratio,
        regr_syy(point.mean_kl, point.ratio) as syy_ratio,
        regr_count(point.mean_kl, point.ratio) as n_ratio,
        regr_slope(point.mean_kl, point.difference) as alpha_difference,
        regr_intercept(point.mean_kl, point.difference) as intercept_difference,
        case
            when max(point.mean_kl) filter (where point.difference is not null)
                > min(point.mean_kl) filter (where point.difference is not null)
                then regr_r2(point.mean_kl, point.difference)
        end as r2_difference,
        regr_sxx(point.mean_kl, point.difference) as sxx_difference,
        regr_syy(point.mean_kl, point.difference) as syy_difference,
        regr_count(point.mean_kl, point.difference) as n_difference
    from chosen as point
    where
        point.kind = case
            when
                cross_entropy_fit_with.kind in (
                    'step', 'step_reverse', 'final', 'final_reverse', 'size', 'matched', 'cross', 'custom'
                )
                then cross_entropy_fit_with.kind
            else analysis.refuse(format(
                'Kind is step, step_reverse, final, final_reverse, size, matched, cross or custom, not %s.',
                coalesce(cross_entropy_fit_with.kind, 'NULL')
            ))::text
        end
        and point.earlier_step <= coalesce(
            cross_entropy_fit_with.max_step, (select settings.fit_max_step from warehouse.settings as settings)
        )
        and (cross_entropy_fit_with.models is null or point.model = any(cross_entropy_fit_with.models))
    group by point.corpus, point.protocol, point.run_set, point.family, point.layer, point.value
)

select
    sums.corpus,
    sums.protocol,
    sums.run_set,
    sums.family,
    sums.layer,
    sums.value,
    line.predictor,
    line.alpha,
    line.intercept,
    line.r2,
    line.n,
    -- What the line leaves of the variance of mean KL; rounding may leave less than nothing of a perfect fit.
    sqrt(
        greatest(line.syy - line.alpha * line.alpha * line.sxx, 0) / nullif(greatest(line.n - 2, 0), 0)
        / nullif(line.sxx, 0)
    ) as se_alpha,
    nullif(greatest(line.n - 2, 0), 0) as df,
    sums.n_models,
    sums.first_step,
    sums.last_step
from sums
cross join lateral (
    values
    (
        'ratio',
        sums.alpha_ratio,
        sums.intercept_ratio,
        sums.r2_ratio,
        sums.sxx_ratio,
        sums.syy_ratio,
        sums.n_ratio
    ),
    (
        'difference',
        sums.alpha_difference,
        sums.intercept_difference,
        sums.r2_difference,
        sums.sxx_difference,
        sums.syy_difference,
        sums.n_difference
    )
) as line (predictor, alpha, intercept, r2, sxx, syy, n)
$$;

comment on function analysis.cross_entropy_fit_with(integer, text, text[]) is
'cross_entropy_fit, which has its columns explained, for steps up to max_step (default: settings.fit_max_step) and any
kind of comparison but seed, such as step_reverse or final; the step is that of p, of kinds step_reverse and
final_reverse that of q, the earlier one. models: names of those to fit, NULL for all of a family';
