-- A complete evaluation whose scores do not cover its corpus token by token.
select
    evaluation.evaluation_id,
    corpus.n_tokens,
    found.n_tokens as found_tokens
from warehouse.evaluation as evaluation
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
left join (
    select
        chunk.evaluation_id,
        sum(cardinality(chunk.surprisal)) as n_tokens
    from warehouse.score_chunk as chunk
    inner join warehouse.evaluation as evaluation on chunk.evaluation_id = evaluation.evaluation_id
    inner join warehouse.token_chunk as token
        on chunk.chunk_id = token.chunk_id and evaluation.corpus_id = token.corpus_id
    group by chunk.evaluation_id
) as found on evaluation.evaluation_id = found.evaluation_id
where evaluation.status = 'complete' and corpus.n_tokens is distinct from found.n_tokens;
