"""A corpus of real text and a real tokenizer in a database, without models: what annotations by characters need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ingest.corpus import Corpus, load_corpus
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.models import tokenizer
from warehouse.database import Database
from warehouse.dimensions import save_corpus, save_tokenizer


def write_corpus(folder: Path, texts: Sequence[str]) -> Path:
    """Texts as documents of a file, named letter 0, letter 1, ..."""
    path = folder / "letters.jsonl"
    lines = [json.dumps({"name": f"letter {number}", "text": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines), "utf-8")
    return path


def tiny_vocabulary(folder: Path) -> Vocabulary:
    """A byte-level BPE of 320 ids."""
    tokenizer().save(str(folder / "tokenizer.json"))
    return load_vocabulary(folder)


def load_text(database: Database, path: Path, vocabulary: Vocabulary, name: str = "letters") -> Corpus:
    """Read, tokenize and save a corpus."""
    corpus = load_corpus(path, vocabulary, name=name)
    with database.engine().begin() as connection:
        tokenizer_id = save_tokenizer(
            connection,
            name="tiny",
            sha256=vocabulary.sha256,
            length=vocabulary.length,
            bos_id=vocabulary.bos_id,
            eos_id=vocabulary.eos_id,
            pieces=zip(
                vocabulary.texts,
                vocabulary.pieces,
                *(
                    flags.tolist()
                    for flags in (vocabulary.starts_with_space, vocabulary.is_punctuation, vocabulary.is_special)
                ),
                strict=True,
            ),
        )
        save_corpus(
            connection,
            name=name,
            tokenizer_id=tokenizer_id,
            text_sha256=corpus.text_sha256,
            token_sha256=corpus.ids_sha256,
            eos_policy=corpus.eos_policy,
            source=corpus.source,
            licence=None,
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
    return corpus
