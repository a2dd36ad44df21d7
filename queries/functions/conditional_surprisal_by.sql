-- Surprisal over the tokens that have one value of one layer and one value of another: a two-way table.
-- From facts, one evaluation at a time, so that a condition on evaluations decides how many are read.
-- A model's own layer comes before that of every model of the same name.
-- Source: Fehlauer et al. 2025, conditional surprisal; ratio estimator over text.
-- requires: cluster_error, evaluations
create or replace function analysis.conditional_surprisal_by(layer_a text, layer_b text)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    seed integer,
    step integer,
    value_a text,
    value_b text,
    n_tokens bigint,
    surprisal double precision,
    entropy double precision,
    accuracy double precision,
    se_document double precision,
    sd_tokens double precision,
    cluster text,
    n_clusters integer,
    df_document integer,
    outlier boolean,
    evaluation_id integer
)
language sql stable parallel safe
as $$
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    category_a.value as value_a,
    category_b.value as value_b,
    sums.n as n_tokens,
    sums.x / sums.n as surprisal,
    -- Not known unless it is for every token.
    case when sums.n_entropy = sums.n then sums.entropy / sums.n end as entropy,
    case when sums.n_rank = sums.n then sums.n_correct / sums.n::double precision end as accuracy,
    analysis.cluster_error(
        sums.clusters,
        (select settings.min_clusters from warehouse.settings as settings),
        sums.n,
        sums.x,
        sums.xx,
        sums.xn,
        sums.nn
    ) as se_document,
    sqrt(greatest(sums.x2 - sums.x * sums.x / sums.n, 0) / nullif(sums.n - 1, 0)) as sd_tokens,
    evaluation.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
cross join lateral (
    select layer.layer_id
    from warehouse.annotation_layer as layer
    where
        layer.corpus_id = evaluation.corpus_id
        and layer.name = conditional_surprisal_by.layer_a
        and (layer.model_id is null or layer.model_id = evaluation.model_id)
    order by layer.model_id nulls last
    limit 1
) as chosen_a
cross join lateral (
    select layer.layer_id
    from warehouse.annotation_layer as layer
    where
        layer.corpus_id = evaluation.corpus_id
        and layer.name = conditional_surprisal_by.layer_b
        and (layer.model_id is null or layer.model_id = evaluation.model_id)
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
        sum(part.entropy) as entropy,
        sum(part.n_entropy) as n_entropy,
        sum(part.n_correct) as n_correct,
        sum(part.n_rank) as n_rank,
        count(*)::integer as clusters,
        sum(part.x * part.x) as xx,
        sum(part.x * part.n) as xn,
        sum(part.n::double precision * part.n) as nn
    from (
        select
            item.a,
            item.b,
            case evaluation.cluster when 'document' then item.document else chunk.chunk_id end as cluster_id,
            count(*) as n,
            -- double precision, because a sum of reals loses digits
            sum(item.surprisal::double precision) as x,
            sum(item.surprisal::double precision * item.surprisal) as x2,
            sum(item.entropy::double precision) as entropy,
            count(item.entropy) as n_entropy,
            count(*) filter (where item.rank = 1) as n_correct,
            count(item.rank) as n_rank
        from warehouse.score_chunk as chunk
        inner join warehouse.annotation_chunk as chunk_a
            on chosen_a.layer_id = chunk_a.layer_id and chunk.chunk_id = chunk_a.chunk_id
        inner join warehouse.annotation_chunk as chunk_b
            on chosen_b.layer_id = chunk_b.layer_id and chunk.chunk_id = chunk_b.chunk_id
        inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
        cross join lateral unnest(
            chunk.surprisal, chunk.entropy, chunk.rank, chunk_a.category_ids, chunk_b.category_ids, token.documents
        ) as item (surprisal, entropy, rank, a, b, document)
        where
            chunk.evaluation_id = evaluation.evaluation_id
            and item.surprisal is not null
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
$$;

comment on function analysis.conditional_surprisal_by(text, text) is
'Conditional surprisal by two layers at once: one row per evaluation, value_a of the first layer and value_b of the
second, over the tokens (n_tokens) that have both. surprisal and entropy: means, in nats; accuracy: share of tokens of
rank 1; entropy and accuracy are NULL where a token lacks them; se_document: standard error of surprisal over clusters
of tokens, in nats; sd_tokens: spread of the tokens'' surprisal, in nats; n_clusters and df_document: clusters with
such tokens, and these less one. The other columns are those of conditional_surprisal: corpus, protocol, family, model,
seed, step, cluster, outlier, evaluation_id. Reads the facts of the evaluations that conditions leave, so name a step
or a model';
