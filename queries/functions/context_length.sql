-- How many tokens a model saw before it predicted one. Policy concatenated: the corpus is read as one sequence in
-- half-overlapping windows, of which the first gives all its targets, a later one only those after the overlap.
-- Policy documents: so is each document. Policy truncated: each token is predicted from its last ones alone.
-- One expression without a subquery, so that a query takes it in.
-- target: number of the token in its corpus, from 1; place: its position in its document, from 0.
create or replace function analysis.context_length(
    policy text, target bigint, place integer, "window" integer, bos boolean
) returns bigint
language sql immutable parallel safe
as $$
select case
    -- What was measured elsewhere may have been read in any way.
    when policy = 'imported' then null
    -- With BOS before every token's last ones, or before the first of the corpus: either way it counts.
    when policy = 'truncated' then least(target, "window")
    when case policy when 'documents' then place + 1 else target end - (not bos)::integer <= "window"
        then case policy when 'documents' then place + 1 else target end - (not bos)::integer
    else
        (case policy when 'documents' then place + 1 else target end - (not bos)::integer - "window" - 1)
        % greatest("window" / 2, 1)
        + "window" - greatest("window" / 2, 1) + 1
end
$$;

comment on function analysis.context_length(text, bigint, integer, integer, boolean) is
    'Context of a token, in tokens, BOS included: its policy, number in the corpus (from 1), position in its document.';
