-- A surprisal or an entropy that is negative or not finite, a rank below 1, a target more probable than the most
-- probable entry, or the log of a mass above 1 or not a number.
select
    chunk.evaluation_id,
    chunk.chunk_id,
    item.place
from warehouse.score_chunk as chunk
cross join lateral unnest(
    chunk.surprisal,
    chunk.entropy,
    chunk.rank,
    chunk.top_surprisal,
    chunk.space_logmass,
    chunk.punct_logmass,
    chunk.eos_logmass,
    chunk.pad_logmass
) with ordinality as item (surprisal, entropy, rank, top_surprisal, space, punct, eos, pad, place)
-- Rounding may leave a hair below 0. PostgreSQL sorts NaN above infinity.
where
    least(item.surprisal, item.entropy, item.top_surprisal) < -1e-5
    or greatest(item.surprisal, item.entropy, item.top_surprisal) >= 'infinity'
    or item.rank < 1
    or item.top_surprisal > item.surprisal + 1e-5
    or greatest(item.space, item.punct, item.eos, item.pad) > 1e-5;
