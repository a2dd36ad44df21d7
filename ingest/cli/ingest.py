"""`warehouse ingest`: measure what a study wants and the warehouse lacks."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ingest.options import RunOptions
    from ingest.pipeline import Report
    from ingest.study import Study

_FILE = click.Path(path_type=Path)


class Gigabytes(click.FloatRange):
    """Numbers of a range, which `nan` is not: no comparison excludes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails with a usage error."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number of gigabytes.", param, ctx)
        return number


@click.command()
@click.argument("study", type=_FILE)
@click.option("--suite", help="Which family of checkpoints: the name of a suite, or the path of a suite's file.")
@click.option("--root", type=_FILE, help="Folder of the checkpoints of suite folder.")
@click.option("--family", help="Family name of the models; by default the suite's, or the name of the root folder.")
@click.option("--model", "models", multiple=True, help="Only this model; may be given several times.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Only this seed; may be given several times.")
@click.option("--step", "steps", multiple=True, type=int, help="Only this step; may be given several times.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind of comparison; may be given several times.")
@click.option("--layer", "layers", multiple=True, help="Only this built-in layer; may be given several times.")
@click.option("--tokens-per-step", type=int, help="Training tokens of one step, for tokens seen and FLOPs.")
@click.option("--top-k", type=click.IntRange(min=0), help="Keep the k most probable ids of each token.")
@click.option("--corpus", "corpus_path", type=_FILE, help="Text file, JSON lines with text, or directory of texts.")
@click.option("--items", "corpus_items", help="What the corpus holds instead of texts: blimp, pairs, options or spans.")
@click.option("--corpus-name", help="Name of the corpus in the warehouse.")
@click.option("--eos", "corpus_eos", help="after-document or none.")
@click.option(
    "--split", "corpus_split", help="What separates the documents of a text file: line, blank-line, or a string."
)
@click.option("--licence", "corpus_licence", help="Licence of the text, kept with it.")
@click.option("--n-tokens", "corpus_n_tokens", type=click.IntRange(min=1), help="Tokens that the text must have.")
@click.option("--windows", "protocol_windows", help="concatenated, documents or truncated.")
@click.option("--window", "protocol_window", type=int, help="Longest window in tokens; a model's context caps it.")
@click.option("--bos/--no-bos", "protocol_bos", default=None, help="Whether sequences begin with BOS.")
@click.option("--vocabulary", "protocol_vocabulary", help="tokenizer, or model for the padded width.")
@click.option("--dtype", "protocol_dtype", help="Of the forward pass: float32, or float64 for small models.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="NAME=FILE[,KEY=VALUE]",
    help="One more text, or file of counts, to hold models against; keys such as order=3.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any key of the study, as its file would say."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto for a GPU where there is one.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads that torch computes with.")
@click.option(
    "--reserve",
    type=Gigabytes(0, 1e12),
    default=1.0,
    show_default=True,
    help="Gigabytes that must stay free on the disks of the database, of readouts and of downloads.",
)
@click.option(
    "--memory",
    type=Gigabytes(0, 1e12, min_open=True),
    help="Gigabytes of readouts to hold in memory; what is more lies on disk meanwhile.",
)
@click.option("--keep-readouts", is_flag=True, help="Keep readouts, so that later pairs and references read nothing.")
@click.option("--evict", is_flag=True, help="Delete a downloaded checkpoint's weights from the cache after use.")
@click.option("--allow-pickle", is_flag=True, help="Read tensors from .bin files where there is no safetensors file.")
@click.option("--rank", type=click.IntRange(min=0), default=0, show_default=True, help="Number of this process.")
@click.option("--world-size", type=click.IntRange(min=1), default=1, show_default=True, help="How many share the work.")
@click.option("--no-compile", is_flag=True, help="Compute without torch.compile.")
@click.option("--dry-run", is_flag=True, help="Say what would be measured, without a network, and stop.")
def ingest(
    study: Path,
    settings: tuple[str, ...],
    references: tuple[str, ...],
    threads: int | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Score the checkpoints of STUDY, a TOML file, and load the results.

    Options, or --set, override any key of the study. What the warehouse has already is not measured again, so the same
    command goes on where an interrupted one stopped.
    """
    from ingest.reference_option import with_references
    from ingest.study import read_study

    how = _run_options(options)
    wanted = with_references(read_study(study, settings), references).with_options(**options)
    if dry_run:
        from ingest.cli.dry_run import describe

        describe(wanted, how.device, how.memory)
        return
    report = run(wanted, how, threads=threads)
    click.echo(summary(report))
    require_success(report)


def _run_options(options: dict[str, Any]) -> RunOptions:
    """Take the options that say how to run out of those that say what to measure."""
    from ingest.options import RunOptions

    rank, world_size = options.pop("rank"), options.pop("world_size")
    if rank >= world_size:
        raise click.BadParameter(f"must be less than --world-size {world_size}, not {rank}.", param_hint="--rank")
    memory = options.pop("memory")
    return RunOptions(
        device=options.pop("device"),
        reserve=int(options.pop("reserve") * 1e9),
        memory=None if memory is None else int(memory * 1e9),
        keep_readouts=options.pop("keep_readouts"),
        evict=options.pop("evict"),
        allow_pickle=options.pop("allow_pickle"),
        rank=rank,
        world_size=world_size,
        compiled=not options.pop("no_compile"),
    )


def run(study: Study, options: RunOptions | None = None, *, threads: int | None = None) -> Report:
    """Ingest a study into the warehouse's database, with progress on standard error."""
    # Read when torch is loaded: threads that wait give their core away, for on a busy machine spinning costs tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    from ingest.options import RunOptions
    from ingest.pipeline import ingest as ingest_study
    from warehouse.opening import open_database

    if threads:
        torch.set_num_threads(threads)
    return ingest_study(open_database(), study, options=options or RunOptions())


def summary(report: Report) -> str:
    """What an ingestion did, in one line."""
    outcome = report.outcome
    if not (outcome.checkpoints or outcome.kept or outcome.failures):
        return f"All {report.n_wanted} checkpoints and their pairs are in the warehouse already: nothing to measure."
    kept = f" and {outcome.kept} kept readouts" if outcome.kept else ""
    more = f", references or top entries of {outcome.extended} more" if outcome.extended else ""
    return (
        f"Read {outcome.checkpoints} of {report.n_wanted} checkpoints{kept} over {report.n_tokens:,} tokens: "
        f"{outcome.evaluations} evaluations{more}, {outcome.pairs} ordered pairs, "
        f"{outcome.pairs * report.n_tokens:,} KL values, in {report.seconds:.0f} s."
    )


def require_success(report: Report) -> None:
    """Raise RunFailed naming what failed, if anything did."""
    from warehouse.errors import RunFailed

    failures = report.outcome.failures
    if failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise RunFailed(
            f"Some checkpoints are left out ({failures[0].rstrip('.')}{more}); the rest is in the warehouse. "
            "View checkpoints says why for each: mend them and run the same command again."
        )
