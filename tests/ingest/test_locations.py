"""Finding checkpoints in folders, and naming what is nearest to one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.locations import CheckpointLocation, MissingCheckpoint, SameCheckpoint, find_checkpoints, nearest
from ingest.source import FolderSource
from tests import models


def test_checkpoints_are_found_in_order_of_model_seed_and_step_and_anything_else_is_passed_over(tmp_path: Path) -> None:
    wanted = [("big", 0, 2), ("big", 0, 16), ("big", 10, 2), ("small", 2, 1)]
    for model, seed, step in reversed(wanted):
        (tmp_path / model / f"seed{seed}" / f"step{step}").mkdir(parents=True)
    for other in ("big/seed0/step2.partial", "big/seedling/step1", "notes/step3"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "big" / "seed0" / "step99").write_text("a file")
    assert find_checkpoints(tmp_path) == [
        CheckpointLocation(
            model,
            seed,
            step,
            source=str(tmp_path),
            revision=f"{model}/seed{seed}/step{step}",
            path=tmp_path / model / f"seed{seed}" / f"step{step}",
        )
        for model, seed, step in wanted
    ]


def test_a_missing_or_empty_root_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match=r"no folder .*\{model\}/seed\{n\}/step\{n\}"):
        find_checkpoints(tmp_path / "nowhere")
    with pytest.raises(MissingCheckpoint, match=r"holds no checkpoint.*\{model\}/seed\{n\}/step\{n\}"):
        find_checkpoints(tmp_path)


def test_two_folders_of_one_checkpoint_are_refused_with_both(tmp_path: Path) -> None:
    for step in ("step8", "step0008"):
        (tmp_path / "big" / "seed0" / step).mkdir(parents=True)
    with pytest.raises(
        SameCheckpoint, match=r"both big/seed0/step0008 and big/seed0/step8 are big seed 0 step 8: keep"
    ):
        find_checkpoints(tmp_path)


def test_bytes_to_read_are_those_of_the_files_that_will_be_read(tmp_path: Path) -> None:
    folder = models.save_suite(tmp_path, ["tiny"], seeds=(0,), steps=(0,)) / "tiny" / "seed0" / "step0"
    source, weights = FolderSource(tmp_path), folder / "model.safetensors"
    [location] = source.locate()
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    assert source.n_bytes(location) == weights.stat().st_size
    weights.unlink()
    assert source.n_bytes(location) == 1000
    (folder / "pytorch_model.bin").unlink()
    weights.symlink_to(tmp_path / "gone")
    assert source.n_bytes(location) == 0


def test_the_nearest_of_numbers_are_near_in_size_and_of_names_alike_in_spelling() -> None:
    assert nearest(900, {0, 1, 512, 1000, 2000}) == "nearest are 1000, 512, 1"
    assert nearest("14n", {"14m", "31m", "410m"}).startswith("nearest are 14m")
    assert nearest("xyz", {"b", "a"}) == "nearest are a, b"
    assert nearest(3, set()) == "none are known"
