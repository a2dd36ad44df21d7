"""Studies of checkpoints on the hub, the whole way: from the cache of its client, and from a small server."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.hub import HubUnreachable
from ingest.hub_cache import snapshot
from ingest.locations import CheckpointLocation
from ingest.options import RunOptions
from ingest.pipeline import ingest
from ingest.study import CorpusSpec, ProtocolSpec, Study
from tests import models
from tests.contents import findings
from tests.hub import Hub, cache_revision, client_at, contents
from tests.ingested import SilentMeter, documents, rows, write_documents
from warehouse.database import Database

SEEDS, STEPS = (1, 2), (0, 1, 2)
OPTIONS = RunOptions(device="cpu", reserve=0)


def repository(seed: int) -> str:
    return f"EleutherAI/pythia-14m-seed{seed}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, bytes]]:
    """The files of two tiny runs under the names of PolyPythia's 14m."""
    folder = tmp_path_factory.mktemp("saved")
    shape = models.Shape(hidden=8, layers=1, context=32)
    return {
        (seed, step): contents(models.save_checkpoint(folder / f"{seed}-{step}", seed=seed, step=4**step, shape=shape))
        for seed in SEEDS
        for step in STEPS
    }


@pytest.fixture
def cache(tmp_path: Path, saved: dict[tuple[int, int], dict[str, bytes]]) -> Path:
    for (seed, step), files in saved.items():
        cache_revision(tmp_path / "home" / "hub", repository(seed), f"step{step}", files)
    return tmp_path / "home" / "hub"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(
        "letters",
        suite="polypythia",
        models=("14m",),
        seeds=SEEDS,
        steps=STEPS,
        layers=("document",),
        corpus=CorpusSpec(write_documents(tmp_path / "short.jsonl", documents(3, words=8)), "letters"),
        protocol=ProtocolSpec(window=16),
    )


def run(database: Database, study: Study, **options: Any) -> Any:
    return ingest(database, study, replace(OPTIONS, **options), meter=SilentMeter)


def test_a_study_of_the_hub_goes_the_whole_way_from_the_cache(database: Database, cache: Path, study: Study) -> None:
    with client_at(cache):
        report = run(database, study)
    assert report.outcome.failures == []
    assert report.outcome.evaluations == len(SEEDS) * len(STEPS)
    assert findings(database) == {}
    told = rows(
        database,
        "select family, model, seed, step, source, revision, tokens_seen, status from analysis.checkpoints "
        "order by seed, step",
    )
    assert told == [
        ("pythia", "14m", seed, step, repository(seed), f"step{step}", step * 2097152, "ok")
        for seed in SEEDS
        for step in STEPS
    ]
    kinds = dict(rows(database, "select kind, count(*) from analysis.expected_convergence group by kind"))
    assert kinds == {"seed": 3, "step": 2, "step_reverse": 2, "final": 2, "final_reverse": 2}


def test_the_same_checkpoints_in_folders_give_the_same_numbers(
    database: Database,
    other_database: Database,
    cache: Path,
    study: Study,
    saved: dict[tuple[int, int], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    with client_at(cache):
        run(database, study)
    for (seed, step), files in saved.items():
        folder = tmp_path / "models" / "14m" / f"seed{seed}" / f"step{step}"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    run(other_database, replace(study, suite="folder", root=tmp_path / "models", family="pythia"))
    query = "select kind, step, step_q, convergence from analysis.expected_convergence order by 1, 2, 3"
    assert rows(database, query) == rows(other_database, query)


def test_what_is_missing_offline_is_left_out_with_the_reason_and_found_by_the_next_run(
    database: Database, cache: Path, study: Study, saved: dict[tuple[int, int], dict[str, bytes]]
) -> None:
    blob = (snapshot_of(cache, 2, 1) / "model.safetensors").resolve()
    content = blob.read_bytes()
    blob.unlink()
    with client_at(cache):
        report = run(database, study)
    assert len(report.outcome.failures) == 1
    assert "EleutherAI/pythia-14m-seed2 at step1 is only in part in the cache" in report.outcome.failures[0]
    told = dict(rows(database, "select (seed, step)::text, status from analysis.checkpoints"))
    assert [cell for cell, status in told.items() if status != "ok"] == ["(2,1)"]
    blob.write_bytes(content)
    with client_at(cache):
        assert run(database, study).outcome.failures == []
    assert findings(database) == {}


def snapshot_of(cache: Path, seed: int, step: int) -> Path:
    with client_at(cache):
        folder = snapshot(CheckpointLocation("14m", seed, step, repository(seed), f"step{step}"))
    assert folder is not None
    return folder


def test_evicting_leaves_no_weights_and_the_same_results(
    database: Database, other_database: Database, cache: Path, study: Study
) -> None:
    with client_at(cache):
        run(other_database, study)
        assert len(_large(cache)) == len(SEEDS) * len(STEPS)
        report = run(database, study, evict=True)
        assert report.outcome.failures == []
        assert _large(cache) == []
        again = run(database, study, evict=True)
    assert (again.outcome.checkpoints, again.outcome.failures) == (0, [])
    query = "select kind, step, step_q, convergence from analysis.expected_convergence order by 1, 2, 3"
    assert rows(database, query) == rows(other_database, query)


def _large(cache: Path) -> list[Path]:
    """Blobs of weights: those are named by a SHA-256, all others by git's shorter hash."""
    return [blob for blob in cache.glob("models--*/blobs/*") if len(blob.name) == 64]


def test_evicting_bounds_the_cache_while_a_study_is_downloaded(
    database: Database, study: Study, saved: dict[tuple[int, int], dict[str, bytes]], tmp_path: Path
) -> None:
    hub, cache = Hub(), tmp_path / "empty"
    for (seed, step), files in saved.items():
        hub.add(repository(seed), f"step{step}", files)
    most = 0

    class Watching(SilentMeter):
        def checkpoint(self, name: str) -> None:
            nonlocal most
            most = max(most, len(_large(cache)))
            super().checkpoint(name)

    with hub.serve() as address, client_at(cache, endpoint=address):
        report = ingest(database, study, replace(OPTIONS, evict=True), meter=Watching)
    assert report.outcome.failures == []
    assert report.outcome.checkpoints == len(saved)
    assert 1 <= most <= 3
    assert _large(cache) == []
    sizes = [len(files["model.safetensors"]) for files in saved.values()]
    assert hub.sent["model.safetensors"] == sum(sizes)


def test_a_missing_branch_is_left_out_and_the_nearest_are_named(
    database: Database, study: Study, saved: dict[tuple[int, int], dict[str, bytes]], tmp_path: Path
) -> None:
    hub = Hub()
    for (seed, step), files in saved.items():
        if (seed, step) != (1, 1):
            hub.add(repository(seed), f"step{step}", files)
    with hub.serve() as address, client_at(tmp_path / "empty", endpoint=address):
        report = run(database, study)
    assert len(report.outcome.failures) == 1
    ((status, reason),) = rows(database, "select status, reason from analysis.checkpoints where seed = 1 and step = 1")
    assert status == "missing"
    assert "EleutherAI/pythia-14m-seed1 has no revision step1; nearest are 0, 2" in reason


def test_a_hub_that_stays_silent_ends_the_run_and_no_checkpoint_is_blamed(
    database: Database, study: Study, cache: Path, saved: dict[tuple[int, int], dict[str, bytes]]
) -> None:
    (snapshot_of(cache, 2, 1) / "model.safetensors").unlink()
    with client_at(cache, endpoint="http://127.0.0.1:9"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.hub.PAUSES", ())
        with pytest.raises(HubUnreachable, match=r"pythia-14m-seed2 at step1.*run the same command again") as ending:
            run(database, study)
    assert ending.value.exit_code == 1
    told = rows(database, "select seed, step, status from analysis.checkpoints where status is distinct from 'ok'")
    assert told
    assert {status for _, _, status in told} == {None}
    cache_revision(cache, repository(2), "step1", saved[2, 1])
    with client_at(cache):
        assert run(database, study).outcome.failures == []
    assert findings(database) == {}


def test_one_repository_that_is_closed_is_left_out_and_the_run_goes_on(
    database: Database, study: Study, cache: Path
) -> None:
    (snapshot_of(cache, 2, 1) / "model.safetensors").unlink()
    hub = Hub()
    hub.failures = [403] * 10
    with hub.serve() as address, client_at(cache, endpoint=address):
        report = run(database, study)
    [failure] = report.outcome.failures
    assert failure.startswith(
        "14m seed 2 step 1: The hub's client could not fetch EleutherAI/pythia-14m-seed2 at step1"
    )
    assert report.outcome.evaluations == len(SEEDS) * len(STEPS) - 1


def test_the_command_works_offline_from_the_cache_that_hf_home_names(
    named_database: Database, cache: Path, study: Study, tmp_path: Path
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(
        'suite = "polypythia"\nmodels = ["14m"]\nseeds = [1, 2]\nsteps = [0, 1, 2]\nlayers = ["document"]\n'
        f'[corpus]\npath = "{study.corpus.path}"\n[protocol]\nwindow = 16\n'
    )
    environment = {**os.environ, "HF_HOME": str(cache.parent), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "warehouse", "ingest", file, "--device", "cpu", "--reserve", "0", *options],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    told = command("--dry-run")
    assert told.returncode == 0, told.stderr
    assert [line.split() for line in told.stdout.splitlines() if line.startswith("14m")] == [
        ["14m", "2", "3", "6", "6", "0.32", "GB"]
    ]
    done = command("--evict")
    assert done.returncode == 0, done.stderr
    assert "Read 6 of 6 checkpoints" in done.stdout
    assert rows(named_database, "select count(*) from analysis.checkpoints where status = 'ok'") == [(6,)]
    assert _large(cache) == []
    failed = command("--step", "0", "--step", "4")
    assert failed.returncode == 1
    assert f"is not in the cache {cache}, and HF_HUB_OFFLINE is set" in failed.stderr
