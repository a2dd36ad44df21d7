-- The text that bytes spell in UTF-8, or NULL where they spell none: convert_from would end the query instead.
-- The pattern is that of well-formed sequences, Unicode 15, table 3-7, without the zero byte, which no text may hold.
create or replace function analysis.utf8_text(spelled bytea) returns text
language sql immutable parallel safe
as $$
select case
    when encode(spelled, 'hex') ~ (
        '^(?:0[1-9a-f]|[1-7][0-9a-f]|(?:c[2-9a-f]|d[0-9a-f])[89ab][0-9a-f]|e0[ab][0-9a-f][89ab][0-9a-f]'
        || '|ed[89][0-9a-f][89ab][0-9a-f]|e[1-9a-cef][89ab][0-9a-f][89ab][0-9a-f]'
        || '|f0[9ab][0-9a-f](?:[89ab][0-9a-f]){2}|f[1-3][89ab][0-9a-f](?:[89ab][0-9a-f]){2}'
        || '|f48[0-9a-f](?:[89ab][0-9a-f]){2})*$'
    )
        then convert_from(spelled, 'UTF8')
end
$$;

comment on function analysis.utf8_text(bytea) is
    'The text that bytes spell in UTF-8, NULL where they spell none or hold a zero byte.';
