-- Largest difference between the elements of two arrays, relative to the greater of each two; infinity where one of
-- them is NULL or missing.
create or replace function pg_temp.relative_difference(a double precision [], b double precision [])
returns double precision
language sql immutable
as $$
select coalesce(max(case
    when pair.x is not distinct from pair.y then 0
    when pair.x is null or pair.y is null then 'infinity'
    else abs(pair.x - pair.y) / greatest(abs(pair.x), abs(pair.y))
end), 0)
from unnest(a, b) as pair (x, y)
$$;
