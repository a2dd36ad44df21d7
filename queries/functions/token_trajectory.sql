-- Convergence of one token in every comparison. A condition on token_id alone would read the whole of
-- token_convergence; this function adds the chunk, which is indexed.
-- requires: token_convergence
create or replace function analysis.token_trajectory(token bigint) returns setof analysis.token_convergence
language sql stable parallel safe
as $$
select trajectory.*
from analysis.token_convergence as trajectory
where trajectory.chunk_id = token / 256 and trajectory.token_id = token
$$;

comment on function analysis.token_trajectory(bigint) is
    'Rows of token_convergence for one token, found by its chunk.';
