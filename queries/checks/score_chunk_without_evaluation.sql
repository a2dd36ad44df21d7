-- Scores that belong to no evaluation.
select
    chunk.evaluation_id,
    chunk.chunk_id
from warehouse.score_chunk as chunk
left join warehouse.evaluation as unit on chunk.evaluation_id = unit.evaluation_id
where unit.evaluation_id is null;
