-- A token of the corpus, or a prediction, whose id is not in the vocabulary of its tokenizer.
select
    'token_chunk' as what,
    chunk.corpus_id as unit_id,
    chunk.chunk_id,
    item.vocab_id
from warehouse.token_chunk as chunk
inner join warehouse.corpus as corpus on chunk.corpus_id = corpus.corpus_id
cross join lateral unnest(chunk.vocab_ids) as item (vocab_id)
left join warehouse.vocabulary as piece
    on corpus.tokenizer_id = piece.tokenizer_id and item.vocab_id = piece.vocab_id
where piece.vocab_id is null
union all
-- A prediction may be an id of the padding beyond the tokenizer, where the protocol keeps it.
select
    'score_chunk',
    chunk.evaluation_id,
    chunk.chunk_id,
    item.vocab_id
from warehouse.score_chunk as chunk
inner join warehouse.evaluation as evaluation on chunk.evaluation_id = evaluation.evaluation_id
inner join warehouse.protocol as protocol on evaluation.protocol_id = protocol.protocol_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.tokenizer as tokenizer on corpus.tokenizer_id = tokenizer.tokenizer_id
cross join lateral unnest(chunk.top_vocab_id) as item (vocab_id)
where item.vocab_id < 0 or (protocol.vocabulary = 'tokenizer' and item.vocab_id >= tokenizer.length)
union all
select
    'top_chunk',
    chunk.evaluation_id,
    chunk.chunk_id,
    item.vocab_id
from warehouse.top_chunk as chunk
inner join warehouse.evaluation as evaluation on chunk.evaluation_id = evaluation.evaluation_id
inner join warehouse.protocol as protocol on evaluation.protocol_id = protocol.protocol_id
inner join warehouse.corpus as corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.tokenizer as tokenizer on corpus.tokenizer_id = tokenizer.tokenizer_id
cross join lateral unnest(chunk.vocab_ids) as item (vocab_id)
where item.vocab_id < 0 or (protocol.vocabulary = 'tokenizer' and item.vocab_id >= tokenizer.length);
