-- Degrees of freedom of sqrt(se_a^2 + se_b^2), where each of two independent standard errors has its own.
-- Source: Welch 1947, Satterthwaite 1946; rounded down, and never below the lesser of the two.
create or replace function analysis.welch_df(
    se_a double precision,
    df_a integer,
    se_b double precision,
    df_b integer
) returns integer
language sql immutable parallel safe
as $$
select case when se_a + se_b is not null and least(df_a, df_b) > 0 then greatest(
    least(df_a, df_b),
    floor((se_a ^ 2 + se_b ^ 2) ^ 2 / nullif(se_a ^ 4 / df_a + se_b ^ 4 / df_b, 0))
)::integer end
$$;

comment on function analysis.welch_df(double precision, integer, double precision, integer) is
'Degrees of freedom of the root of the sum of two squared standard errors, such as se_total, from the two and theirs, by
Welch and Satterthwaite. NULL where one of the errors is';
