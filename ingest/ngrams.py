"""N-gram models of a text: how often each token follows a context, interpolated down to unigrams.

Arithmetic on arrays of ids (docs/methods.md §3); texts, models and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]
Places = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grams:
    """The k-grams of a text, each named by its place in `keys`; a context is a gram of order k - 1.

    keys: [G] int64, ascending: the place of a gram's context times V, plus the gram's last token. gains: [G] float32,
    log P_k(v|c) - log P_(k-1)(v|c') less `log_rest` of c, nats, never negative. log_rest: [contexts] float64, log of
    the share of P_(k-1) that P_k keeps where nothing was seen, w / (count(c) + w).
    """

    keys: Places
    gains: NDArray[np.float32]
    log_rest: Floats


@dataclass(frozen=True, eq=False)
class Continuations:
    """Contexts of one order as the T tokens of some corpus have them, and what the counted text has after them.

    rows: [T] int64, which context, -1 where the token has none or the text never goes on after it. log_rest: [T]
    float64, nats, 0 there. starts: [contexts + 1] int64; context r has entries starts[r] up to starts[r + 1].
    ids: [entries] int32, tokens seen after it. gains: [entries] float32, nats; see Grams.
    """

    rows: Places
    log_rest: Floats
    starts: Places
    ids: NDArray[np.int32]
    gains: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NgramModel:
    """P_1 to P_n of a text: P_k(v|c) = (count(c, v) + w P_(k-1)(v|c')) / (count(c) + w), P_1 the add-one unigrams.

    counts: [V] float64. weight: w. levels: the grams of orders 2 to n. entropies: by order from 1, the mean entropy of
    P_k over the contexts of the text's tokens, nats.
    """

    counts: Floats = field(repr=False)
    weight: float
    levels: tuple[Grams, ...] = field(repr=False)
    entropies: tuple[float, ...]

    @property
    def order(self) -> int:
        """The highest order."""
        return len(self.levels) + 1

    def unigrams(self) -> Floats:
        """P_1: [V] float64."""
        return add_one(self.counts)

    def continuations(self, ids: Ids, positions: Ids) -> Iterator[Continuations]:
        """What the text has after the contexts of a corpus, order after order from 2.

        ids, positions: [T] as for `count_ngrams`, of the corpus.
        """
        length, tokens = len(self.counts), ids.astype(np.int64)
        places = tokens
        for order, grams in enumerate(self.levels, start=2):
            contexts = _before(places, positions, order)
            yield _narrowed(grams, contexts, length)
            known = np.flatnonzero(contexts >= 0)
            places = np.full(len(tokens), -1, np.int64)
            places[known] = _find(grams.keys, contexts[known] * length + tokens[known])


def count_ngrams(ids: Ids, positions: Ids, vocabulary_length: int, order: int, weight: float) -> NgramModel:
    """The n-gram model of a text up to `order`, its memory a few numbers for each token and order.

    ids, positions: [N], a token's id, below V, and its place in its document from 0; a context does not reach into
    the document before. weight: w > 0, how many counts the next lower order stands for.
    """
    tokens = ids.astype(np.int64)
    counts = np.bincount(tokens, minlength=vocabulary_length).astype(np.float64)
    lower = _Lower(None, add_one(counts), np.array(float(_negative_entropy(add_one(counts)).sum())))
    places, at_token = tokens, np.full(len(tokens), lower.negative_entropy)
    levels, entropies = list[Grams](), [-float(at_token.mean())]
    for k in range(2, order + 1):
        inside = np.flatnonzero(positions >= k - 1)
        contexts = places[inside - 1]
        keys, here, seen = np.unique(
            contexts * vocabulary_length + tokens[inside], return_inverse=True, return_counts=True
        )
        n_contexts = vocabulary_length if k == 2 else len(levels[-1].keys)
        grams, lower = _interpolated(keys, seen, lower, n_contexts, vocabulary_length, weight, levels)
        levels.append(grams)
        at_token[inside] = lower.negative_entropy[contexts]
        entropies.append(-float(at_token.mean()))
        places = np.full(len(tokens), -1, np.int64)
        places[inside] = here
    return NgramModel(counts, weight, tuple(levels), tuple(entropies))


def add_one(counts: Floats) -> Floats:
    """[V] probabilities of counts with one added to each."""
    probabilities: Floats = (counts + 1) / (counts + 1).sum()
    return probabilities


@dataclass(frozen=True)
class _Lower:
    """What the next order needs of the grams of an order.

    suffixes: [G] place of all tokens but the first among the grams one order lower, None for unigrams.
    probabilities: [G]. negative_entropy: by context; a scalar for unigrams, which have one context, the empty one.
    """

    suffixes: Places | None
    probabilities: Floats
    negative_entropy: Floats


def _interpolated(
    keys: Places, seen: Places, lower: _Lower, n_contexts: int, length: int, weight: float, levels: list[Grams]
) -> tuple[Grams, _Lower]:
    """An order from the one below it. keys, seen: [G] grams and how often each occurs."""
    contexts, last = np.divmod(keys, length)
    # A gram that was seen was seen without its first token too, so it is found.
    suffixes = last if lower.suffixes is None else _find(levels[-1].keys, lower.suffixes[contexts] * length + last)
    below = lower.probabilities[suffixes]
    total = np.bincount(contexts, weights=seen, minlength=n_contexts)
    kept = weight / (total + weight)
    probabilities = (seen + weight * below) / (total[contexts] + weight)
    log_rest = -np.log1p(total / weight)
    grams = Grams(keys, np.log1p(seen / (weight * below)).astype(np.float32), log_rest)
    # Where nothing was seen P_k is `kept` times P_(k-1): only the grams that were seen are summed.
    changed = _negative_entropy(probabilities) - _negative_entropy(kept[contexts] * below)
    of_context = lower.negative_entropy if lower.suffixes is None else lower.negative_entropy[lower.suffixes]
    negative_entropy = np.bincount(contexts, weights=changed, minlength=n_contexts) + kept * (log_rest + of_context)
    return grams, _Lower(suffixes, probabilities, negative_entropy)


def _negative_entropy(p: Floats) -> Floats:
    terms: Floats = p * np.log(p)
    return terms


def _before(places: Places, positions: Ids, order: int) -> Places:
    """[T] the context of each token, given the gram of order - 1 that ends at each; -1 where there is none."""
    contexts = np.full(len(places), -1, np.int64)
    inside = np.flatnonzero(positions >= order - 1)
    contexts[inside] = places[inside - 1]
    return contexts


def _find(keys: Places, wanted: Places) -> Places:
    """Places of values in ascending keys, -1 for those that are not there."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, -1)


def _narrowed(grams: Grams, contexts: Places, length: int) -> Continuations:
    """What follows the contexts of T tokens, and nothing of other contexts."""
    known = np.flatnonzero(contexts >= 0)
    kept, rows = np.unique(contexts[known], return_inverse=True)
    first, end = (np.searchsorted(grams.keys, (kept + ahead) * length) for ahead in (0, 1))
    starts = np.concatenate([[0], np.cumsum(end - first)])
    entries = np.arange(starts[-1]) + np.repeat(first - starts[:-1], end - first)
    everywhere, log_rest = np.full(len(contexts), -1, np.int64), np.zeros(len(contexts))
    everywhere[known], log_rest[known] = rows, grams.log_rest[contexts[known]]
    return Continuations(
        everywhere, log_rest, starts, (grams.keys[entries] % length).astype(np.int32), grams.gains[entries]
    )
