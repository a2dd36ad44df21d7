-- A chunk that does not hold 256 tokens and is not the last of its corpus.
select
    chunk.corpus_id,
    chunk.chunk_id,
    cardinality(chunk.vocab_ids) as n_tokens
from warehouse.token_chunk as chunk
inner join warehouse.corpus as corpus on chunk.corpus_id = corpus.corpus_id
where cardinality(chunk.vocab_ids) <> least(256, corpus.first_token_id + corpus.n_tokens - 256 * chunk.chunk_id);
