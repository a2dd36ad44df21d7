"""Keys: which tokens of a corpus a row of annotations is about.

A row names a token, a place in a document, a span of characters, a vocabulary id, or the next word of the text. Knows
rows and the tokens of a corpus; what the values mean is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from warehouse.annotation_rows import BadAnnotationFile, Rows
from warehouse.corpus_tokens import CorpusTokens
from warehouse.layer import NO_VALUE
from warehouse.spans import Spans, commonest_value, overlapping
from warehouse.words_in_text import locate

#: The columns of each kind of key; of several choices the first that a file has.
KEY_COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "token_id": (("token_id",),),
    "position": (("document_name", "position"), ("document", "position")),
    "span": (("char_start", "char_end"), ("start", "end")),
    "vocab_id": (("vocab_id",),),
    "word": (("word",), ("form",)),
}
#: Which document a word or span is of; its characters then count from the start of that document.
DOCUMENT_COLUMNS = ("document_name", "document")

Codes = NDArray[np.int32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Fault:
    """Rows that are about no token. what: why, after "rows that"; columns: what to show of them."""

    what: str
    rows: Indices = field(repr=False)
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """Where rows are. codes: [T] int32, the value of each token, -1 for none. notes: what a user should know."""

    codes: Codes = field(repr=False)
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CorpusRange:
    """The token ids of a corpus: first to end - 1."""

    corpus_id: int
    name: str
    first: int
    end: int


@dataclass(frozen=True)
class Target:
    """The corpus that rows are about, and all corpora. texts: gives the text of each document."""

    tokens: CorpusTokens
    corpora: Sequence[CorpusRange]
    texts: Callable[[], Sequence[str]]


def find_key(rows: Rows, key: str | None) -> tuple[str, tuple[str, ...]]:
    """(the kind of key, its columns) that rows have; key: the kind wanted, or None for the first that fits."""
    kinds = [key] if key else [rows.natural_key] if rows.natural_key else list(KEY_COLUMNS)
    fitting = {
        kind: columns for kind in kinds for columns in reversed(KEY_COLUMNS[kind]) if {*columns} <= {*rows.columns}
    }
    if not fitting:
        wanted = KEY_COLUMNS[key] if key else [choice for choices in KEY_COLUMNS.values() for choice in choices]
        choices = ", or ".join(" and ".join(columns) for columns in wanted)
        raise BadAnnotationFile(
            f"{rows.source} does not say which tokens its rows are about: it has the columns "
            f"{', '.join(rows.columns)}, and needs {choices}."
        )
    # A token_id leaves no doubt; of the others a column such as position may count something else.
    if len(fitting) > 1 and "token_id" not in fitting:
        raise BadAnnotationFile(
            f"{rows.source} may be keyed by {' or '.join(fitting)}: say which with --key, such as --key "
            f"{next(iter(fitting))}."
        )
    return next(iter(fitting.items()))


def place(kind: str, columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    """The value of each token, by rows with a kind of key in these columns. codes: [R] int32, the value of each row.

    Raises BadAnnotationFile where rows contradict each other: the same key twice, spans that overlap.
    """
    placers = {
        "token_id": _by_token_id,
        "position": _by_position,
        "span": _by_span,
        "vocab_id": _by_vocab_id,
        "word": _by_word,
    }
    return placers[kind](columns, rows, codes, target)


def refuse_twins(rows: Rows, index: Indices, size: int, columns: tuple[str, ...]) -> None:
    """Raise BadAnnotationFile if two rows have the same index. index: [R] below size, -1 for none."""
    counts = np.bincount(index[index >= 0], minlength=size)
    if counts.max(initial=0) > 1:
        first = int(index[np.flatnonzero((index >= 0) & (counts[index] > 1))[0]])
        twins = np.flatnonzero(index == first)
        more = int((counts > 1).sum()) - 1
        raise BadAnnotationFile(
            f"{rows.source} has several rows for one {' and '.join(columns)}: {rows.named(twins, *columns)}"
            + (f", and the like for {more:,} more" if more else "")
            + "; keep one row of each."
        )


def _by_token_id(columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    tokens = target.tokens
    ids, whole = rows.whole_numbers(columns[0])
    index = ids - tokens.first_token_id
    inside = whole & (index >= 0) & (index < len(tokens))
    last = tokens.first_token_id + len(tokens) - 1
    what = f"have a token_id that corpus {tokens.name} lacks (its ids are {tokens.first_token_id} to {last}"
    foreign = ids[whole & ~inside]
    others = [c.name for c in target.corpora if ((foreign >= c.first) & (foreign < c.end)).any()]
    what += f"; some are of corpus {', '.join(others)})" if others else ")"
    return _by_index(rows, codes, np.where(inside, index, -1), columns, len(tokens), ((what, whole & ~inside),), whole)


def _by_position(columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    tokens = target.tokens
    document = _document_numbers(columns[0], rows, tokens)
    position, whole = rows.whole_numbers(columns[1])
    lengths = np.array([*(d.n_tokens for d in tokens.documents), 0], np.int64)
    firsts = np.array([*(d.first_token for d in tokens.documents), 0], np.int64)
    known = document >= 0
    inside = whole & known & (position >= 0) & (position < lengths[document])
    faults = (
        (f"name a document that corpus {tokens.name} lacks", whole & ~known),
        ("have a position beyond their document, whose tokens count from 0", whole & known & ~inside),
    )
    index = np.where(inside, firsts[document] + position, -1)
    return _by_index(rows, codes, index, columns, len(tokens), faults, whole)


def _by_vocab_id(columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    tokens = target.tokens
    ids, whole = rows.whole_numbers(columns[0])
    inside = whole & (ids >= 0) & (ids < tokens.n_vocabulary)
    what = f"have a vocab_id that the tokenizer lacks (its ids are 0 to {tokens.n_vocabulary - 1})"
    index = np.where(inside, ids, -1)
    by_id = _by_index(rows, codes, index, columns, tokens.n_vocabulary, ((what, whole & ~inside),), whole)
    return Placed(by_id.codes[tokens.vocab_ids], by_id.faults)


def _by_index(
    rows: Rows,
    codes: Codes,
    index: Indices,
    columns: tuple[str, ...],
    size: int,
    outside: Sequence[tuple[str, NDArray[np.bool_]]],
    whole: NDArray[np.bool_],
) -> Placed:
    """The codes of rows at their indices; index: [R] below size, -1 for none; whole: [R] whether it was a number."""
    refuse_twins(rows, index, size, columns)
    placed = np.full(size, NO_VALUE, np.int32)
    placed[index[index >= 0]] = codes[index >= 0]
    unreadable = (f"have no whole number as {columns[-1]}", ~whole)
    return Placed(placed, _faults(columns, unreadable, *outside))


def _faults(columns: tuple[str, ...], *found: tuple[str, NDArray[np.bool_]]) -> tuple[Fault, ...]:
    """The faults that some rows have. found: what, and [R] whether a row has it."""
    return tuple(Fault(what, np.flatnonzero(which), columns) for what, which in found if which.any())


def _by_span(columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    tokens = target.tokens
    (start, start_whole), (end, end_whole) = (rows.whole_numbers(name) for name in columns)
    document = _documents_of(rows, tokens)
    known = _known(document, len(rows))
    whole = start_whole & end_whole & known
    lower, upper = _limits(document, tokens, len(rows))
    start, end = start + lower, end + lower
    fits = whole & (start >= lower) & (start < end) & (end <= upper)
    faults = _faults(
        columns,
        (f"name a document that corpus {tokens.name} lacks", ~known),
        (f"have no whole number as {' or '.join(columns)}", known & ~whole),
        ("have an end that is not after the start", whole & (end <= start)),
        (f"reach beyond the text that corpus {tokens.name} has of them", whole & (end > start) & ~fits),
    )
    return _by_characters(rows, codes, np.flatnonzero(fits), (start[fits], end[fits]), columns, tokens, faults)


def _by_word(columns: tuple[str, ...], rows: Rows, codes: Codes, target: Target) -> Placed:
    tokens = target.tokens
    column = rows.texts(columns[0])
    words = [*column.values, ""]
    document = _documents_of(rows, tokens)
    start, end = np.full(len(rows), -1, np.int64), np.full(len(rows), -1, np.int64)
    for here, text, characters in _stretches(document, tokens, target.texts(), len(rows)):
        found_start, found_end = locate(text, [words[code] for code in column.codes[here].tolist()])
        found = found_start >= 0
        start[here[found]] = characters[found_start[found]]
        end[here[found]] = characters[found_end[found] - 1] + 1
    known, unnamed = _known(document, len(rows)), column.codes == NO_VALUE
    strange = f"have a word that does not come next in the text of corpus {tokens.name}"
    faults = _faults(
        columns,
        (f"name a document that corpus {tokens.name} lacks", ~known),
        ("have no word", known & unnamed),
        (strange, known & ~unnamed & (start < 0)),
    )
    located = np.flatnonzero(start >= 0)
    return _by_characters(rows, codes, located, (start[located], end[located]), columns, tokens, faults)


def _by_characters(
    rows: Rows,
    codes: Codes,
    located: Indices,
    span: tuple[Indices, Indices],
    columns: tuple[str, ...],
    tokens: CorpusTokens,
    faults: tuple[Fault, ...],
) -> Placed:
    """The codes of the rows that lie over most of each token. located: [L] rows; span: [L] start and end of each."""
    start, end = span
    clash = overlapping(start, end)
    if clash:
        twins = rows.named(located[list(clash)], *columns)
        raise BadAnnotationFile(f"{rows.source} has spans that overlap: {twins}; a character has one value.")
    own_start, own_end = tokens.clipped
    length = tokens.char_end - tokens.char_start
    placed, served = commonest_value(own_start, own_end, length, Spans(start, end, codes[located]))
    lost = located[~served & (codes[located] != NO_VALUE)]
    notes: tuple[str, ...] = ()
    if len(lost):
        n = f"{len(lost):,} {'row' if len(lost) == 1 else 'rows'}"
        notes = (f"{n} gave no token a value, since no token is theirs by half: {rows.named(lost, *columns)}.",)
    return Placed(placed, faults, notes)


def _documents_of(rows: Rows, tokens: CorpusTokens) -> Indices | None:
    """[R] number of the document of each row, -1 for one that the corpus lacks; None if rows do not name documents."""
    column = next((name for name in DOCUMENT_COLUMNS if name in rows.columns), None)
    return None if column is None else _document_numbers(column, rows, tokens)


def _known(document: Indices | None, n_rows: int) -> NDArray[np.bool_]:
    """[R] whether the corpus has the document that a row names, if rows name any."""
    return np.ones(n_rows, bool) if document is None else document >= 0


def _document_numbers(column: str, rows: Rows, tokens: CorpusTokens) -> Indices:
    """[R] number of the document that a column names, -1 for one that the corpus lacks."""
    texts = rows.texts(column)
    names = {document.name: number for number, document in enumerate(tokens.documents)}
    are_numbers = column == "document" and all(re.fullmatch(r"\d{1,9}", value) for value in texts.values)
    if are_numbers and any(value in names for value in texts.values):
        raise BadAnnotationFile(
            f"Column document of {rows.source} may hold numbers or names of documents, since corpus {tokens.name} has "
            "names that are numbers: call it document_name if it holds names, or use another key."
        )
    n = len(tokens.documents)
    known = [int(value) if are_numbers and int(value) < n else names.get(value, -1) for value in texts.values]
    return np.array([*known, -1], np.int64)[texts.codes]


def _limits(document: Indices | None, tokens: CorpusTokens, n_rows: int) -> tuple[Indices, Indices]:
    """[R] characters between which spans must lie; none of a document that the corpus lacks."""
    if document is None:
        return np.zeros(n_rows, np.int64), np.full(n_rows, tokens.n_characters, np.int64)
    starts = np.array([*(d.char_start for d in tokens.documents), 0], np.int64)
    ends = np.array([*(d.char_end for d in tokens.documents), -1], np.int64)
    return starts[document], ends[document]


def _stretches(
    document: Indices | None, tokens: CorpusTokens, texts: Sequence[str], n_rows: int
) -> list[tuple[Indices, str, Indices]]:
    """What words run through: (rows, a text, where its characters stand in the corpus): all of it, or each document."""
    ranges = list(zip(texts, tokens.documents, strict=True))
    if document is None:
        # White space between documents, which belongs to none of them.
        places = [np.append(d.char_start + np.arange(len(text)), -1) for text, d in ranges]
        return [(np.arange(n_rows), "\n".join([*texts, ""]), np.concatenate(places))]
    order = np.argsort(document, kind="stable")
    cuts = np.searchsorted(document[order], np.arange(len(ranges) + 1))
    return [
        (order[cuts[number] : cuts[number + 1]], text, d.char_start + np.arange(len(text)))
        for number, (text, d) in enumerate(ranges)
        if cuts[number] < cuts[number + 1]
    ]
