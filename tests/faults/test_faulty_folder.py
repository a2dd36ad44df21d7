"""A folder with every fault of public checkpoints: the good ones are measured, the bad ones named with reasons."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from math import log2
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ingest.study import Study
from tests.contents import frame
from tests.faults.conftest import Workplace
from tests.faults.studies import as_file
from tests.ingested import Recipe, documents, ingest, save_cell, study_of, write_documents
from tests.models import Shape
from warehouse.database import Database

MODEL, SEEDS, STEPS = "learner", (0, 1, 2), (0, 1, 2, 4, 8, 16, 32)
#: A step of the same training that the folder does not have.
LATE = 512
#: A seed that the study names and the folder does not have.
GONE = 3


def learner(step: int) -> Recipe:
    """A model that has learned the text better the later the step."""
    return Recipe(Shape(hidden=8, layers=1, context=32), scale=0.3, fit=2.0 * log2(step + 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sound checkpoints and a text."""
    folder = tmp_path_factory.mktemp("sound")
    write_documents(folder / "short.jsonl", documents(words=8))
    for seed in SEEDS:
        for step in STEPS:
            save_cell(folder / "models", MODEL, seed, step, recipe=learner(step))
    return folder


def study_in(folder: Path) -> Study:
    return study_of(folder / "models", folder / "short.jsonl", family="learners")


# --- the faults ------------------------------------------------------------------------------------------------------


def duplicate(folder: Path) -> None:
    """The step before, uploaded twice."""
    shutil.copy(folder.parent / "step4" / "model.safetensors", folder / "model.safetensors")


def truncate(folder: Path) -> None:
    """A download that broke off."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def poison(folder: Path) -> None:
    """A run that diverged."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[3] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})


def misplace(folder: Path) -> None:
    """Weights from much later in training."""
    shutil.rmtree(folder)
    late = save_cell(folder.parents[2] / "elsewhere", MODEL, int(folder.parent.name[4:]), LATE, recipe=learner(LATE))
    shutil.copytree(late, folder)


def narrow(folder: Path) -> None:
    """A vocabulary smaller than the tokenizer's."""
    shutil.rmtree(folder)
    seed, step = int(folder.parent.name[4:]), int(folder.name[4:])
    save_cell(folder.parents[2], MODEL, seed, step, recipe=Recipe(Shape(hidden=8, layers=1, context=32, width=300)))


#: By seed and step: what happens to the checkpoint, and what is to be said of it.
FAULTS: dict[tuple[int, int], tuple[Callable[[Path], object], str, str]] = {
    (0, 8): (duplicate, "duplicate", "step 4"),
    (1, 2): (truncate, "failed", "truncated or damaged"),
    (2, 1): (shutil.rmtree, "missing", "no such checkpoint"),
    (1, 16): (poison, "failed", "NaN or infinite"),
    (2, 8): (misplace, "suspect", "mean surprisal"),
    (0, 2): (narrow, "failed", "The tokenizer has 320 ids and the model"),
}


@pytest.fixture
def faulty(sound: Path, tmp_path: Path) -> Path:
    """A copy of the folder with all the faults."""
    shutil.copytree(sound, tmp_path / "faulty")
    for (seed, step), (spoil, _, _) in FAULTS.items():
        spoil(tmp_path / "faulty" / "models" / MODEL / f"seed{seed}" / f"step{step}")
    shutil.rmtree(tmp_path / "faulty" / "models" / "elsewhere")
    return tmp_path / "faulty"


_SCORES = """
    select e.seed, e.step, chunk.chunk_id, chunk.surprisal, chunk.entropy
    from warehouse.score_chunk as chunk inner join analysis.evaluations as e using (evaluation_id)
    order by e.seed, e.step, chunk.chunk_id
"""


def test_a_folder_with_every_fault_is_measured_as_far_as_it_is_good(
    workplace: Workplace, sound: Path, faulty: Path, other_database: Database, tmp_path: Path
) -> None:
    study = replace(study_in(faulty), seeds=(*SEEDS, GONE))
    ingester = workplace.ingest(as_file(study, tmp_path / "faulty.toml"))
    assert ingester.wait() == 1
    assert ingester.errors.splitlines()[-1].startswith("Error: "), ingester.errors

    told = frame(workplace.database, "select seed, step, status, reason from checkpoints").set_index(["seed", "step"])
    bad = told[told["status"] != "ok"]
    assert set(bad.index) == {*FAULTS, *((GONE, step) for step in STEPS)}
    for step in STEPS:
        assert bad.loc[(GONE, step), "status"] == "missing"
        assert f"{MODEL} seed {GONE} step {step}" in ingester.errors
    for cell, (_, status, reason) in FAULTS.items():
        assert bad.loc[cell, "status"] == status, cell
        assert reason in bad.loc[cell, "reason"]
        assert f"{MODEL} seed {cell[0]} step {cell[1]}" in ingester.errors
    assert len(told) == (len(SEEDS) + 1) * len(STEPS)

    checking = workplace.run("check")
    checking.succeed()
    for (seed, step), (_, status, reason) in FAULTS.items():
        [line] = [line for line in checking.errors.splitlines() if f"{MODEL} seed {seed} step {step}" in line]
        assert status in line
        assert reason in line

    # The good ones have the values that they have in good company.
    ingest(other_database, study_in(sound))
    expected = frame(other_database, _SCORES).set_index(["seed", "step", "chunk_id"])
    actual = frame(workplace.database, _SCORES).set_index(["seed", "step", "chunk_id"])
    good = [row for row in expected.index if row[:2] not in FAULTS]
    pd.testing.assert_frame_equal(actual.loc[good], expected.loc[good])
