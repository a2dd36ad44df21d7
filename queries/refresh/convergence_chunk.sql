-- Mean KL of every token over the pairs of a comparison, from the pairs' facts.
-- The mean is taken in double precision and kept in single precision, as when it was loaded.
create temporary table refreshed as
select
    mean.comparison_id,
    mean.chunk_id,
    array_agg(mean.kl order by mean.place) as kl
from (
    select
        member.comparison_id,
        chunk.chunk_id,
        item.place,
        -- A token that one pair lacks has no mean.
        case when count(item.kl) = count(*) then (sum(item.kl::double precision) / count(*))::real end as kl
    from refresh_unit as unit
    -- Of kind cross only sums are kept.
    inner join warehouse.comparison as comparison on unit.id = comparison.comparison_id and comparison.kind <> 'cross'
    inner join warehouse.comparison_member as member on unit.id = member.comparison_id
    inner join warehouse.divergence_chunk as chunk on member.pair_id = chunk.pair_id
    cross join lateral unnest(chunk.kl) with ordinality as item (kl, place)
    group by member.comparison_id, chunk.chunk_id, item.place
) as mean
group by mean.comparison_id, mean.chunk_id;
