-- The words of every corpus, as its tokenizer marks them: what begins with white space or with punctuation.
-- Grain: one row per (corpus, token_id), the token being the first piece of a word. White space alone is no word.
-- Source: Oh and Schuler 2024, Pimentel and Meister 2024.
-- requires: words_by
create or replace view analysis.words as
select
    word.corpus,
    word.document,
    word.token_id,
    word.word,
    word.n_pieces,
    word.char_start,
    word.char_end,
    word.chunk_id
from analysis.words_by(true) as word;

comment on view analysis.words is
    'Words of each corpus: tokens from one that starts with white space or punctuation up to the next such one.';
comment on column analysis.words.corpus is 'name of the corpus';
comment on column analysis.words.document is 'number of the document within its corpus, from 0';
comment on column analysis.words.token_id is 'its first token; joins tokens, token_annotation and word_score';
comment on column analysis.words.word is 'the word, without the white space around it';
comment on column analysis.words.n_pieces is 'tokens it consists of: token_id and those that follow';
comment on column analysis.words.char_start is 'offset of its first character in the text of the corpus';
comment on column analysis.words.char_end is 'offset after its last character';
comment on column analysis.words.chunk_id is 'token_id / 256, of the first token';
