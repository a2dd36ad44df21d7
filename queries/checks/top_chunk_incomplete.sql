-- An evaluation whose most probable entries do not cover its corpus, as many for each token as it says; or entries that
-- belong to no evaluation.
select
    coalesce(evaluation.evaluation_id, found.evaluation_id) as evaluation_id,
    evaluation.top_k,
    evaluation.n_tokens,
    found.n_tokens as found_tokens
from (
    select
        evaluation.evaluation_id,
        evaluation.top_k,
        corpus.n_tokens
    from warehouse.evaluation as evaluation
    inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
    where evaluation.top_k > 0
) as evaluation
full join (
    select
        chunk.evaluation_id,
        chunk.k,
        sum(cardinality(chunk.vocab_ids) / chunk.k) as n_tokens
    from warehouse.top_chunk as chunk
    group by chunk.evaluation_id, chunk.k
) as found on evaluation.evaluation_id = found.evaluation_id and evaluation.top_k = found.k
where evaluation.n_tokens is distinct from found.n_tokens;
