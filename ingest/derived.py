"""Corpora made from a corpus: noised, truncated, and spans that show what context is worth.

Pure functions of corpora, seeded where chance has a part. Their offsets point into the text of the corpus they were
made from; files and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.corpus import Corpus, Document, digest_of_ids, places
from ingest.derived_spec import DerivedSpec
from ingest.vocabulary import Vocabulary
from warehouse.errors import WarehouseError
from warehouse.items import Paradigm, Role

#: What the spans of in-context learning are called.
IN_CONTEXT = "in-context-learning"
_OFFSETS = ("char_start", "char_end", "byte_start", "byte_end")


class UnderivableCorpus(WarehouseError):
    """A corpus cannot be made from another one as asked."""


def derive(base: Corpus, spec: DerivedSpec, vocabulary: Vocabulary) -> Corpus:
    """The corpus that a study wants made from another one. Raises UnderivableCorpus."""
    if spec.kind == "noised":
        assert spec.percent is not None
        made = noised(base, vocabulary, percent=spec.percent, seed=spec.seed)
    elif base.paradigms:
        raise UnderivableCorpus(
            f"Corpus {base.name} holds items, which are whole only as they are or noised, not {spec.kind}."
        )
    elif spec.kind == "truncated":
        assert spec.length is not None
        made = truncated(base, length=spec.length)
    else:
        made = in_context(base, target=spec.target, short_from=spec.short_from, long_from=spec.long_from)
    return made if spec.name is None else replace(made, name=spec.name)


def noised(base: Corpus, vocabulary: Vocabulary, *, percent: int, seed: int) -> Corpus:
    """A share of each document's tokens replaced at random (Xia et al. 2023), EOS left alone.

    Of a document's n tokens, percent / 100 x n, rounded half up, are chosen without replacement, each for another id,
    uniformly among those that are not special. The same seed with a higher percentage replaces these and more, each by
    the same id: the n-th raw number of a PCG64 generator is token n's, which no version of numpy changes.
    """
    chance = np.random.PCG64(seed).random_raw(2 * base.n_tokens).reshape(2, -1)  # [2, T] uint64
    is_text = _is_text(base)
    chosen = _lowest(chance[0], base.document, is_text, percent)
    regular = np.flatnonzero(~vocabulary.is_special & (np.array([len(piece) for piece in vocabulary.pieces]) > 0))
    ids = base.ids.copy()
    ids[chosen] = _others(chance[1][chosen], ids[chosen], regular)
    how = {"kind": "noised", "percent": percent, "seed": seed}
    return _made(base, f"{base.name}-noised-{percent}-seed-{seed}", how, ids=ids, ids_sha256=digest_of_ids(ids))


def _is_text(base: Corpus) -> NDArray[np.bool_]:
    """[T] whether a token is of the text, and no EOS."""
    # Where documents end in EOS the last token is one.
    return np.ones(base.n_tokens, bool) if base.eos_policy == "none" else base.ids != base.ids[-1]


def _lowest(
    chance: NDArray[np.uint64], document: NDArray[np.int32], eligible: NDArray[np.bool_], percent: int
) -> NDArray[np.int64]:
    """The eligible tokens with the lowest numbers of each document, a share of them."""
    tokens = np.flatnonzero(eligible)
    tokens = tokens[np.lexsort((chance[tokens], document[tokens]))]
    counts = np.bincount(document[tokens])
    rank = np.arange(len(tokens)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(tokens[rank < np.repeat((counts * percent + 50) // 100, counts)])


def _others(chance: NDArray[np.uint64], ids: NDArray[np.int32], regular: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each id another one of those that are regular, as its random number says."""
    place = np.searchsorted(regular, ids)
    is_regular = regular[np.minimum(place, len(regular) - 1)] == ids
    drawn = (chance % (len(regular) - is_regular).astype(np.uint64)).astype(np.int64)
    # Its own id is passed over.
    others: NDArray[np.int64] = regular[drawn + (is_regular & (drawn >= place))]
    return others


def truncated(base: Corpus, *, length: int) -> Corpus:
    """The first tokens of each document, at most so many; its EOS stays where there is room."""
    kept = np.flatnonzero(base.position < length)
    counts = np.minimum([document.n_tokens for document in base.documents], length)
    documents, first = list[Document](), 0
    for document, count in zip(base.documents, counts.tolist(), strict=True):
        span = _span(base, document.first_token, count) if count < document.n_tokens else _whole(document)
        documents.append(Document(document.name, *span, first, count))
        first += count
    how = {"kind": "truncated", "length": length}
    return _made(
        base, f"{base.name}-truncated-{length}", how, **_chosen(base, kept, counts), documents=tuple(documents)
    )


def in_context(base: Corpus, *, target: int, short_from: int, long_from: int) -> Corpus:
    """Spans for the in-context-learning score (docs/methods.md §7): one target, after a short and after a long context.

    Each document is cut into stretches of `target` tokens, counted from 1. Of each, tokens short_from to target are
    the span `short`, and long_from to target the span `long`; only the target counts, and no span has an EOS.
    Raises UnderivableCorpus where no document has a stretch.
    """
    is_text = _is_text(base)
    stretches = [start for document in base.documents for start in _stretches(document, is_text, target)]
    if not stretches:
        raise UnderivableCorpus(
            f"No document of corpus {base.name} has the {target} tokens that the in-context-learning score needs: "
            "give a longer text, or a lower target."
        )
    documents, roles, tokens, first = list[Document](), list[Role](), list[NDArray[np.int64]](), 0
    for item, start in enumerate(stretches):
        for role, begin in (("short", short_from), ("long", long_from)):
            count = target - begin + 1
            place = start + begin - 1
            roles.append(Role(item, role, len(documents)))
            name = f"{IN_CONTEXT}/{item}/{role}"
            documents.append(Document(name, *_span(base, place, count), first, count, count - 1))
            tokens.append(np.arange(place, place + count))
            first += count
    counts = np.array([document.n_tokens for document in documents])
    how = {"kind": "in-context", "target": target, "short_from": short_from, "long_from": long_from}
    return _made(
        base,
        f"{base.name}-in-context-{target}-{short_from}-{long_from}",
        how,
        **_chosen(base, np.concatenate(tokens), counts),
        documents=tuple(documents),
        eos_policy="none",
        paradigms=(Paradigm(IN_CONTEXT, "spans", None, tuple(roles)),),
    )


def _stretches(document: Document, is_text: NDArray[np.bool_], size: int) -> Iterator[int]:
    """First tokens of the stretches of a document's text."""
    own = slice(document.first_token, document.first_token + document.n_tokens)
    end = document.first_token + int(is_text[own].sum())
    return iter(range(document.first_token, end - size + 1, size))


def _span(base: Corpus, first: int, count: int) -> tuple[int, int, int, int]:
    """Characters and bytes of some consecutive tokens."""
    own = slice(first, first + count)
    return (
        int(base.char_start[own].min()),
        int(base.char_end[own].max()),
        int(base.byte_start[first]),
        int(base.byte_end[first + count - 1]),
    )


def _whole(document: Document) -> tuple[int, int, int, int]:
    return (document.char_start, document.char_end, document.byte_start, document.byte_end)


def _chosen(base: Corpus, tokens: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of a corpus of some tokens, in documents of so many."""
    ids = base.ids[tokens]
    offsets = {name: getattr(base, name)[tokens] for name in _OFFSETS}
    return {"ids": ids, "ids_sha256": digest_of_ids(ids), **places(counts), **offsets}


def _made(base: Corpus, name: str, how: Mapping[str, Any], **columns: Any) -> Corpus:
    return replace(base, name=name, base=base, derivation=how, **columns)
