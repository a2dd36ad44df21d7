"""The settings of a new embedded server, and its process file."""

from __future__ import annotations

from pathlib import Path

import pytest

from warehouse.cluster import server_settings
from warehouse.postmaster import read_postmaster


@pytest.mark.parametrize(
    ("memory", "free", "buffers", "log"),
    [
        (2 << 30, 100 << 30, "512MB", "4096MB"),
        (64 << 30, 100 << 30, "4096MB", "4096MB"),
        (8 << 30, 20 << 30, "2048MB", "2048MB"),
        (8 << 30, 100 << 20, "2048MB", "128MB"),
    ],
)
def test_buffers_are_a_quarter_of_memory_up_to_4_gb_and_the_log_a_tenth_of_the_free_disk(
    memory: int, free: int, buffers: str, log: str
) -> None:
    settings = server_settings(memory, free, 1 << 30)
    assert (settings["shared_buffers"], settings["max_wal_size"]) == (buffers, log)


def test_a_container_with_little_shared_memory_gets_files_instead() -> None:
    assert server_settings(1 << 30, 1 << 30, 64 << 20)["dynamic_shared_memory_type"] == "mmap"
    assert server_settings(1 << 30, 1 << 30, 8 << 30)["dynamic_shared_memory_type"] == "posix"


def test_a_process_file_that_is_still_being_written_names_no_server(tmp_path: Path) -> None:
    assert read_postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("")
    assert read_postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text("123\n/data\n")
    postmaster = read_postmaster(tmp_path)
    assert postmaster
    assert (postmaster.pid, postmaster.socket_directory) == (123, None)
