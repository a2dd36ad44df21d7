-- Half-width of an interval in standard errors: the t that |T| stays within with a given probability.
-- Source: inverse of the two-sided p, by bisection.
-- requires: student_t
create or replace function analysis.student_t_quantile(confidence double precision, df integer)
returns double precision
language plpgsql immutable strict parallel safe
as $$
declare
    lower_t double precision := 0;
    upper_t double precision := 1;
    middle double precision;
begin
    if df < 1 or not confidence between 0 and 0.999999 then
        return null;
    end if;
    while analysis.student_t(upper_t, df) > 1 - confidence loop
        lower_t := upper_t;
        upper_t := 2 * upper_t;
    end loop;
    -- 50 halvings leave 1e-15 of the value.
    for halving in 1..50 loop
        middle := (lower_t + upper_t) / 2;
        if analysis.student_t(middle, df) > 1 - confidence then
            lower_t := middle;
        else
            upper_t := middle;
        end if;
    end loop;
    return middle;
end
$$;

comment on function analysis.student_t_quantile(double precision, integer) is
'standard errors to either side of an estimate that make an interval of the given confidence (0.95: 95 %), from
Student''s t with df degrees of freedom. NULL without degrees of freedom or above a confidence of 0.999999';
