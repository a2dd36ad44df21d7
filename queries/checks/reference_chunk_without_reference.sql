-- KL to a reference whose evaluation against it is not in the ledger.
select
    chunk.evaluation_id,
    chunk.reference_id,
    chunk.chunk_id
from warehouse.reference_chunk as chunk
left join warehouse.reference_evaluation as unit
    on chunk.evaluation_id = unit.evaluation_id and chunk.reference_id = unit.reference_id
where unit.evaluation_id is null;
