-- A pair whose sums of KL do not cover the documents of its corpus, or sums of a pair of which no token's KL is kept;
-- `warehouse refresh` computes them.
select
    coalesce(pair.pair_id, found.pair_id) as pair_id,
    pair.n_documents,
    found.n_documents as found_documents
from (
    select
        pair.pair_id,
        corpus.n_documents
    from warehouse.comparison_pair as pair
    inner join warehouse.evaluation as evaluation on pair.evaluation_p = evaluation.evaluation_id
    inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
    where pair.token_facts
) as pair
full join (
    select
        chunk.pair_id,
        sum(cardinality(chunk.kl)) as n_documents
    from warehouse.document_divergence_chunk as chunk
    group by chunk.pair_id
) as found on pair.pair_id = found.pair_id
where pair.n_documents is distinct from found.n_documents;
