"""The references that a study names: read from their files or counted from their texts, and written to the warehouse.

A text that several references count is read and counted once. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from ingest.corpus import Corpus, EosPolicy, load_corpus
from ingest.ngrams import NgramModel, count_ngrams
from ingest.references import Reference, load_reference, ngram_reference, reference_from_ids
from ingest.study import ReferenceSpec, Study
from ingest.vocabulary import Vocabulary
from warehouse.dimensions import save_reference


class _Text(NamedTuple):
    """A text to count, with how it becomes documents."""

    path: Path
    eos: EosPolicy
    split: str | None


def read_references(study: Study, vocabulary: Vocabulary) -> list[Reference]:
    """The study's references, counted from their texts or read from their files of counts.

    Raises what reading them raises, and InfiniteDivergence where one gives an id no probability.
    """
    texts = _Texts(study.references, vocabulary)
    references = [texts.reference(spec) for spec in study.references]
    for reference in references:
        reference.log_probabilities()
    return references


class _Texts:
    """Texts of references, each tokenized once, and for each weight counted once, up to the highest order wanted."""

    def __init__(self, specs: Sequence[ReferenceSpec], vocabulary: Vocabulary) -> None:
        self._specs, self._vocabulary = specs, vocabulary
        self._corpus = cache(self._tokenized)
        self._ngrams = cache(self._counted)

    def reference(self, spec: ReferenceSpec) -> Reference:
        """One of the references."""
        length = self._vocabulary.length
        if spec.counts is not None:
            return load_reference(spec.counts, length, name=spec.name, smoothing=spec.smoothing, repair=spec.repair)
        text = _text_of(spec)
        corpus, source = self._corpus(text), str(text.path)
        if spec.order == 1:
            return reference_from_ids(spec.name, corpus.ids, length, source=source, smoothing=spec.smoothing)
        ngrams = self._ngrams(text, spec.weight)
        return ngram_reference(spec.name, corpus.ids, corpus.position, spec.order, ngrams, source=source)

    def _tokenized(self, text: _Text) -> Corpus:
        return load_corpus(text.path, self._vocabulary, eos_policy=text.eos, split=text.split)

    def _counted(self, text: _Text, weight: float) -> NgramModel:
        corpus = self._corpus(text)
        counting = (spec for spec in self._specs if spec.text is not None and _text_of(spec) == text)
        highest = max(spec.order for spec in counting if spec.weight == weight)
        return count_ngrams(corpus.ids, corpus.position, self._vocabulary.length, highest, weight)


def _text_of(spec: ReferenceSpec) -> _Text:
    assert spec.text is not None
    return _Text(spec.text, spec.eos, spec.split)


def save_references(connection: Connection, references: Sequence[Reference], tokenizer_id: int) -> dict[int, Reference]:
    """The references by the keys of their rows. Raises ConflictingInputs if a name stands for other counts."""
    return {_save(connection, reference, tokenizer_id): reference for reference in references}


def _save(connection: Connection, reference: Reference, tokenizer_id: int) -> int:
    return save_reference(
        connection,
        name=reference.name,
        tokenizer_id=tokenizer_id,
        counts=reference.counts,
        entropy=reference.entropy(),
        smoothing=reference.smoothing,
        source=reference.source,
        sha256=reference.sha256,
        ngram_order=reference.order,
        smoothing_weight=reference.weight,
    )
