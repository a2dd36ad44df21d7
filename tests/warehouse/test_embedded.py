"""The embedded server: a real one in a temporary home, started, killed, and found again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.warehouse.servers import Talkative, answer, pid_of
from warehouse import embedded, sockets
from warehouse.cluster import READER
from warehouse.database import Database, DatabaseUnreachable
from warehouse.embedded import EmbeddedServer, ServerFailed, ServerNotRunning
from warehouse.home import ensure_home


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
    assert answer(new_server, "select current_database()") == "warehouse"
    query = "select format('%s %s %s', pg_encoding_to_char(encoding), datlocprovider, datlocale) from pg_database "
    assert answer(new_server, query + "where datname = 'warehouse'") == "UTF8 b C.UTF-8"


def test_a_second_start_leaves_the_running_server_alone(server: Talkative) -> None:
    before = pid_of(server)
    server.start()
    assert pid_of(server) == before


def test_a_stopped_server_keeps_its_data_when_started_again(server: Talkative) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert server.stop()
    with pytest.raises(ServerNotRunning, match="warehouse db start"):
        server.url()
    server.start()
    assert answer(server, "select answer from kept") == 42


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
    assert status.version == answer(server, "select current_setting('server_version')")
    assert status.bytes_used
    assert status.bytes_used > 10_000_000
    assert status.socket_directory
    assert status.log.read_text()


def test_the_server_outlives_the_process_that_started_it(new_server: Talkative, new_home: Path) -> None:
    _start_in_process(new_home).communicate(timeout=60)
    assert answer(new_server) == 1
    assert os.getsid(pid_of(new_server)) != os.getsid(0)


def test_two_processes_that_start_at_once_get_one_working_server(new_server: Talkative, new_home: Path) -> None:
    starters = [_start_in_process(new_home) for _ in range(3)]
    answers = [starter.communicate(timeout=120)[0].strip() for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert answers == [str(pid_of(new_server))] * 3


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
    os.kill(pid_of(server), signal.SIGKILL)
    server.start()
    assert answer(server, "select answer from committed") == 7


def test_a_killed_server_with_a_busy_session_starts_again(server: Talkative) -> None:
    with closing(psycopg.connect(server.url(), autocommit=True)) as connection:
        session = connection.info.backend_pid
        connection.pgconn.send_query(b"select count(*) from generate_series(1, 1e12)")
        os.kill(pid_of(server), signal.SIGKILL)
        server.start()
    assert answer(server, f"select count(*) from pg_stat_activity where pid = {session}") == 0
    assert answer(server) == 1


def test_a_server_that_recovers_from_a_killed_session_can_be_stopped(
    server: Talkative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_LIMIT", 20.0)
    url = server.url()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        # What takes a while to do again.
        connection.execute("create table long as select n, repeat('x', 100) from generate_series(1, 300000) as n")
        os.kill(connection.info.backend_pid, signal.SIGKILL)
    while psycopg.pq.PGconn.ping(url.encode()) != psycopg.pq.Ping.REJECT:
        time.sleep(0.001)
    assert server.stop()
    server.start()
    assert answer(server, "select count(*) from long") == 300_000


def test_a_killed_client_does_not_keep_the_server_from_stopping(server: Talkative) -> None:
    program = "import sys, psycopg; psycopg.connect(sys.argv[1]).execute('select pg_sleep(1000)')"
    with subprocess.Popen([sys.executable, "-c", program, server.url()]) as client:
        while answer(server, "select count(*) from pg_stat_activity where query like '%pg_sleep(1000)'") == 0:
            time.sleep(0.05)
        client.kill()
    assert server.stop()


def test_a_killed_server_is_revived_and_one_that_was_stopped_is_not(server: Talkative) -> None:
    before = pid_of(server)
    server.revive()
    assert pid_of(server) == before
    os.kill(before, signal.SIGKILL)
    server.revive()
    assert pid_of(server) != before
    assert server.said[-1] == "PostgreSQL has crashed; starting it again."
    assert answer(server) == 1
    server.stop()
    server.revive()
    assert server.status().state == "stopped"
    assert server.address() == {}


def test_a_database_follows_its_server_to_another_address(server: Talkative, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(server.url(), server.url(READER), embedded=True, server=server)
    before = server.address()
    # A socket whose path would be too long lies in a directory of /tmp that is a new one every time.
    monkeypatch.setattr(sockets, "LONGEST", 10)
    server.stop()
    with pytest.raises(DatabaseUnreachable), database.connect():
        pass
    server.start()
    assert server.address() != before
    with database.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_the_process_file_of_a_process_that_is_gone_is_stale(server: Talkative) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    _leave_stale_pid(server, gone.pid)
    assert server.status().state == "stopped"
    server.start()
    assert answer(server) == 1


def test_the_process_file_of_an_unrelated_process_is_stale_and_the_process_survives(server: Talkative) -> None:
    with subprocess.Popen(["sleep", "600"]) as unrelated:
        _leave_stale_pid(server, unrelated.pid)
        assert not server.stop()
        server.start()
        assert unrelated.poll() is None
        unrelated.kill()
    assert answer(server) == 1


def test_the_process_file_of_another_postgres_is_stale(server: Talkative, new_server: Talkative) -> None:
    new_server.start()
    other = pid_of(new_server)
    _leave_stale_pid(server, other)
    assert not server.stop()
    server.start()
    assert pid_of(new_server) == other
    assert pid_of(server) != other


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are seen through /proc")
def test_the_process_file_of_a_zombie_is_stale(server: Talkative) -> None:
    with subprocess.Popen(["true"]) as zombie:
        while ") Z " not in Path(f"/proc/{zombie.pid}/stat").read_text():
            time.sleep(0.01)
        _leave_stale_pid(server, zombie.pid)
        server.start()
        assert answer(server) == 1


def test_an_empty_process_file_is_stale(server: Talkative) -> None:
    _leave_stale_pid(server, 1)
    (server.data_directory / "postmaster.pid").write_text("")
    server.start()
    assert answer(server) == 1


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
    assert answer(new_server) == 1
    assert [text for text in new_server.said if "starting up" in text]


def test_a_server_whose_socket_was_cleared_away_is_restarted(
    server: Talkative, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PATIENCE", 1.0)
    before = pid_of(server)
    directory = server.status().socket_directory
    assert directory
    shutil.rmtree(directory)
    server.start()
    assert pid_of(server) != before
    assert answer(server) == 1


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
    assert answer(new_server) == 1


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(new_server: Talkative, new_home: Path) -> None:
    new_server.start()
    new_server.stop()
    with (new_home / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'plenty'\n")
    with pytest.raises(ServerFailed, match=r"shared_buffers.*server\.log"):
        new_server.start()
