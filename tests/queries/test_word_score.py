"""Words and their surprisal, against float64 sums over the vocabulary and cases small enough to compute by hand."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from tests import float64
from tests.ingested import SMALL, WINDOW, ingest, rows, save_cell, study_of
from tests.models import EOS_ID, tokenizer
from tests.queries.measured import Measured
from warehouse import dimensions, schema
from warehouse.database import Database

#: Words over the edges of chunks, in more than one chunk, cut within a character, and all kinds of space around them.
DOCUMENTS = [
    'She said: "Well-known, isn\'t it?"\n\nNo  one\tknew\u00a0why \U0001f642\U0001f642 (or when).',
    "  Begins and ends in space \n",
    f"One number {'7' * 600} was long.",
    "...",
    "naïve—café ☃!",
]
SPACE, PUNCTUATION, OTHER, END = range(4)


def kind_of(piece: bytes) -> int:
    """What a piece of the vocabulary is, read off its first character, or off all of them."""
    text = piece.decode("utf-8", "replace")
    if text[:1].isspace():
        return SPACE
    alone = bool(text) and all(unicodedata.category(c)[0] in "PS" and c != "\ufffd" for c in text)
    return PUNCTUATION if alone else OTHER


@dataclass(frozen=True)
class Scored:
    """A document's tokens as one checkpoint sees them: their pieces, and [n, V] float64 log-probabilities."""

    pieces: Sequence[bytes]
    kinds: Sequence[int]
    surprisals: np.ndarray
    boundary: np.ndarray  # [n] log Z


@dataclass(frozen=True)
class Word:
    text: str
    n_pieces: int
    surprisal: float
    corrected: float


def words_of(scored: Scored, punctuation: bool) -> Iterator[Word]:
    """The words of a document that ends in EOS, one piece after another."""
    begins = {SPACE, PUNCTUATION} if punctuation else {SPACE}
    start = 0
    for end in range(1, len(scored.pieces)):
        blank = not scored.pieces[end - 1].decode("utf-8", "replace").strip()
        if scored.kinds[end] == END or (scored.kinds[end] in begins and not blank):
            text = b"".join(scored.pieces[start:end]).decode().strip()
            surprisal = scored.surprisals[start:end].sum()
            before = scored.boundary[start] if start else 0.0
            if text:
                yield Word(text, end - start, surprisal, surprisal + before - scored.boundary[end])
            start = end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("words")


@pytest.fixture(scope="module")
def scored_words(folder: Path, module_database: Database) -> Database:
    """Two steps of one model, ingested on the documents."""
    lines = [json.dumps({"name": f"text {number}", "text": text}) for number, text in enumerate(DOCUMENTS)]
    (folder / "texts.jsonl").write_text("\n".join(lines), "utf-8")
    for step in (1, 4):
        save_cell(folder / "models", "small", 0, step)
    study = study_of(folder / "models", folder / "texts.jsonl", family="small", layers=("document",), kinds=("step",))
    ingest(module_database, replace(study, seeds=(0,), steps=(1, 4)))
    return module_database


def oracle(folder: Path, database: Database, step: int, punctuation: bool) -> list[Word]:
    """All words of the documents at one step."""
    stored = rows(database, "select vocab_id, bytes, document from analysis.tokens order by token_id")
    ids, pieces, documents = map(list, zip(*stored, strict=True))
    window = min(WINDOW, SMALL.shape.context)
    logits = float64.logits(folder / "models" / "small" / "seed0" / f"step{step}", [EOS_ID, *ids], window)
    p = np.exp(float64.log_softmax(logits[:, : tokenizer().get_vocab_size()]))
    vocabulary = dict(rows(database, "select vocab_id, bytes from warehouse.vocabulary"))
    kinds = np.array([END if i == EOS_ID else kind_of(vocabulary[i]) for i in range(p.shape[1])])
    counted = np.isin(kinds, [SPACE, PUNCTUATION, END] if punctuation else [SPACE, END])
    found: list[Word] = []
    for document in range(len(DOCUMENTS)):
        own = np.flatnonzero(np.array(documents) == document)
        found += words_of(
            Scored(
                [pieces[t] for t in own],
                [int(kinds[ids[t]]) for t in own],
                np.array([-log(p[t, ids[t]]) for t in own]),
                np.log(p[own][:, counted].sum(1)),
            ),
            punctuation,
        )
    return found


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("punctuation", [True, False])
def test_words_have_the_surprisal_of_their_pieces_and_of_their_ends(
    folder: Path, scored_words: Database, step: int, punctuation: bool
) -> None:
    expected = oracle(folder, scored_words, step, punctuation)
    query = "select word, n_pieces, surprisal, corrected_surprisal from {} where step = {} order by token_id"
    source = "analysis.word_score" if punctuation else "analysis.word_score_by(false)"
    actual = rows(scored_words, query.format(source, step))
    assert [row[:2] for row in actual] == [(word.text, word.n_pieces) for word in expected]
    numbers = np.array([row[2:] for row in actual], np.float64)
    np.testing.assert_allclose(numbers, [(word.surprisal, word.corrected) for word in expected], rtol=2e-6)


def test_the_words_are_those_of_the_text_with_their_place_in_it(scored_words: Database) -> None:
    found = rows(
        scored_words, "select document, word, char_start, char_end, n_pieces from analysis.words order by token_id"
    )
    text_of = rows(scored_words, "select document, char_start from analysis.documents")
    whole = dict.fromkeys(range(max(row[3] for row in found)), " ")
    for document, start in text_of:
        whole |= dict(enumerate(DOCUMENTS[document], start=start))
    for _, word, start, end, _ in found:
        assert word == "".join(whole[c] for c in range(start, end))
    # The tokenizer cuts the bytes of a no-break space in two, and half of one is no white space.
    first = ["She", "said", ":", '"Well', "-known", ",", "isn", "'t", "it", "?", '"', "No", "one", "knew\u00a0why"]
    assert [word for document, word, *_ in found if document == 0] == [*first, "🙂🙂", "(or", "when", ")", "."]
    assert [word for document, word, *_ in found if document == 1] == ["Begins", "and", "ends", "in", "space"]
    [(pieces,)] = rows(scored_words, f"select n_pieces from analysis.words where word = '{'7' * 600}'")
    assert pieces > 512


def test_all_pieces_are_in_words_but_for_eos_and_white_space_before_it(scored_words: Database) -> None:
    [(in_words,)] = rows(scored_words, "select sum(n_pieces)::int from analysis.words")
    [(total, ends)] = rows(scored_words, "select count(*), count(*) filter (where is_special) from analysis.tokens")
    assert ends == len(DOCUMENTS)
    trailing = " \n"  # of the second document, each a piece of its own
    assert in_words == total - ends - len(trailing)


# --- by hand -------------------------------------------------------------------------------------------------------

PIECES = {"<end>": b"<end>", "a": b"a", "b": b"b", " c": b" c", ".": b".", "\ufffd": b"\xe2\x82", "\ufffd!": b"\xac"}


@dataclass(frozen=True)
class ByHand:
    database: Database

    def load(self, texts: Sequence[Sequence[str]], scores: dict[str, Sequence[float] | None], eos: str) -> None:
        """A corpus of documents of these pieces, and one evaluation with these scores, by plain inserts."""
        with self.database.engine().begin() as connection:
            tokenizer_id = dimensions.save_tokenizer(
                connection,
                name="by hand",
                sha256="t" * 64,
                length=len(PIECES),
                bos_id=0,
                eos_id=0,
                pieces=[
                    (text, spelled, text[0] == " ", text == ".", text == "<end>") for text, spelled in PIECES.items()
                ],
            )
            _save_corpus(connection, tokenizer_id, texts, eos)
            _save_evaluation(connection, scores)

    def words(self, source: str = "word_score") -> list[tuple[Any, ...]]:
        """(word, surprisal, corrected_surprisal) in order."""
        query = f"select word, surprisal, corrected_surprisal from analysis.{source} order by token_id"
        return rows(self.database, query)


def _save_corpus(
    connection: sqlalchemy.Connection, tokenizer_id: int, texts: Sequence[Sequence[str]], eos: str
) -> None:
    lengths = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths)
    pieces = [piece for text in texts for piece in text]
    char = np.concatenate([[0], np.cumsum([0 if piece == "<end>" else len(piece) for piece in pieces])]).astype(
        np.int32
    )
    place = np.arange(len(pieces), dtype=np.int32)
    documents = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    dimensions.save_corpus(
        connection,
        name="by hand",
        tokenizer_id=tokenizer_id,
        text_sha256="x" * 64,
        token_sha256="y" * 64,
        eos_policy=eos,
        source="by hand",
        licence=None,
        n_characters=int(char[-1]),
        n_bytes=int(char[-1]),
        documents=[
            {"name": f"{n}", "first_token": int(end - length), "n_tokens": int(length)}
            | {"char_start": int(char[end - length]), "char_end": int(char[end])}
            | {"byte_start": int(char[end - length]), "byte_end": int(char[end])}
            for n, (end, length) in enumerate(zip(ends, lengths, strict=True))
        ],
        tokens={
            "vocab_ids": np.array([list(PIECES).index(piece) for piece in pieces], np.int32),
            "documents": documents,
            "positions": (place - (ends - lengths)[documents]).astype(np.int32),
            "char_starts": char[:-1],
            "char_ends": char[1:],
            "byte_starts": char[:-1],
            "byte_ends": char[1:],
        },
    )


def _save_evaluation(connection: sqlalchemy.Connection, scores: dict[str, Sequence[float] | None]) -> None:
    protocol_id = dimensions.find_or_make(
        connection,
        schema.protocol,
        {"name": "default"},
        windows="concatenated",
        window=64,
        bos=True,
        vocabulary="tokenizer",
        dtype="float32",
        tf32=False,
    )
    model_id = dimensions.find_or_make(connection, schema.model, {"family": "toy", "name": "m"}, objective="causal")
    run_id = dimensions.find_or_make(connection, schema.run, {"model_id": model_id, "seed": 0})
    checkpoint_id = dimensions.find_or_make(
        connection, schema.checkpoint, {"run_id": run_id, "step": 1}, source="", revision="", status="ok"
    )
    key = {"checkpoint_id": checkpoint_id, "protocol_id": protocol_id}
    key["corpus_id"] = connection.execute(sqlalchemy.select(schema.corpus.c.corpus_id)).scalar_one()
    evaluation_id = dimensions.find_or_make(
        connection, schema.evaluation, key, status="complete", input_digest="d", window=64
    )
    for chunk in range(-(-len(scores["surprisal"] or ()) // 256)):
        part = {name: None if column is None else column[256 * chunk :][:256] for name, column in scores.items()}
        row = {"evaluation_id": evaluation_id, "chunk_id": chunk}
        connection.execute(sqlalchemy.insert(schema.score_chunk).values(**row, **part))


@pytest.fixture
def by_hand(database: Database) -> ByHand:
    return ByHand(database)


def logs(*masses: float | None) -> list[float | None]:
    return [None if mass is None else log(mass) for mass in masses]


def test_a_word_of_two_pieces_and_one_of_one_by_hand(by_hand: ByHand) -> None:
    # "ab c" and EOS. Z is 1/2 + 1/4 + 1/8 before " c" and 1/4 + 1/4 + 1/4 before EOS; nothing comes before "a".
    by_hand.load(
        [["a", "b", " c", "<end>"]],
        {
            "surprisal": [1.0, 2.0, 4.0, 8.0],
            "space_logmass": logs(0.9, 0.9, 0.5, 0.25),
            "punct_logmass": logs(0.01, 0.01, 0.25, 0.25),
            "eos_logmass": logs(0.01, 0.01, 0.125, 0.25),
        },
        "after-document",
    )
    [ab, c] = by_hand.words()
    assert ab == ("ab", 3.0, pytest.approx(3 - log(7 / 8), rel=1e-6))
    assert c == ("c", 4.0, pytest.approx(4 + log(7 / 8) - log(3 / 4), rel=1e-6))
    # White space and EOS alone: 5/8 and 1/2.
    [ab, c] = by_hand.words("word_score_by(false)")
    assert ab[2] == pytest.approx(3 - log(5 / 8), rel=1e-6)
    assert c[2] == pytest.approx(4 + log(5 / 8) - log(1 / 2), rel=1e-6)


def test_punctuation_is_a_word_and_begins_one_where_it_counts(by_hand: ByHand) -> None:
    pieces = ["a", ".", "b", " c", ".", "<end>"]
    masses = logs(*[0.5] * len(pieces))
    scores = {"surprisal": [1.0] * 6, "space_logmass": masses, "punct_logmass": masses, "eos_logmass": masses}
    by_hand.load([pieces], scores, "after-document")
    assert [row[:2] for row in by_hand.words()] == [("a", 1.0), (".b", 2.0), ("c", 1.0), (".", 1.0)]
    assert [row[:2] for row in by_hand.words("word_score_by(false)")] == [("a.b", 3.0), ("c.", 2.0)]


def test_without_eos_the_last_word_of_a_document_has_no_end_and_the_next_no_beginning(by_hand: ByHand) -> None:
    scores = {"surprisal": [1.0, 2.0, 4.0], "space_logmass": logs(0.5, 0.25, 0.125)}
    by_hand.load([["a", " c"], [" c"]], scores, "none")
    [a, c, last] = by_hand.words()
    assert a == ("a", 1.0, pytest.approx(1 - log(0.25), rel=1e-6))
    assert c == ("c", 2.0, None)
    assert last == ("c", 4.0, None)


@pytest.mark.parametrize("n_words", [255, 256, 257, 600])
def test_the_row_after_a_word_may_be_in_the_next_chunk(by_hand: ByHand, n_words: int) -> None:
    random = np.random.default_rng(n_words)
    surprisal, space, eos = random.uniform(0.1, 0.4, (3, n_words + 1)).astype(np.float32).astype(np.float64)
    scores = {"surprisal": surprisal.tolist(), "space_logmass": np.log(space).tolist()}
    by_hand.load([[" c"] * n_words + ["<end>"]], scores | {"eos_logmass": np.log(eos).tolist()}, "after-document")
    boundary = np.log(space + eos)
    expected = surprisal[:-1] + np.where(np.arange(n_words) > 0, boundary[:-1], 0) - boundary[1:]
    np.testing.assert_allclose([row[2] for row in by_hand.words()], expected, rtol=1e-5, atol=1e-6)


def test_two_ends_of_text_in_a_row_begin_a_text_each(by_hand: ByHand) -> None:
    scores = {"surprisal": [1.0, 2.0, 4.0, 8.0], "space_logmass": logs(0.5, 0.5, 0.5, 0.25)}
    by_hand.load([["<end>", " c", "<end>", "<end>"]], scores, "after-document")
    assert by_hand.words() == [("c", 2.0, pytest.approx(2 - log(0.5), rel=1e-6))]


def test_what_was_not_measured_is_null(by_hand: ByHand) -> None:
    scores = {"surprisal": [None, 2.0, 4.0, 8.0, 1.0], "space_logmass": [None, *logs(0.5, 0.5, 0.5, 0.5)]}
    by_hand.load([["a", "b", " c", " c", "<end>"]], scores, "after-document")
    assert by_hand.words() == [("ab", None, None), ("c", 4.0, pytest.approx(4.0)), ("c", 8.0, pytest.approx(8.0))]


def test_surprisals_without_masses_have_no_correction(by_hand: ByHand) -> None:
    by_hand.load([["a", " c", "<end>"]], {"surprisal": [1.0, 2.0, 4.0]}, "after-document")
    assert by_hand.words() == [("a", 1.0, None), ("c", 2.0, None)]


def test_a_character_in_two_pieces_is_whole_and_half_a_character_is_shown_as_such(by_hand: ByHand) -> None:
    pieces = ["a", "\ufffd", "\ufffd!", " c", "\ufffd", "<end>"]
    by_hand.load([pieces], {"surprisal": [1.0] * 6}, "after-document")
    assert [row[:2] for row in by_hand.words()] == [("a€", 3.0), ("c\ufffd", 2.0)]


# --- the functions that words are made of ----------------------------------------------------------------------------


def answer(measured: Measured, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with measured.database.read() as reader:
        return reader.execute(query.encode(), parameters or None).fetchall()


@given(st.lists(st.binary(max_size=6) | st.text(max_size=3).map(lambda text: text.encode("utf-8", "replace"))))
def test_bytes_are_text_if_python_can_read_them(measured: Measured, spelled: list[bytes]) -> None:
    def read(bytes_: bytes) -> str | None:
        try:
            return None if b"\0" in bytes_ else bytes_.decode()
        except UnicodeDecodeError:
            return None

    found = answer(
        measured,
        "select analysis.utf8_text(b) from unnest(%s::bytea[]) with ordinality as t (b, n) order by n",
        spelled,
    )
    assert [text for (text,) in found] == [read(bytes_) for bytes_ in spelled]


def test_every_first_and_second_byte_is_judged_as_python_does(measured: Measured) -> None:
    spelled = [
        bytes([a, b, 0x80, 0x80][:n])
        for a in range(256)
        for b in (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
        for n in (1, 2, 3, 4)
    ]
    [(found,)] = answer(
        measured,
        "select array_agg(analysis.utf8_text(b) is not null order by n) "
        "from unnest(%s::bytea[]) with ordinality as t (b, n)",
        spelled,
    )
    assert found == [_is_text(bytes_) for bytes_ in spelled]


def _is_text(bytes_: bytes) -> bool:
    try:
        return "\0" not in bytes_.decode()
    except UnicodeDecodeError:
        return False


def test_white_space_is_what_python_takes_for_it(measured: Measured) -> None:
    query = (
        "select array_agg(n order by n) from generate_series(1, 1114111) as t (n) "
        "where n not between 55296 and 57343 and analysis.without_space(chr(n)) = ''"
    )
    assert answer(measured, query) == [([n for n in range(1, 0x110000) if chr(n).isspace()],)]


@pytest.mark.parametrize(
    "logs",
    [(-1.0, -2.0, -3.0), (-1e4, -1e4, None), (None, -0.5, None), (-1000.0, 0.0, -2000.0), (-np.inf, -3.0, None)],
)
def test_the_log_of_a_sum_neither_underflows_nor_counts_null(
    measured: Measured, logs: tuple[float | None, ...]
) -> None:
    given_logs = np.array([x for x in logs if x is not None])
    [(found,)] = answer(measured, "select analysis.log_sum_exp(%s, %s, %s)", *logs)
    assert found == pytest.approx(float(np.logaddexp.reduce(given_logs)), rel=1e-12)


def test_the_log_of_nothing(measured: Measured) -> None:
    assert answer(measured, "select analysis.log_sum_exp(null, null, null)") == [(None,)]
    assert answer(measured, "select analysis.log_sum_exp('-infinity', null, '-infinity')") == [(-np.inf,)]
