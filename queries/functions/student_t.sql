-- Two-sided p of Student's t with whole degrees of freedom, to 1e-12 of its value.
-- Source: Abramowitz & Stegun 26.7.1 and 26.5: p = I_x(df/2, 1/2) at x = df / (df + t^2). Far out it is the continued
-- fraction 26.5.9, near 0 one less the series 26.5.4. All their terms are positive, so that nothing cancels, and both
-- are as quick for 10,000 documents as for ten. With few degrees of freedom the finite sums 26.7.3 and 26.7.4 take a
-- fraction of the time; they give 1 - p, so that only a p which is not small keeps its digits.
create or replace function analysis.student_t(t double precision, df integer) returns double precision
language plpgsql immutable strict parallel safe
as $$
declare
    -- PostgreSQL raises an error where a square overflows or underflows, which at these bounds changes no p.
    square constant double precision := case when abs(t) > 1e-100 then least(abs(t), 1e100) ^ 2 else 0 end;
    df_real constant double precision := df;
    ratio constant double precision := square / nullif(greatest(df_real, 0), 0);
    grown constant double precision := 1 + ratio;
    -- The logarithm of 1 + ratio, of which rounding the sum would lose digits.
    log_grown constant double precision := coalesce(ln(grown) * (ratio / nullif(grown - 1, 0)), ratio);
    share constant double precision := ratio / grown;
    half constant double precision := df_real / 2;
    -- Gamma(half + 1/2) / (sqrt(pi) Gamma(half + 1)).
    factor double precision := case when df % 2 = 0 then 1 else 2 / pi() end;
    folded double precision := 1;
    term_value double precision := case when df % 2 = 0 then 1 else 1 / sqrt(grown) end;
    finite double precision := term_value;
begin
    if df < 1 or t = 'NaN' then
        return null;
    elsif half * log_grown > 230 then
        return 0;
    elsif df <= 20 and square < 4 * df_real and square < 9 then
        for term in 1..(df - 2) / 2 loop
            term_value := term_value * (2 * term - 1 + df % 2) / ((2 * term + df % 2) * grown);
            finite := finite + term_value;
        end loop;
        return 1 - case
            when df % 2 = 0 then sqrt(share) * finite
            when df = 1 then 2 / pi() * atan(sqrt(ratio))
            else 2 / pi() * (atan(sqrt(ratio)) + sqrt(share) * finite)
        end;
    end if;
    if df > 40 then
        -- Stirling's series.
        factor := exp(((17 / (14336 * half ^ 2) - 1.0 / 640) / half ^ 2 + 1.0 / 192) / half ^ 3 - 1 / (8 * half))
            / sqrt(pi() * half);
    else
        for term in 1..df / 2 loop
            factor := factor * (df - 2 * term + 1) / (df - 2 * term + 2);
        end loop;
    end if;
    factor := factor * exp(-half * log_grown);
    -- On either side of this limit so many terms are enough. They are folded up from the last.
    if square * (df_real + 2) < 3.5 * df_real then
        for term in reverse (10 + 8 * square + 50 * share)::integer..0 loop
            folded := 1 + folded * (df_real + 1 + 2 * term) / (3 + 2 * term) * share;
        end loop;
        return 1 - df_real * factor * sqrt(share) * folded;
    end if;
    for term in reverse least(80, 10 + 280 / square)::integer..1 loop
        folded := 1 + term * (df_real + term - 1) / ((df_real + 2 * term - 2) * (df_real + 2 * term)) / ratio / folded;
    end loop;
    return factor / sqrt(share) / folded;
end
$$;

comment on function analysis.student_t(double precision, integer) is
'two-sided p of Student''s t with df degrees of freedom: the chance of a value at least as far from 0.
Zero below 1e-100; NULL without degrees of freedom';
