-- Tokens that belong to no corpus.
select
    chunk.corpus_id,
    chunk.chunk_id
from warehouse.token_chunk as chunk
left join warehouse.corpus as unit on chunk.corpus_id = unit.corpus_id
where unit.corpus_id is null;
