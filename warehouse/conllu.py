"""CoNLL-U: sentences of words with their parts of speech, dependencies and features, as the file has them.

Reads the format of Universal Dependencies. Knows nothing of tokens, corpora or the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warehouse.errors import WarehouseError

#: What every word can be asked for, beside the names of its features.
COLUMNS = ("lemma", "upos", "xpos", "deprel", "head_distance")
EMPTY = "_"
FIELDS = 10
WORD_ID = re.compile(r"[1-9]\d*")
RANGE_ID = re.compile(r"([1-9]\d*)-([1-9]\d*)")
EMPTY_NODE_ID = re.compile(r"\d+\.[1-9]\d*")


class BadConllu(WarehouseError):
    """A file is not in the CoNLL-U format."""


@dataclass(frozen=True)
class ConlluWord:
    """A word as the text spells it.

    line: of the file, from 1. form: its characters; a part of a multiword token has its share of them. values: of
    `COLUMNS`, and of its features by name, as text, without those that the file leaves empty. `head_distance` is the
    number of the head less that of the word (positive: the head comes later); a root has none.
    """

    line: int
    form: str
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class ConlluSentence:
    """A sentence: its words in the order of the text, and what the comments above it say.

    line: of its first line in the file. text: `# text`. begins_document: whether a `# newdoc` comes before it;
    document: what it calls the document, if anything. begins_paragraph: likewise for `# newpar`. surface: the words as
    they are written, with the spaces between them. space_after: whether one follows the sentence.
    """

    line: int
    text: str | None
    begins_document: bool
    words: tuple[ConlluWord, ...] = field(repr=False)
    document: str | None = None
    begins_paragraph: bool = False
    surface: str = field(repr=False, default="")
    space_after: bool = True


@dataclass(frozen=True)
class _Row:
    """A line with an id: the surface of several words, an empty node, or a word."""

    line: int
    fields: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.fields[0]


def read_conllu(path: str | Path) -> Iterator[ConlluSentence]:
    """The sentences of a file in UTF-8, one after another; a BOM and CRLF are fine, empty nodes are left out.

    The words of a multiword token whose forms spell it (don't: do, n't) are words of their own. Others (French du: de,
    le) are one word with the values of its parts joined by +, and no head distance. Raises BadConllu, which names the
    line; the sentences before it were given.
    """
    path = Path(path)
    comments: list[tuple[int, str]] = []
    rows: list[_Row] = []
    for number, line in _lines(path):
        if not line:
            if rows:
                yield _sentence(path, comments, rows)
            comments, rows = [], []
        elif line.startswith("#") and not rows:
            comments.append((number, line))
        else:
            rows.append(_row(path, number, line))
    if rows:
        yield _sentence(path, comments, rows)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, without their ends."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                yield number, line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadConllu(f"{path}, line {number}, is not UTF-8: convert the file to UTF-8.") from error
    except OSError as error:
        raise BadConllu(f"Cannot read {path}: {error.strerror}.") from error


def _row(path: Path, number: int, line: str) -> _Row:
    fields = tuple(line.split("\t"))
    if len(fields) != FIELDS:
        raise BadConllu(
            f"{path}, line {number}, has {len(fields)} columns, and a line of CoNLL-U has {FIELDS}, separated by tabs."
        )
    if not fields[1]:
        raise BadConllu(f"{path}, line {number}, has no form: give the word in the second column.")
    return _Row(number, fields)


def _sentence(path: Path, comments: list[tuple[int, str]], rows: list[_Row]) -> ConlluSentence:
    surfaces, words = _sorted_out(path, rows)
    texts = [value for _, line in comments if (value := _comment(line, "text")) is not None]
    names = [value for _, line in comments if (value := _comment(line, "newdoc")) is not None]
    written = _written(surfaces, words)
    return ConlluSentence(
        line=comments[0][0] if comments else rows[0].line,
        text=texts[0] if texts else None,
        begins_document=bool(names),
        words=tuple(_surface_words(path, surfaces, words)),
        document=names[-1] or None if names else None,
        begins_paragraph=any(_comment(line, "newpar") is not None for _, line in comments),
        surface=written.rstrip(" "),
        space_after=written.endswith(" "),
    )


def _written(surfaces: dict[int, tuple[int, _Row]], words: list[_Row]) -> str:
    """The words one after another, each with the space that follows it."""
    parts, number = [], 1
    while number <= len(words):
        last, row = surfaces.get(number, (number, words[number - 1]))
        parts.append(row.fields[1] + ("" if "SpaceAfter=No" in row.fields[9].split("|") else " "))
        number = last + 1
    return "".join(parts)


def _comment(line: str, key: str) -> str | None:
    """What a comment says of a key; `# newdoc` may stand alone, and `# newdoc id = ...` says of newdoc too."""
    name, _, value = line.lstrip("# ").partition("=")
    return value.strip(" ") if name.split()[:1] == [key] else None


def _sorted_out(path: Path, rows: list[_Row]) -> tuple[dict[int, tuple[int, _Row]], list[_Row]]:
    """Multiword tokens by the number of their first word, with that of their last, and the words, numbered from 1."""
    surfaces: dict[int, tuple[int, _Row]] = {}
    words: list[_Row] = []
    for row in rows:
        if span := RANGE_ID.fullmatch(row.id):
            first, last = int(span[1]), int(span[2])
            if first != len(words) + 1 or last <= first or any(end >= first for end, _ in surfaces.values()):
                raise BadConllu(f"{path}, line {row.line}: the words {row.id} do not come next; number them in order.")
            surfaces[first] = (last, row)
        elif WORD_ID.fullmatch(row.id):
            if int(row.id) != len(words) + 1:
                raise BadConllu(
                    f"{path}, line {row.line}, has word {row.id} where word {len(words) + 1} should be: "
                    "words are numbered from 1 within a sentence, and a blank line ends it."
                )
            words.append(row)
        elif not EMPTY_NODE_ID.fullmatch(row.id):
            raise BadConllu(f"{path}, line {row.line}, begins with {row.id!r}, which is no number of a word.")
    for last, row in surfaces.values():
        if last > len(words):
            raise BadConllu(f"{path}, line {row.line}: the sentence ends before word {last} of {row.id}.")
    return surfaces, words


def _surface_words(path: Path, surfaces: dict[int, tuple[int, _Row]], words: list[_Row]) -> Iterator[ConlluWord]:
    values = [_values(path, word, len(words)) for word in words]
    number = 1
    while number <= len(words):
        last, surface = surfaces.get(number, (number, words[number - 1]))
        parts, own = words[number - 1 : last], values[number - 1 : last]
        if "".join(part.fields[1] for part in parts) == surface.fields[1]:
            yield from (ConlluWord(p.line, p.fields[1], v) for p, v in zip(parts, own, strict=True))
        else:
            yield ConlluWord(surface.line, surface.fields[1], _joined(own))
        number = last + 1


def _joined(parts: list[dict[str, str]]) -> dict[str, str]:
    """The values of several words as those of one."""
    names = dict.fromkeys(name for part in parts for name in part if name != "head_distance")
    return {name: "+".join(part[name] for part in parts if name in part) for name in names}


def _values(path: Path, word: _Row, n_words: int) -> dict[str, str]:
    number, _, lemma, upos, xpos, feats, head, deprel = word.fields[:8]
    plain = {"lemma": lemma, "upos": upos, "xpos": xpos, "deprel": deprel}
    values = {name: value for name, value in plain.items() if value not in (EMPTY, "")}
    if head not in (EMPTY, "0"):
        if not WORD_ID.fullmatch(head) or int(head) > n_words or head == number:
            raise BadConllu(
                f"{path}, line {word.line}, has the head {head!r}, which is no other word of the sentence, nor 0."
            )
        values["head_distance"] = str(int(head) - int(number))
    return values | _features(path, word.line, feats)


def _features(path: Path, line: int, feats: str) -> dict[str, str]:
    """The features of a word by name, such as Number: Sing."""
    if feats in (EMPTY, ""):
        return {}
    pairs = [pair.partition("=") for pair in feats.split("|")]
    names = [name for name, _, _ in pairs]
    if not all(name and value for name, _, value in pairs) or len(set(names)) < len(names):
        raise BadConllu(f"{path}, line {line}, has features {feats!r}, which are not Name=Value|Name=Value.")
    clash = sorted({*names}.intersection((*COLUMNS, "form")))
    if clash:
        raise BadConllu(f"{path}, line {line}, has a feature called {clash[0]}, which is the name of a column.")
    return {name: value for name, _, value in pairs}
