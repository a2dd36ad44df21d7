"""The folder of the warehouse's state."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from warehouse.home import ensure_home, home


def test_the_home_comes_from_the_environment_else_from_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", "~/somewhere")
    assert home() == Path.home() / "somewhere"
    monkeypatch.delenv("WAREHOUSE_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert home() == Path("/var/lib/token-warehouse")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert home().name == "token-warehouse"
    assert home().is_relative_to(Path.home())


def test_directories_that_exist_keep_their_mode_and_new_ones_ignore_the_umask(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o711)
    before = os.umask(0o077)
    try:
        ensure_home(tmp_path / "old" / "new" / "home")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o711
    expected = 0o755 if os.geteuid() == 0 else 0o700
    assert stat.S_IMODE((tmp_path / "old" / "new").stat().st_mode) == expected
