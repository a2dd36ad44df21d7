-- Sums of an evaluation over each document, from facts, in arrays of 256 documents.
-- Summed in double precision and kept in single precision, as when they were loaded.
create temporary table refresh_sum as
select
    unit.id as evaluation_id,
    token.document,
    count(token.surprisal) filter (where token.is_counted) as n_tokens,
    count(token.entropy) filter (where token.is_counted) as n_entropies,
    count(token.rank) filter (where token.is_counted) as n_ranks,
    count(*) filter (where token.is_counted and token.surprisal is null) as n_missing,
    -- Without BOS nothing predicts the first token.
    count(*) filter (where token.is_counted and token.surprisal is null and token.position > 0) as n_missing_later,
    count(*) filter (where token.is_counted and token.surprisal is not null and token.rank = 1) as n_correct,
    sum(token.surprisal) filter (where token.is_counted) as surprisal,
    sum(token.entropy) filter (where token.is_counted and token.surprisal is not null) as entropy,
    max(token.surprisal) filter (where token.is_eos) as eos_surprisal
from refresh_unit as unit
inner join warehouse.evaluation as evaluation on unit.id = evaluation.evaluation_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.tokenizer as tokenizer on corpus.tokenizer_id = tokenizer.tokenizer_id
inner join warehouse.score_chunk as chunk on unit.id = chunk.evaluation_id
inner join warehouse.token_chunk as place on chunk.chunk_id = place.chunk_id
cross join lateral (
    select
        item.document,
        item.position,
        item.surprisal,
        item.entropy,
        item.rank,
        ending.is_eos,
        item.position >= document.scored_from and not ending.is_eos as is_counted
    from unnest(
        chunk.surprisal::double precision [],
        chunk.entropy::double precision [],
        chunk.rank,
        place.documents,
        place.positions,
        place.vocab_ids
    ) as item (surprisal, entropy, rank, document, position, vocab_id)
    inner join warehouse.document as document
        on document.corpus_id = corpus.corpus_id and item.document = document.document
    cross join lateral (
        select
            corpus.eos_policy = 'after-document'
            and item.position = document.n_tokens - 1
            and coalesce(item.vocab_id = tokenizer.eos_id, false) as is_eos
    ) as ending
) as token
where evaluation.status = 'complete'
group by unit.id, token.document;

create temporary table refreshed as
select
    held.evaluation_id,
    document.document / 256 as document_chunk,
    array_agg(coalesce(found.n_tokens, 0)::integer order by document.document) as n_tokens,
    case when held.has_ranks
        then array_agg(
            (case when whole.is_whole and found.n_ranks = found.n_tokens then found.n_correct end)::integer
            order by document.document
        )
    end as n_correct,
    array_agg(
        (case when whole.is_whole then coalesce(found.surprisal, 0) end)::real order by document.document
    ) as surprisal,
    case when held.has_eos then array_agg(found.eos_surprisal::real order by document.document) end as eos_surprisal,
    case when held.has_entropies
        then array_agg(
            (
                case when whole.is_whole and found.n_entropies = found.n_tokens then coalesce(found.entropy, 0) end
            )::real
            order by document.document
        )
    end as entropy
from (
    select
        chunk.evaluation_id,
        evaluation.corpus_id,
        corpus.eos_policy = 'after-document' as has_eos,
        bool_or(chunk.rank is not null) as has_ranks,
        bool_or(chunk.entropy is not null) as has_entropies
    from refresh_unit as unit
    inner join warehouse.score_chunk as chunk on unit.id = chunk.evaluation_id
    inner join warehouse.evaluation as evaluation on unit.id = evaluation.evaluation_id
    inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
    where evaluation.status = 'complete'
    group by 1, 2, 3
) as held
inner join warehouse.document as document on held.corpus_id = document.corpus_id
left join refresh_sum as found on held.evaluation_id = found.evaluation_id and document.document = found.document
cross join lateral (
    select
        coalesce(found.n_missing_later, 0) = 0
        and (coalesce(found.n_tokens, 0) > 0 or coalesce(found.n_missing, 0) = 0) as is_whole
) as whole
group by held.evaluation_id, held.has_eos, held.has_ranks, held.has_entropies, document.document / 256;

drop table refresh_sum;
