-- Stops a query that asks for what there is not, with a sentence that says so: SQL alone cannot raise an error.
create or replace function analysis.refuse(message text) returns double precision
language plpgsql stable parallel safe
as $$
begin
    raise exception using errcode = 'invalid_parameter_value', message = message;
end
$$;

comment on function analysis.refuse(text) is
    'Raises an error with this message; functions call it where an argument is none of those that they know.';
