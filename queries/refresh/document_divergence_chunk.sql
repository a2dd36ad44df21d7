-- Sums of KL of a pair over each document, from facts, in arrays of 256 documents.
-- Summed in double precision and kept in single precision, as when they were loaded.
create temporary table refresh_sum as
select
    unit.id as pair_id,
    item.document,
    count(item.kl) as n_tokens,
    sum(item.kl) as kl
from refresh_unit as unit
inner join warehouse.divergence_chunk as chunk on unit.id = chunk.pair_id
inner join warehouse.token_chunk as place on chunk.chunk_id = place.chunk_id
cross join lateral unnest(chunk.kl::double precision [], place.documents, place.positions)
    as item (kl, document, position)
inner join warehouse.document as document
    on place.corpus_id = document.corpus_id and item.document = document.document
where item.position >= document.scored_from
group by unit.id, item.document;

create temporary table refreshed as
select
    unit.id as pair_id,
    document.document / 256 as document_chunk,
    array_agg(coalesce(found.n_tokens, 0)::integer order by document.document) as n_tokens,
    array_agg(found.kl::real order by document.document) as kl
from refresh_unit as unit
inner join warehouse.comparison_pair as pair on unit.id = pair.pair_id
inner join warehouse.evaluation as evaluation on pair.evaluation_p = evaluation.evaluation_id
inner join warehouse.document as document on evaluation.corpus_id = document.corpus_id
left join refresh_sum as found on unit.id = found.pair_id and document.document = found.document
where pair.token_facts
group by unit.id, document.document / 256;

drop table refresh_sum;
