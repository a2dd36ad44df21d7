-- A comparison that counts other pairs or seeds than its members have.
select
    comparison.comparison_id,
    comparison.n_pairs,
    coalesce(found.n_pairs, 0) as found_pairs
from warehouse.comparison as comparison
left join (
    select
        comparison_id,
        count(*) as n_pairs
    from warehouse.comparison_member
    group by comparison_id
) as found on comparison.comparison_id = found.comparison_id
where
    comparison.n_pairs <> coalesce(found.n_pairs, 0)
    or comparison.n_pairs > comparison.n_pairs_expected
    or cardinality(comparison.seeds) is distinct from cardinality(comparison.seed_pairs);
