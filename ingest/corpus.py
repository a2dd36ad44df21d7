"""A corpus: a text, its documents and its tokens, each with its place in the text.

Pure data in memory. Knows nothing of models, protocols or the database: BOS is a matter of the protocol and no token.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ingest.items import BadItem, ItemForm, read_items
from ingest.offsets import Rows, tokenize
from ingest.texts import EmptyCorpus, Part, SourceText, read_source
from ingest.vocabulary import Vocabulary
from warehouse.errors import WarehouseError
from warehouse.items import Paradigm

log = logging.getLogger(__name__)

EosPolicy = Literal["after-document", "none"]
DOCUMENTS_PER_BATCH = 1024  # bounds the memory of the tokenizer's own records
LARGEST_OFFSET = 2**31 - 1


class UnknownEosPolicy(WarehouseError):
    """A corpus is asked for an end-of-text policy that does not exist."""


class MissingEndToken(WarehouseError):
    """Documents should end in a token that the tokenizer does not have."""


class CorpusTooLarge(WarehouseError):
    """A corpus has more text than its offsets can count."""


@dataclass(frozen=True)
class Document:
    """A document: its range of the whole text, without the separator after it, and its run of tokens.

    Its tokens are `first_token` to `first_token + n_tokens - 1`, with its end-of-text token if there is one. Those
    before position `scored_from` are context, and no part of sums over the document.
    """

    name: str
    char_start: int
    char_end: int
    byte_start: int
    byte_end: int
    first_token: int
    n_tokens: int
    scored_from: int = 0


@dataclass(frozen=True, eq=False)
class Corpus:
    """A tokenized text. All token arrays are [T] int32, in the order of the text.

    ids: vocabulary ids. document, position: index of the document, and of the token within it, both from 0.
    char_start, char_end: the characters a token touches, so that tokens that share a character overlap.
    byte_start, byte_end: its bytes of the whole text in UTF-8; the tokens of a document tile its bytes, but for its
    end-of-text token, which has the bytes of the separator in the text, or none at the document's end.
    text_sha256: of the text in UTF-8. ids_sha256: of ids as little-endian int32.
    paradigms: what its documents stand for, in a corpus of items. base: the corpus that this one was made from, into
    whose text the offsets point; derivation: how.
    """

    name: str
    source: str
    text: str = field(repr=False)
    text_sha256: str
    ids_sha256: str
    vocabulary_sha256: str
    eos_policy: EosPolicy
    documents: tuple[Document, ...] = field(repr=False)
    ids: NDArray[np.int32] = field(repr=False)
    document: NDArray[np.int32] = field(repr=False)
    position: NDArray[np.int32] = field(repr=False)
    char_start: NDArray[np.int32] = field(repr=False)
    char_end: NDArray[np.int32] = field(repr=False)
    byte_start: NDArray[np.int32] = field(repr=False)
    byte_end: NDArray[np.int32] = field(repr=False)
    paradigms: tuple[Paradigm, ...] = field(default=(), repr=False)
    base: Corpus | None = field(default=None, repr=False)
    derivation: Mapping[str, Any] | None = None

    @property
    def n_tokens(self) -> int:
        """T, the number of tokens, end-of-text tokens included."""
        return len(self.ids)


def load_corpus(
    path: str | Path,
    vocabulary: Vocabulary,
    *,
    name: str | None = None,
    eos_policy: EosPolicy = "after-document",
    split: str | None = None,
) -> Corpus:
    """Read and tokenize a corpus; see `texts.read_source` for what a path and `split` may be.

    With eos_policy `after-document` every document is followed by an end-of-text token. Where the end-of-text string
    itself separates documents, nothing between two of them is a document that has this token only: it counts with
    the document before it (at the start of the text, with the one after it). Other empty documents are left out.
    Raises UnreadableCorpus, EmptyCorpus, UnusableSplit, UnknownEosPolicy, MissingEndToken, CorpusTooLarge.
    """
    path = Path(path)
    eos_id = _eos_id(vocabulary, eos_policy)
    source = read_source(path, eos_text=vocabulary.eos_text, split=split)
    return _corpus(source, vocabulary, name=name or path.stem, path=path, eos_policy=eos_policy, eos_id=eos_id)


def load_items(
    path: str | Path,
    form: ItemForm,
    vocabulary: Vocabulary,
    *,
    name: str | None = None,
    eos_policy: EosPolicy = "after-document",
) -> Corpus:
    """Read and tokenize a corpus of items, of whose documents each plays a role in one; see `items.read_items`.

    Raises what reading them raises, BadItem for one without a token of its own, and as `load_corpus`.
    """
    path = Path(path)
    eos_id = _eos_id(vocabulary, eos_policy)
    found = read_items(path, form)
    corpus = _corpus(found.source, vocabulary, name=name or path.stem, path=path, eos_policy=eos_policy, eos_id=eos_id)
    own = [document.n_tokens - document.scored_from - (eos_id is not None) for document in corpus.documents]
    if len(corpus.documents) != len(found.source.parts) or min(own) < 1:
        raise BadItem(f"The tokenizer has no token for some text in {path}: leave out items of odd characters alone.")
    return replace(corpus, paradigms=found.paradigms)


def _eos_id(vocabulary: Vocabulary, eos_policy: EosPolicy) -> int | None:
    """The id that ends every document; None for none."""
    if eos_policy not in get_args(EosPolicy):
        raise UnknownEosPolicy(f"There is no EOS policy {eos_policy!r}; choose {' or '.join(get_args(EosPolicy))}.")
    if eos_policy == "none":
        return None
    if vocabulary.eos_id is None:
        raise MissingEndToken("The tokenizer names no end-of-text token; set the EOS policy of the corpus to 'none'.")
    return vocabulary.eos_id


def _corpus(
    source: SourceText, vocabulary: Vocabulary, *, name: str, path: Path, eos_policy: EosPolicy, eos_id: int | None
) -> Corpus:
    drafts = _drafts(source)
    rows, counts = _tokens(source.text, drafts, vocabulary)
    if not counts.any():
        raise EmptyCorpus(f"{path} holds no token; give a corpus at least one.")
    scored_from = _scored_from(source.parts, rows, counts)
    n_tokens = counts
    if eos_id is not None:
        rows, n_tokens = _with_ends(source, drafts, rows, counts, eos_id)
    left_out = sum(not count and not part.keeps_eos for part, count in zip(source.parts, counts, strict=True))
    if left_out:
        log.info("%d empty documents were left out", left_out)
    kept = np.flatnonzero(counts)
    documents = _numbered([drafts[i] for i in kept], n_tokens[kept].tolist(), scored_from[kept].tolist())
    rows = rows.astype(np.int32)
    columns: dict[str, Any] = {column: np.ascontiguousarray(rows[:, i]) for i, column in enumerate(_COLUMNS)}
    return Corpus(
        name=name,
        source=str(path),
        text=source.text,
        text_sha256=hashlib.sha256(source.text.encode()).hexdigest(),
        ids_sha256=digest_of_ids(rows[:, 0]),
        vocabulary_sha256=vocabulary.sha256,
        eos_policy=eos_policy,
        documents=documents,
        **places(n_tokens[kept]),
        **columns,
    )


_COLUMNS = ("ids", "char_start", "char_end", "byte_start", "byte_end")


def digest_of_ids(ids: NDArray[np.integer[Any]]) -> str:
    """SHA-256 of ids as little-endian int32."""
    return hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()


def places(lengths: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """Columns `document` and `position` of documents with so many tokens: [D] -> [T] int32 each."""
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return {
        "document": np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        "position": (np.arange(len(first)) - first).astype(np.int32),
    }


@dataclass(frozen=True)
class _Draft:
    """A document before its tokens are numbered."""

    part: Part
    byte_start: int
    byte_end: int


def _drafts(source: SourceText) -> list[_Draft]:
    """The parts of a text with their byte offsets."""
    drafts, char, byte = [], 0, 0
    for part in source.parts:
        byte_start = byte + len(source.text[char : part.start].encode())
        byte = byte_start + len(source.text[part.start : part.end].encode())
        char = part.end
        drafts.append(_Draft(part, byte_start, byte))
    if byte + len(source.text[char:].encode()) > LARGEST_OFFSET:
        raise CorpusTooLarge(f"A corpus holds at most {LARGEST_OFFSET:,} bytes of text; split it into several.")
    return drafts


def _tokens(text: str, drafts: Sequence[_Draft], vocabulary: Vocabulary) -> tuple[Rows, NDArray[np.int64]]:
    """The tokens of all drafts with offsets in the whole text, and how many each has, [D]."""
    batches = list(_batches(text, drafts, vocabulary))
    rows = np.concatenate([rows for rows, _ in batches])
    counts = np.concatenate([counts for _, counts in batches])
    begins = np.array([(draft.part.start, draft.byte_start) for draft in drafts], np.int64)
    rows[:, 1:] += np.repeat(begins[:, [0, 0, 1, 1]], counts, axis=0)
    return rows, counts


def _batches(text: str, drafts: Sequence[_Draft], vocabulary: Vocabulary) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    for first in range(0, len(drafts), DOCUMENTS_PER_BATCH):
        parts = [draft.part for draft in drafts[first : first + DOCUMENTS_PER_BATCH]]
        yield tokenize([text[part.start : part.end] for part in parts], vocabulary)


def _scored_from(parts: Sequence[Part], rows: Rows, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[D] how many tokens of each part end before what counts for its score begins."""
    begins = np.array([-1 if part.scored is None else part.scored for part in parts], np.int64)
    before = rows[:, 2] <= np.repeat(begins, counts)
    return np.bincount(np.repeat(np.arange(len(parts)), counts), before, len(parts)).astype(np.int64)


def _with_ends(
    source: SourceText, drafts: Sequence[_Draft], rows: Rows, counts: NDArray[np.int64], eos_id: int
) -> tuple[Rows, NDArray[np.int64]]:
    """The tokens with an end-of-text token after each document, and how many each part then has, [D].

    That of an empty part which keeps its own counts with the document before it, or else with the first.
    """
    ends = np.array([_eos_row(eos_id, draft, source.text) for draft in drafts], np.int64)
    emits = (counts > 0) | np.array([draft.part.keeps_eos for draft in drafts])
    kept = np.flatnonzero(counts)
    owners = kept[np.maximum(np.cumsum(counts > 0) - 1, 0)]
    n_tokens = counts + np.bincount(owners[emits], minlength=len(counts))
    return np.insert(rows, np.cumsum(counts)[emits], ends[emits], axis=0), n_tokens


def _eos_row(eos_id: int, draft: _Draft, text: str) -> tuple[int, int, int, int, int]:
    """The end-of-text token after a document."""
    char_start, char_end = draft.part.end, draft.part.separator_end or draft.part.end
    width = len(text[char_start:char_end].encode())
    return (eos_id, char_start, char_end, draft.byte_end, draft.byte_end + width)


def _numbered(drafts: Sequence[_Draft], n_tokens: Sequence[int], scored_from: Sequence[int]) -> tuple[Document, ...]:
    """The documents with distinct names and numbered tokens."""
    names = _distinct([draft.part.name for draft in drafts])
    documents, first = [], 0
    for name, draft, count, scored in zip(names, drafts, n_tokens, scored_from, strict=True):
        place = (draft.part.start, draft.part.end, draft.byte_start, draft.byte_end)
        documents.append(Document(name, *place, first, count, scored))
        first += count
    return tuple(documents)


def _distinct(names: Sequence[str | None]) -> list[str]:
    """A name for each document: its own, or its number; a repeated name gets a number in brackets."""
    width = len(str(len(names)))
    taken: set[str] = set()
    distinct = []
    for number, name in enumerate(names, start=1):
        wanted = f"document-{number:0{width}}" if name is None else name.replace("\0", "\N{SYMBOL FOR NULL}")
        candidate, copies = wanted, 1
        while candidate in taken:
            copies += 1
            candidate = f"{wanted} ({copies})"
        taken.add(candidate)
        distinct.append(candidate)
    return distinct
