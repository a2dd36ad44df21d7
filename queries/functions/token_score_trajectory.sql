-- Scores of one token by every checkpoint. A condition on token_id alone would read the whole of token_score; this
-- function adds the chunk, which is indexed. token_trajectory is the same for convergence.
-- requires: token_score
create or replace function analysis.token_score_trajectory(token bigint) returns setof analysis.token_score
language sql stable parallel safe
as $$
select trajectory.*
from analysis.token_score as trajectory
where trajectory.chunk_id = token / 256 and trajectory.token_id = token
$$;

comment on function analysis.token_score_trajectory(bigint) is 'Rows of token_score for one token, found by its chunk.';
