"""Finding checkpoints in folders, and naming what is nearest to one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.locations import CheckpointLocation, MissingCheckpoint, find_checkpoints, nearest


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


def test_the_nearest_of_numbers_are_near_in_size_and_of_names_alike_in_spelling() -> None:
    assert nearest(900, {0, 1, 512, 1000, 2000}) == "nearest are 1000, 512, 1"
    assert nearest("14n", {"14m", "31m", "410m"}).startswith("nearest are 14m")
    assert nearest("xyz", {"b", "a"}) == "nearest are a, b"
    assert nearest(3, set()) == "none are known"
