"""Reading ahead: one read each, the next during the current, and errors where they belong."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest
import torch

from ingest.locations import CheckpointLocation, MissingCheckpoint, find_checkpoints
from ingest.prefetch import Prefetch
from ingest.weight_files import CorruptCheckpoint, UnsafeWeights
from ingest.weights import read_weights
from tests import models

#: Longer than anything here takes; passing never waits so long.
PATIENCE = 60


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory) -> list[CheckpointLocation]:
    root = models.save_suite(tmp_path_factory.mktemp("suite"), seeds=(0,), steps=(0, 1, 2, 4))
    return find_checkpoints(root)


class Source:
    """Folders of checkpoints that says what was fetched, and when, and what was given back."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.begun = {step: Event() for step in (0, 1, 2, 4)}
        self.may_go = {step: Event() for step in (0, 1, 2, 4)}
        self.done: list[int] = []
        self.threads: set[str] = set()

    def fetch(self, location: CheckpointLocation) -> Path:
        self.threads.add(current_thread().name)
        self.fetched.append(location.step)
        self.begun[location.step].set()
        assert self.may_go[location.step].wait(PATIENCE)
        assert location.path is not None
        return location.path

    def give_back(self, location: CheckpointLocation) -> None:
        self.done.append(location.step)

    def open(self) -> Source:
        for event in self.may_go.values():
            event.set()
        return self


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.open()


def test_weights_are_those_of_the_folder_and_each_is_read_once(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    with Prefetch(source.open().fetch) as prefetch:
        prefetch.expect(locations)
        for location in locations:
            assert location.path is not None
            assert prefetch.weights(location).sha256 == read_weights(location.path).sha256
    assert prefetch.n_read == 4
    assert source.fetched == [0, 1, 2, 4]
    assert source.threads == {"prefetch"}


def test_the_next_is_being_read_while_the_current_is_in_use_and_no_more_than_that(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    source.may_go[0].set()
    with Prefetch(source.fetch, ahead=1) as prefetch:
        prefetch.expect(locations)
        prefetch.weights(locations[0])
        assert source.begun[1].wait(PATIENCE)
        source.may_go[1].set()
        source.may_go[2].set()
        assert not source.begun[2].wait(0.1)
        prefetch.weights(locations[1])
        assert source.begun[2].wait(PATIENCE)
        assert prefetch.n_read <= 3
        source.open()


def test_reading_begins_before_the_first_is_asked_for(source: Source, locations: list[CheckpointLocation]) -> None:
    with Prefetch(source.open().fetch) as prefetch:
        prefetch.expect(locations)
        assert source.begun[0].wait(PATIENCE)


def test_nothing_is_read_ahead_when_that_is_not_wanted(source: Source, locations: list[CheckpointLocation]) -> None:
    with Prefetch(source.open().fetch, ahead=0) as prefetch:
        prefetch.expect(locations)
        assert not source.begun[0].wait(0.1)
        prefetch.weights(locations[0])
    assert source.fetched == [0]


def test_an_error_is_raised_for_its_own_checkpoint_and_not_for_its_neighbours(
    source: Source, locations: list[CheckpointLocation], tmp_path: Path
) -> None:
    models.save_checkpoint(tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    broken = replace(locations[1], path=tmp_path / "broken")
    with Prefetch(source.open().fetch) as prefetch:
        prefetch.expect([locations[0], broken, locations[2]])
        assert prefetch.weights(locations[0]).tensors
        with pytest.raises(CorruptCheckpoint, match="truncated"):
            prefetch.weights(broken)
        assert prefetch.weights(locations[2]).tensors


def test_whatever_is_expected_before_what_is_asked_for_is_skipped(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    with Prefetch(source.open().fetch, done=source.give_back) as prefetch:
        prefetch.expect(locations)
        assert source.begun[0].wait(PATIENCE)
        prefetch.weights(locations[2])
        prefetch.weights(locations[3])
    assert source.fetched == [0, 2, 4]
    assert sorted(source.done) == [0, 2, 4]


def test_what_was_not_expected_is_read_when_it_is_asked_for(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    with Prefetch(source.open().fetch) as prefetch:
        assert prefetch.weights(locations[3]).tensors
        prefetch.expect(locations[:1])
        assert prefetch.weights(locations[1]).tensors
        assert prefetch.weights(locations[0]).tensors
    assert prefetch.n_read == 3


def test_a_new_expectation_keeps_what_was_read_for_it_and_lets_go_of_the_rest(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    with Prefetch(source.open().fetch, done=source.give_back, ahead=2) as prefetch:
        prefetch.expect(locations[:2])
        assert source.begun[1].wait(PATIENCE)
        prefetch.expect(locations[1:3])
        prefetch.weights(locations[1])
        prefetch.weights(locations[2])
    assert source.fetched == [0, 1, 2]
    assert sorted(source.done) == [0, 1, 2]


def test_files_are_given_back_when_the_next_weights_are_asked_for_and_at_the_end(
    source: Source, locations: list[CheckpointLocation]
) -> None:
    with Prefetch(source.open().fetch, done=source.give_back) as prefetch:
        prefetch.expect(locations)
        prefetch.weights(locations[0])
        assert source.done == []
        prefetch.weights(locations[1])
        assert source.done == [0]
        prefetch.weights(locations[2])
        assert source.done == [0, 1]
        assert source.begun[4].wait(PATIENCE)
    # The last was read and never asked for; it is given back all the same.
    assert sorted(source.done) == [0, 1, 2, 4]


def test_weights_that_were_taken_are_held_by_nobody_else(source: Source, locations: list[CheckpointLocation]) -> None:
    freed = Event()
    with Prefetch(source.open().fetch) as prefetch:
        prefetch.expect(locations[:1])
        # Nothing is read after these, so nothing takes their place either.
        weakref.finalize(prefetch.weights(locations[0]), freed.set)
        gc.collect()
        assert freed.wait(PATIENCE)


def test_an_error_inside_ends_without_reading_on(source: Source, locations: list[CheckpointLocation]) -> None:
    source.may_go[0].set()
    source.may_go[1].set()

    def interrupted() -> None:
        with Prefetch(source.fetch) as prefetch:
            prefetch.expect(locations)
            prefetch.weights(locations[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert 2 not in source.fetched


def test_pickles_are_read_only_when_that_is_allowed(locations: list[CheckpointLocation], tmp_path: Path) -> None:
    folder = models.save_checkpoint(tmp_path / "pickled")
    stored = read_weights(folder)
    torch.save(dict(stored.tensors), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    location = replace(locations[0], path=folder)
    with Prefetch(lambda _: folder) as prefetch, pytest.raises(UnsafeWeights):
        prefetch.weights(location)
    with Prefetch(lambda _: folder, allow_pickle=True) as prefetch:
        assert prefetch.weights(location).sha256 == stored.sha256


def test_files_that_vanish_between_fetching_and_reading_are_fetched_once_more(
    locations: list[CheckpointLocation], tmp_path: Path
) -> None:
    whole, index = tmp_path / "whole", tmp_path / "sharded" / "model.safetensors.index.json"
    models.save_checkpoint(whole)
    models.save_checkpoint(index.parent, max_shard_size="20KB")
    for folder, lost in ((whole, "model.safetensors"), (index.parent, "model-00002*")):
        fetched: list[Path] = []

        def fetch(_: CheckpointLocation, folder: Path = folder, lost: str = lost, fetched: Any = fetched) -> Path:
            """A cache in which another process evicts what was fetched, the first time."""
            [file] = folder.glob(lost) if not fetched else [fetched[0]]
            file.rename(file.with_suffix(".gone")) if not fetched else file.with_suffix(".gone").rename(file)
            fetched.append(file)
            return folder

        with Prefetch(fetch) as prefetch:
            assert prefetch.weights(locations[0]).tensors
        assert len(fetched) == 2


def test_files_that_stay_away_are_an_error_after_the_second_time(
    locations: list[CheckpointLocation], tmp_path: Path
) -> None:
    fetched: list[CheckpointLocation] = []
    (tmp_path / "empty").mkdir()

    def fetch(location: CheckpointLocation) -> Path:
        fetched.append(location)
        return tmp_path / "empty"

    with Prefetch(fetch) as prefetch, pytest.raises(MissingCheckpoint, match=r"holds no model\.safetensors"):
        prefetch.weights(locations[0])
    assert len(fetched) == 2
