-- How far the seeds of a model agree on the average of their pairs, step by step, other than by KL, which
-- expected_convergence has. No error over documents: what documents add to a correlation is not kept.
-- Grain: one row per comparison of kind seed.
-- Source: an extension; jackknife over seeds.
-- requires: chosen_run_set, comparisons, jackknife_error, seed_agreement
create or replace view analysis.mean_seed_agreement as
select
    comparison.kind,
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    comparison.model_q,
    comparison.step_q,
    mean.pearson,
    error_pearson.standard_error as se_pearson,
    mean.spearman,
    error_spearman.standard_error as se_spearman,
    mean.top1_agreement,
    error_top1.standard_error as se_top1_agreement,
    comparison.n_pairs,
    comparison.complete,
    comparison.n_seeds,
    comparison.n_seeds - 1 as df_seed,
    comparison.comparison_id
from analysis.comparisons as comparison
cross join lateral (
    select
        -- Each pair stands in two seeds' sums.
        case when count(*) = count(seed.pearson) then sum(seed.pearson) / sum(seed.n_pairs) end as pearson,
        case when count(*) = count(seed.spearman) then sum(seed.spearman) / sum(seed.n_pairs) end as spearman,
        case when count(*) = count(seed.top1) then sum(seed.top1) / sum(seed.n_pairs) end as top1_agreement,
        array_agg(seed.pearson order by seed.seed) as pearson_sums,
        array_agg(seed.spearman order by seed.seed) as spearman_sums,
        array_agg(seed.top1 order by seed.seed) as top1_sums,
        array_agg(seed.n_pairs order by seed.seed) as seed_pairs,
        -- Both directions agree equally, so that (y + y)^2 of an unordered pair is twice y^2 of both ordered ones.
        comparison.n_pairs = count(*) * (count(*) - 1) as is_complete,
        sum(seed.pearson_squares) as pearson_squares,
        sum(seed.spearman_squares) as spearman_squares,
        sum(seed.top1_squares) as top1_squares
    from (
        select
            side.seed,
            count(*)::integer as n_pairs,
            case when count(*) = count(side.pearson) then sum(side.pearson) end as pearson,
            case when count(*) = count(side.spearman) then sum(side.spearman) end as spearman,
            case when count(*) = count(side.top1_agreement) then sum(side.top1_agreement) end as top1,
            sum(side.pearson * side.pearson) as pearson_squares,
            sum(side.spearman * side.spearman) as spearman_squares,
            sum(side.top1_agreement * side.top1_agreement) as top1_squares
        from (
            select
                unnest(array[pair.seed_p, pair.seed_q]) as seed,
                pair.pearson,
                pair.spearman,
                pair.top1_agreement
            from analysis.seed_agreement as pair
            where pair.comparison_id = comparison.comparison_id
        ) as side
        group by side.seed
    ) as seed
) as mean
left join lateral analysis.jackknife_error(
    2,
    comparison.n_pairs,
    1::bigint,
    mean.pearson_sums,
    mean.seed_pairs,
    case when mean.is_complete then mean.pearson_squares end
) as error_pearson on true
left join lateral analysis.jackknife_error(
    2,
    comparison.n_pairs,
    1::bigint,
    mean.spearman_sums,
    mean.seed_pairs,
    case when mean.is_complete then mean.spearman_squares end
) as error_spearman on true
left join lateral analysis.jackknife_error(
    2,
    comparison.n_pairs,
    1::bigint,
    mean.top1_sums,
    mean.seed_pairs,
    case when mean.is_complete then mean.top1_squares end
) as error_top1 on true
where
    comparison.kind = 'seed'
    and comparison.run_set = analysis.chosen_run_set()
    and comparison.n_pairs > 0;

comment on view analysis.mean_seed_agreement is
    'Agreement of the seeds of a model, mean over pairs: correlations of surprisals, share of equal top entries.';
comment on column analysis.mean_seed_agreement.kind is 'seed';
comment on column analysis.mean_seed_agreement.corpus is 'name of the corpus';
comment on column analysis.mean_seed_agreement.protocol is 'name of the protocol';
comment on column analysis.mean_seed_agreement.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.mean_seed_agreement.family is 'suite of the models, such as pythia';
comment on column analysis.mean_seed_agreement.model is 'model that gives p';
comment on column analysis.mean_seed_agreement.step is 'training step that gives p';
comment on column analysis.mean_seed_agreement.model_q is 'model that gives q';
comment on column analysis.mean_seed_agreement.step_q is 'training step that gives q';
comment on column analysis.mean_seed_agreement.pearson is
    'mean over pairs of the Pearson correlation of the two surprisals; NULL where a pair lacks it';
comment on column analysis.mean_seed_agreement.se_pearson is
    'its standard error by jackknife over seeds; NULL below 3 seeds';
comment on column analysis.mean_seed_agreement.spearman is
    'mean over pairs of the Spearman rank correlation of the two surprisals; NULL where a pair lacks it';
comment on column analysis.mean_seed_agreement.se_spearman is
    'its standard error by jackknife over seeds; NULL below 3 seeds';
comment on column analysis.mean_seed_agreement.top1_agreement is
    'mean over pairs of the share of tokens with the same most probable entry; NULL where a pair lacks it';
comment on column analysis.mean_seed_agreement.se_top1_agreement is
    'its standard error by jackknife over seeds; NULL below 3 seeds';
comment on column analysis.mean_seed_agreement.n_pairs is 'ordered pairs averaged';
comment on column analysis.mean_seed_agreement.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.mean_seed_agreement.n_seeds is 'seeds that take part';
comment on column analysis.mean_seed_agreement.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.mean_seed_agreement.comparison_id is 'key of warehouse.comparison';
