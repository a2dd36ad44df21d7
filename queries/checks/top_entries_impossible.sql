-- Most probable entries that are more than certain, not finite, or not in the order of their probabilities.
select
    item.evaluation_id,
    item.chunk_id,
    item.place,
    item.log_probability
from (
    select
        chunk.evaluation_id,
        chunk.chunk_id,
        entry.place,
        entry.log_probability,
        lag(entry.log_probability) over (
            partition by chunk.evaluation_id, chunk.chunk_id, (entry.place - 1) / chunk.k order by entry.place
        ) as before
    from warehouse.top_chunk as chunk
    cross join lateral unnest(chunk.log_probabilities) with ordinality as entry (log_probability, place)
) as item
-- PostgreSQL sorts NaN above infinity.
where item.log_probability > 1e-5 or item.log_probability = '-infinity' or item.log_probability > item.before;
