"""`python -m benchmarks [NAME ...]`: measure, print one table, write docs/benchmarks.md."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.table import Table

from benchmarks.claim import Benchmark, Claim
from benchmarks.document import ratio_text, update

#: In the order of the table.
NAMES = ("scoring", "all_pairs", "loading", "annotating", "joining", "views", "blimp", "memory", "resume", "growth")
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

Measured = list[tuple[str, Claim]]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--small", is_flag=True, help="Inputs that take seconds, to see that all works; ratios mean nothing.")
@click.option(
    "--document",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the table is written.  [default: docs/benchmarks.md; with --small nowhere]",
)
def main(names: tuple[str, ...], small: bool, document: Path | None) -> None:
    """Measure the claims of every benchmark, or of those that are NAMEd: scoring, all_pairs, loading, annotating,
    joining, views, blimp, memory, resume, growth. Exits with 1 if a claim does not hold."""
    from benchmarks.machine import describe_run

    measured = measure(names or NAMES, small=small)
    Console(width=None if Console().is_terminal else 200).print(table_of(measured))
    target = document or (None if small else DOCUMENT)
    if target is not None:
        update(target, NAMES, measured, describe_run())
    if not (small or all(claim.holds for _, claim in measured)):
        raise SystemExit(1)


def measure(names: Sequence[str], *, small: bool) -> Measured:
    """Run benchmarks one after another; every claim is said on standard error as soon as it is known."""
    progress = Console(stderr=True, soft_wrap=True)
    measured: Measured = []
    for name in names:
        progress.print(f"==> {name}", style="bold")
        benchmark = cast(Benchmark, importlib.import_module(f"benchmarks.{name}"))
        for claim in benchmark.claims(small=small):
            holds = "holds" if claim.holds else "does not hold"
            progress.print(f"    {claim.name}: {ratio_text(claim)} (wanted {claim.wanted}, {holds})")
            measured.append((name, claim))
    return measured


def table_of(measured: Measured) -> Table:
    """The claims as a table for the terminal."""
    table = Table("benchmark", "claim", "device", "ours", "other", "ratio", "wanted", "holds")
    for name, claim in measured:
        holds = "yes" if claim.holds else "[red]no[/red]"
        table.add_row(name, claim.name, claim.device, claim.ours, claim.other, ratio_text(claim), claim.wanted, holds)
    return table


if __name__ == "__main__":
    main()
