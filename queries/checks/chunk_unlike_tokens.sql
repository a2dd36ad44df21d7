-- Facts that have more or fewer elements than their chunk has tokens, or whose chunk is in no corpus: read together,
-- arrays of unequal length are padded without a word.
select
    fact.what,
    fact.unit_id,
    fact.chunk_id,
    fact.n_elements,
    cardinality(token.vocab_ids) as n_tokens
from (
    select
        'score_chunk' as what,
        evaluation_id as unit_id,
        chunk_id,
        cardinality(surprisal) as n_elements
    from warehouse.score_chunk
    union all
    select
        'reference_chunk',
        evaluation_id,
        chunk_id,
        cardinality(kl)
    from warehouse.reference_chunk
    union all
    select
        'divergence_chunk',
        pair_id,
        chunk_id,
        cardinality(kl)
    from warehouse.divergence_chunk
    union all
    select
        'convergence_chunk',
        comparison_id,
        chunk_id,
        cardinality(kl)
    from warehouse.convergence_chunk
    union all
    select
        'top_chunk',
        evaluation_id,
        chunk_id,
        cardinality(vocab_ids) / k
    from warehouse.top_chunk
    union all
    select
        'annotation_chunk',
        layer_id,
        chunk_id,
        cardinality(category_ids)
    from warehouse.annotation_chunk
) as fact
left join warehouse.token_chunk as token on fact.chunk_id = token.chunk_id
where fact.n_elements is distinct from cardinality(token.vocab_ids);
