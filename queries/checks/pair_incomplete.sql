-- A pair whose KL does not cover its corpus token by token, or that has some though only its mean was to be kept.
select
    pair.pair_id,
    corpus.n_tokens,
    pair.n_tokens as counted_tokens,
    found.n_tokens as found_tokens
from warehouse.comparison_pair as pair
inner join warehouse.evaluation as evaluation on pair.evaluation_p = evaluation.evaluation_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
left join (
    select
        chunk.pair_id,
        sum(cardinality(chunk.kl)) as n_tokens
    from warehouse.divergence_chunk as chunk
    inner join warehouse.comparison_pair as pair on chunk.pair_id = pair.pair_id
    inner join warehouse.evaluation as evaluation on pair.evaluation_p = evaluation.evaluation_id
    inner join warehouse.token_chunk as token
        on chunk.chunk_id = token.chunk_id and evaluation.corpus_id = token.corpus_id
    group by chunk.pair_id
) as found on pair.pair_id = found.pair_id
where
    coalesce(found.n_tokens, 0) <> case when pair.token_facts then corpus.n_tokens else 0 end
    or corpus.n_tokens <> pair.n_tokens;
