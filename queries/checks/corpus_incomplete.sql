-- A corpus whose chunks are not consecutive from its first token, or hold more or fewer tokens than it counts.
select
    corpus.corpus_id,
    corpus.n_tokens,
    found.n_tokens as found_tokens
from warehouse.corpus as corpus
left join (
    select
        corpus_id,
        sum(cardinality(vocab_ids)) as n_tokens,
        min(chunk_id) as first_chunk,
        max(chunk_id) as last_chunk,
        count(*) as n_chunks
    from warehouse.token_chunk
    group by corpus_id
) as found on corpus.corpus_id = found.corpus_id
where
    corpus.n_tokens is distinct from found.n_tokens
    or found.first_chunk <> corpus.first_token_id / 256
    or found.last_chunk - found.first_chunk + 1 <> found.n_chunks;
