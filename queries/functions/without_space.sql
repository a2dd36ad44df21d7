-- A text without the white space around it. The characters are named, for a database's locale has its own idea of them;
-- these are the white space of the flag starts_with_space: Unicode's, and the separators of ASCII.
create or replace function analysis.without_space(spaced text) returns text
language sql immutable parallel safe
as $$
select btrim(
    spaced,
    E' \t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007'
    || E'\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'
)
$$;

comment on function analysis.without_space(text) is 'A text without the white space around it, Unicode''s included.';
