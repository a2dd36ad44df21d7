-- Which word each token is a piece of, and what the whole of it spells. A word begins where a document does, at a piece
-- that starts with white space, and where punctuation counts at a piece that is unspaced punctuation. White space alone
-- belongs to the word after it. A special token, such as EOS, is no piece of a word and ends the one before it.
-- Grain: one row per token_id; a special token's word is NULL. Source: Oh and Schuler 2024, Pimentel and Meister 2024.
-- requires: tokens, utf8_text, without_space
create or replace function analysis.word_pieces(punctuation boolean)
returns table (
    corpus text,
    document integer,
    token_id bigint,
    chunk_id bigint,
    word_id bigint,
    is_first boolean,
    is_last boolean,
    begins_text boolean,
    ends_text boolean,
    n_pieces bigint,
    word text,
    char_start integer,
    char_end integer
)
language sql stable parallel safe
as $$
select
    spelled.corpus,
    spelled.document,
    spelled.token_id,
    spelled.chunk_id,
    spelled.word_id,
    spelled.is_first,
    spelled.is_last,
    spelled.begins_text,
    spelled.ends_text,
    spelled.n_pieces,
    analysis.without_space(spelled.spelling) as word,
    -- Counted from the end, for a tokenizer may put a space before a text that has none.
    greatest(spelled.char_start, spelled.char_end - length(analysis.without_space(spelled.spelling))) as char_start,
    spelled.char_end
from (
    select
        grouped.corpus,
        grouped.document,
        grouped.token_id,
        grouped.chunk_id,
        grouped.word_id,
        grouped.is_first,
        grouped.is_last,
        grouped.begins_text,
        grouped.ends_text,
        count(*) over in_word as n_pieces,
        -- A character that is cut in two is whole in the bytes; bytes that are no text are shown piece by piece.
        case
            when grouped.is_special then null
            when bool_or(strpos(grouped.piece, U&'\FFFD') > 0) over in_word
                then coalesce(
                    analysis.utf8_text(string_agg(grouped.bytes, '') over in_word),
                    string_agg(grouped.piece, '') over in_word
                )
            else string_agg(grouped.piece, '') over in_word
        end as spelling,
        min(grouped.char_start) over in_word as char_start,
        max(grouped.char_end) over in_word as char_end
    from (
        select
            placed.*,
            max(case when placed.is_first then placed.token_id end) over in_order as word_id,
            coalesce(lead(placed.is_first) over in_order, true) as is_last,
            lead(placed.document) over in_order is distinct from placed.document as ends_text
        from (
            select
                flagged.*,
                flagged.position = 0 or flagged.follows_special as begins_text,
                flagged.position = 0 or flagged.follows_special or flagged.is_special
                or (
                    (flagged.starts_with_space or (punctuation and flagged.is_punctuation))
                    and not flagged.follows_space
                ) as is_first
            from (
                select
                    token.*,
                    coalesce(lag(token.is_special) over in_order, false) as follows_special,
                    coalesce(
                        lag(token.starts_with_space and analysis.without_space(token.piece) = '') over in_order, false
                    ) as follows_space
                from analysis.tokens as token
                window in_order as (partition by token.corpus order by token.token_id)
            ) as flagged
        ) as placed
        window in_order as (partition by placed.corpus order by placed.token_id)
    ) as grouped
    window in_word as (
        partition by grouped.corpus, grouped.word_id
        order by grouped.token_id rows between unbounded preceding and unbounded following
    )
) as spelled
$$;

comment on function analysis.word_pieces(boolean) is
    'Which word each token is a piece of; argument: whether unspaced punctuation begins a word, else only white space.';
