-- Mean KL that belongs to no comparison.
select
    chunk.comparison_id,
    chunk.chunk_id
from warehouse.convergence_chunk as chunk
left join warehouse.comparison as unit on chunk.comparison_id = unit.comparison_id
where unit.comparison_id is null;
