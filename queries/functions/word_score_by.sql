-- How well a checkpoint predicts each word: the surprisals of its pieces, summed, and corrected for where words end.
-- A tokenizer with spaces before words leaves open whether a word is over. Z is the probability of all that may begin
-- another one: white space, EOS and, where it counts, punctuation. A word's probability has the Z after its last piece as
-- a factor, and the Z before its first as a divisor where a word came before.
-- Grain: one row per (corpus, protocol, family, model, seed, step, token_id), the token being the word's first piece.
-- Source: Oh and Schuler 2024, Pimentel and Meister 2024.
-- requires: evaluations, log_sum_exp, word_pieces
create or replace function analysis.word_score_by(punctuation boolean)
returns table (
    corpus text,
    protocol text,
    family text,
    model text,
    seed integer,
    step integer,
    token_id bigint,
    document integer,
    word text,
    n_pieces bigint,
    surprisal double precision,
    corrected_surprisal double precision,
    char_start integer,
    char_end integer,
    outlier boolean,
    evaluation_id integer
)
language sql stable parallel safe
as $$
select
    summed.corpus,
    summed.protocol,
    summed.family,
    summed.model,
    summed.seed,
    summed.step,
    summed.token_id,
    summed.document,
    summed.word,
    summed.n_pieces,
    summed.surprisal,
    summed.surprisal + summed.boundary_before - summed.boundary_after as corrected_surprisal,
    summed.char_start,
    summed.char_end,
    summed.outlier,
    summed.evaluation_id
from (
    select
        item.corpus,
        item.protocol,
        item.family,
        item.model,
        item.seed,
        item.step,
        item.outlier,
        item.evaluation_id,
        item.word_id as token_id,
        -- What is known of a word stands at its first piece.
        min(item.document) as document,
        min(item.word) as word,
        min(item.n_pieces) as n_pieces,
        min(item.char_start) as char_start,
        min(item.char_end) as char_end,
        -- One piece that was not measured, and the word was not.
        case when count(item.surprisal) = count(*) then sum(item.surprisal::double precision) end as surprisal,
        max(
            case item.follows_word
                when false then 0
                when true
                    then analysis.log_sum_exp(
                        item.space_logmass, case when punctuation then item.punct_logmass end, item.eos_logmass
                    )
            end
        ) as boundary_before,
        max(
            case
                when item.precedes_word
                    then analysis.log_sum_exp(
                        item.next_space, case when punctuation then item.next_punct end, item.next_eos
                    )
            end
        ) as boundary_after
    from (
        -- Unnested side by side in the select list, which takes half the time of a lateral join.
        select
            score.evaluation_id,
            score.corpus,
            score.protocol,
            score.family,
            score.model,
            score.seed,
            score.step,
            score.outlier,
            unnest(piece.word_ids) as word_id,
            unnest(piece.follow_words) as follows_word,
            unnest(piece.precede_words) as precedes_word,
            unnest(piece.words) as word,
            unnest(piece.documents) as document,
            unnest(piece.piece_counts) as n_pieces,
            unnest(piece.char_starts) as char_start,
            unnest(piece.char_ends) as char_end,
            unnest(score.surprisal) as surprisal,
            unnest(score.space_logmass) as space_logmass,
            unnest(score.punct_logmass) as punct_logmass,
            unnest(score.eos_logmass) as eos_logmass,
            unnest(score.space_logmass[2:] || score.next_space) as next_space,
            unnest(score.punct_logmass[2:] || score.next_punct) as next_punct,
            unnest(score.eos_logmass[2:] || score.next_eos) as next_eos
        from (
            select
                evaluation.corpus,
                evaluation.protocol,
                evaluation.family,
                evaluation.model,
                evaluation.seed,
                evaluation.step,
                evaluation.outlier,
                evaluation.evaluation_id,
                chunk.chunk_id,
                chunk.surprisal,
                chunk.space_logmass,
                chunk.punct_logmass,
                chunk.eos_logmass,
                lead(chunk.space_logmass[1]) over in_order as next_space,
                lead(chunk.punct_logmass[1]) over in_order as next_punct,
                lead(chunk.eos_logmass[1]) over in_order as next_eos
            from analysis.evaluations as evaluation
            inner join warehouse.score_chunk as chunk on evaluation.evaluation_id = chunk.evaluation_id
            -- All of the names, so that a condition on any of them reaches the chunks.
            window in_order as (
                partition by
                    evaluation.evaluation_id,
                    evaluation.corpus,
                    evaluation.protocol,
                    evaluation.family,
                    evaluation.model,
                    evaluation.seed,
                    evaluation.step,
                    evaluation.outlier
                order by chunk.chunk_id
            )
        ) as score
        inner join (
            select
                piece.corpus,
                piece.chunk_id,
                array_agg(piece.word_id order by piece.token_id) as word_ids,
                array_agg(case when piece.is_first then not piece.begins_text end order by piece.token_id) as follow_words,
                array_agg(piece.is_last and not piece.ends_text order by piece.token_id) as precede_words,
                array_agg(case when piece.is_first then piece.word end order by piece.token_id) as words,
                array_agg(piece.document order by piece.token_id) as documents,
                array_agg(piece.n_pieces order by piece.token_id) as piece_counts,
                array_agg(piece.char_start order by piece.token_id) as char_starts,
                array_agg(piece.char_end order by piece.token_id) as char_ends
            from analysis.word_pieces(punctuation) as piece
            group by piece.corpus, piece.chunk_id
        -- By name too, so that a condition on the corpus reaches the pieces.
        ) as piece on score.corpus = piece.corpus and score.chunk_id = piece.chunk_id
    ) as item
    -- What tells most rows apart comes first, so that sorting compares few names.
    group by
        item.word_id,
        item.evaluation_id,
        item.corpus,
        item.protocol,
        item.family,
        item.model,
        item.seed,
        item.step,
        item.outlier
) as summed
where summed.word <> ''
$$;

comment on function analysis.word_score_by(boolean) is
    'word_score with other words; argument: whether unspaced punctuation begins a word, else only white space.';
