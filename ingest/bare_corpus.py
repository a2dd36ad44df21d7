"""A corpus without models: a text with its tokens and layers, for measurements that come from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from ingest.corpus import load_corpus
from ingest.setting import make_layers, missing_layers, require_layers, save_layer, save_text, wanted_layers
from ingest.study import Study
from ingest.vocabulary import load_vocabulary
from warehouse.database import Database
from warehouse.writer import Writer


@dataclass(frozen=True)
class Added:
    """What was added. layers: names of new ones; empty where all were there already."""

    name: str
    n_tokens: int
    n_documents: int
    layers: tuple[str, ...]


def add_corpus(database: Database, study: Study, tokenizer: Path) -> Added:
    """Write the corpus of a study and the built-in layers it wants, but for what is there already.

    tokenizer: a tokenizer.json, or a folder that holds one. Raises UnknownLayer, MissingTaggerData, ConflictingInputs
    where the corpus' name stands for something else, and what reading a text or a tokenizer raises.
    """
    wanted_layers(study)
    require_layers(study)
    spec = study.corpus
    assert spec.path is not None
    vocabulary = load_vocabulary(tokenizer)
    corpus = load_corpus(spec.path, vocabulary, name=spec.name, eos_policy=spec.eos, split=spec.split)
    writer = Writer(database, database.engine(), reserve=0)
    name = tokenizer.stem if tokenizer.is_file() and tokenizer.name != "tokenizer.json" else tokenizer.parent.name

    def save(connection: Connection) -> int:
        return save_text(connection, vocabulary, corpus, tokenizer=name, licence=spec.licence)[1]

    corpus_id = writer.commit(save)
    # Tagging takes its time, so that no transaction waits for it.
    lacking = writer.commit(partial(missing_layers, study=study, corpus_id=corpus_id))
    made = []
    for layer in make_layers(corpus, vocabulary, [], lacking):
        writer.commit(partial(save_layer, corpus_id=corpus_id, layer=layer))
        made.append(layer.name)
    return Added(corpus.name, corpus.n_tokens, len(corpus.documents), tuple(made))
