-- How well a checkpoint predicts each word; where words end by other rules, see function word_score_by.
-- Grain: one row per (corpus, protocol, family, model, seed, step, token_id), the token being the word's first piece.
-- Source: Oh and Schuler 2024, Pimentel and Meister 2024.
-- requires: word_score_by
create or replace view analysis.word_score as
select
    word.corpus,
    word.protocol,
    word.family,
    word.model,
    word.seed,
    word.step,
    word.token_id,
    word.document,
    word.word,
    word.n_pieces,
    word.surprisal,
    word.corrected_surprisal,
    word.char_start,
    word.char_end,
    word.outlier,
    word.evaluation_id
from analysis.word_score_by(true) as word;

comment on view analysis.word_score is
    'Surprisal of every word by every checkpoint; a condition on the corpus spares the words of the others.';
comment on column analysis.word_score.corpus is 'name of the corpus';
comment on column analysis.word_score.protocol is 'name of the protocol';
comment on column analysis.word_score.family is 'suite of the model, such as pythia';
comment on column analysis.word_score.model is 'name of the model within its family';
comment on column analysis.word_score.seed is 'seed of the training run';
comment on column analysis.word_score.step is 'optimiser steps taken';
comment on column analysis.word_score.token_id is
    'first token of the word; joins tokens and token_annotation, and tells words of one corpus apart';
comment on column analysis.word_score.document is 'number of the document within its corpus, from 0';
comment on column analysis.word_score.word is 'the word, without the white space around it';
comment on column analysis.word_score.n_pieces is 'tokens it consists of';
comment on column analysis.word_score.surprisal is
    'sum of the surprisals of its tokens, in nats: -log p(tokens | context); NULL where one was not measured';
comment on column analysis.word_score.corrected_surprisal is
    '-log p(the word and its end | context), in nats: surprisal + log Z before the word (0 at the start of a document) '
    '- log Z after it, Z being the probability of white space, punctuation or EOS; NULL for a last word without EOS';
comment on column analysis.word_score.char_start is 'offset of its first character in the text of the corpus';
comment on column analysis.word_score.char_end is 'offset after its last character';
comment on column analysis.word_score.outlier is 'the training run is flagged, and left out of run set default';
comment on column analysis.word_score.evaluation_id is 'key of warehouse.evaluation';
