"""Readouts on the shelf: what comes back is what was put, wherever it lay meanwhile."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ingest.architecture import ArchitectureFacts
from ingest.logits import Readout
from ingest.measure import measure
from ingest.scores import VocabularyClasses
from ingest.shelf import Shelf, ShelfFull, default_memory
from ingest.shelved import OpenFile, Shelved, StoredRows

FACTS = ArchitectureFacts("GPTNeoXForCausalLM", 1000, 500, 16, 2, 60, 64)
ROWS, WIDTH, HIDDEN = 150, 60, 16
#: Bytes of one readout made here: head, hidden states, bias, singular values.
SIZE = 4 * (WIDTH * HIDDEN + ROWS * HIDDEN + WIDTH + HIDDEN)


def shelved(seed: int = 0) -> Shelved:
    generator = torch.Generator().manual_seed(seed)
    hidden, head = (torch.randn(rows, HIDDEN, generator=generator) for rows in (ROWS, WIDTH))
    return Shelved(
        Readout(hidden, head, torch.randn(WIDTH, generator=generator), 0.1 + seed, 30.0),
        weights_sha256=f"{seed:064x}",
        facts=FACTS,
        window=32,
        seconds=1.1,
        anisotropy=0.1 + 0.2,
        head_singular_values=np.linspace(1, 0, HIDDEN, dtype=np.float32),
    )


def same(left: Shelved, right: Shelved) -> bool:
    """Whether two agree bit for bit, reading rows in uneven slices."""
    ours, theirs = left.readout, right.readout
    slices = [slice(0, 64), slice(64, 65), slice(65, ROWS)]
    return (
        all(torch.equal(ours.hidden[rows], theirs.hidden[rows]) for rows in slices)
        and torch.equal(ours.head, theirs.head)
        and (ours.bias is theirs.bias is None or torch.equal(ours.bias, theirs.bias))  # type: ignore[arg-type]
        and (ours.scale, ours.softcap) == (theirs.scale, theirs.softcap)
        and (left.weights_sha256, left.facts, left.window) == (right.weights_sha256, right.facts, right.window)
        and (left.seconds, left.anisotropy) == (right.seconds, right.anisotropy)
        and np.array_equal(left.head_singular_values, right.head_singular_values)
    )


def test_what_fits_in_memory_comes_back_as_the_same_object() -> None:
    held = shelved()
    assert held.n_bytes == SIZE
    with Shelf(memory=SIZE) as shelf:
        shelf.put("a", held)
        assert "a" in shelf
        assert shelf.get("a") is held


def test_what_does_not_fit_comes_back_from_disk_bit_for_bit() -> None:
    with Shelf(memory=0) as shelf:
        for seed in range(3):
            shelf.put(str(seed), shelved(seed))
        assert shelf.n_bytes == 0
        for seed in range(3):
            back = shelf.get(str(seed))
            assert isinstance(back.readout.hidden, StoredRows)
            assert len(back.readout.hidden) == ROWS
            assert same(back, shelved(seed))
        assert not same(shelf.get("0"), shelved(1))


def test_a_readout_without_bias_anisotropy_or_softcap_comes_back_without() -> None:
    held = replace(shelved(), anisotropy=None, readout=replace(shelved().readout, bias=None, softcap=None))
    with Shelf(memory=0) as shelf:
        shelf.put("a", held)
        back = shelf.get("a")
    assert same(back, held)
    assert (back.readout.bias, back.readout.softcap, back.anisotropy) == (None, None, None)


def test_the_least_recently_used_goes_to_disk_first_and_memory_stays_bounded() -> None:
    with Shelf(memory=2 * SIZE + 1) as shelf:
        shelf.put("a", shelved(0))
        shelf.put("b", shelved(1))
        shelf.get("a")
        shelf.put("c", shelved(2))
        assert shelf.n_bytes == 2 * SIZE
        assert isinstance(shelf.get("b").readout.hidden, StoredRows)
        assert not isinstance(shelf.get("a").readout.hidden, StoredRows)
        # What was put away is not fetched back, which would put away what is in use.
        assert shelf.n_bytes == 2 * SIZE


def test_measuring_from_disk_gives_the_same_bits_as_from_memory() -> None:
    targets = torch.arange(ROWS) % WIDTH
    classes = VocabularyClasses(WIDTH, torch.arange(10, 20), torch.arange(20, 30), 0)
    held = [shelved(seed) for seed in (0, 1)]
    with Shelf(memory=0) as shelf:
        for seed in (0, 1):
            shelf.put(str(seed), held[seed])
        spilled = [shelf.get(str(seed)).readout for seed in (0, 1)]
        from_disk = measure(spilled, targets, classes=classes, scores=[0, 1], pairs=[(0, 1)])
    in_memory = measure([each.readout for each in held], targets, classes=classes, scores=[0, 1], pairs=[(0, 1)])
    assert np.array_equal(from_disk.kl[0, 1], in_memory.kl[0, 1])
    assert np.array_equal(from_disk.scores[1].surprisal, in_memory.scores[1].surprisal)


def test_tensors_in_a_file_begin_where_they_would_in_memory() -> None:
    with Shelf(memory=0) as shelf:
        shelf.put("a", shelved())
        assert shelf.get("a").readout.head.data_ptr() % 64 == 0


def test_what_was_dropped_is_gone_and_whoever_holds_it_may_still_read_it() -> None:
    with Shelf(memory=0) as shelf:
        shelf.put("a", shelved())
        back = shelf.get("a")
        shelf.drop("a")
        shelf.drop("never put")
        assert "a" not in shelf
        with pytest.raises(KeyError):
            shelf.get("a")
        assert same(back, shelved())


def test_putting_again_replaces() -> None:
    for memory in (0, 10 * SIZE):
        with Shelf(memory=memory) as shelf:
            shelf.put("a", shelved(0))
            shelf.put("a", shelved(1))
            assert same(shelf.get("a"), shelved(1))


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_a_closed_shelf_leaves_neither_open_files_nor_names(tmp_path: Path) -> None:
    before = open_files()
    with Shelf(memory=0, spill=tmp_path) as shelf:
        for seed in range(3):
            shelf.put(str(seed), shelved(seed))
        shelf.get("1")
        assert open_files() > before
        assert list(tmp_path.iterdir()) == []  # also while in use: nothing is left behind however the process ends
    assert open_files() == before


FILLING = """
import sys, time
from pathlib import Path
from ingest.shelf import Shelf
from tests.ingest.test_shelf import shelved
with Shelf(memory=0, spill=Path(sys.argv[1])) as shelf:
    shelf.put("a", shelved())
    print("put", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_interrupted_or_killed_leaves_no_spilled_file(how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FILLING, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"put\n"
        process.send_signal(how)
        process.wait(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_kept_readout_is_found_by_a_later_run(tmp_path: Path) -> None:
    keep = tmp_path / "home" / "readouts"
    with Shelf(memory=10 * SIZE, keep=keep) as shelf:
        shelf.put("a", shelved(0))
        shelf.put("b", shelved(1))
        shelf.drop("b")
    assert sorted(path.name for path in keep.iterdir()) == ["a.safetensors", "b.safetensors"]
    with Shelf(memory=10 * SIZE, keep=keep) as later:
        assert "a" in later
        assert "c" not in later
        assert same(later.get("a"), shelved(0))
        assert same(later.get("b"), shelved(1))
    with Shelf(memory=10 * SIZE) as forgetful:
        assert "a" not in forgetful


def test_a_kept_file_is_plain_safetensors_that_says_what_it_holds(tmp_path: Path) -> None:
    with Shelf(memory=SIZE, keep=tmp_path) as shelf:
        shelf.put("a", shelved())
    with safe_open(tmp_path / "a.safetensors", framework="pt") as opened:
        assert torch.equal(opened.get_tensor("hidden"), shelved().readout.hidden)
        assert torch.equal(opened.get_tensor("head"), shelved().readout.head)
        description = json.loads(opened.metadata()["readout"])
    assert description["weights_sha256"] == "0" * 64
    assert description["facts"]["architecture"] == "GPTNeoXForCausalLM"


def test_a_kept_readout_is_not_spilled_as_well(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with Shelf(memory=0, keep=tmp_path / "keep", spill=nowhere) as shelf:
        shelf.put("a", shelved())
        assert same(shelf.get("a"), shelved())


def truncate(content: bytes) -> bytes:
    return content[:-1]


def alter(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def empty(_: bytes) -> bytes:
    return b""


def claim_more(content: bytes) -> bytes:
    return (2**60).to_bytes(8, "little") + content[8:]


def other_version(content: bytes) -> bytes:
    return content.replace(b'version\\": 1', b'version\\": 0')


@pytest.mark.parametrize("damage", [truncate, alter, empty, claim_more, other_version])
def test_a_damaged_kept_readout_is_left_alone_with_a_notice_and_replaced(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.safetensors"
    with Shelf(memory=0, keep=tmp_path) as shelf:
        shelf.put("a", shelved())
    content = path.read_bytes()
    assert damage(content) != content
    path.write_bytes(damage(content))
    notices: list[str] = []
    with Shelf(memory=0, keep=tmp_path, notice=notices.append) as shelf:
        assert "a" not in shelf
        assert "a" not in shelf
        with pytest.raises(KeyError):
            shelf.get("a")
        assert len(notices) == 1
        assert notices[0].startswith(f"The kept readout {path} is not used: ")
        shelf.put("a", shelved())
        assert same(shelf.get("a"), shelved())
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("keep", "way_out"), [(False, "set TMPDIR to a folder on another"), (True, "leave out --keep-readouts")]
)
def test_a_full_disk_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, way_out: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ingest.shelf.write_shelved", refuse)
    with (
        Shelf(memory=0, keep=tmp_path if keep else None) as shelf,
        pytest.raises(ShelfFull, match=rf"No space left on device.*{way_out}"),
    ):
        shelf.put("a", shelved())
    assert list(tmp_path.iterdir()) == []


def test_files_that_a_killed_run_never_finished_are_swept_away_and_fresh_ones_are_not(tmp_path: Path) -> None:
    old, fresh = tmp_path / "old.part", tmp_path / "fresh.part"
    for path in (old, fresh):
        path.write_bytes(b"begun")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    with Shelf(memory=0, keep=tmp_path):
        assert list(tmp_path.iterdir()) == [fresh]


def test_rows_of_a_file_with_gaps_are_refused() -> None:
    with Shelf(memory=0) as shelf:
        shelf.put("a", shelved())
        rows = shelf.get("a").readout.hidden
        assert len(rows[ROWS:]) == 0
        with pytest.raises(ValueError, match="without gaps"):
            rows[::2]


def test_reading_past_the_end_of_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"1234")
    file = OpenFile(os.open(path, os.O_RDONLY))
    with pytest.raises(Exception, match="ended early"):
        file.read(0, memoryview(bytearray(5)))


def test_memory_is_bounded_by_default() -> None:
    assert 0 < default_memory("cpu") <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
