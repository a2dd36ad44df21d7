"""`warehouse ingest`: measure what a study wants and the warehouse lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ingest.pipeline import Report
    from ingest.study import Study

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("study", type=_FILE)
@click.option("--suite", help="How the checkpoints are laid out, such as folder.")
@click.option("--root", type=_FILE, help="Folder of the checkpoints.")
@click.option("--family", help="Family name of the models; by default the name of the root folder.")
@click.option("--model", "models", multiple=True, help="Only this model; may be given several times.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Only this seed; may be given several times.")
@click.option("--step", "steps", multiple=True, type=int, help="Only this step; may be given several times.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of comparison; may be given several times.")
@click.option("--layer", "layers", multiple=True, help="Only this built-in layer; may be given several times.")
@click.option("--tokens-per-step", type=int, help="Training tokens of one step, for tokens seen and FLOPs.")
@click.option("--corpus", "corpus_path", type=_FILE, help="Text file, JSON lines with text, or directory of texts.")
@click.option("--corpus-name", help="Name of the corpus in the warehouse.")
@click.option("--eos", "corpus_eos", help="after-document or none.")
@click.option(
    "--split", "corpus_split", help="What separates the documents of a text file: line, blank-line, or a string."
)
@click.option("--licence", "corpus_licence", help="Licence of the text, kept with it.")
@click.option("--window", "protocol_window", type=int, help="Longest window in tokens; a model's context caps it.")
@click.option("--vocabulary", "protocol_vocabulary", help="tokenizer, or model for the padded width.")
@click.option("--dtype", "protocol_dtype", help="Of the forward pass: float32, or float64 for small models.")
@click.option(
    "--reference", "references", multiple=True, metavar="NAME=FILE", help="Text or counts to hold models against."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the study, as its file would say."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto for a GPU where there is one.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads that torch computes with.")
@click.option(
    "--reserve",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Gigabytes that must stay free on the database's disk.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be measured, and stop.")
def ingest(
    study: Path,
    settings: tuple[str, ...],
    references: tuple[str, ...],
    device: str,
    threads: int | None,
    reserve: float,
    dry_run: bool,
    **keys: Any,
) -> None:
    """Score the checkpoints of STUDY, a TOML file, and load the results.

    Every key of the study can be overridden by an option. What the warehouse has already is not measured again, so the
    same command goes on where an interrupted one stopped.
    """
    from ingest.study import read_study

    wanted = read_study(study, settings).with_options(
        references=tuple(_reference(entry) for entry in references), **keys
    )
    if dry_run:
        _describe(wanted)
        return
    report = run(wanted, device=device, threads=threads, reserve=int(reserve * 1e9))
    click.echo(summary(report))
    require_success(report)


def run(study: Study, *, device: str = "auto", threads: int | None = None, reserve: int = 1_000_000_000) -> Report:
    """Ingest a study into the warehouse's database, with progress on standard error."""
    # Read when torch is loaded: threads that wait give their core away, for on a busy machine spinning costs tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    from ingest.pipeline import ingest as ingest_study
    from warehouse.opening import open_database

    if threads:
        torch.set_num_threads(threads)
    return ingest_study(open_database(), study, device=device, reserve=reserve)


def summary(report: Report) -> str:
    """What an ingestion did, in one line."""
    outcome = report.outcome
    if not (outcome.checkpoints or outcome.failures):
        return f"All {report.n_wanted} checkpoints and their pairs are in the warehouse already: nothing to measure."
    return (
        f"Read {outcome.checkpoints} of {report.n_wanted} checkpoints over {report.n_tokens:,} tokens: "
        f"{outcome.evaluations} evaluations, {outcome.pairs} ordered pairs, "
        f"{outcome.pairs * report.n_tokens:,} KL values, in {report.seconds:.0f} s."
    )


def require_success(report: Report) -> None:
    """Raise RunFailed naming what failed, if anything did."""
    from warehouse.errors import RunFailed

    failures = report.outcome.failures
    if failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise RunFailed(
            f"Some checkpoints could not be read ({failures[0].rstrip('.')}{more}); the rest is in the warehouse. "
            "View checkpoints says why for each: mend them and run the same command again."
        )


def _reference(entry: str) -> Any:
    from ingest.study import BadStudy, ReferenceSpec

    name, separator, file = entry.partition("=")
    if not (separator and name and file):
        raise BadStudy(f"Option --reference must be NAME=FILE, not {entry}.")
    path = Path(file)
    if path.suffix in (".npy", ".csv", ".parquet"):
        return ReferenceSpec(name, counts=path)
    return ReferenceSpec(name, text=path)


def _describe(study: Study) -> None:
    from ingest.pipeline import BYTES_PER_VALUE, prepare
    from ingest.plan import contrasts
    from ingest.setting import read_corpus

    plan = prepare(study)
    corpus = read_corpus(study, plan.vocabulary)
    click.echo(f"corpus {corpus.name}: {corpus.n_tokens:,} tokens in {len(corpus.documents)} documents")
    values = 0
    for grid in plan.grids:
        wanted = list(contrasts(study.kinds, grid.seeds, grid.steps))
        pairs = {pair for contrast in wanted for pair in contrast.pairs}
        values += corpus.n_tokens * (len(pairs) + len(wanted) + 9 * len(grid.seeds) * len(grid.steps))
        missing = sum(cell not in grid.locations for cell in grid.cells())
        note = f" ({missing} missing)" if missing else ""
        click.echo(
            f"{grid.model}: {len(grid.seeds)} seeds x {len(grid.steps)} steps{note}, "
            f"{len(wanted)} comparisons, {len(pairs)} ordered pairs"
        )
    click.echo(f"about {values:,} values, {values * BYTES_PER_VALUE / 1e9:.2f} GB on disk, if none is there yet")
