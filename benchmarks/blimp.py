"""BLiMP whole: 67,000 minimal pairs scored and answered, beside a plain transformers loop over some of them.

Reads the authors' BLiMP.zip from the folder of test data; where that is absent nothing is claimed. Models have the
demo's shapes and tokenizer and random weights: time and room do not depend on what a model has learnt.
"""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.claim import Claim
from benchmarks.scratch import database_on, scratch_folder, scratch_server
from benchmarks.timing import Timing, timed
from ingest.architecture import quiet_transformers
from ingest.demo.recipe import STANDARD, Recipe, Run
from ingest.demo.text import load_texts
from ingest.demo.tokenizer import save_tokenizer, train_tokenizer
from ingest.demo.train import initial_model, save_checkpoint
from ingest.items import read_items
from ingest.options import RunOptions
from ingest.pipeline import Report, ingest
from ingest.progress import TerminalMeter
from ingest.study import CorpusSpec, ProtocolSpec, Study

#: Long enough for all but a few sentences in the demo's small vocabulary.
RECIPE = replace(STANDARD, sequence_length=128, seeds=(0,), steps=(0,))
_SAMPLE = 500
#: Bytes of what is kept of a token: surprisal, entropy, rank, top entry and its surprisal, three masses.
_SCORES = 8 * 4
_HEAD_SCALE = 8.0


def claims(*, small: bool = False) -> Iterator[Claim]:
    """Time, agreement, room, and what views take."""
    archive = find_archive()
    if archive is None:
        Console(stderr=True).print("    left out: no blimp/BLiMP.zip in the folder that WAREHOUSE_TEST_DATA names")
        return
    with scratch_folder() as folder, scratch_server() as server, database_on(server) as database:
        chosen = shortened(archive, folder / "BLiMP.zip", 3) if small else archive
        study = study_of(save_models(RECIPE, folder / "models"), chosen)
        meter = partial(TerminalMeter, console=Console(quiet=True))
        reports: list[Report] = []
        seconds = timed(lambda: reports.append(ingest(database, study, RunOptions(), meter=meter)))
        n_runs, n_tokens = len(RECIPE.runs), reports[0].n_tokens
        with database.read() as reader:
            sample = _sample(chosen, 20 if small else _SAMPLE)
            loops = [_loop(study, run, sample) for run in RECIPE.runs]
            yield _speed(seconds, loops, n_runs, n_tokens, _ask(reader, "select count(*) from analysis.documents"))
            yield _agreement(reader, loops)
            yield _room(reader, n_tokens * n_runs)
            yield from _views(reader)


def find_archive() -> Path | None:
    """The zip as its authors publish it, in the folder of test data; None where there is none."""
    given = os.environ.get("WAREHOUSE_TEST_DATA")
    data = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    archive = data / "blimp" / "BLiMP.zip"
    return archive if archive.is_file() else None


def shortened(archive: Path, target: Path, n_pairs: int) -> Path:
    """A zip with the same members, and the first pairs of each paradigm."""
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(target, "w") as part:
        for name in whole.namelist():
            held = whole.read(name)
            part.writestr(name, b"".join(held.splitlines(True)[:n_pairs]) if name.endswith(".jsonl") else held)
    return target


def save_models(recipe: Recipe, root: Path) -> Path:
    """Random checkpoints of the recipe's runs, with a head that prefers some tokens; returns the root folder."""
    files = root / "tokenizer"
    files.mkdir(parents=True)
    tokenizer = train_tokenizer(load_texts(recipe.text).training, recipe.vocabulary_size)
    save_tokenizer(tokenizer, files, recipe.sequence_length)
    with quiet_transformers(), torch.no_grad():
        for run in recipe.runs:
            model = initial_model(recipe, run)
            model.get_output_embeddings().weight.mul_(_HEAD_SCALE)
            save_checkpoint(model, run.folder(root) / "step0", sorted(files.iterdir()))
    return root


def study_of(root: Path, archive: Path) -> Study:
    """Scores of all sentences by all checkpoints, no KL and no layers."""
    return Study(
        name="blimp",
        root=root,
        family="random",
        kinds=(),
        layers=(),
        references=(),
        corpus=CorpusSpec(archive, "blimp", items="blimp"),
        protocol=ProtocolSpec("documents", RECIPE.sequence_length),
    )


@dataclass(frozen=True)
class _Pair:
    """A pair of sentences, by the name of its paradigm and its number there."""

    paradigm: str
    item: int
    good: str
    bad: str


@dataclass(frozen=True)
class _Loop:
    """What a plain loop took for a run; of each pair, by paradigm and number, both log-probabilities that it found."""

    run: Run
    seconds: float
    n_sentences: int
    found: dict[tuple[str, int], tuple[float, float]]


def _sample(archive: Path, size: int) -> list[_Pair]:
    items = read_items(archive, "blimp")
    texts = [items.source.text[part.start : part.end] for part in items.source.parts]
    pairs = [
        _Pair(paradigm.name, good.item, texts[good.document], texts[bad.document])
        for paradigm in items.paradigms
        for good, bad in zip(paradigm.roles[::2], paradigm.roles[1::2], strict=True)
    ]
    return random.Random(1).sample(pairs, size)


def _loop(study: Study, run: Run, sample: list[_Pair]) -> _Loop:
    """Sentence by sentence, as one would write it; those longer than the context are left out."""
    assert study.root is not None
    folder = run.folder(study.root) / "step0"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def log_probability(text: str) -> float | None:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        if ids.shape[1] > RECIPE.sequence_length:
            return None
        log_p = model(ids).logits[0, :-1].log_softmax(-1)
        return float(log_p.gather(1, ids[0, 1:, None]).sum())

    found: dict[tuple[str, int], tuple[float, float]] = {}

    def work() -> None:
        with torch.inference_mode():
            for pair in sample:
                good, bad = log_probability(pair.good), log_probability(pair.bad)
                if good is not None and bad is not None:
                    found[pair.paradigm, pair.item] = good, bad

    return _Loop(run, timed(work), 2 * len(sample), found)


def _speed(seconds: float, loops: list[_Loop], n_runs: int, n_tokens: int, n_sentences: int) -> Claim:
    theirs = sum(loop.seconds / loop.n_sentences * n_sentences for loop in loops)
    return Claim.at_least(
        f"BLiMP, {n_sentences:,} sentences by {n_runs} checkpoints, over a plain transformers loop",
        theirs / seconds,
        1.0,
        ours=f"{seconds:.0f} s",
        other=f"{theirs:.0f} s",
        note=f"{n_tokens:,} tokens; ours reads the zip, tokenises, scores all there is of a token and loads it with "
        f"sums by sentence and paradigm; the loop takes log-probabilities of {loops[0].n_sentences:,} sentences, one "
        "at a time, scaled to all",
    )


def _agreement(reader: psycopg.Connection[Any], loops: list[_Loop]) -> Claim:
    query = "select paradigm, item, margin from analysis.minimal_pairs where model = %s and seed = %s"
    largest, verdicts, count = 0.0, 0, 0
    for loop in loops:
        rows = reader.execute(query, (loop.run.model, loop.run.seed)).fetchall()
        stored = {(paradigm, item): margin for paradigm, item, margin in rows}
        for key, (good, bad) in loop.found.items():
            largest = max(largest, abs(stored[key] - (good - bad)) / abs(good + bad))
            verdicts += (stored[key] > 0) == (good > bad)
            count += 1
    return Claim.at_most(
        "BLiMP, largest difference of a margin from the loop's, over the log-probabilities that it comes from",
        largest,
        1e-6,
        ours=f"{verdicts:,} verdicts",
        other=f"the same in {count:,}",
        note="log-probability of the good sentence less that of the bad one, in single precision on both sides",
    )


def _room(reader: psycopg.Connection[Any], n_scores: int) -> Claim:
    size = "select pg_total_relation_size('warehouse.{}')"
    facts, documents = (_ask(reader, size.format(table)) for table in ("score_chunk", "document_score_chunk"))
    return Claim.told(
        "BLiMP, bytes a token and checkpoint, over those of its scores as raw float32",
        (facts + documents) / n_scores / _SCORES,
        ours=f"{facts / n_scores:.1f} + {documents / n_scores:.1f} bytes",
        other=f"{_SCORES} bytes",
        note="scores of tokens with their indexes, and sums by sentence, which are what pairs are answered from",
    )


def _views(reader: psycopg.Connection[Any]) -> Iterator[Claim]:
    seconds, n_rows = _seconds(reader, "select * from analysis.minimal_pair_accuracy")
    yield Claim.at_most(
        "BLiMP, accuracy on all paradigms by all checkpoints, s",
        seconds,
        0.2,
        ours=f"{1000 * seconds:.0f} ms",
        other="200 ms",
        note=f"{n_rows:,} rows of view minimal_pair_accuracy, all fetched",
    )
    query = f"select * from analysis.minimal_pairs where model = '{RECIPE.runs[0].model}'"
    one, n_rows = _seconds(reader, query)
    yield Claim.told(
        "BLiMP, every pair by one checkpoint, s",
        one,
        ours=f"{one:.2f} s",
        other="nothing",
        note=f"{n_rows:,} rows of view minimal_pairs, all fetched",
    )


def _seconds(reader: psycopg.Connection[Any], query: str) -> tuple[float, int]:
    """Median seconds of three times, and the number of rows."""
    rows: list[Any] = []
    taken = Timing(tuple(timed(lambda: rows.append(reader.execute(query.encode()).fetchall())) for _ in range(3)))
    return taken.median, len(rows[-1])


def _ask(reader: psycopg.Connection[Any], query: str) -> int:
    ((number,),) = reader.execute(query.encode()).fetchall()
    return int(number)
