"""docs/benchmarks.md: the table of claims, and the runs that its rows come from.

A run of some benchmarks replaces their rows and leaves the others with the run that they came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claim import Claim

_INTRODUCTION = """# Benchmarks

Written by `make bench`, or by `.venv/bin/python -m benchmarks NAME` for some of them; edit nothing here. Each claim
is a ratio of two ways of doing the same thing, taken in turns in one run on one machine: trust the ratios, not the
seconds. `benchmarks/` has one file a claim, which says what is compared with what.
"""
_HEADINGS = ("benchmark", "claim", "device", "ours", "other", "ratio", "wanted", "holds", "run")
_RUN = re.compile(r"^(\d+)\. (.+)$")
_NOTE = re.compile(r"^- \*\*(.+?)\*\* \((.+?)\): (.+)$")


@dataclass(frozen=True)
class Row:
    """One claim in the document. cells: as text, less the run; run: where and when it was measured."""

    cells: tuple[str, ...]
    note: str
    run: str

    @classmethod
    def of(cls, benchmark: str, claim: Claim, run: str) -> Row:
        """A claim that was measured just now."""
        holds = "yes" if claim.holds else "**no**"
        cells = (benchmark, claim.name, claim.device, claim.ours, claim.other, ratio_text(claim), claim.wanted, holds)
        return cls(tuple(map(_cell, cells)), _cell(claim.note), run)

    @property
    def benchmark(self) -> str:
        """The benchmark that it belongs to."""
        return self.cells[0]

    @property
    def device(self) -> str:
        """cpu or cuda."""
        return self.cells[2]


def ratio_text(claim: Claim) -> str:
    """The ratio to three digits."""
    return f"{claim.ratio:.3g}"


def update(path: Path, order: Sequence[str], measured: Iterable[tuple[str, Claim]], run: str) -> None:
    """Put measured claims into the document, in place of what their benchmark said of the same device.

    order: the benchmarks as they are to stand. run: day, machine and versions.
    """
    new = [Row.of(benchmark, claim, run) for benchmark, claim in measured]
    replaced = {(row.benchmark, row.device) for row in new}
    old = parse(path.read_text()) if path.is_file() else []
    kept = [row for row in old if (row.benchmark, row.device) not in replaced and row.benchmark in order]
    rows = sorted(kept + new, key=lambda row: order.index(row.benchmark))
    path.write_text(render(rows))


def render(rows: Sequence[Row]) -> str:
    """The document."""
    runs = list(dict.fromkeys(row.run for row in rows))
    table = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    table += [_line((*row.cells, str(runs.index(row.run) + 1))) for row in rows]
    notes = [f"- **{row.cells[1]}** ({row.cells[0]}): {row.note}" for row in rows if row.note]
    parts = ["\n".join(table), "## Runs", "\n".join(f"{n}. {run}" for n, run in enumerate(runs, 1))]
    parts += ["## Notes", "\n".join(notes)] if notes else []
    return _INTRODUCTION + "\n" + "\n\n".join(parts) + "\n"


def parse(document: str) -> list[Row]:
    """The rows of a document that was rendered before."""
    lines = document.splitlines()
    runs = {found[1]: found[2] for found in map(_RUN.match, lines) if found}
    notes = {(found[2], found[1]): found[3] for found in map(_NOTE.match, lines) if found}
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return [
        Row(tuple(cells), notes.get((cells[0], cells[1]), ""), runs[run])
        for *cells, run in table[2:]
        if len(cells) + 1 == len(_HEADINGS)
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """One line that no column sign breaks."""
    return " ".join(text.replace("|", "∣").split())
