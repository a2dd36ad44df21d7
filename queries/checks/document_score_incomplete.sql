-- A complete evaluation whose sums do not cover the documents of its corpus, or sums of what is no complete evaluation;
-- `warehouse refresh` computes them.
select
    coalesce(evaluation.evaluation_id, found.evaluation_id) as evaluation_id,
    evaluation.n_documents,
    found.n_documents as found_documents
from (
    select
        evaluation.evaluation_id,
        corpus.n_documents
    from warehouse.evaluation as evaluation
    inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
    where evaluation.status = 'complete'
) as evaluation
full join (
    select
        chunk.evaluation_id,
        sum(cardinality(chunk.surprisal)) as n_documents
    from warehouse.document_score_chunk as chunk
    group by chunk.evaluation_id
) as found on evaluation.evaluation_id = found.evaluation_id
where evaluation.n_documents is distinct from found.n_documents;
