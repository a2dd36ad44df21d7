"""An ingestion that is interrupted, killed or cut off from the server ends where a single run would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.study import Study
from tests.contents import assert_same, contents, findings
from tests.ingested import Ingested, SilentMeter, ingest, reads_counted, rows
from warehouse.database import Database
from warehouse.writer import Writer


class Interrupted(SilentMeter):
    """A meter that stops the work after some tiles, as Ctrl-C may."""

    patience = 0

    def tokens(self, count: int) -> None:
        super().tokens(count)
        if self.done_tokens > self.patience * self.total_tokens // 100:
            raise KeyboardInterrupt


@pytest.mark.parametrize("percent", [5, 55, 90])
def test_ctrl_c_keeps_what_was_finished_and_the_next_run_goes_on(
    database: Database, study: Study, expect: Any, percent: int
) -> None:
    Interrupted.patience = percent
    with pytest.raises(KeyboardInterrupt):
        ingest(database, study, meter=Interrupted)
    assert findings(database) == {}
    [(done,)] = rows(database, "select count(*) from warehouse.evaluation where status = 'complete'")
    # Steps are finished one after another, the last one first.
    assert done == 3 * (percent * 3 // 100)
    with reads_counted() as read:
        ingest(database, study)
    assert len(read) <= 9
    expect(study)


@pytest.mark.parametrize("nth", [2, 4, 6, 7])
def test_a_failure_inside_a_transaction_leaves_nothing_half_written(
    database: Database, study: Study, expect: Any, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    commit, calls = Writer.commit, 0

    def failing(self: Writer, work: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < nth:
            return commit(self, work)

        def broken(connection: Any) -> None:
            work(connection)
            raise RuntimeError("the power went")

        return commit(self, broken)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", failing)
        with pytest.raises(RuntimeError, match="the power went"):
            ingest(database, study)
    assert findings(database) == {}
    ingest(database, study)
    expect(study)


class Disconnected(SilentMeter):
    """A meter that ends every session of the database once, as a restart of the server does."""

    database: Database
    ended: list[int]

    def tokens(self, count: int) -> None:
        super().tokens(count)
        if not self.ended and self.done_tokens > self.total_tokens // 2:
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
            self.ended += [1 for _ in rows(self.database, others + "and datname = current_database()")]


def test_a_lost_connection_costs_nothing(database: Database, study: Study, expect: Any) -> None:
    Disconnected.database, Disconnected.ended = database, []
    with reads_counted() as read:
        assert ingest(database, study, meter=Disconnected).outcome.evaluations == 9
    assert Disconnected.ended == [1]  # the session that holds the claim; the others last as long as a transaction
    assert len(read) == 9
    expect(study)


#: The command, resting at every checkpoint, so that a signal finds it at work however busy the machine is.
SLOWLY = """
import time
from ingest.progress import TerminalMeter
from warehouse.cli import main

count = TerminalMeter.checkpoint
TerminalMeter.checkpoint = lambda meter, name: (time.sleep(0.5), count(meter, name))
main()
"""


@pytest.fixture
def running(study_file: Path, database: Database) -> Iterator[subprocess.Popen[str]]:
    """`warehouse ingest` as a process of its own, on a fresh database."""
    environment = {
        **os.environ,
        "DATABASE_URL": database.owner_url,
        "DATABASE_READ_URL": database.reader_url,
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, "ingest", str(study_file), "--device", "cpu", "--model", "flat-14m"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def await_evaluations(process: subprocess.Popen[str], database: Database) -> None:
    """Wait until a process has finished some evaluations."""
    while process.poll() is None:
        if rows(database, "select 1 from warehouse.evaluation where status = 'complete' limit 1"):
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_needs_no_repair(
    running: subprocess.Popen[str], database: Database, ingested: Ingested, how: signal.Signals
) -> None:
    await_evaluations(running, database)
    running.send_signal(how)
    _, errors = running.communicate(timeout=60)
    if how == signal.SIGINT:
        assert running.returncode == 130, errors
        assert errors.splitlines()[-1].startswith("Interrupted; what was finished is kept")
    else:
        assert running.returncode == -signal.SIGKILL
    assert findings(database) == {}
    [(done,)] = rows(database, "select count(*) from warehouse.evaluation where status = 'complete'")
    assert 0 < done < 16
    study = replace(ingested.study, models=("flat-14m",))
    with reads_counted() as read:
        ingest(database, study)
    # At most the step before and the last are read again, of each seed.
    assert len(read) <= 16 - done + 2 * 4
    assert_same(contents(database, "flat-14m"), contents(ingested.database, "flat-14m"))
