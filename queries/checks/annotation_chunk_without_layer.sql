-- Annotations that belong to no layer.
select
    chunk.layer_id,
    chunk.chunk_id
from warehouse.annotation_chunk as chunk
left join warehouse.annotation_layer as unit on chunk.layer_id = unit.layer_id
where unit.layer_id is null;
