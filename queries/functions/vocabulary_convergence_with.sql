-- Convergence over the tokens of each type, that is of each entry of the vocabulary, and where it stands among the types
-- with at least min_tokens tokens: the types on which models agree least, middling and most.
-- From facts, one comparison at a time, so that a condition on comparisons decides how many are read.
-- Source: Fehlauer et al. 2025, conditional convergence; ratio estimator over text (extension).
-- requires: chosen_run_set, cluster_error, comparisons
create or replace function analysis.vocabulary_convergence_with(min_tokens integer default 1)
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
    vocab_id integer,
    piece text,
    n_tokens bigint,
    convergence double precision,
    se_document double precision,
    place bigint,
    percentile double precision,
    n_types bigint,
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
    sums.vocab_id,
    entry.piece,
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
    sums.place,
    sums.percentile,
    sums.n_types,
    comparison.n_pairs,
    comparison.complete,
    sqrt(greatest(sums.x2 - sums.x * sums.x / sums.n, 0) / nullif(sums.n - 1, 0)) as sd_tokens,
    comparison.cluster,
    sums.clusters as n_clusters,
    sums.clusters - 1 as df_document,
    comparison.comparison_id
from analysis.comparisons as comparison
inner join warehouse.corpus as corpus on comparison.corpus_id = corpus.corpus_id
cross join lateral (
    select
        part.vocab_id,
        sum(part.n)::bigint as n,
        sum(part.x) as x,
        sum(part.x2) as x2,
        count(*)::integer as clusters,
        sum(part.x * part.x) as xx,
        sum(part.x * part.n) as xn,
        sum(part.n::double precision * part.n) as nn,
        -- The least convergence, which is the greatest KL, comes first.
        rank() over (order by sum(part.x) / sum(part.n) desc) as place,
        percent_rank() over (order by sum(part.x) / sum(part.n) desc) as percentile,
        count(*) over () as n_types
    from (
        select
            item.vocab_id,
            case comparison.cluster when 'document' then item.document else chunk.chunk_id end as cluster_id,
            count(*) as n,
            -- double precision, because a sum of reals loses digits
            sum(item.kl::double precision) as x,
            sum(item.kl::double precision * item.kl) as x2
        from warehouse.convergence_chunk as chunk
        inner join warehouse.token_chunk as token on chunk.chunk_id = token.chunk_id
        cross join lateral unnest(chunk.kl, token.vocab_ids, token.documents) as item (kl, vocab_id, document)
        where chunk.comparison_id = comparison.comparison_id and item.kl is not null
        group by item.vocab_id, cluster_id
    ) as part
    group by part.vocab_id
    having sum(part.n) >= vocabulary_convergence_with.min_tokens
) as sums
left join warehouse.vocabulary as entry
    on corpus.tokenizer_id = entry.tokenizer_id and sums.vocab_id = entry.vocab_id
where comparison.run_set = analysis.chosen_run_set() and comparison.n_pairs > 0
$$;

comment on function analysis.vocabulary_convergence_with(integer) is
'Convergence by type, as vocabulary_convergence, whose columns it has: one row per comparison and entry of the
vocabulary. min_tokens: types with fewer tokens are left out, and have no place among the others. Reads the facts of the
comparisons that conditions leave, so name a step or a model';
