-- Convergence over the tokens that have one value of one layer and one value of another: a two-way table.
-- From facts, one comparison at a time, so that a condition on comparisons decides how many are read.
-- A model's own layer comes before that of every model of the same name.
-- Source: Fehlauer et al. 2025, conditional convergence; ratio estimator over text.
-- requires: chosen_run_set, cluster_error, comparisons
create or replace function analysis.conditional_convergence_by(layer_a text, layer_b text)
returns table (
    kind text,
    corpus text,
    protocol text,
    run_set text,
    family text,
    model text,
    step integer,
    model_q text,
    step_q integer,
    value_a text,
    value_b text,
    n_tokens bigint,
    convergence double precision,
    se_document double precision,
    n_pairs integer,
    complete boolean,
    sd_tokens double precision,
    cluster text,
    n_clusters integer,
    df_document integer,
    comparison_id integer
)
language sql stable parallel safe
as $$
select
    comparison.kind,
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    comparison.model_q,
    comparison.step_q,
    category_a.value as value_a,
    category_b.value as value_b,
    sums.n as n_tokens,
    -- a difference, because the negative of 0 shows as -0
    0 - sums.x / sums.n as convergence,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.x,
        sums.xx,
        sums.xn,
        sums.nn
    ) as se_document,
    comparison.n_pairs,
    comparison.complete,
    sqrt(greatest(sums.x2 - sums.x * sums.x / sums.n, 0) / nullif(sums.n - 1, 0)) as sd_tokens,
    comparison.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    comparison.comparison_id
from analysis.comparisons as comparison
cross join lateral (
    select layer.layer_id
    from warehouse.annotation_layer as layer
    where
        layer.corpus_id = comparison.corpus_id
        and layer.name = conditional_convergence_by.layer_a
        and (layer.model_id is null or layer.model_id = comparison.model_id)
    order by layer.model_id nulls last
    limit 1
) as chosen_a
cross join lateral (
    select layer.layer_id
    from warehouse.annotation_layer as layer
    where
        layer.corpus_id = comparison.corpus_id
        and layer.name = conditional_convergence_by.layer_b
        and (layer.model_id is null or layer.model_id = comparison.model_id)
    order by layer.model_id nulls last
    limit 1
) as chosen_b
cross join lateral (
    select
        part.a,
        part.b,
        sum(part.n)::bigint as n,
        sum(part.x) as x,
        sum(part.x2) as x2,
        count(*)::integer as clusters,
        sum(part.x * part.x) as xx,
        sum(part.x * part.n) as xn,
        sum(part.n::double precision * part.n) as nn
    from (
        select
            item.a,
            item.b,
            case comparison.cluster when 'document' then item.document else chunk.chunk_id end as cluster_id,
            count(*) as n,
            -- double precision, because a sum of reals loses digits
            sum(item.kl::double precision) as x,
            sum(item.kl::double precision * item.kl) as x2
        from warehouse.convergence_chunk as chunk
        inner join warehouse.annotation_chunk as chunk_a
            on chosen_a.layer_id = chunk_a.layer_id and chunk.chunk_id = chunk_a.chunk_id
        inner join warehouse.annotation_chunk as chunk_b
            on chosen_b.layer_id = chunk_b.layer_id and chunk.chunk_id = chunk_b.chunk_id
        inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
        cross join lateral unnest(chunk.kl, chunk_a.category_ids, chunk_b.category_ids, token.documents)
            as item (kl, a, b, document)
        where
            chunk.comparison_id = comparison.comparison_id
            and item.kl is not null
            and item.a is not null
            and item.b is not null
        group by item.a, item.b, cluster_id
    ) as part
    group by part.a, part.b
) as sums
inner join warehouse.annotation_category as category_a
    on chosen_a.layer_id = category_a.layer_id and sums.a = category_a.category_id
inner join warehouse.annotation_category as category_b
    on chosen_b.layer_id = category_b.layer_id and sums.b = category_b.category_id
where comparison.run_set = analysis.chosen_run_set() and comparison.n_pairs > 0
$$;

comment on function analysis.conditional_convergence_by(text, text) is
'Conditional convergence by two layers at once: one row per comparison, value_a of the first layer and value_b of the
second, over the tokens (n_tokens) that have both. convergence: minus the mean KL over ordered pairs and these tokens,
in nats; se_document: its standard error over clusters of tokens, in nats; sd_tokens: spread of the tokens'' convergence,
in nats; n_clusters and df_document: clusters with such tokens, and these less one. The other columns are those of
conditional_convergence: kind, corpus, protocol, run_set, family, model, step, model_q, step_q, n_pairs, complete,
cluster, comparison_id. Reads the facts of the comparisons that conditions leave, so name a step or a model';
