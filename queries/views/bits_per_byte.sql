-- How many bits a checkpoint needs for a byte of a corpus, which does not depend on how the text is cut into tokens.
-- From sums over documents; a document with tokens that were not measured, or are mere context, is left out.
-- Grain: one row per evaluation.
-- Source: bits per byte as in lm-evaluation-harness, over all documents; ratio estimator over documents (extension).
-- requires: cluster_error, evaluations
create or replace view analysis.bits_per_byte as
select
    evaluation.corpus,
    evaluation.protocol,
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    total.bits / nullif(total.n_bytes, 0) as bits_per_byte,
    case evaluation.cluster when 'document' then analysis.cluster_error(
        total.n_documents,
        (select settings.min_clusters from warehouse.settings as settings),
        total.n_bytes,
        total.bits,
        total.xx,
        total.xn,
        total.nn
    ) end as se_document,
    total.n_bytes,
    total.n_tokens,
    total.n_documents,
    total.n_documents - 1 as df_document,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id
from analysis.evaluations as evaluation
cross join lateral (
    select
        count(*)::integer as n_documents,
        sum(part.n_tokens)::bigint as n_tokens,
        sum(part.n_bytes)::bigint as n_bytes,
        sum(part.bits) as bits,
        sum(part.bits * part.bits) as xx,
        sum(part.bits * part.n_bytes) as xn,
        sum(part.n_bytes::double precision * part.n_bytes) as nn
    from (
        select
            item.n_tokens,
            document.byte_end - document.byte_start as n_bytes,
            -- double precision, because a sum of reals loses digits
            item.surprisal::double precision / ln(2::double precision) as bits
        from warehouse.document_score_chunk as chunk
        cross join lateral unnest(chunk.n_tokens, chunk.surprisal, chunk.eos_surprisal) with ordinality
            as item (n_tokens, surprisal, eos_surprisal, place)
        inner join warehouse.document as document
            on
                document.corpus_id = evaluation.corpus_id
                and chunk.document_chunk * 256 + item.place - 1 = document.document
        where
            chunk.evaluation_id = evaluation.evaluation_id
            and item.surprisal is not null
            -- The bytes of a document are those of the sum where it is over all of its tokens.
            and item.n_tokens + (item.eos_surprisal is not null)::integer = document.n_tokens
    ) as part
) as total
where total.n_documents > 0;

comment on view analysis.bits_per_byte is
    'Bits per byte of a corpus by each checkpoint: the surprisal of its documents, without EOS, by their bytes.';
comment on column analysis.bits_per_byte.corpus is 'name of the corpus';
comment on column analysis.bits_per_byte.protocol is 'name of the protocol';
comment on column analysis.bits_per_byte.family is 'suite of the model, such as pythia';
comment on column analysis.bits_per_byte.model is 'name of the model within its family';
comment on column analysis.bits_per_byte.seed is 'seed of the training run';
comment on column analysis.bits_per_byte.step is 'optimiser steps taken';
comment on column analysis.bits_per_byte.bits_per_byte is
    'sum of surprisal / (ln 2 x bytes) over whole documents, EOS left out, in bits';
comment on column analysis.bits_per_byte.se_document is
    'standard error over documents, in bits; NULL for a corpus of few documents, which is clustered by chunk';
comment on column analysis.bits_per_byte.n_bytes is 'bytes of the documents'' text as UTF-8';
comment on column analysis.bits_per_byte.n_tokens is 'tokens of the documents, EOS left out';
comment on column analysis.bits_per_byte.n_documents is
    'documents that were scored from their first to their last token';
comment on column analysis.bits_per_byte.df_document is 'degrees of freedom of se_document: documents less one';
comment on column analysis.bits_per_byte.tokens_seen is 'training tokens seen';
comment on column analysis.bits_per_byte.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.bits_per_byte.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.bits_per_byte.evaluation_id is 'key of warehouse.evaluation';
