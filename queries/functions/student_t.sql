-- Two-sided p of Student's t with whole degrees of freedom.
-- Source: Abramowitz & Stegun 26.7.3-4. Their series for P(|T| <= t) stops at the power df - 2 of cos(theta). The terms
-- after it, carried on for ever, are exactly p: far out they are summed, since 1 - series would lose p to rounding.
create or replace function analysis.student_t(t double precision, df integer) returns double precision
language plpgsql immutable strict parallel safe
as $$
declare
    -- Beyond 1e100 the square would overflow; p is below 1e-99 at any df.
    tangent constant double precision := least(abs(t), 1e100) / sqrt(nullif(greatest(df, 0), 0));
    sine constant double precision := tangent / sqrt(1 + tangent * tangent);
    cosine_squared constant double precision := 1 / (1 + tangent * tangent);
    last_power constant double precision := df - 2;
    power double precision := df % 2;
    term double precision := case when df % 2 = 0 then sine else 2 / pi() * sine * sqrt(cosine_squared) end;
    within double precision := case when df % 2 = 0 then 0 else 2 / pi() * atan(tangent) end;
    beyond double precision := 0;
begin
    if df < 1 or t = 'NaN' then
        return null;
    end if;
    -- PostgreSQL raises an error where a product underflows, so stop well before.
    while power <= last_power and term >= 1e-100 loop
        within := within + term;
        power := power + 2;
        term := term * cosine_squared * (power - 1) / power;
    end loop;
    if 1 - within > 1e-6 then
        return 1 - within;
    end if;
    while term > 1e-17 * beyond and term > 1e-100 loop
        beyond := beyond + term;
        power := power + 2;
        term := term * cosine_squared * (power - 1) / power;
    end loop;
    return beyond;
end
$$;

comment on function analysis.student_t(double precision, integer) is
'two-sided p of Student''s t with df degrees of freedom: the chance of a value at least as far from 0.
Zero below 1e-100; NULL without degrees of freedom';
