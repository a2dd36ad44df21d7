-- How many pairs a comparison has, which seeds take part, how far the pairs' means spread, and how far p's mean
-- surprisal lies from q's.
create temporary table refresh_member as
select
    member.comparison_id,
    pair.mean_kl,
    evaluation_p.mean_surprisal - evaluation_q.mean_surprisal as surprisal_difference,
    run_p.seed as seed_p,
    run_q.seed as seed_q
from refresh_unit as unit
inner join warehouse.comparison_member as member on unit.id = member.comparison_id
inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id;

create temporary table refreshed as
with touching as (
    select
        side.comparison_id,
        side.seed,
        count(*)::integer as pairs
    from (
        select
            comparison_id,
            seed_p as seed
        from refresh_member
        union all
        -- A pair within one run touches its seed once.
        select
            comparison_id,
            seed_q
        from refresh_member
        where seed_q <> seed_p
    ) as side
    group by side.comparison_id, side.seed
),

seeds as (
    select
        touching.comparison_id,
        array_agg(touching.seed order by touching.seed) as seeds,
        array_agg(touching.pairs order by touching.seed) as seed_pairs
    from touching
    group by touching.comparison_id
),

pairs as (
    select
        member.comparison_id,
        count(*)::integer as n_pairs,
        stddev_samp(member.mean_kl) as sd_pairs,
        -- One after another, as when it was loaded: what nearly cancels depends on the order.
        case when count(member.surprisal_difference) = count(*)
            then sum(member.surprisal_difference order by member.seed_p, member.seed_q) / count(*)
        end as surprisal_difference
    from refresh_member as member
    group by member.comparison_id
)

select
    unit.id as comparison_id,
    coalesce(pairs.n_pairs, 0) as n_pairs,
    coalesce(seeds.seeds, '{}'::integer []) as seeds,
    coalesce(seeds.seed_pairs, '{}'::integer []) as seed_pairs,
    pairs.sd_pairs,
    -- The pairs of seeds go both ways.
    case when comparison.kind <> 'seed' then pairs.surprisal_difference end as surprisal_difference
from refresh_unit as unit
inner join warehouse.comparison as comparison on unit.id = comparison.comparison_id
left join pairs on unit.id = pairs.comparison_id
left join seeds on unit.id = seeds.comparison_id;

drop table refresh_member;
