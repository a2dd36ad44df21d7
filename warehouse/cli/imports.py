"""`warehouse import`: what was measured elsewhere, on tokens of a corpus or on benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from warehouse.cli import Session
    from warehouse.importing.kl import Imported
    from warehouse.importing.result_files import Found

_FILE = click.Path(path_type=Path)


@click.group(name="import")
def imports() -> None:
    """Take in measurements made elsewhere, under protocols of their own."""


def _of_tokens(command: Callable[..., Any]) -> Callable[..., Any]:
    for parameter in (
        click.option("--positions", metavar="A:B", help="Only positions A to B - 1; other tokens stay NULL."),
        click.option("--offset", type=int, help="A value at position i is about token i + OFFSET."),
        click.option("--family", help="Family of models whose family nothing else says."),
        click.option("--origin", help="Who measured it, and how."),
        click.option("--protocol", help="Short name for how it was measured; views show it as imported-NAME."),
        click.option("--corpus", help="Corpus of the warehouse that was measured."),
        click.option("--manifest", type=_FILE, help="TOML file that says what the rows and columns of FILE are."),
        click.argument("file", type=_FILE),
    ):
        command = parameter(command)
    return command


@imports.command("kl")
@_of_tokens
@click.pass_obj
def import_kl(session: Session, /, file: Path, manifest: Path | None, **options: Any) -> None:
    """Import KL(p || q) by token from FILE: .npy, .parquet, .csv, .tsv, or a manifest (.toml) that names files."""
    from warehouse.importing.command import import_measurements
    from warehouse.opening import open_database

    database = open_database()
    with session.all_or_nothing() as committed:
        done = import_measurements(database, "kl", file, manifest, options, on_commit=committed)
    click.echo(_summary(done, file, "ordered pair", "KL values"))
    _say_new_models(done)
    _say_left_out(done)


@imports.command("scores")
@_of_tokens
@click.pass_obj
def import_scores(session: Session, /, file: Path, manifest: Path | None, **options: Any) -> None:
    """Import surprisal, and what else is there, by token from FILE: .npy, a table, or a manifest (.toml)."""
    from warehouse.importing.command import import_measurements
    from warehouse.opening import open_database

    database = open_database()
    with session.all_or_nothing() as committed:
        done = import_measurements(database, "scores", file, manifest, options, on_commit=committed)
    click.echo(_summary(done, file, "evaluation", "tokens scored"))
    _say_new_models(done)
    _say_left_out(done)


@imports.command("metrics")
@click.argument("paths", nargs=-1, required=True, type=_FILE, metavar="PATH...")
@click.option("--family", help="Family of the models.")
@click.option("--model", help="The model, where neither paths nor files say it.")
@click.option("--seed", type=int, help="Seed of the training run; 0 where nothing says it.")
@click.option("--step", type=int, help="The step, where neither paths nor files say it.")
@click.option("--path-pattern", metavar="PATTERN", help="How paths end, such as {model}_step{step}.json.")
@click.option(
    "--repository-pattern", metavar="PATTERN", help="What repositories are called: EleutherAI/pythia-{model}."
)
@click.option("--new-model", is_flag=True, help="The model is new, though the warehouse has one of nearly its name.")
@click.option("--source", help="What to call where the results come from, instead of what the files say.")
@click.option("--higher", multiple=True, metavar="METRIC", help="This metric is better when higher.")
@click.option("--lower", multiple=True, metavar="METRIC", help="This metric is better when lower.")
@click.pass_obj
def import_metrics(
    session: Session,
    /,
    paths: tuple[Path, ...],
    source: str | None,
    higher: tuple[str, ...],
    lower: tuple[str, ...],
    **names: Any,
) -> None:
    """Import benchmark results from PATHs: files of lm-evaluation-harness, folders of them, or tables."""
    from warehouse.importing.metrics import import_results
    from warehouse.importing.naming import Naming
    from warehouse.importing.result_files import Reading
    from warehouse.opening import open_database

    patterns = {"path": names.pop("path_pattern"), "repository": names.pop("repository_pattern")}
    reading = Reading(Naming(**names, **patterns), source, frozenset(higher), frozenset(lower))
    database = open_database()
    with session.all_or_nothing() as committed:
        found, done = import_results(database, paths, reading, on_commit=committed)
    click.echo(_metric_summary(found, done))
    _say_new_models(done)
    if found.without_number:
        click.echo(f"Left out as no number: {', '.join(found.without_number[:5])}.", err=True)


@imports.command("drop")
@click.argument("protocol", required=False)
@click.option("--source", help="Instead of a protocol: drop the benchmark results from this source.")
@click.option("--metric", help="Instead of a protocol: drop the results of this metric, such as lambada_openai/acc.")
@click.option("--model", help="Only those of this model, as FAMILY/NAME.")
def drop(protocol: str | None, source: str | None, metric: str | None, model: str | None) -> None:
    """Take KL and scores of an imported PROTOCOL out again, with what was made of them, or benchmark results."""
    from warehouse.importing.withdrawal import drop_protocol, drop_results
    from warehouse.opening import open_database

    of_results = source is not None or metric is not None
    if of_results == (protocol is not None) or (model is not None and not of_results):
        raise click.UsageError("Give a PROTOCOL, or --source or --metric of benchmark results, perhaps with --model.")
    if protocol is not None:
        dropped = drop_protocol(open_database(), protocol)
        click.echo(f"Dropped protocol {protocol}: {_many(dropped, 'evaluation')} and all that was made of them.")
    else:
        dropped = drop_results(open_database(), source, metric, model)
        click.echo(f"Dropped {_many(dropped, 'result')}.")


def _summary(done: Imported, file: Path, unit: str, values: str) -> str:
    known = f"; {done.known:,} were there already" if done.known else ""
    derived = f", and {_many(done.comparisons, 'comparison')} derived" if done.comparisons else ""
    if not done.new and not derived:
        return f"All {_many(done.known, unit)} of {file} are in the warehouse already: nothing was written."
    return f"Imported {_many(done.new, unit)} ({done.n_values:,} {values}) from {file}{derived}{known}."


def _say_left_out(done: Imported) -> None:
    if done.left_out:
        more = f" and {len(done.left_out) - 5:,} more" if len(done.left_out) > 5 else ""
        click.echo(
            f"Views leave out, for what was found here of the checkpoint: {', '.join(done.left_out[:5])}{more}. Import "
            "again once it is ok.",
            err=True,
        )


def _say_new_models(done: Imported) -> None:
    if done.new_models:
        models = ", ".join(done.new_models)
        click.echo(f"New in the warehouse: model{'s' * (len(done.new_models) > 1)} {models}.", err=True)


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _metric_summary(found: Found, done: Imported) -> str:
    checkpoints = len({result.checkpoint for result in found.results})
    skipped = f" {found.skipped:,} other JSON files were passed over." if found.skipped else ""
    if not done.new:
        return (
            f"All {done.known:,} results of {_many(checkpoints, 'checkpoint')} are in the warehouse already.{skipped}"
        )
    known = f"; {done.known:,} were there already" if done.known else ""
    return f"Imported {_many(done.new, 'result')} of {_many(checkpoints, 'checkpoint')}{known}.{skipped}"
