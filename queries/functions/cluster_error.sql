-- Standard error of a mean over tokens when clusters of tokens (documents or chunks), not tokens, are independent.
-- Source: ratio estimator over D clusters, se^2 = D/(D-1) (sum X_d^2 - 2 m sum X_d N_d + m^2 sum N_d^2) / n^2.
create or replace function analysis.cluster_error(
    clusters integer,
    min_clusters integer,
    n bigint,
    sum_x double precision,
    cluster_xx double precision,
    cluster_xn double precision,
    cluster_nn double precision
) returns double precision
language sql immutable parallel safe
as $$
select case
    -- A sum that is not known has no error; greatest, below, would take it for nothing.
    when clusters >= greatest(min_clusters, 2) and sum_x is not null
        then sqrt(
            greatest(
                cluster_xx
                - 2 * (sum_x / nullif(n, 0)) * cluster_xn
                + (sum_x / nullif(n, 0)) * (sum_x / nullif(n, 0)) * cluster_nn,
                0
            ) * clusters / nullif(clusters - 1, 0)
        ) / nullif(n, 0)
end
$$;

comment on function analysis.cluster_error(
    integer, integer, bigint, double precision, double precision, double precision, double precision
) is 'Standard error of a token mean from sums over clusters: X_d^2, X_d N_d, N_d^2; NULL below min_clusters clusters.';
