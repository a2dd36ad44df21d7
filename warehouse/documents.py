"""Sums over the documents of a corpus, in float64: what is kept of a sequence besides its tokens.

Pure functions on arrays. ``warehouse refresh`` computes the same from facts in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

#: Documents a row of sums holds; that of a document is ``document // CHUNK_DOCUMENTS``.
CHUNK_DOCUMENTS = 256


@dataclass(frozen=True)
class Documents:
    """Which tokens of a corpus the sums over its documents count.

    codes: [T] document of each token, from 0. first: [T] the token begins its document, so that without BOS nothing
    predicts it. scored: [T] the token counts, being no mere context. eos: [D] place in the corpus of the EOS that ends
    each document, -1 where none does; None where no document is to end in one.
    """

    codes: NDArray[np.intp]
    first: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    size: int
    eos: NDArray[np.intp] | None

    @classmethod
    def of(
        cls,
        codes: NDArray[np.int32],
        positions: NDArray[np.int32],
        vocab_ids: NDArray[np.int32],
        scored_from: NDArray[np.int32],
        eos_id: int | None,
    ) -> Documents:
        """Of [T] documents, positions and ids of tokens, and the [D] position from which each document counts.

        eos_id: id that ends documents; None where none is to end in one.
        """
        size = len(scored_from)
        eos = None if eos_id is None else _ends(codes, vocab_ids == eos_id, size)
        return cls(codes.astype(np.intp), positions == 0, positions >= scored_from[codes], size, eos)

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """[T] the tokens that sums of scores count: those scored, but for the EOS."""
        counted = self.scored.copy()
        if self.eos is not None:
            counted[self.eos[self.eos >= 0]] = False
        return counted

    @cached_property
    def lengths(self) -> Counts:
        """[D] tokens of each document."""
        return np.bincount(self.codes, minlength=self.size)

    def count(self, chosen: NDArray[np.bool_]) -> Counts:
        """[D] how many tokens of each document are chosen."""
        return self.lengths if chosen.all() else np.bincount(self.codes[chosen], minlength=self.size)

    def sum(self, x: NDArray[Any], chosen: NDArray[np.bool_]) -> Floats:
        """[D] sum of x over the chosen tokens of each document, added in their order."""
        # All of them, as is usual for KL, are taken without copying.
        where = slice(None) if chosen.all() else np.flatnonzero(chosen)
        return np.bincount(self.codes[where], x[where].astype(np.float64), self.size).astype(np.float64)


def _ends(codes: NDArray[np.int32], is_eos: NDArray[np.bool_], size: int) -> NDArray[np.intp]:
    """[D] place of the last token of each document where that is an EOS, else -1."""
    last = np.full(size, -1, np.intp)
    last[codes] = np.arange(len(codes))
    return np.where((last >= 0) & is_eos[last], last, -1)


def score_sums(
    documents: Documents,
    surprisal: NDArray[np.float32],
    entropy: NDArray[np.float32] | None,
    rank: NDArray[np.int32] | None,
) -> dict[str, NDArray[Any] | None]:
    """The array columns of ``document_score_chunk``, [D] each, in nats; see docs/methods.md §7.

    The scores are [T]; what was not measured is NaN, or -1 for ranks. A document of which a token was left unmeasured
    has no sums (NaN, or -1 for counts), but that its first token may lack them.
    """
    measured = np.isfinite(surprisal)
    summed = documents.counted & measured
    whole = _whole(documents, measured)
    return {
        "n_tokens": documents.count(summed),
        "n_correct": None if rank is None else _count_correct(documents, rank, summed, whole),
        "surprisal": _sum(documents, surprisal, summed, whole),
        "eos_surprisal": None if documents.eos is None else _at_eos(documents.eos, surprisal),
        "entropy": None if entropy is None else _sum(documents, entropy, summed, whole),
    }


def _whole(documents: Documents, measured: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[D] whether all tokens of a document that count were measured, or all but its first of several."""
    missing = documents.counted & ~measured
    some = documents.count(documents.counted & measured) > 0
    after_first = documents.count(missing & ~documents.first) > 0
    return np.logical_not(after_first | (~some & (documents.count(missing) > 0)))


def _count_correct(
    documents: Documents, rank: NDArray[np.int32], summed: NDArray[np.bool_], whole: NDArray[np.bool_]
) -> Counts:
    known = whole & (documents.count(summed & (rank < 1)) == 0)
    return np.where(known, documents.count(summed & (rank == 1)), -1)


def _sum(
    documents: Documents, x: NDArray[np.float32], summed: NDArray[np.bool_], whole: NDArray[np.bool_]
) -> NDArray[np.float32]:
    return np.where(whole, documents.sum(x, summed), np.nan).astype(np.float32)


def _at_eos(eos: NDArray[np.intp], surprisal: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(eos >= 0, surprisal[eos], np.nan).astype(np.float32)


def divergence_sums(documents: Documents, kl: NDArray[np.float32]) -> dict[str, NDArray[Any] | None]:
    """The array columns of ``document_divergence_chunk``, [D] each: tokens measured, EOS included, and their KL.

    kl: [T] nats, NaN where unmeasured. Where no token of a document was measured the sum is NaN.
    """
    summed = documents.scored & np.isfinite(kl)
    n_tokens = documents.count(summed)
    total = np.where(n_tokens > 0, documents.sum(kl, summed), np.nan).astype(np.float32)
    return {"n_tokens": n_tokens, "kl": total}
