"""Growth: what one more token and one more checkpoint cost, in a small study and in one sixteen times as large.

Whole ingestions of tiny random checkpoints, from files to committed facts and summaries. A cost that does not depend on
size costs as much from 4x to 16x as from 1x to 4x; one that grew in proportion to size would cost four times as much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.claim import Claim
from benchmarks.scratch import database_on, scratch_folder, scratch_server
from ingest.architecture import quiet_transformers
from ingest.demo.recipe import TINY, Run
from ingest.demo.text import load_texts
from ingest.demo.tokenizer import save_tokenizer, train_tokenizer
from ingest.demo.train import initial_model, save_checkpoint
from ingest.options import RunOptions
from ingest.pipeline import Report, ingest
from ingest.progress import TerminalMeter
from ingest.study import CorpusSpec, ProtocolSpec, ReferenceSpec, Study

FACTORS = (1, 4, 16)
#: Between 1, for a cost that does not grow, and 4, for one in proportion to size.
BOUND = 1.5
_SEEDS = (0, 1)
_RECIPE = replace(TINY, dtype="float32")
_LAYERS = ("document", "word_class", "word_start", "word_end", "frequency", "final_surprisal")


@dataclass(frozen=True)
class _Size:
    """A study: copies of the text, and steps of each of two seeds."""

    copies: int
    steps: int


def claims(*, small: bool = False) -> Iterator[Claim]:
    """Cost of a token, then of a checkpoint."""
    steps, rounds = (1, 1) if small else (3, 2)
    factors = (1, 2, 3) if small else FACTORS
    with scratch_folder() as folder, scratch_server() as server:
        studies = _Studies(folder, server, rounds)
        yield studies.growth("token", [_Size(factor, steps) for factor in factors])
        yield studies.growth("checkpoint", [_Size(1, steps * factor) for factor in factors])


@dataclass(frozen=True)
class _Studies:
    """Where studies and databases are made, and how often each is ingested."""

    folder: Path
    server: str
    rounds: int

    def growth(self, what: str, sizes: list[_Size]) -> Claim:
        """The cost of one more token or checkpoint, from the second size to the third over the first to the second."""
        seconds, n_tokens = self._seconds([_study(self.folder, size) for size in sizes])
        units = [size.steps * len(_SEEDS) for size in sizes] if what == "checkpoint" else n_tokens
        early, late = (np.diff(seconds) / np.diff(units)).tolist()
        each = [f"{count:,} in {spent:.1f} s" for count, spent in zip(units, seconds, strict=True)]
        return Claim.at_most(
            f"one more {what}, from 4x to 16x over from 1x to 4x",
            late / early,
            BOUND,
            ours=f"{late * 1e3:.3g} ms",
            other=f"{early * 1e3:.3g} ms",
            note=f"{what}s: {', '.join(each)}, ingested whole, the best of {self.rounds}; "
            "1 is a cost that does not grow with the study, 4 one that grows in proportion to it",
        )

    def _seconds(self, studies: list[Study]) -> tuple[list[float], list[int]]:
        """Seconds that each study takes at best, and the tokens of its corpus."""
        if self.rounds > 1:
            self._ingest(studies[0])  # what a process does once
        rounds = [[self._ingest(study) for study in studies] for _ in range(self.rounds)]
        seconds = [min(report.seconds for report in reports) for reports in zip(*rounds, strict=True)]
        return seconds, [report.n_tokens for report in rounds[0]]

    def _ingest(self, study: Study) -> Report:
        meter = partial(TerminalMeter, console=Console(quiet=True))
        with database_on(self.server) as database:
            # Compiled kernels are for large studies only, and this is about studies of all sizes.
            return ingest(database, study, RunOptions(compiled=False), meter=meter)


def _study(folder: Path, size: _Size) -> Study:
    """A study of random checkpoints on a text, written to the folder unless they are there."""
    root, text = folder / "models", folder / f"text-{size.copies}.jsonl"
    with quiet_transformers():
        _save_checkpoints(root, size.steps)
    documents = [document.text for document in load_texts(_RECIPE.text).evaluation] * size.copies
    text.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents), "utf-8")
    return Study(
        name="growth",
        root=root,
        family="random",
        steps=tuple(range(size.steps)),
        layers=_LAYERS,
        corpus=CorpusSpec(path=text, name="growth"),
        protocol=ProtocolSpec(window=_RECIPE.sequence_length),
        references=(ReferenceSpec("unigram", text=text),),
    )


def _save_checkpoints(root: Path, steps: int) -> None:
    files = root / "tokenizer"
    if not files.is_dir():
        files.mkdir(parents=True)
        tokenizer = train_tokenizer(load_texts(_RECIPE.text).training, _RECIPE.vocabulary_size)
        save_tokenizer(tokenizer, files, _RECIPE.sequence_length)
    for seed in _SEEDS:
        for step in range(steps):
            run = Run("tiny", _RECIPE.hidden_sizes[0], seed)
            target = run.folder(root) / f"step{step}"
            if not target.is_dir():
                model = initial_model(_RECIPE, replace(run, seed=1000 * seed + step))
                save_checkpoint(model, target, sorted(files.iterdir()))
