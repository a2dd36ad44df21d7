"""What every checkpoint of a study is measured on: tokenizer, corpus, protocol, references, layers.

Reads texts and writes their rows; knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from ingest import layers
from ingest.corpus import Corpus, load_corpus
from ingest.references import Reference, load_reference, reference_from_ids
from ingest.study import ReferenceSpec, Study, suggestion
from ingest.tagging import MissingTaggerData, find_words, require_tagger_data
from ingest.vocabulary import Vocabulary
from warehouse import schema
from warehouse.annotations import layer_names, layer_source, load_layer
from warehouse.dimensions import find_or_make, save_corpus, save_reference, save_tokenizer
from warehouse.errors import WarehouseError
from warehouse.layer import TOTAL, Layer

log = logging.getLogger(__name__)

#: Layer that belongs to a model: it is made from the scores of that model's last step.
FINAL_SURPRISAL = "final_surprisal"
#: Layers that need NLTK's tagger data.
TAGGED = ("pos", "pos.context")
BUILT_IN = ("document", "word_class", "word_start", "word_end", "frequency", *TAGGED, FINAL_SURPRISAL)


class NoCorpus(WarehouseError):
    """The study names no text to score."""


class NoBeginningToken(WarehouseError):
    """The tokenizer has no token that begins a sequence."""


class OtherLength(WarehouseError):
    """A text does not have as many tokens as the study says."""


class DifferentTokenizers(WarehouseError):
    """Models that should be compared were trained with different tokenizers."""


class UnknownLayer(WarehouseError):
    """The study names a layer that is not built in."""


@dataclass(frozen=True)
class Setting:
    """A corpus with its tokenizer, protocol and references, and the ids of their rows."""

    vocabulary: Vocabulary = field(repr=False)
    corpus: Corpus = field(repr=False)
    references: dict[int, Reference]
    tokenizer_id: int
    corpus_id: int
    protocol_id: int
    first_token_id: int

    def require_tokenizer(self, path: Path) -> None:
        """Raise DifferentTokenizers if a checkpoint's folder holds a tokenizer.json other than the setting's."""
        file = path / "tokenizer.json"
        if file.is_file() and (digest := hashlib.sha256(file.read_bytes()).hexdigest()) != self.vocabulary.sha256:
            raise DifferentTokenizers(
                f"The tokenizer in {path} is not the one that made the corpus (sha256 {digest[:12]} and "
                f"{self.vocabulary.sha256[:12]}): ingest checkpoints of another tokenizer as another study."
            )

    def input_digest(self, study: Study, weights_sha256: str) -> str:
        """SHA-256 of all that decides an evaluation: weights, token ids, tokenizer, protocol."""
        parts = [weights_sha256, self.corpus.ids_sha256, self.vocabulary.sha256, _protocol_key(study)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_corpus(study: Study, vocabulary: Vocabulary) -> Corpus:
    """The study's text as tokens. Raises NoCorpus, NoBeginningToken, OtherLength and what reading a corpus raises."""
    spec = study.corpus
    if spec.path is None:
        raise NoCorpus(f"Study {study.name} names no corpus: set path in its [corpus] table, or pass --corpus FILE.")
    if vocabulary.bos_id is None:
        raise NoBeginningToken(
            "The tokenizer names no BOS token, which concatenated windows begin with: "
            "set bos_token in its tokenizer_config.json."
        )
    corpus = load_corpus(spec.path, vocabulary, name=spec.name or study.name, eos_policy=spec.eos, split=spec.split)
    if spec.n_tokens not in (None, corpus.n_tokens):
        raise OtherLength(
            f"{spec.path} has {corpus.n_tokens:,} tokens and study {study.name} says {spec.n_tokens:,}: "
            "this is another text, tokenizer or EOS policy than the study means; mend one of them, or drop n_tokens."
        )
    return corpus


def read_references(study: Study, vocabulary: Vocabulary) -> list[Reference]:
    """The study's references, counted from their texts or read from their files of counts.

    Raises what reading them raises, and InfiniteDivergence where one gives an id no probability.
    """
    references = [_read_reference(spec, vocabulary) for spec in study.references]
    for reference in references:
        reference.log_probabilities()
    return references


def _read_reference(spec: ReferenceSpec, vocabulary: Vocabulary) -> Reference:
    if spec.counts is not None:
        return load_reference(
            spec.counts, vocabulary.length, name=spec.name, smoothing=spec.smoothing, repair=spec.repair
        )
    assert spec.text is not None
    text = load_corpus(spec.text, vocabulary, name=spec.name)
    return reference_from_ids(spec.name, text.ids, vocabulary.length, source=str(spec.text), smoothing=spec.smoothing)


def save_setting(
    connection: Connection, study: Study, name: str, vocabulary: Vocabulary, corpus: Corpus, references: list[Reference]
) -> Setting:
    """Write the rows of a setting that are not there yet, in the connection's transaction; of layers only the total.

    name: what the tokenizer is called. Raises ConflictingInputs if a name stands for something else.
    """
    tokenizer_id = save_tokenizer(
        connection,
        name=name,
        sha256=vocabulary.sha256,
        length=vocabulary.length,
        bos_id=vocabulary.bos_id,
        eos_id=vocabulary.eos_id,
        pieces=_pieces(vocabulary),
    )
    corpus_id = _save_corpus(connection, study, corpus, tokenizer_id)
    protocol = {"windows": study.protocol.windows, "window": study.protocol.window, "bos": study.protocol.bos}
    fixed = {"vocabulary": study.protocol.vocabulary, "dtype": study.protocol.dtype, "tf32": False}
    protocol_id = find_or_make(connection, schema.protocol, {"name": study.protocol.name}, **protocol, **fixed)
    saved = {_save_reference(connection, reference, tokenizer_id): reference for reference in references}
    if TOTAL not in layer_names(connection, corpus_id):
        load_layer(connection, corpus_id, layers.everything(corpus.n_tokens))
    first = connection.execute(
        schema.corpus.select()
        .with_only_columns(schema.corpus.c.first_token_id)
        .where(schema.corpus.c.corpus_id == corpus_id)
    ).scalar_one()
    return Setting(vocabulary, corpus, saved, tokenizer_id, corpus_id, protocol_id, int(first))


def _pieces(vocabulary: Vocabulary) -> Iterator[tuple[str, bytes, bool, bool, bool]]:
    flags = (vocabulary.starts_with_space, vocabulary.is_punctuation, vocabulary.is_special)
    return zip(vocabulary.texts, vocabulary.pieces, *(flag.tolist() for flag in flags), strict=True)


def _save_corpus(connection: Connection, study: Study, corpus: Corpus, tokenizer_id: int) -> int:
    return save_corpus(
        connection,
        name=corpus.name,
        tokenizer_id=tokenizer_id,
        text_sha256=corpus.text_sha256,
        token_sha256=corpus.ids_sha256,
        eos_policy=corpus.eos_policy,
        source=corpus.source,
        licence=study.corpus.licence,
        n_characters=len(corpus.text),
        n_bytes=len(corpus.text.encode()),
        documents=[vars(document) for document in corpus.documents],
        tokens={
            "vocab_ids": corpus.ids,
            "documents": corpus.document,
            "positions": corpus.position,
            "char_starts": corpus.char_start,
            "char_ends": corpus.char_end,
            "byte_starts": corpus.byte_start,
            "byte_ends": corpus.byte_end,
        },
    )


def _save_reference(connection: Connection, reference: Reference, tokenizer_id: int) -> int:
    return save_reference(
        connection,
        name=reference.name,
        tokenizer_id=tokenizer_id,
        counts=reference.counts,
        entropy=reference.entropy(),
        smoothing=reference.smoothing,
        source=reference.source,
        sha256=reference.sha256,
    )


def missing_layers(connection: Connection, study: Study, corpus_id: int) -> set[str]:
    """Built-in layers of the corpus that a study wants and the warehouse lacks."""
    return {*wanted_layers(study)} - {FINAL_SURPRISAL} - layer_names(connection, corpus_id)


def require_layers(study: Study) -> None:
    """Raise MissingTaggerData where the study names a layer whose data cannot be had."""
    if {*TAGGED}.intersection(study.layers):
        require_tagger_data(download=True)


def make_layers(
    corpus: Corpus, vocabulary: Vocabulary, references: list[Reference], names: set[str]
) -> Iterator[Layer]:
    """The built-in layers of these names, but for those that say nothing of this corpus, or cannot be had."""
    if names.intersection(TAGGED) and not _can_tag():
        names = names - {*TAGGED}
    made = (make() for name, make in _makers(corpus, vocabulary, references).items() if name in names)
    # The context of a lone token has no value.
    return (layer for layer in made if layer.categories)


def save_layer(connection: Connection, corpus_id: int, layer: Layer) -> None:
    """Write a layer, unless another process did meanwhile."""
    if layer_source(connection, corpus_id, layer.name) is None:
        load_layer(connection, corpus_id, layer)


def _can_tag() -> bool:
    """Whether NLTK's tagger has its data, fetched if need be; a warning where it has not."""
    try:
        require_tagger_data(download=True)
    except MissingTaggerData as missing:
        log.warning("Layers %s are left out: %s", " and ".join(TAGGED), missing)
        return False
    return True


def wanted_layers(study: Study) -> tuple[str, ...]:
    """The built-in layers that a study wants: those it names, or all. Raises UnknownLayer."""
    for name in study.layers:
        if name not in BUILT_IN:
            raise UnknownLayer(
                f"Study {study.name} names layer {name}, which is not built in: {suggestion(name, BUILT_IN)}"
            )
    return study.layers or BUILT_IN


def _makers(corpus: Corpus, vocabulary: Vocabulary, references: list[Reference]) -> dict[str, Callable[[], Layer]]:
    """How each layer of a text is made, in the order in which they are listed."""
    words = cache(lambda: find_words(corpus.text))
    tagged = cache(lambda: layers.pos(corpus, words()))
    counted = next((r for r in references if r.name == "unigram"), None) or next(iter(references), None)
    counts = counted or reference_from_ids(corpus.name, corpus.ids, vocabulary.length, source=f"corpus {corpus.name}")
    return {
        "document": lambda: layers.document(corpus),
        "word_class": lambda: layers.word_class(corpus),
        "word_start": lambda: layers.word_start(corpus, words()),
        "word_end": lambda: layers.word_end(corpus, words()),
        "frequency": lambda: layers.frequency(corpus.ids, counts.counts, source=counts.source),
        "pos": tagged,
        "pos.context": lambda: layers.context_of(tagged()),
    }


def _protocol_key(study: Study) -> dict[str, object]:
    return {**vars(study.protocol), "tf32": False}
