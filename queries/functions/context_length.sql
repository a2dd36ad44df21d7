-- How many tokens a model saw before it predicted one, in a corpus that is read as one sequence in half-overlapping
-- windows: the first window gives all its targets, a later one only those after the overlap.
create or replace function analysis.context_length(target bigint, "window" integer, bos boolean) returns bigint
language sql immutable parallel safe
as $$
select case
    when target - (not bos)::integer <= "window" then target - (not bos)::integer
    else
        (target - (not bos)::integer - "window" - 1) % greatest("window" / 2, 1)
        + "window" - greatest("window" / 2, 1) + 1
end
$$;

comment on function analysis.context_length(bigint, integer, boolean) is
    'Context of the target-th token of a corpus (from 1), in tokens, BOS included, under half-overlapping windows.';
