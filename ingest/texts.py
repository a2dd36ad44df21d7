"""Where the text of a corpus comes from: a text file, JSON lines, a treebank, or a folder of text files.

Gives one whole text and the parts of it that are documents. Knows nothing of tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from warehouse.conllu import read_conllu
from warehouse.errors import WarehouseError
from warehouse.json_objects import with_distinct_names

BYTE_ORDER_MARK = "\ufeff"
JOINT = "\n\n"  # between documents that come from separate places
JSON_LINES = (".jsonl", ".ndjson", ".json")
TREEBANK = (".conllu", ".conll")
SEPARATORS = {"line": r"\r?\n", "blank-line": r"\r?\n(?:[ \t]*\r?\n)+"}


class UnreadableCorpus(WarehouseError):
    """The text of a corpus cannot be read."""


class EmptyCorpus(WarehouseError):
    """A corpus has no text."""


class UnusableSplit(WarehouseError):
    """A text cannot be split into documents as asked."""


@dataclass(frozen=True)
class Part:
    """A stretch of the whole text that may become a document. Offsets count characters of the whole text.

    name: its own name, if its source gives one. separator_end: where the end-of-text string after it ends; None if none
    stands there. keeps_eos: whether its end-of-text token counts even if the part itself is empty. scored: where what
    counts for its score begins, after a context that is only read; None if all of it does.
    """

    name: str | None
    start: int
    end: int
    separator_end: int | None = None
    keeps_eos: bool = False
    scored: int | None = None


@dataclass(frozen=True)
class SourceText:
    """A whole text and its parts, in order and without overlap."""

    text: str
    parts: tuple[Part, ...]


def read_source(path: str | Path, *, eos_text: str | None, split: str | None) -> SourceText:
    """Read a text file, JSON lines with `text` (and perhaps `name` or `id`), CoNLL-U, or a folder of `.txt` files.

    split: for a text file, `line`, `blank-line` or any separating string; by default the file is split at eos_text, the
    tokenizer's end-of-text string, where it occurs. Nothing is normalised: line ends stay, and a byte order mark stays
    in the whole text but belongs to no part. Raises UnreadableCorpus, EmptyCorpus, UnusableSplit.
    """
    path = Path(path)
    treebank = not path.is_dir() and path.suffix.lower() in TREEBANK
    one_text_file = not (path.is_dir() or treebank) and path.suffix not in JSON_LINES
    if split is not None and not (split and one_text_file):
        raise UnusableSplit(
            f"Cannot split {path} at {split!r}; only a text file is split, at 'line', 'blank-line' or a string."
        )
    if path.is_dir():
        source = _join(_folder(path))
    elif treebank:
        source = _join(_treebank(path))
    elif one_text_file:
        source = _text_file(path, eos_text, split)
    else:
        source = _join(_json_lines(path))
    if not source.text.strip(BYTE_ORDER_MARK).strip():
        raise EmptyCorpus(f"{path} holds no text; give a corpus at least one token.")
    return source


def read_utf8(file: Path) -> str:
    """The text of a file, line ends and byte order mark as they are. Raises UnreadableCorpus with the byte offset."""
    return decode_utf8(read_bytes(file), file)


def read_bytes(file: Path) -> bytes:
    """The bytes of a file. Raises UnreadableCorpus."""
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableCorpus(f"There is no corpus at {file}; name a text file, JSON lines or a folder.") from error
    except OSError as error:
        raise UnreadableCorpus(f"Cannot read {file}: {error.strerror}.") from error


def decode_utf8(raw: bytes, where: str | Path) -> str:
    """Bytes as text. Raises UnreadableCorpus with the byte offset; where: what holds them."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableCorpus(
            f"{where} is not UTF-8 at byte offset {error.start:,}; convert it, for example with iconv -t utf-8."
        ) from error


def _text_file(file: Path, eos_text: str | None, split: str | None) -> SourceText:
    text = read_utf8(file)
    start = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0
    separator = split or eos_text
    if separator is None or (split is None and separator not in text):
        return SourceText(text, (Part(file.stem, start, len(text)),))
    pattern = re.compile(SEPARATORS.get(separator, re.escape(separator)))
    return SourceText(text, tuple(_split(text, start, pattern, is_eos=separator == eos_text)))


def _split(text: str, start: int, pattern: re.Pattern[str], *, is_eos: bool) -> Iterator[Part]:
    for separator in pattern.finditer(text, start):
        yield Part(None, start, separator.start(), separator.end() if is_eos else None, is_eos)
        start = separator.end()
    yield Part(None, start, len(text), None, is_eos)


def _folder(folder: Path) -> Iterator[tuple[str | None, str]]:
    files = sorted(file for file in folder.glob("*.txt") if file.is_file())
    if not files:
        raise EmptyCorpus(f"The folder {folder} holds no .txt file.")
    for file in files:
        yield file.stem, read_utf8(file).removeprefix(BYTE_ORDER_MARK)


def _treebank(file: Path) -> Iterator[tuple[str | None, str]]:
    """The documents of a treebank, as `# text` and SpaceAfter say; one, of the file's name, where none begins."""
    name: str | None = file.stem
    parts: list[str] = []
    joint = ""  # what stands between the sentence before and the next
    for sentence in read_conllu(file):
        if sentence.begins_document:
            if parts:
                yield name, "".join(parts)
            name, parts = sentence.document, []
        elif parts:
            parts.append(JOINT if sentence.begins_paragraph else joint)
        parts.append(sentence.surface if sentence.text is None else sentence.text)
        joint = " " if sentence.space_after else ""
    if parts:
        yield name, "".join(parts)


def _json_lines(file: Path) -> Iterator[tuple[str | None, str]]:
    for number, line in enumerate(read_utf8(file).removeprefix(BYTE_ORDER_MARK).split("\n"), start=1):
        if line.strip():
            yield _json_document(line, f"Line {number:,} of {file}")


def _json_document(line: str, where: str) -> tuple[str | None, str]:
    try:
        record = json.loads(line, object_pairs_hook=with_distinct_names)
    except (ValueError, RecursionError) as error:
        raise UnreadableCorpus(f"{where} is not JSON ({error}); write one object per line.") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise UnreadableCorpus(f'{where} has no text; write one object with the key "text" per line.')
    text: str = record["text"]
    name = next((str(record[key]) for key in ("name", "id") if record.get(key) is not None), None)
    for words in (text, name or ""):
        try:
            words.encode()
        except UnicodeEncodeError as error:
            raise UnreadableCorpus(
                f"{where} escapes half a character at {error.start:,}; no UTF-8 can hold it."
            ) from error
    return name, text


def _join(documents: Iterator[tuple[str | None, str]]) -> SourceText:
    names_and_texts = list(documents)
    parts, start = [], 0
    for name, text in names_and_texts:
        parts.append(Part(name, start, start + len(text)))
        start += len(text) + len(JOINT)
    return SourceText(JOINT.join(text for _, text in names_and_texts), tuple(parts))
