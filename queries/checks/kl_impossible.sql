-- KL that is negative or not finite.
select
    fact.what,
    fact.unit_id,
    fact.chunk_id,
    item.kl
from (
    select
        'divergence_chunk' as what,
        pair_id as unit_id,
        chunk_id,
        kl
    from warehouse.divergence_chunk
    union all
    select
        'convergence_chunk',
        comparison_id,
        chunk_id,
        kl
    from warehouse.convergence_chunk
    union all
    select
        'reference_chunk',
        evaluation_id,
        chunk_id,
        kl
    from warehouse.reference_chunk
) as fact
cross join lateral unnest(fact.kl) as item (kl)
-- PostgreSQL sorts NaN above infinity.
where item.kl < 0 or item.kl >= 'infinity';
