-- How much more alike models predict in one comparison than in another, or on one value of a layer than on another,
-- with its standard errors: paired by cluster of tokens, so that what is hard on both sides cancels, and by seed.
-- Source: an extension; difference of two ratio estimators, e_d = (X_ad - m_a N_ad) / n_a - (X_bd - m_b N_bd) / n_b and
-- se^2 = D/(D-1) sum e_d^2; jackknife of the difference where both sides have the same seeds and pairs.
-- requires: comparisons, convergence_clusters, jackknife_error, student_t_quantile, welch_df
create or replace function analysis.convergence_difference(
    a integer,
    b integer,
    layer text default null,
    value_a text default null,
    value_b text default null,
    confidence double precision default 0.95
) returns table (
    n_tokens_a bigint,
    n_tokens_b bigint,
    convergence_a double precision,
    convergence_b double precision,
    difference double precision,
    se_seed double precision,
    se_document double precision,
    se_total double precision,
    lower double precision,
    upper double precision,
    df_seed integer,
    df_document integer,
    df_total integer,
    n_clusters integer,
    cluster text,
    complete boolean
)
language sql stable parallel safe
as $$
with cell as materialized (
    select
        side.sign,
        comparison.comparison_id,
        comparison.kind,
        comparison.corpus_id,
        comparison.protocol_id,
        comparison.run_set,
        comparison.cluster,
        comparison.complete,
        comparison.n_pairs,
        comparison.seeds,
        comparison.seed_pairs,
        chosen.layer_id,
        chosen.is_total,
        category.category_id,
        summary.n,
        summary.sum_kl / nullif(summary.n, 0) as kl,
        summary.seed_sums
    from (
        values
        (1, convergence_difference.a, convergence_difference.value_a),
        (-1, convergence_difference.b, coalesce(convergence_difference.value_b, convergence_difference.value_a))
    ) as side (sign, comparison_id, value)
    inner join analysis.comparisons as comparison on side.comparison_id = comparison.comparison_id
    inner join warehouse.annotation_layer as chosen
        on
            comparison.corpus_id = chosen.corpus_id
            and chosen.is_total = (convergence_difference.layer is null)
            and (chosen.is_total or chosen.name = convergence_difference.layer)
            and (chosen.model_id is null or chosen.model_id = comparison.model_id)
    inner join warehouse.annotation_category as category
        on chosen.layer_id = category.layer_id and (chosen.is_total or side.value = category.value)
    inner join warehouse.convergence_summary as summary
        on
            side.comparison_id = summary.comparison_id
            and category.layer_id = summary.layer_id
            and category.category_id = summary.category_id
),

-- What a cluster adds to the difference.
residual as (
    select
        part.cluster_id,
        count(*) = count(part.x) as is_known,
        sum(cell.sign * (part.x - cell.kl * part.n) / nullif(cell.n, 0)) as e
    from cell
    cross join lateral analysis.convergence_clusters(cell.comparison_id, cell.layer_id, cell.category_id) as part
    group by part.cluster_id
),

text as (
    select
        count(*)::integer as clusters,
        case
            when count(*) >= greatest((select settings.min_clusters from warehouse.settings as settings), 2)
                and bool_and(residual.is_known)
                then sqrt(sum(residual.e * residual.e) * count(*) / nullif(count(*) - 1, 0))
        end as standard_error
    from residual
),

-- The pairs' differences, both directions together: for the part of the jackknife that counts two seeds twice.
interaction as (
    select
        case when bool_and(both_ways.is_pair) and count(*) = cardinality(min(both_ways.seeds)) * (
            cardinality(min(both_ways.seeds)) - 1
        ) / 2 then sum(both_ways.d * both_ways.d) end as squares
    from (
        select
            cell.seeds,
            sum(cell.sign * pair.mean_kl) as d,
            count(*) = 4 and min(run_p.seed) <> max(run_p.seed) as is_pair
        from cell
        inner join warehouse.comparison_member as member on cell.comparison_id = member.comparison_id and cell.is_total
        inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
        inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
        inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
        inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
        inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
        inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
        inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
        group by cell.seeds, least(run_p.seed, run_q.seed), greatest(run_p.seed, run_q.seed)
    ) as both_ways
)

select
    one.n as n_tokens_a,
    other.n as n_tokens_b,
    -- differences, because the negative of 0 shows as -0
    0 - one.kl as convergence_a,
    0 - other.kl as convergence_b,
    other.kl - one.kl as difference,
    seeds.standard_error as se_seed,
    text.standard_error as se_document,
    total.standard_error as se_total,
    other.kl - one.kl - total.half_width as lower,
    other.kl - one.kl + total.half_width as upper,
    case when seeds.standard_error is not null then cardinality(one.seeds) - 1 end as df_seed,
    nullif(text.clusters, 0) - 1 as df_document,
    total.df as df_total,
    nullif(text.clusters, 0) as n_clusters,
    one.cluster,
    one.complete and other.complete as complete
from cell as one
-- Other texts have no clusters in common; other protocols and run sets are never mixed.
inner join cell as other
    on
        one.corpus_id = other.corpus_id
        and one.protocol_id = other.protocol_id
        and one.run_set = other.run_set
        and one.sign = 1
        and other.sign = -1
cross join text
cross join interaction
left join lateral (
    select found.standard_error
    from analysis.jackknife_error(
        case one.kind when 'seed' then 2 when 'custom' then null else 1 end,
        one.n_pairs,
        1::bigint,
        array(
            select item.a / nullif(one.n, 0) - item.b / nullif(other.n, 0)
            from unnest(one.seed_sums, other.seed_sums) with ordinality as item (a, b, place)
            order by item.place
        ),
        one.seed_pairs,
        interaction.squares
    ) as found
    where
        one.kind = other.kind
        and one.n_pairs = other.n_pairs
        and one.seeds = other.seeds
        and one.seed_pairs = other.seed_pairs
) as seeds on true
cross join lateral (
    select
        spread.standard_error,
        spread.df,
        analysis.student_t_quantile(convergence_difference.confidence, spread.df) * spread.standard_error as half_width
    from (
        select
            sqrt(
                seeds.standard_error * seeds.standard_error + text.standard_error * text.standard_error
            ) as standard_error,
            analysis.welch_df(
                seeds.standard_error, cardinality(one.seeds) - 1, text.standard_error, text.clusters - 1
            ) as df
    ) as spread
) as total
$$;

comment on function analysis.convergence_difference(integer, integer, text, text, text, double precision) is
'Difference of the convergence of two comparisons (keys a and b), or of two values of a layer (value_a in a, value_b, by
default the same, in b), at most one row; none where a summary is missing, or corpus, protocol or run set differ. difference: convergence_a
minus convergence_b, in nats, above 0 where models agree better in a. se_document: over clusters of tokens, paired, in
nats, NULL below settings.min_clusters; se_seed: over seeds, paired by label, in nats, NULL unless both sides have the
same seeds, and of values from four seeds on without the correction for the interaction of two, which makes it somewhat
too large; se_total: both. lower and upper: interval of the given confidence, in nats, from se_total and Student''s t with
df_total degrees of freedom, those of Welch and Satterthwaite; NULL where one of the two errors is. complete: all ordered pairs
that the plan wants are measured, in a and in b. Values, corpora of few documents and texts with context read the
tokens'' mean KL of the two comparisons, everything else sums over documents';
