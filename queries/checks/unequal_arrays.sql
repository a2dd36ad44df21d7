-- A chunk whose arrays differ in length; the tables refuse it, so that a table has lost its constraint.
select
    'score_chunk' as what,
    evaluation_id as unit_id,
    chunk_id
from warehouse.score_chunk
where
    cardinality(surprisal) <> cardinality(entropy)
    or cardinality(surprisal) <> cardinality(rank)
    or cardinality(surprisal) <> cardinality(top_vocab_id)
    or cardinality(surprisal) <> cardinality(top_surprisal)
    or cardinality(surprisal) <> cardinality(space_logmass)
    or cardinality(surprisal) <> cardinality(punct_logmass)
    or cardinality(surprisal) <> cardinality(eos_logmass)
    or cardinality(surprisal) <> cardinality(pad_logmass)
union all
select
    'convergence_chunk',
    comparison_id,
    chunk_id
from warehouse.convergence_chunk
where cardinality(kl) <> cardinality(mixture_entropy)
union all
select
    'top_chunk',
    evaluation_id,
    chunk_id
from warehouse.top_chunk
where cardinality(vocab_ids) <> cardinality(log_probabilities) or cardinality(vocab_ids) % k <> 0
union all
select
    'annotation_chunk',
    layer_id,
    chunk_id
from warehouse.annotation_chunk
where cardinality(category_ids) <> cardinality(numbers)
union all
select
    'document_score_chunk',
    evaluation_id,
    document_chunk
from warehouse.document_score_chunk
where
    cardinality(surprisal) <> cardinality(n_tokens)
    or cardinality(surprisal) <> cardinality(n_correct)
    or cardinality(surprisal) <> cardinality(eos_surprisal)
    or cardinality(surprisal) <> cardinality(entropy)
union all
select
    'document_divergence_chunk',
    pair_id,
    document_chunk
from warehouse.document_divergence_chunk
where cardinality(kl) <> cardinality(n_tokens)
union all
select
    'token_chunk',
    corpus_id,
    chunk_id
from warehouse.token_chunk
where
    cardinality(vocab_ids) <> cardinality(documents)
    or cardinality(vocab_ids) <> cardinality(positions)
    or cardinality(vocab_ids) <> cardinality(char_starts)
    or cardinality(vocab_ids) <> cardinality(char_ends)
    or cardinality(vocab_ids) <> cardinality(byte_starts)
    or cardinality(vocab_ids) <> cardinality(byte_ends);
