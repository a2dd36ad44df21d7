"""N-gram references against full distributions in float64, made token by token from dictionaries of counts."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from ingest import contexts
from ingest.compiled import Path
from ingest.contexts import Ngrams, as_tensors
from ingest.logits import Readout
from ingest.measure import IncompatibleVocabulary, Measurement, measure
from ingest.ngrams import NgramModel, count_ngrams
from ingest.references import make_reference, ngram_reference
from ingest.scores import VocabularyClasses

V, WIDTH, WEIGHT = 13, 16, 1.75
CLASSES = VocabularyClasses(V, torch.tensor([3, 4]), torch.tensor([5]), 0)
PATHS = pytest.mark.parametrize("path", ["eager", "compiled"])
Documents = list[list[int]]


def draw(lengths: list[int], seed: int, size: int = V) -> Documents:
    """Documents of skewed ids, so that some contexts are common, some rare and some never seen."""
    rng = np.random.default_rng(seed)
    return [(size * rng.random(length) ** 2.5).astype(int).tolist() for length in lengths]


#: One of them is shorter than any context, one a single token.
TEXT = draw([160, 2, 1, 90, 3], seed=1)
CORPUS = draw([40, 1, 33], seed=2)


def flat(documents: Documents) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids and positions, as a corpus has them."""
    ids = np.array([i for document in documents for i in document], np.int32)
    return ids, np.concatenate([np.arange(len(document), dtype=np.int32) for document in documents])


class Oracle:
    """P_n(.|c) as its definition says, the whole distribution at a time."""

    def __init__(self, documents: Documents, weight: float = WEIGHT, size: int = V) -> None:
        self.weight, self.size = weight, size
        self.grams = Counter(
            tuple(document[start : start + n])
            for document in documents
            for n in range(1, 6)
            for start in range(len(document) - n + 1)
        )

    def after(self, context: tuple[int, ...]) -> NDArray[np.float64]:
        counts = np.array([float(self.grams[*context, v]) for v in range(self.size)])
        lower = self.weight * self.after(context[1:]) if context else np.ones(self.size)
        p: NDArray[np.float64] = (counts + lower) / (counts.sum() + lower.sum())
        return p

    def along(self, documents: Documents, order: int) -> NDArray[np.float64]:
        """[T, V] the distribution that each token has."""
        rows = [
            self.after(tuple(document[max(0, place - order + 1) : place]))
            for document in documents
            for place in range(len(document))
        ]
        return np.stack(rows)


def counted(order: int = 5, weight: float = WEIGHT) -> NgramModel:
    return count_ngrams(*flat(TEXT), V, order, weight)


def tables(order: int = 5) -> Ngrams:
    """References of all orders of the text, named by their order."""
    model, (ids, positions) = counted(order), flat(TEXT)
    named = {
        str(n): ngram_reference(str(n), ids, positions, n, model, source="a text") for n in range(2, order + 1)
    } | {"1": make_reference("1", model.counts, V, source="a text")}
    dense, (grouped,) = as_tensors(named, *flat(CORPUS))
    assert dense == {}
    return grouped


def readout(scale: float = 1.0) -> Readout:
    generator = torch.Generator().manual_seed(3)
    tokens = sum(map(len, CORPUS))
    return Readout(torch.randn(tokens, 6, generator=generator), scale * torch.randn(WIDTH, 6, generator=generator))


def measured(*readouts: Readout, **options: Any) -> Measurement:
    targets = torch.from_numpy(flat(CORPUS)[0]).long()
    scores = range(len(readouts))
    return measure(readouts, targets, classes=CLASSES, scores=list(scores), **{"ngrams": [tables()], **options})


@PATHS
@pytest.mark.parametrize("scale", [0.1, 1.0, 12.0])
def test_kl_to_every_order_is_that_of_the_full_distributions(path: Path, scale: float) -> None:
    model, oracle = readout(scale), Oracle(TEXT)
    found = measured(model, path=path, tile=16).reference_kl
    log_p = log_softmax(model.logits()[:, :V].double().numpy(), axis=-1)
    assert found.keys() == {(0, str(n)) for n in range(1, 6)}
    for order in range(1, 6):
        q = oracle.along(CORPUS, order)
        np.testing.assert_allclose(q.sum(1), 1, rtol=1e-12)
        expected = (np.exp(log_p) * (log_p - np.log(q))).sum(1)
        assert found[0, str(order)].dtype == np.float32
        np.testing.assert_allclose(found[0, str(order)], expected, rtol=3e-6, atol=1e-6)


@PATHS
def test_the_orders_differ_and_each_readout_has_its_own(path: Path) -> None:
    found = measured(readout(), readout(3.0), path=path).reference_kl
    assert len({values.tobytes() for values in found.values()}) == 10


def test_the_first_token_of_a_document_has_no_context() -> None:
    found = measured(readout(), path="eager").reference_kl
    starts = np.flatnonzero(flat(CORPUS)[1] == 0)
    for order in range(2, 6):
        assert (found[0, str(order)][starts] == found[0, "1"][starts]).all()
        assert (found[0, str(order)] != found[0, "1"]).any()


@pytest.mark.parametrize(("tile", "path"), [(1, "eager"), (7, "eager"), (4096, "eager"), (24, "compiled")])
def test_neither_the_tile_nor_how_many_entries_are_looked_at_changes_more_than_the_last_bits(
    tile: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = measured(readout(), path=path)
    monkeypatch.setattr(contexts, "_ENTRIES", 9)
    other = measured(readout(), path=path, tile=tile)
    for key, values in usual.reference_kl.items():
        np.testing.assert_allclose(other.reference_kl[key], values, rtol=1e-6, atol=1e-6)


def test_ngrams_change_no_other_column() -> None:
    with_them, without = measured(readout(), path="compiled"), measured(readout(), path="compiled", ngrams=[])
    assert without.reference_kl == {}
    for name, values in vars(without.scores[0]).items():
        assert np.array_equal(getattr(with_them.scores[0], name), values), name


def test_entropies_are_means_over_the_contexts_of_the_text() -> None:
    oracle, entropies = Oracle(TEXT), counted().entropies
    for order in range(1, 6):
        q = oracle.along(TEXT, order)
        assert entropies[order - 1] == pytest.approx(-(q * np.log(q)).sum(1).mean(), rel=1e-12)
    assert all(lower > higher for lower, higher in pairwise(entropies))


def test_of_lower_orders_a_higher_model_says_the_same() -> None:
    low, high = counted(3), counted(5)
    assert low.entropies == high.entropies[:3]
    for a, b in zip(low.levels, high.levels, strict=False):
        assert np.array_equal(a.keys, b.keys)
        assert np.array_equal(a.gains, b.gains)


def test_contexts_do_not_cross_documents() -> None:
    apart = count_ngrams(*flat([[1, 2], [3, 4]]), V, 2, WEIGHT)
    assert [divmod(int(key), V) for key in apart.levels[0].keys] == [(1, 2), (3, 4)]
    together = count_ngrams(*flat([[1, 2, 3, 4]]), V, 2, WEIGHT)
    assert [divmod(int(key), V) for key in together.levels[0].keys] == [(1, 2), (2, 3), (3, 4)]


def test_a_bigram_is_the_hand_computed_one() -> None:
    model = count_ngrams(*flat([[1, 2], [1, 3]]), 4, 2, 2.0)
    assert model.unigrams() == pytest.approx([1 / 8, 3 / 8, 2 / 8, 2 / 8])
    level = model.levels[0]
    # P(2|1) = P(3|1) = (1 + 2 * 2/8) / (2 + 2) = 3/8, three times the 1/8 that the unseen share of P_1 would leave.
    assert level.gains == pytest.approx([log(3), log(3)])
    assert level.log_rest == pytest.approx([0, log(2 / 4), 0, 0])


def test_texts_shorter_than_the_order_leave_the_lower_order() -> None:
    model = count_ngrams(*flat([[1], [2], [2]]), V, 5, WEIGHT)
    assert model.entropies == pytest.approx([model.entropies[0]] * 5)
    for found in model.continuations(*flat(CORPUS)):
        assert len(found.ids) == 0
        assert (found.log_rest == 0).all()


@PATHS
def test_a_corpus_that_shares_no_context_with_the_text_has_the_kl_to_its_unigrams(path: Path) -> None:
    ids, positions = flat([[1, 2, 1]])
    model = count_ngrams(ids, positions, V, 3, WEIGHT)
    named = {"trigram": ngram_reference("trigram", ids, positions, 3, model, source="a text")}
    unigram = {"unigram": torch.from_numpy(np.log(model.unigrams())).float()}
    targets = torch.tensor([5, 6, 7])
    _, grouped = as_tensors(named, *flat([[5, 6, 7]]))
    states = Readout(torch.randn(3, 6), torch.randn(WIDTH, 6))
    options: dict[str, Any] = {"classes": CLASSES, "scores": [0], "path": path}
    found = measure([states], targets, references=unigram, ngrams=grouped, **options).reference_kl
    assert (found[0, "trigram"] == found[0, "unigram"]).all()


def test_of_a_corpus_only_its_own_contexts_are_kept() -> None:
    model = counted(2)
    (found,) = model.continuations(*flat([[1, 5, 1, 7]]))
    assert found.rows.tolist() == [-1, 0, 1, 0]
    assert len(found.starts) == 3
    assert len(found.ids) == sum(int(key) // V in (1, 5) for key in model.levels[0].keys) < len(model.levels[0].keys)


def test_ids_as_large_as_a_real_vocabulary_are_told_apart() -> None:
    size, width = 50_277, 50_304
    text, corpus = draw([3000, 500], seed=4, size=size), draw([70, 30], seed=5, size=size)
    corpus[0][10:60] = text[0][100:150]
    model = count_ngrams(*flat(text), size, 3, 1.0)
    named = {"trigram": ngram_reference("trigram", *flat(text), 3, model, source="a text")}
    _, grouped = as_tensors(named, *flat(corpus))
    states = Readout(torch.randn(100, 4), torch.randn(width, 4))
    classes = VocabularyClasses(size, torch.arange(10, 20), torch.arange(20, 30), 0)
    targets = torch.from_numpy(flat(corpus)[0]).long()
    found = measure([states], targets, classes=classes, scores=[0], ngrams=grouped, path="eager").reference_kl
    log_p, oracle = log_softmax(states.logits()[:, :size].double().numpy(), axis=-1), Oracle(text, 1.0, size)
    for token in (0, 1, 9, 11, 12, 40, 70, 99):
        document, place = (corpus[0], token) if token < 70 else (corpus[1], token - 70)
        q = oracle.after(tuple(document[max(0, place - 2) : place]))
        expected = (np.exp(log_p[token]) * (log_p[token] - np.log(q))).sum()
        assert found[0, "trigram"][token] == pytest.approx(expected, rel=3e-6)


def test_tables_of_another_corpus_or_vocabulary_are_refused() -> None:
    targets = torch.zeros(5, dtype=torch.int64)
    other = Readout(torch.randn(5, 6), torch.randn(WIDTH, 6))
    with pytest.raises(ValueError, match="another corpus"):
        measure([other], targets, classes=CLASSES, scores=[0], ngrams=[tables()])
    wider = VocabularyClasses(V + 1, torch.tensor([3]), torch.tensor([5]), 0)
    targets = torch.from_numpy(flat(CORPUS)[0]).long()
    with pytest.raises(IncompatibleVocabulary, match=f"{V} ids, the models have {V + 1}"):
        measure([readout()], targets, classes=wider, scores=[0], ngrams=[tables()])
