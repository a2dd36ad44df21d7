"""Loading twice is a no-op; other inputs under the same key are refused, naming both."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.study import Study
from tests.faults.conftest import Workplace
from tests.faults.studies import N_CHECKPOINTS, as_file, traces
from tests.ingested import documents, write_documents
from warehouse.database import Database


@pytest.fixture
def own_study(study: Study, tmp_path: Path) -> Study:
    """The study with a folder of its own, to be tampered with."""
    assert study.root is not None
    shutil.copytree(study.root, tmp_path / "models")
    return replace(study, root=tmp_path / "models")


def test_the_same_study_again_changes_nothing_and_other_inputs_are_refused_naming_both(
    workplace: Workplace, own_study: Study, tmp_path: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    file = as_file(own_study, tmp_path / "short.toml")
    workplace.ingest(file).succeed()
    loaded = traces(workplace.database)

    again = workplace.ingest(file).succeed()
    assert f"All {N_CHECKPOINTS} checkpoints and their pairs are in the warehouse already" in again

    other = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    refused = workplace.ingest(file, "--corpus", str(other))
    assert refused.wait() == 2
    for name in ("Corpus letters", "short.jsonl", "other.jsonl"):
        assert name in refused.errors

    assert own_study.root is not None
    seed = own_study.root / "small" / "seed1"
    shutil.copy(seed / "step2" / "model.safetensors", seed / "step1" / "model.safetensors")
    # What stands is not read again until something new is wanted of it.
    swapped = workplace.ingest(file, "--corpus", str(other), "--corpus-name", "other")
    assert swapped.wait() == 2
    assert "step1 holds other weights than were measured before" in swapped.errors

    assert loaded <= traces(workplace.database)
