"""The hub: what its real client fetches, finds and deletes, from a small server and in caches offline."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import IncompleteSnapshotError
from safetensors.torch import load_file

from ingest import hub_cache
from ingest.checkpoints import CheckpointReader
from ingest.hub import PAUSES, CacheFull, HubRefused, HubSource, HubUnreachable, NotCached
from ingest.hub_cache import evict, free_bytes, snapshot
from ingest.locations import CheckpointLocation, MissingCheckpoint, MissingRevision
from ingest.study import LearningRateSpec
from ingest.suite import load_suite
from ingest.weight_files import UnsafeWeights
from ingest.weights import read_weights
from tests import models
from tests.hub import Hub, cache_revision, client_at, contents

SEED1, SEED2 = "EleutherAI/pythia-14m-seed1", "EleutherAI/pythia-14m-seed2"
SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json")
WANTED = {*SMALL, "model.safetensors"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, bytes]]:
    """The files of a tiny model at three steps."""
    folder = tmp_path_factory.mktemp("saved")
    return {step: contents(models.save_checkpoint(folder / str(step), seed=1, step=step)) for step in (0, 1, 2)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def offline(cache: Path) -> Iterator[Path]:
    with client_at(cache):
        yield cache


@pytest.fixture
def hub(cache: Path) -> Iterator[Hub]:
    """A hub that the client reaches."""
    hub = Hub()
    with hub.serve() as address, client_at(cache, endpoint=address):
        yield hub


def source(**options: Any) -> HubSource:
    return HubSource(load_suite("polypythia"), **options)


def at(step: int, seed: int = 1) -> CheckpointLocation:
    return CheckpointLocation("14m", seed, step, f"EleutherAI/pythia-14m-seed{seed}", f"step{step}")


def pickled(files: dict[str, bytes], folder: Path, *, shards: int = 1) -> dict[str, bytes]:
    """The same revision with its weights as pickles."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(files["model.safetensors"])
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, places = sorted(tensors), {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin" if shards > 1 else "pytorch_model.bin"
        part = names[number::shards]
        torch.save({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return {name: files[name] for name in SMALL} | contents(folder)


def layout(cache: Path) -> dict[str, str]:
    """Every file of a cache with what it holds or where it leads, but for locks and the cache's own mark."""
    files = [path for path in sorted(cache.rglob("*")) if not path.is_dir() and ".locks" not in path.parts]
    return {
        str(path.relative_to(cache)): os.readlink(path) if path.is_symlink() else path.read_bytes().hex()
        for path in files
        if path.name != "CACHEDIR.TAG"
    }


# Fetching


def test_a_checkpoint_is_fetched_once_and_reads_like_its_folder(
    hub: Hub, saved: dict[int, Any], tmp_path: Path
) -> None:
    hub.add(
        SEED1, "step1", saved[1] | {"pytorch_model.bin": b"pickle", "flax_model.msgpack": b"flax", "model.py": b"1/0"}
    )
    folder = source().fetch(at(1))
    assert {file.name for file in folder.iterdir()} == WANTED
    assert read_weights(folder).sha256 == read_weights(models.save_checkpoint(tmp_path / "x", seed=1, step=1)).sha256
    hub.asked.clear()
    assert source().fetch(at(1)) == folder
    assert hub.asked == []


def test_the_cache_of_the_tests_is_laid_out_exactly_as_a_download_leaves_it(
    hub: Hub, cache: Path, saved: dict[int, Any], tmp_path: Path
) -> None:
    for step in (0, 1):
        hub.add(SEED1, f"step{step}", saved[step])
        source().fetch(at(step))
        cache_revision(
            tmp_path / "made", SEED1, f"step{step}", saved[step], only={*SMALL, "model.safetensors"}.__contains__
        )
    downloaded, made = layout(cache), layout(tmp_path / "made")
    listings = {name for name in made if "/trees/" in name}
    assert len(listings) == 2
    assert {n: json.loads(bytes.fromhex(made.pop(n))) for n in listings} == {
        n: json.loads(bytes.fromhex(downloaded.pop(n))) for n in listings
    }
    assert made == downloaded


def test_the_client_accepts_such_a_cache_offline(offline: Path, saved: dict[int, Any]) -> None:
    whole = cache_revision(offline, SEED1, "step0", saved[0])
    cache_revision(offline, SEED1, "step1", saved[1], only=lambda name: name in SMALL)
    assert huggingface_hub.snapshot_download(SEED1, revision="step0") == str(whole)
    with pytest.raises(IncompleteSnapshotError):
        huggingface_hub.snapshot_download(SEED1, revision="step1")
    found = huggingface_hub.scan_cache_dir(offline)
    assert found.warnings == []
    assert {ref for repo in found.repos for revision in repo.revisions for ref in revision.refs} == {"step0", "step1"}


def test_a_busy_hub_is_asked_again_and_a_broken_download_goes_on_where_it_stopped(
    hub: Hub, saved: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add(SEED1, "step1", saved[1])
    hub.failures, hub.cut = [503, 429], 5000
    waited: list[float] = []
    folder = source(pause=waited.append).fetch(at(1))
    assert waited == list(PAUSES[:2])
    assert (folder / "model.safetensors").read_bytes() == saved[1]["model.safetensors"]
    assert hub.sent["model.safetensors"] < 1.1 * len(saved[1]["model.safetensors"])


def test_a_hub_that_stays_silent_is_one_error_that_names_the_way_out(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1])
    hub.failures = [503] * 100
    waited: list[float] = []
    with pytest.raises(HubUnreachable, match=r"did not answer for EleutherAI/pythia-14m-seed1 at step1 .*503.*again"):
        source(pause=waited.append).fetch(at(1))
    assert waited == list(PAUSES)


def test_no_server_at_all_is_the_same_error(cache: Path) -> None:
    with (
        client_at(cache, endpoint="http://127.0.0.1:9"),
        pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE=1 to use what is in the cache"),
    ):
        source(pause=lambda _: None).fetch(at(1))


def test_a_revision_that_does_not_exist_is_missing_and_the_nearest_are_named(hub: Hub, saved: dict[int, Any]) -> None:
    for step in (0, 1, 2):
        hub.add(SEED1, f"step{step}", saved[step])
    hub.add(SEED1, "main", {})
    waited: list[float] = []
    with pytest.raises(MissingRevision) as missing:
        source(pause=waited.append).fetch(at(8))
    assert str(missing.value) == (
        "EleutherAI/pythia-14m-seed1 has no revision step8; nearest are 2, 1, 0. Drop step 8 from the study."
    )
    assert waited == []


def test_where_the_hub_has_no_step_of_the_suite_none_is_named(hub: Hub) -> None:
    hub.add(SEED1, "main", {})
    with pytest.raises(MissingRevision, match=r"no revision step8; none are known\. Drop step 8"):
        source().fetch(at(8))


def test_a_refusal_is_not_asked_again(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1])
    hub.failures = [403]
    waited: list[float] = []
    with pytest.raises(HubRefused, match=r"could not fetch EleutherAI/pythia-14m-seed1 at step1 .*403"):
        source(pause=waited.append).fetch(at(1))
    assert waited == []


def test_a_repository_that_does_not_exist_is_missing(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1])
    with pytest.raises(MissingRevision, match=r"no repository EleutherAI/pythia-14m-seed2 .* drop seed 2 of 14m"):
        source().fetch(at(1, seed=2))


def test_a_revision_without_weights_is_a_missing_checkpoint(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", {name: saved[1][name] for name in SMALL})
    with pytest.raises(MissingCheckpoint, match="EleutherAI/pythia-14m-seed1 has no weights at step1: drop step 1"):
        source().fetch(at(1))


@pytest.mark.parametrize("shards", [1, 3])
def test_pickles_are_refused_unless_allowed_and_then_read_as_the_same_weights(
    hub: Hub, saved: dict[int, Any], tmp_path: Path, shards: int
) -> None:
    hub.add(SEED1, "step1", pickled(saved[1], tmp_path / "pickled", shards=shards))
    with pytest.raises(UnsafeWeights, match=r"pythia-14m-seed1 at step1 holds pickled weights .* pass --allow-pickle"):
        source().fetch(at(1))
    assert not [name for name in hub.sent if name.endswith(".bin")]
    folder = source(allow_pickle=True).fetch(at(1))
    with pytest.raises(UnsafeWeights, match="pass --allow-pickle"):
        read_weights(folder)
    weights = read_weights(folder, allow_pickle=True)
    plain = models.save_checkpoint(tmp_path / "plain", seed=1, step=1)
    assert weights.sha256 == read_weights(plain).sha256
    expected = CheckpointReader().load(plain).model.state_dict()
    actual = CheckpointReader().load(weights).model.state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_safetensors_are_taken_before_pickles_even_where_these_are_allowed(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1] | {"pytorch_model.bin": b"not even a pickle"})
    folder = source(allow_pickle=True).fetch(at(1))
    assert not (folder / "pytorch_model.bin").exists()
    assert read_weights(folder, allow_pickle=True).sha256 == read_weights(folder).sha256


def test_shards_are_fetched_with_their_index(hub: Hub, tmp_path: Path) -> None:
    whole = models.save_checkpoint(tmp_path / "whole", seed=1, step=1)
    shards = models.save_checkpoint(tmp_path / "shards", seed=1, step=1, max_shard_size="20KB")
    hub.add(SEED1, "step1", shards)
    folder = source().fetch(at(1))
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    assert read_weights(folder).sha256 == read_weights(whole).sha256


def test_a_full_disk_says_what_is_full(hub: Hub, saved: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(SEED1, "step1", saved[1])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(CacheFull, match=f"{constants.HF_HUB_CACHE} is full.*HF_HOME to another disk, or pass --evict"):
        source().fetch(at(1))


@pytest.mark.parametrize(
    ("error", "kind", "asked"),
    [
        # As hf_xet 1.8 raises them where its server does not listen, an object is gone, and the disk is full.
        (
            RuntimeError("Task error: CAS Client Error: Request middleware error: error sending request for url (x)"),
            HubUnreachable,
            4,
        ),
        (FileNotFoundError("no such object"), HubRefused, 1),
        (RuntimeError("Task error: hash mismatch"), HubRefused, 1),
        (RuntimeError("I/O error: No space left on device (os error 28)"), CacheFull, 1),
    ],
)
def test_errors_of_the_clients_transfer_library_are_told_apart(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], asked: int
) -> None:
    tries: list[str] = []

    def transfer(repository: str, **_: object) -> None:
        tries.append(repository)
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", transfer)
    with pytest.raises(kind):
        source(pause=lambda _: None).fetch(at(1))
    assert len(tries) == asked


def test_a_download_leaves_the_reserve_free(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1])
    room = free_bytes() - 53_301_248
    with pytest.raises(CacheFull, match=r"too little room, .* GB of which must stay free.*lower --reserve"):
        source(reserve=room + 10_000_000_000).fetch(at(1))
    assert hub.sent == {}
    folder = source(reserve=0).fetch(at(1))
    # What is here takes no room.
    assert source(reserve=2 * room).fetch(at(1)) == folder


# Tokenizers


def test_a_tokenizer_is_fetched_alone_from_the_first_revision_that_exists(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step2", saved[2])
    folder = source().tokenizer([at(0), at(1), at(2)])
    assert (folder / "tokenizer.json").read_bytes() == saved[2]["tokenizer.json"]
    assert "model.safetensors" not in hub.sent
    hub.asked.clear()
    assert source().tokenizer([at(0), at(1), at(2)]) == folder
    assert hub.asked == []


def test_no_tokenizer_anywhere_names_the_first_revision_that_was_missing(hub: Hub, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step2", {"config.json": saved[2]["config.json"]})
    with pytest.raises(MissingRevision, match="no revision step0"):
        source().tokenizer([at(0), at(2)])
    with pytest.raises(MissingCheckpoint, match=r"no tokenizer.json at step2"):
        source().tokenizer([at(2)])


# Offline


def test_offline_a_cached_checkpoint_is_found_and_another_is_an_error_that_names_the_cache(
    offline: Path, saved: dict[int, Any]
) -> None:
    folder = cache_revision(offline, SEED1, "step1", saved[1])
    assert source().fetch(at(1)) == folder
    assert source().tokenizer([at(0), at(1)]) == folder
    assert (source().is_here(at(1)), source().is_here(at(2))) == (True, False)
    with pytest.raises(NotCached) as refusal:
        source().fetch(at(2))
    assert str(refusal.value) == (
        f"The checkpoint of EleutherAI/pythia-14m-seed1 at step2 is not in the cache {offline}, and HF_HUB_OFFLINE is "
        "set: unset it to download, or set HF_HOME to the folder that has it."
    )
    with pytest.raises(NotCached, match="The tokenizer of EleutherAI/pythia-14m-seed2"):
        source().tokenizer([at(1, seed=2)])


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_offline_a_checkpoint_in_part_is_not_taken_for_whole(offline: Path, saved: dict[int, Any], lost: str) -> None:
    cache_revision(offline, SEED1, "step1", saved[1], only=lambda name: name != lost)
    assert not source().is_here(at(1))
    with pytest.raises(NotCached, match="is only in part in the cache"):
        source().fetch(at(1))


def test_offline_a_missing_shard_is_noticed(offline: Path, tmp_path: Path) -> None:
    files = contents(models.save_checkpoint(tmp_path / "shards", max_shard_size="20KB"))
    cache_revision(offline, SEED1, "step1", files, only=lambda name: not name.startswith("model-00002"))
    with pytest.raises(NotCached, match="is only in part in the cache"):
        source().fetch(at(1))
    cache_revision(offline, SEED1, "step1", files)
    assert len(read_weights(source().fetch(at(1))).tensors) > 0


def test_a_checkpoint_in_part_is_completed_once_the_hub_answers(hub: Hub, cache: Path, saved: dict[int, Any]) -> None:
    hub.add(SEED1, "step1", saved[1])
    cache_revision(cache, SEED1, "step1", saved[1], only=lambda name: name in SMALL)
    assert read_weights(source().fetch(at(1))).sha256
    assert set(hub.sent) == {"model.safetensors"}


def test_offline_pickles_in_the_cache_are_named_as_such(offline: Path, saved: dict[int, Any], tmp_path: Path) -> None:
    folder = cache_revision(offline, SEED1, "step1", pickled(saved[1], tmp_path / "pickled"))
    with pytest.raises(UnsafeWeights, match="pass --allow-pickle"):
        source().fetch(at(1))
    assert source(allow_pickle=True).fetch(at(1)) == folder
    assert source(allow_pickle=True).is_here(at(1))


# Evicting


def cached_steps(cache: Path, files: dict[int, dict[str, bytes]], steps: Sequence[int] = (0, 1, 2)) -> None:
    for step in steps:
        cache_revision(cache, SEED1, f"step{step}", files[step])


def test_done_deletes_exactly_this_revisions_weights_if_asked(offline: Path, saved: dict[int, Any]) -> None:
    cached_steps(offline, saved)
    before = layout(offline)
    source().done(at(1))
    assert layout(offline) == before
    source(evict=True).done(at(1))
    gone = set(before) - set(layout(offline))
    assert len(gone) == 2
    assert {Path(name).parts[-3 if "snapshots" in name else -2] for name in gone} == {"snapshots", "blobs"}
    assert not source().is_here(at(1))
    assert [source().is_here(at(step)) for step in (0, 2)] == [True, True]
    folder = snapshot(at(1))
    assert folder is not None
    assert {file.name for file in folder.iterdir()} == set(saved[1]) - {"model.safetensors"}
    assert huggingface_hub.scan_cache_dir(offline).warnings == []
    source(evict=True).done(at(1))


def test_weights_that_another_revision_refers_to_stay(offline: Path, saved: dict[int, Any]) -> None:
    twin = saved[1] | {"config.json": saved[1]["config.json"] + b"\n"}
    cache_revision(offline, SEED1, "step1", saved[1])
    cache_revision(offline, SEED1, "step2", twin)
    assert evict(at(1)) == 0
    assert (source().is_here(at(1)), source().is_here(at(2))) == (False, True)
    assert evict(at(2)) == len(saved[1]["model.safetensors"])
    assert not list((offline / f"models--{SEED1.replace('/', '--')}" / "blobs").glob("?" * 64))


def test_two_branches_at_one_commit_keep_their_weights(offline: Path, saved: dict[int, Any]) -> None:
    for revision in ("step1", "main"):
        cache_revision(offline, SEED1, revision, saved[1])
    assert evict(at(1)) == 0
    assert source().is_here(at(1))


def test_evicting_what_is_not_there_does_nothing(offline: Path) -> None:
    assert evict(at(1)) == 0


def test_evicting_what_another_process_is_deleting_is_no_error(
    offline: Path, saved: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache_revision(offline, SEED1, "step1", saved[1])
    blob_of = hub_cache._blob

    def vanishing(entry: Path) -> Path:
        entry.unlink()
        return blob_of(entry) if entry.is_symlink() else Path(os.readlink(entry))

    monkeypatch.setattr(hub_cache, "_blob", vanishing)
    source(evict=True).done(at(1))
    assert not (folder / "model.safetensors").is_symlink()


def test_evicting_frees_the_store_that_the_client_shares_between_repositories(
    offline: Path, saved: dict[int, Any]
) -> None:
    from huggingface_hub.utils import _shared_blobs

    key, blobs = "a" * 64, {}
    for repository in (SEED1, SEED2):
        folder = cache_revision(offline, repository, "step1", saved[1])
        blobs[repository] = (folder / "model.safetensors").parent.joinpath(os.readlink(folder / "model.safetensors"))
    first, second = (Path(os.path.abspath(blob)) for blob in blobs.values())
    size = len(saved[1]["model.safetensors"])
    shared: dict[str, Any] = {"xet_hash": key, "cache_dir": offline, "expected_size": size}
    assert _shared_blobs.publish_blob_to_shared_store(blob_path=str(first), **shared)
    second.unlink()
    assert _shared_blobs.try_link_from_shared_store(blob_path=str(second), **shared)
    store = _shared_blobs.shared_blob_path(offline, key)
    assert store.samefile(first)
    assert store.samefile(second)
    evict(at(1))
    assert store.exists()
    assert source().is_here(at(1, seed=2))
    evict(at(1, seed=2))
    assert not store.exists()


# What the suite adds


def test_a_source_knows_names_sizes_outliers_and_tokens_seen() -> None:
    hub = source()
    assert (hub.name, hub.family) == ("polypythia", "pythia")
    assert set(hub.outliers) == {("410m", 3), ("410m", 4)}
    assert len(hub.locate()) == 7700
    assert at(512) in hub.locate()
    assert hub.tokens_seen("14m", 143000) == 299_892_736_000
    assert source(tokens_per_step=10).tokens_seen("14m", 3) == 30
    assert hub.learning_rate("410m", 143000) == pytest.approx(3e-5)
    own = LearningRateSpec(peak=1.0, warmup_steps=10, last_step=20, final_fraction=0.5)
    assert [source(learning_rate=own).learning_rate("410m", step) for step in (0, 5, 10, 20)] == [0.0, 0.5, 1.0, 0.5]
    assert hub.n_bytes(at(0)) == 53_301_248
    assert source(family="mine").family == "mine"
