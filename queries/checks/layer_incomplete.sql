-- An annotation layer that does not cover its corpus token by token.
select
    layer.layer_id,
    corpus.n_tokens,
    found.n_tokens as found_tokens
from warehouse.annotation_layer as layer
inner join warehouse.corpus as corpus on layer.corpus_id = corpus.corpus_id
left join (
    select
        chunk.layer_id,
        sum(cardinality(chunk.category_ids)) as n_tokens
    from warehouse.annotation_chunk as chunk
    inner join warehouse.annotation_layer as layer on chunk.layer_id = layer.layer_id
    inner join warehouse.token_chunk as token
        on chunk.chunk_id = token.chunk_id and layer.corpus_id = token.corpus_id
    group by chunk.layer_id
) as found on layer.layer_id = found.layer_id
where corpus.n_tokens is distinct from found.n_tokens;
