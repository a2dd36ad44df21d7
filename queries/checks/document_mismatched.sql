-- A document that counts other tokens than its corpus gives it, or starts elsewhere.
select
    coalesce(document.corpus_id, found.corpus_id) as corpus_id,
    coalesce(document.document, found.document) as document,
    document.n_tokens,
    found.n_tokens as found_tokens
from warehouse.document as document
full join (
    select
        chunk.corpus_id,
        item.document,
        count(*) as n_tokens,
        min(chunk.chunk_id * 256 + item.ordinality - 1) as first_token_id
    from warehouse.token_chunk as chunk
    cross join lateral unnest(chunk.documents) with ordinality as item (document, ordinality)
    group by chunk.corpus_id, item.document
) as found on document.corpus_id = found.corpus_id and document.document = found.document
where
    document.n_tokens is distinct from coalesce(found.n_tokens, 0)
    or document.first_token_id <> found.first_token_id;
