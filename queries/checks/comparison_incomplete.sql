-- A comparison whose mean KL does not cover its corpus token by token, or that has a mean without any pair, or, being
-- of kind cross, has one at all.
select
    comparison.comparison_id,
    corpus.n_tokens,
    found.n_tokens as found_tokens
from warehouse.comparison as comparison
inner join warehouse.corpus as corpus on comparison.corpus_id = corpus.corpus_id
left join (
    select
        chunk.comparison_id,
        sum(cardinality(chunk.kl)) as n_tokens
    from warehouse.convergence_chunk as chunk
    inner join warehouse.comparison as comparison on chunk.comparison_id = comparison.comparison_id
    inner join warehouse.token_chunk as token
        on chunk.chunk_id = token.chunk_id and comparison.corpus_id = token.corpus_id
    group by chunk.comparison_id
) as found on comparison.comparison_id = found.comparison_id
where coalesce(found.n_tokens, 0) <> case
    when comparison.n_pairs > 0 and comparison.kind <> 'cross' then corpus.n_tokens
    else 0
end;
