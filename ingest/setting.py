"""What every checkpoint of a study is measured on: tokenizer, corpus, protocol, references, layers.

Reads texts and writes their rows; knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ingest import layers
from ingest.corpus import Corpus, Document, load_corpus, load_items
from ingest.derived import derive
from ingest.references import Reference, reference_from_ids
from ingest.study import BadStudy, Study, suggestion
from ingest.study_references import save_references
from ingest.tag_groups import GROUPED, tag_groups
from ingest.tagging import MissingTaggerData, find_words, require_tagger_data
from ingest.vocabulary import Vocabulary
from ingest.windows import measured
from warehouse import schema
from warehouse.annotations import layer_names, layer_source, load_layer
from warehouse.dimensions import find_or_make, save_corpus, save_tokenizer
from warehouse.errors import RunFailed, WarehouseError
from warehouse.layer import TOTAL, Layer, context_of

log = logging.getLogger(__name__)

#: Layer that belongs to a model: it is made from the scores of that model's last step.
FINAL_SURPRISAL = "final_surprisal"
#: Layers that need NLTK's tagger data.
TAGGED = tuple(name + twin for name in ("pos", *GROUPED) for twin in ("", ".context"))
BUILT_IN = ("document", "word_class", "word_start", "word_end", "frequency", *TAGGED, FINAL_SURPRISAL)


class NoCorpus(WarehouseError):
    """The study names no text to score."""


class NoBeginningToken(WarehouseError):
    """The tokenizer has no token that begins a sequence."""


class OtherLength(WarehouseError):
    """A text does not have as many tokens as the study says."""


class ContextTooShort(RunFailed):
    """Spans that show what context is worth are longer than a model can see."""


class DifferentTokenizers(WarehouseError):
    """Models that should be compared were trained with different tokenizers."""


class UnknownLayer(WarehouseError):
    """The study names a layer that is not built in."""


@dataclass(frozen=True)
class Setting:
    """A corpus with its tokenizer, protocol and references, and the ids of their rows.

    measured: [T] bool, which tokens the protocol's windows predict; of the others nothing is known.
    """

    vocabulary: Vocabulary = field(repr=False)
    corpus: Corpus = field(repr=False)
    references: dict[int, Reference]
    tokenizer_id: int
    corpus_id: int
    protocol_id: int
    first_token_id: int
    measured: NDArray[np.bool_] = field(repr=False)

    def require_tokenizer(self, path: Path) -> None:
        """Raise DifferentTokenizers if a checkpoint's folder holds a tokenizer.json other than the setting's."""
        file = path / "tokenizer.json"
        if file.is_file() and (digest := hashlib.sha256(file.read_bytes()).hexdigest()) != self.vocabulary.sha256:
            raise DifferentTokenizers(
                f"The tokenizer in {path} is not the one that made the corpus (sha256 {digest[:12]} and "
                f"{self.vocabulary.sha256[:12]}): ingest checkpoints of another tokenizer as another study."
            )

    def require_context(self, model: str, window: int) -> None:
        """Raise ContextTooShort if the corpus is of in-context spans, and a model's windows do not hold the longest."""
        how = self.corpus.derivation
        longest = max(document.n_tokens for document in self.corpus.documents) - 1
        if how is not None and how["kind"] == "in-context" and window < longest:
            raise ContextTooShort(
                f"The spans of corpus {self.corpus.name} have {longest} tokens before their target, and {model} sees "
                f"{window}: lower target, short_from and long_from in [corpus.derived], or raise window."
            )

    def input_digest(self, study: Study, weights_sha256: str) -> str:
        """SHA-256 of all that decides an evaluation: weights, token ids, tokenizer, protocol."""
        parts = [weights_sha256, self.corpus.ids_sha256, self.vocabulary.sha256, _protocol_key(study)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def require_ids(study: Study, vocabulary: Vocabulary) -> None:
    """Raise BadStudy where a study keeps more entries of a distribution than there are ids."""
    if study.top_k > vocabulary.length:
        raise BadStudy(
            f"Key top_k of study {study.name} is {study.top_k}, but there are {vocabulary.length} ids: lower it."
        )


def read_corpus(study: Study, vocabulary: Vocabulary) -> Corpus:
    """The study's text as tokens, or what it wants made from it.

    Raises NoCorpus, NoBeginningToken, OtherLength, UnderivableCorpus and what reading a corpus raises.
    """
    spec = study.corpus
    if spec.path is None:
        raise NoCorpus(f"Study {study.name} names no corpus: set path in its [corpus] table, or pass --corpus FILE.")
    if vocabulary.bos_id is None:
        raise NoBeginningToken(
            f"The tokenizer names no BOS token, which {study.protocol.windows} windows begin with: "
            "set bos_token in its tokenizer_config.json."
        )
    name = spec.name or study.name
    if spec.items is None:
        corpus = load_corpus(spec.path, vocabulary, name=name, eos_policy=spec.eos, split=spec.split)
    else:
        corpus = load_items(spec.path, spec.items, vocabulary, name=name, eos_policy=spec.eos)
    if spec.n_tokens not in (None, corpus.n_tokens):
        raise OtherLength(
            f"{spec.path} has {corpus.n_tokens:,} tokens and study {study.name} says {spec.n_tokens:,}: "
            "this is another text, tokenizer or EOS policy than the study means; mend one of them, or drop n_tokens."
        )
    return corpus if spec.derived is None else derive(corpus, spec.derived, vocabulary)


def save_setting(
    connection: Connection, study: Study, name: str, vocabulary: Vocabulary, corpus: Corpus, references: list[Reference]
) -> Setting:
    """Write the rows of a setting that are not there yet, in the connection's transaction; of layers only the total.

    name: what the tokenizer is called. Raises ConflictingInputs if a name stands for something else.
    """
    tokenizer_id, corpus_id = save_text(connection, vocabulary, corpus, tokenizer=name, licence=study.corpus.licence)
    protocol = {"windows": study.protocol.windows, "window": study.protocol.window, "bos": study.protocol.bos}
    fixed = {"vocabulary": study.protocol.vocabulary, "dtype": study.protocol.dtype, "tf32": False}
    protocol_id = find_or_make(connection, schema.protocol, {"name": study.protocol.name}, **protocol, **fixed)
    saved = save_references(connection, references, tokenizer_id)
    first = connection.execute(
        schema.corpus.select()
        .with_only_columns(schema.corpus.c.first_token_id)
        .where(schema.corpus.c.corpus_id == corpus_id)
    ).scalar_one()
    lengths = [document.n_tokens for document in corpus.documents]
    known = measured(study.protocol.windows, corpus.n_tokens, lengths, bos=study.protocol.bos)
    return Setting(vocabulary, corpus, saved, tokenizer_id, corpus_id, protocol_id, int(first), known)


def save_text(
    connection: Connection, vocabulary: Vocabulary, corpus: Corpus, *, tokenizer: str, licence: str | None
) -> tuple[int, int]:
    """Write a corpus with its tokenizer and the layer of all tokens, unless they are there; returns both ids.

    tokenizer: what it is called. Raises ConflictingInputs if the corpus' name stands for something else.
    """
    tokenizer_id = save_tokenizer(
        connection,
        name=tokenizer,
        sha256=vocabulary.sha256,
        length=vocabulary.length,
        bos_id=vocabulary.bos_id,
        eos_id=vocabulary.eos_id,
        pieces=_pieces(vocabulary),
    )
    return tokenizer_id, _save_corpus(connection, corpus, tokenizer_id, licence)


def _pieces(vocabulary: Vocabulary) -> Iterator[tuple[str, bytes, bool, bool, bool]]:
    flags = (vocabulary.starts_with_space, vocabulary.is_punctuation, vocabulary.is_special)
    return zip(vocabulary.texts, vocabulary.pieces, *(flag.tolist() for flag in flags), strict=True)


def _save_corpus(connection: Connection, corpus: Corpus, tokenizer_id: int, licence: str | None) -> int:
    """Write a corpus with the layer of all tokens, and before it the one that it was made from."""
    base = None if corpus.base is None else _save_corpus(connection, corpus.base, tokenizer_id, licence)
    corpus_id = save_corpus(
        connection,
        name=corpus.name,
        tokenizer_id=tokenizer_id,
        text_sha256=corpus.text_sha256,
        token_sha256=corpus.ids_sha256,
        eos_policy=corpus.eos_policy,
        source=corpus.source,
        licence=licence,
        n_characters=len(corpus.text),
        n_bytes=len(corpus.text.encode()),
        documents=[{**vars(document), "n_words": _words(corpus, document)} for document in corpus.documents],
        paradigms=corpus.paradigms,
        derived_from=base,
        derivation=corpus.derivation,
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
    if TOTAL not in layer_names(connection, corpus_id):
        load_layer(connection, corpus_id, layers.everything(corpus.n_tokens))
    return corpus_id


def _words(corpus: Corpus, document: Document) -> int:
    """Runs of characters other than white space."""
    return len(corpus.text[document.char_start : document.char_end].split())


def missing_layers(connection: Connection, study: Study, corpus_id: int) -> set[str]:
    """Built-in layers of the corpus that a study wants and the warehouse lacks."""
    missing = {*wanted_layers(study)} - {FINAL_SURPRISAL} - layer_names(connection, corpus_id)
    tags = layer_source(connection, corpus_id, "pos") if missing.intersection(TAGGED) else None
    # Groups and context of our tags would contradict tags that a user put in their place.
    return missing if tags is None or tags.endswith(layers.TAGGER) else missing - {*TAGGED}


def require_layers(study: Study) -> None:
    """Raise MissingTaggerData where the study names a layer whose data cannot be had."""
    if {*TAGGED}.intersection(study.layers):
        require_tagger_data(download=True)


def make_layers(
    corpus: Corpus, vocabulary: Vocabulary, references: list[Reference], names: set[str]
) -> Iterator[Layer]:
    """The built-in layers of these names, but for those that say nothing of this corpus, or cannot be had."""
    # Said when a corpus gets its layers; later runs, which find no others to make, try again without a word.
    if names.intersection(TAGGED) and not _can_tag(logging.WARNING if names.difference(TAGGED) else logging.DEBUG):
        names = names - {*TAGGED}
    made = (make() for name, make in _makers(corpus, vocabulary, references).items() if name in names)
    # The context of a lone token has no value.
    return (layer for layer in made if layer.categories)


def save_layer(connection: Connection, corpus_id: int, layer: Layer) -> None:
    """Write a layer, unless another process did meanwhile."""
    if layer_source(connection, corpus_id, layer.name) is None:
        load_layer(connection, corpus_id, layer)


def _can_tag(level: int) -> bool:
    """Whether NLTK's tagger has its data, fetched if need be; where it has not, a message of this level says so."""
    try:
        require_tagger_data(download=True)
    except MissingTaggerData as missing:
        log.log(level, "Layer pos and those made from it are left out: %s", missing)
        return False
    return True


def wanted_layers(study: Study) -> tuple[str, ...]:
    """The built-in layers that a study wants: those it names, or all, of items none. Raises UnknownLayer.

    Beside the layers that are always known, each reference has one of frequencies by its own counts.
    """
    known = (*BUILT_IN, *(frequency_by(reference.name) for reference in study.references))
    for name in study.layers:
        if name not in known:
            raise UnknownLayer(
                f"Study {study.name} names layer {name}, which is not built in: {suggestion(name, known)}"
            )
    return study.layers or (() if study.corpus.has_items else BUILT_IN)


def _makers(corpus: Corpus, vocabulary: Vocabulary, references: list[Reference]) -> dict[str, Callable[[], Layer]]:
    """How each layer of a text is made, in the order in which they are listed."""
    words = cache(lambda: find_words(corpus.text))
    tagged = cache(lambda: layers.pos(corpus, words()))
    counts = _usual_counts(references) or reference_from_ids(
        corpus.name, corpus.ids, vocabulary.length, source=f"corpus {corpus.name}"
    )
    return {
        "document": lambda: layers.document(corpus),
        "word_class": lambda: layers.word_class(corpus),
        "word_start": lambda: layers.word_start(corpus, words()),
        "word_end": lambda: layers.word_end(corpus, words()),
        "frequency": partial(_frequency, "frequency", corpus, counts),
        **{frequency_by(each.name): partial(_frequency, frequency_by(each.name), corpus, each) for each in references},
        **_tag_makers(tagged),
    }


def frequency_by(reference: str) -> str:
    """The name of the layer of frequencies by the counts of a reference."""
    return f"frequency.{reference}"


def _frequency(name: str, corpus: Corpus, counts: Reference) -> Layer:
    return replace(layers.frequency(corpus.ids, counts.counts, source=counts.source), name=name)


def _usual_counts(references: list[Reference]) -> Reference | None:
    """What layer `frequency` counts by: the reference called unigram, else the first of single tokens, else the first.

    None where there is none.
    """
    return min(references, key=lambda each: (each.name != "unigram", each.order > 1), default=None)


def _tag_makers(tagged: Callable[[], Layer]) -> dict[str, Callable[[], Layer]]:
    """The layer of tags, those of their groups, and the context of each."""
    made = {"pos": tagged} | {name: cache(partial(_grouped, tagged, name)) for name in GROUPED}
    return made | {f"{name}.context": partial(_context, make) for name, make in made.items()}


def _grouped(tagged: Callable[[], Layer], name: str) -> Layer:
    return tag_groups(tagged(), name)


def _context(make: Callable[[], Layer]) -> Layer:
    return context_of(make())


def _protocol_key(study: Study) -> dict[str, object]:
    return {**vars(study.protocol), "tf32": False}
