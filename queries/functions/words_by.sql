-- The words of every corpus.
-- Grain: one row per (corpus, token_id), the token being the first piece of a word. White space alone is no word.
-- requires: word_pieces
create or replace function analysis.words_by(punctuation boolean)
returns table (
    corpus text,
    document integer,
    token_id bigint,
    word text,
    n_pieces bigint,
    char_start integer,
    char_end integer,
    chunk_id bigint
)
language sql stable parallel safe
as $$
select
    piece.corpus,
    piece.document,
    piece.token_id,
    piece.word,
    piece.n_pieces,
    piece.char_start,
    piece.char_end,
    piece.chunk_id
from analysis.word_pieces(punctuation) as piece
where piece.is_first and piece.word <> ''
$$;

comment on function analysis.words_by(boolean) is
    'The words of every corpus; argument: whether unspaced punctuation begins a word, else only white space.';
