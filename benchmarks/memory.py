"""Peak memory of a visit to one step: ten seeds over a long text, their pairs with each other, with the step before and
with the last step, while all thirty readouts are on a shelf that may hold a part of them in memory.

Measured as the peak resident set of a process of its own, files mapped into memory included. `python -m
benchmarks.memory --full` computes every token, which takes long; without it the tokens of some tiles, spread over the
whole text, since a tile's memory is free again before the next one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.claim import Claim
from ingest.architecture import ArchitectureFacts
from ingest.compiled import TILES, choose_path
from ingest.logits import Readout, Rows
from ingest.measure import measure
from ingest.scores import VocabularyClasses
from ingest.shelf import Shelf
from ingest.shelved import Shelved

_GB = 1e9
_STEPS = ("last", "before", "here")


@dataclass(frozen=True)
class Visit:
    """What is measured. width: logits of a token, of which the first `vocabulary` are scored; memory: bytes that the
    shelf holds in memory; computed: tokens that are really computed.
    """

    tokens: int = 50_000
    seeds: int = 10
    hidden: int = 512
    width: int = 50_304
    vocabulary: int = 50_277
    memory: int = 2_000_000_000
    computed: int = 640

    @property
    def readouts_bytes(self) -> int:
        """Bytes of all readouts."""
        return len(_STEPS) * self.seeds * 4 * self.hidden * (self.tokens + self.width)


def claims(*, small: bool = False) -> Iterator[Claim]:
    """The bound on peak memory."""
    yield _claim(Visit(2_000, 3, 32, 1_008, 1_000, 500_000, 128) if small else Visit())


def _claim(visit: Visit) -> Claim:
    peak = _peak_of_child(visit)
    logits = 4 * visit.tokens * visit.seeds * visit.width
    computed = "every token" if visit.computed >= visit.tokens else f"{visit.computed:,} tokens in tiles all over it"
    return Claim.at_most(
        f"peak memory in GB, {visit.tokens:,} tokens x {visit.seeds} seeds x V {visit.width:,}, d {visit.hidden}",
        peak / _GB,
        6,
        ours=f"{peak / _GB:.2f} GB",
        other=f"{logits / _GB:.0f} GB of logits",
        note=f"peak resident set; {len(_STEPS) * visit.seeds} readouts of {visit.readouts_bytes / _GB:.1f} GB on a "
        f"shelf that holds {visit.memory / _GB:g} GB of them in memory; {computed} computed, "
        f"by {torch.get_num_threads()} threads with a tile each",
    )


def _peak_of_child(visit: Visit) -> int:
    """Peak bytes of a process that does nothing but the visit."""
    command = [sys.executable, "-m", "benchmarks.memory", "--visit", json.dumps(asdict(visit))]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _make(visit: Visit) -> int:
    """Fill the shelf and measure; returns this process's peak bytes."""
    compiled = choose_path("cpu", visit.tokens, visit.vocabulary)
    names = [f"{step}-{seed}" for step in _STEPS for seed in range(visit.seeds)]
    with Shelf(visit.memory) as shelf:
        for number, name in enumerate(names):
            shelf.put(name, _shelved(visit, number))
        readouts = [shelf.get(name).readout for name in names]
        readouts = [replace(readout, hidden=_Some(readout.hidden, visit)) for readout in readouts]
        last, before, here = (range(start, start + visit.seeds) for start in range(0, len(names), visit.seeds))
        across = [pair for other in (last, before) for pair in zip(here, other, strict=True)]
        measure(
            readouts,
            torch.randint(visit.vocabulary, (min(visit.computed, visit.tokens),)),
            classes=VocabularyClasses(visit.vocabulary, torch.arange(1, 100), torch.arange(100, 120), 0),
            scores=list(here),
            pairs=[*permutations(here, 2), *across, *((q, p) for p, q in across)],
            mixtures=[tuple(here)],
            references={"unigram": torch.zeros(visit.vocabulary).log_softmax(0)},
            path=compiled,
        )
    return _peak_bytes()


class _Some:
    """Some tiles of a readout's rows, spread evenly over all of them, as if they were all there are."""

    def __init__(self, rows: Rows, visit: Visit) -> None:
        self._rows, self._n = rows, min(visit.computed, visit.tokens)
        self._stride = max(1, (visit.tokens - TILES["cpu"]) // max(1, self._n - TILES["cpu"]))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> Tensor:
        start, stop, _ = rows.indices(self._n)
        return self._rows[start * self._stride : start * self._stride + stop - start]


def _shelved(visit: Visit, seed: int) -> Shelved:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(visit.tokens, visit.hidden, generator=draw)
    head = torch.randn(visit.width, visit.hidden, generator=draw) / visit.hidden**0.5
    facts = ArchitectureFacts("made up", 0, 0, visit.hidden, 0, visit.width, None)
    return Shelved(Readout(hidden, head), "made up", facts, 2048, 0.0, None, np.zeros(visit.hidden, np.float32))


def _peak_bytes() -> int:
    """The largest resident set this process has had, as Linux counts it since the program began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("this system does not tell the peak memory of a process")


@click.command()
@click.option("--visit", help="JSON of a visit: measure it and print this process's peak bytes.")
@click.option("--full", is_flag=True, help="Compute every token.")
def main(visit: str | None, full: bool) -> None:
    """Print the peak memory of the claimed visit."""
    if visit is not None:
        click.echo(_make(Visit(**json.loads(visit))))
        return
    claim = _claim(replace(Visit(), computed=Visit.tokens if full else Visit.computed))
    click.echo(f"{claim.name}: {claim.ours} ({claim.note})")


if __name__ == "__main__":
    main()
