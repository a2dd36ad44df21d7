-- The tokens of every corpus: what the models predict.
-- Grain: one row per token_id. A chunk holds 256 consecutive tokens: token_id = 256 chunk_id + place in the chunk.
create or replace view analysis.tokens as
select
    corpus.name as corpus,
    chunk.chunk_id * 256 + item.ordinality - 1 as token_id,
    chunk.chunk_id,
    item.document,
    item.position,
    item.vocab_id,
    piece.piece,
    item.char_start,
    item.char_end,
    item.byte_start,
    item.byte_end,
    piece.starts_with_space,
    piece.is_punctuation,
    piece.is_special,
    piece.bytes
from warehouse.corpus as corpus
inner join warehouse.token_chunk as chunk on corpus.corpus_id = chunk.corpus_id
cross join lateral unnest(
    chunk.vocab_ids,
    chunk.documents,
    chunk.positions,
    chunk.char_starts,
    chunk.char_ends,
    chunk.byte_starts,
    chunk.byte_ends
) with ordinality as item (vocab_id, document, position, char_start, char_end, byte_start, byte_end, ordinality)
left join warehouse.vocabulary as piece
    on corpus.tokenizer_id = piece.tokenizer_id and item.vocab_id = piece.vocab_id;

comment on view analysis.tokens is 'Tokens of each corpus, in the order of its text.';
comment on column analysis.tokens.corpus is 'name of the corpus';
comment on column analysis.tokens.token_id is 'number of the token, across all corpora';
comment on column analysis.tokens.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.tokens.document is 'number of the document within its corpus, from 0';
comment on column analysis.tokens.position is 'place in the document, from 0';
comment on column analysis.tokens.vocab_id is 'id in the vocabulary of the tokenizer';
comment on column analysis.tokens.piece is 'the piece of text that the id stands for';
comment on column analysis.tokens.char_start is 'offset of its first character in the text of the corpus';
comment on column analysis.tokens.char_end is 'offset after its last character';
comment on column analysis.tokens.byte_start is 'offset of its first byte in the text of the corpus';
comment on column analysis.tokens.byte_end is 'offset after its last byte';
comment on column analysis.tokens.starts_with_space is 'the piece starts with white space';
comment on column analysis.tokens.is_punctuation is 'the piece is unspaced punctuation';
comment on column analysis.tokens.is_special is 'a control token such as the end of text';
comment on column analysis.tokens.bytes is 'the piece as bytes';
