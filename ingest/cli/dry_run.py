"""`warehouse ingest --dry-run`: what a study would take, without a network or its text.

The warehouse is asked what it has where its server runs; none is started.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from ingest.estimate import Estimate, ModelEstimate
    from ingest.locations import CheckpointLocation
    from ingest.plan import Grid
    from ingest.source import Source
    from ingest.study import Study

#: Wider than any table: rich wraps what does not fit.
_UNLIMITED = 1000


def describe(study: Study, device: str = "auto", memory: int | None = None) -> None:
    """Print a study in numbers. Raises what an ingestion would refuse of it, as far as that is known without a network.

    device: where it would be measured. memory: bytes for readouts; None for a share that depends on the machine.
    """
    from ingest.environment import choose_device
    from ingest.estimate import estimate
    from ingest.plan import require_partners, survey
    from ingest.setting import wanted_layers
    from ingest.source import open_source

    wanted_layers(study)
    choose_device(device)
    source = open_source(study)
    grids = survey(study, source.locate())
    require_partners(study, grids)
    n_tokens, said = _count_tokens(study, source, grids)
    numbers = estimate(study, source, grids, n_tokens)
    click.echo(f"study {study.name}: suite {source.name}, family {source.family}, protocol {study.protocol.name}")
    click.echo(said)
    _print(_model_table(numbers.models, source))
    _print(_kind_table(numbers))
    click.echo()
    _say_outliers(source, grids)
    _say_writes(numbers)
    _say_readouts(numbers, memory)
    _say_rereading(study, source, grids)


def _count_tokens(study: Study, source: Source, grids: Sequence[Grid]) -> tuple[int | None, str]:
    """How many tokens the text has: counted where it and a tokenizer are here, or else as the study says."""
    from ingest.setting import read_corpus, require_ids
    from ingest.vocabulary import load_vocabulary

    path, name = study.corpus.path, study.corpus.name or study.name
    tokenizer = next(filter(None, (source.tokenizer_here(_ordered(grid)) for grid in grids)), None)
    vocabulary = None if tokenizer is None else load_vocabulary(tokenizer)
    if vocabulary is not None:
        require_ids(study, vocabulary)
    if path is not None and path.exists() and vocabulary is not None:
        corpus = read_corpus(study, vocabulary)
        return corpus.n_tokens, f"corpus {name}: {corpus.n_tokens:,} tokens in {len(corpus.documents)} documents"
    if path is None:
        lacking = "no text is named"
    else:
        lacking = "no tokenizer is here yet" if path.exists() else f"{path} is not here"
    if study.corpus.n_tokens is None:
        return None, f"corpus {name}: {lacking}, and key n_tokens of [corpus] does not say how many tokens it has"
    return study.corpus.n_tokens, f"corpus {name}: {study.corpus.n_tokens:,} tokens, as the study says; {lacking}"


def _ordered(grid: Grid) -> list[CheckpointLocation]:
    return [grid.locations[cell] for cell in grid.cells() if cell in grid.locations]


def _model_table(models: Sequence[ModelEstimate], source: Source) -> Table:
    local = source.name == "folder"
    table = _table("model", "seeds", "steps", "checkpoints", "missing" if local else "in the cache", "to read")
    for model in models:
        counts = (model.n_seeds, model.n_steps, model.n_checkpoints, model.absent if local else model.here)
        table.add_row(model.model, *map(_number, counts), _gigabytes(model.n_bytes))
    if len(models) > 1:
        known = [model.n_bytes for model in models if model.n_bytes is not None]
        total = sum(known) if len(known) == len(models) else None
        counted = sum(model.absent if local else model.here for model in models)
        checkpoints = sum(model.n_checkpoints for model in models)
        table.add_section()
        table.add_row("all", "", "", _number(checkpoints), _number(counted), _gigabytes(total))
    return table


def _kind_table(numbers: Estimate) -> Table:
    table = _table("kind", "comparisons", "ordered pairs")
    for kind in numbers.kinds:
        most = "≤ " if kind.at_most else ""
        table.add_row(kind.kind, _number(kind.n_comparisons), most + _number(kind.n_pairs))
    if len(numbers.kinds) > 1:
        table.add_section()
        comparisons = sum(kind.n_comparisons for kind in numbers.kinds)
        table.add_row("all, each pair once", _number(comparisons), _number(numbers.n_pairs))
    return table


def _say_outliers(source: Source, grids: Sequence[Grid]) -> None:
    for grid in grids:
        for seed in grid.seeds:
            if note := source.outliers.get((grid.model, seed)):
                click.echo(f"{grid.model} seed {seed} is left out of run set default: {note}")


def _say_writes(numbers: Estimate) -> None:
    if numbers.n_tokens is None:
        click.echo(f"to write: {numbers.values_per_token:,} values for each token")
        return
    click.echo(
        f"to write, if none is there yet: {numbers.n_rows:,} rows of facts, {numbers.n_values:,} values, about "
        f"{_gigabytes(numbers.n_bytes)} on disk"
    )


def _say_readouts(numbers: Estimate, memory: int | None) -> None:
    if numbers.readout_bytes is None or numbers.shelf_bytes is None:
        return
    spilled = None if memory is None else max(0, numbers.shelf_bytes - memory)
    beyond = "what exceeds --memory" if spilled is None else _gigabytes(spilled)
    click.echo(
        f"readouts: {_gigabytes(numbers.readout_bytes)} with --keep-readouts; without, up to "
        f"{_gigabytes(numbers.shelf_bytes)} at a time, of which {beyond} lies on disk"
    )


def _say_rereading(study: Study, source: Source, grids: Sequence[Grid]) -> None:
    """What references that are new to some measured checkpoints take, where the warehouse can be asked."""
    from warehouse.opening import running_database

    wanted = {reference.name for reference in study.references}
    database = running_database() if wanted else None
    if database is None:
        return
    from ingest.kept import is_kept, kept_readouts
    from ingest.plan import Cell
    from ingest.rereading import rereading
    from warehouse.measured import measured_checkpoints

    with database.read() as connection:
        corpus = study.corpus.name or study.name
        measured = measured_checkpoints(connection, source.family, corpus, study.protocol.name)
    cells = {cell for grid in grids for cell in grid.cells() if cell in grid.locations}
    found = {Cell(each.model, each.seed, each.step): each for each in measured}
    lacking = {cell: wanted - each.references for cell, each in found.items() if cell in cells}
    if added := rereading(lacking, lambda cell: is_kept(kept_readouts(), found[cell].input_digest)):
        click.echo(added)


def _table(first: str, *numbers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    from io import StringIO

    from rich.console import Console

    page = StringIO()
    Console(file=page, width=_UNLIMITED).print(table)
    lines = [line.rstrip() for line in page.getvalue().rstrip().split("\n")]
    click.echo("\n" + "\n".join(lines))


def _number(count: int) -> str:
    return f"{count:,}"


def _gigabytes(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 1e9:,.2f} GB"
