"""`warehouse corpus`: texts in the warehouse."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.group()
def corpus() -> None:
    """Add a text to the warehouse without measuring any model on it."""


@corpus.command()
@click.argument("file", type=_FILE)
@click.option("--tokenizer", type=_FILE, required=True, help="A tokenizer.json, or a folder that holds one.")
@click.option("--name", help="Name of the corpus in the warehouse; by default the file's.")
@click.option(
    "--eos",
    type=click.Choice(["after-document", "none"]),
    default="after-document",
    show_default=True,
    help="Whether each document ends in an EOS token.",
)
@click.option("--split", help="What separates the documents of a text file: line, blank-line, or a string.")
@click.option("--licence", help="Licence of the text, kept with it.")
@click.option("--layer", "layers", multiple=True, help="Only this built-in layer; may be given several times.")
def add(
    file: Path,
    tokenizer: Path,
    name: str | None,
    eos: str,
    split: str | None,
    licence: str | None,
    layers: tuple[str, ...],
) -> None:
    """Cut FILE, a text, JSON lines, CoNLL-U or a directory of texts, into tokens and store them with their layers."""
    from ingest.bare_corpus import add_corpus
    from ingest.study import CorpusSpec, Study
    from warehouse.opening import open_database

    spec = CorpusSpec(path=file, name=name or file.stem, split=split, licence=licence)
    study = Study(name or file.stem, layers=layers, corpus=spec).with_options(corpus_eos=eos)
    added = add_corpus(open_database(), study, tokenizer)
    said = f"{added.n_tokens:,} tokens in {added.n_documents:,} document{'s' * (added.n_documents != 1)}"
    new = f"; new layers: {', '.join(added.layers)}" if added.layers else ""
    click.echo(f"Corpus {added.name} has {said}{new}.")
