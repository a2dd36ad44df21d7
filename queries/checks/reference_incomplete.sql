-- An evaluation against a reference whose KL does not cover the corpus token by token.
select
    unit.evaluation_id,
    unit.reference_id,
    corpus.n_tokens,
    unit.n_tokens as counted_tokens,
    found.n_tokens as found_tokens
from warehouse.reference_evaluation as unit
inner join warehouse.evaluation as evaluation on unit.evaluation_id = evaluation.evaluation_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
left join (
    select
        evaluation_id,
        reference_id,
        sum(cardinality(kl)) as n_tokens
    from warehouse.reference_chunk
    group by evaluation_id, reference_id
) as found on unit.evaluation_id = found.evaluation_id and unit.reference_id = found.reference_id
where corpus.n_tokens is distinct from found.n_tokens or corpus.n_tokens <> unit.n_tokens;
