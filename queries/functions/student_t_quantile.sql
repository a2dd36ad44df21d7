-- Half-width of an interval in standard errors: the t that |T| stays within with a given probability.
-- Source: inverse of the two-sided p, by regula falsi on its logarithm with the Illinois rule, which takes some ten p.
-- requires: student_t
create or replace function analysis.student_t_quantile(confidence double precision, df integer)
returns double precision
language plpgsql immutable strict parallel safe
as $$
declare
    log_p constant double precision := ln(1 - case when confidence between 0 and 0.999999 then confidence end);
    -- Two t with the quantile between them, and how far the logarithms of their p lie above or below the wanted one.
    lower_t double precision := 0;
    upper_t double precision := 1;
    lower_gap double precision := -log_p;
    upper_gap double precision;
    found double precision := 0;
    found_gap double precision := 0;
    found_before double precision;
    gap_before double precision;
begin
    if df < 1 or log_p is null then
        return null;
    end if;
    loop
        upper_gap := ln(analysis.student_t(upper_t, df)) - log_p;
        exit when upper_gap <= 0;
        lower_t := upper_t;
        lower_gap := upper_gap;
        upper_t := 2 * upper_t;
    end loop;
    -- As many as rounding could ask for.
    for attempt in 1..60 loop
        found_before := found;
        gap_before := found_gap;
        found := upper_t - upper_gap * (upper_t - lower_t) / (upper_gap - lower_gap);
        found_gap := ln(analysis.student_t(found, df)) - log_p;
        exit when found_gap = 0 or abs(found - found_before) <= 1e-15 * found;
        -- Where the same end stays a second time its gap counts half, or it would stay for ever.
        if found_gap > 0 then
            lower_t := found;
            lower_gap := found_gap;
            upper_gap := case when gap_before > 0 then upper_gap / 2 else upper_gap end;
        else
            upper_t := found;
            upper_gap := found_gap;
            lower_gap := case when gap_before < 0 then lower_gap / 2 else lower_gap end;
        end if;
    end loop;
    return found;
end
$$;

comment on function analysis.student_t_quantile(double precision, integer) is
'standard errors to either side of an estimate that make an interval of the given confidence (0.95: 95 %), from
Student''s t with df degrees of freedom. NULL without degrees of freedom or above a confidence of 0.999999';
