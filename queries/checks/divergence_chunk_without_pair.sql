-- KL that belongs to no pair of evaluations.
select
    chunk.pair_id,
    chunk.chunk_id
from warehouse.divergence_chunk as chunk
left join warehouse.comparison_pair as unit on chunk.pair_id = unit.pair_id
where unit.pair_id is null;
