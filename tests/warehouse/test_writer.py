"""The writer tries again when the server was lost, and stops before the disk is full."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Connection, text

from tests.contents import frame
from warehouse import retries
from warehouse.database import Database
from warehouse.errors import RunFailed
from warehouse.facts import driver
from warehouse.writer import NoRoom, Writer


@pytest.fixture
def writer(database: Database, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(retries, "RETRIES", (0.01, 0.01, 0.01))
    return Writer(database, database.engine(), 0)


class Unlucky:
    """Work that adds a settings row's worth of evidence and loses its connection some times before it succeeds."""

    def __init__(self, losses: int) -> None:
        self.losses, self.tries = losses, 0

    def __call__(self, connection: Connection) -> int:
        self.tries += 1
        connection.execute(text("update warehouse.settings set outlier_min_tokens = outlier_min_tokens + 1"))
        if self.tries <= self.losses:
            connection.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        return self.tries


def evidence(database: Database) -> int:
    return int(frame(database, "select outlier_min_tokens from warehouse.settings").iloc[0, 0])


def test_work_is_done_again_when_the_server_was_lost_and_its_result_returned(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    before = evidence(writer.database)
    with caplog.at_level(logging.WARNING, "warehouse"):
        assert writer.commit(Unlucky(2)) == 3
    assert evidence(writer.database) == before + 1
    assert [record.getMessage() for record in caplog.records] == [
        "The connection to the database was lost; trying again in 0.01 s."
    ] * 2


def test_a_server_that_stays_lost_is_an_error(writer: Writer) -> None:
    before, work = evidence(writer.database), Unlucky(99)
    with pytest.raises(Exception, match="terminating connection"):
        writer.commit(work)
    assert work.tries == 4
    assert evidence(writer.database) == before


def test_ctrl_c_at_any_moment_of_a_transaction_ends_the_work_and_writes_all_of_it_or_nothing(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    def work(connection: Connection) -> None:
        update = text("update warehouse.settings set outlier_min_tokens = outlier_min_tokens + :one")
        for _ in range(50):
            connection.execute(update, [{"one": 1}] * 20)
            with driver(connection).cursor() as cursor, cursor.copy("copy warehouse.settings to stdout") as copy:
                list(copy)

    for milliseconds in range(40):
        before = evidence(writer.database)
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.015 + milliseconds / 1000):
            writer.commit(work)
        assert evidence(writer.database) in (before, before + 1000)
    assert "was lost" not in caplog.text


def test_ctrl_c_does_not_wait_for_a_long_statement(writer: Writer) -> None:
    with interrupted_after(0.2), pytest.raises(KeyboardInterrupt) as raised:
        writer.commit(lambda connection: connection.execute(text("select pg_sleep(3600)")))
    assert "canceling statement due to user request" in str(raised.value.__context__)


def test_ctrl_c_lets_work_between_statements_finish(writer: Writer) -> None:
    def work(connection: Connection) -> None:
        Unlucky(0)(connection)
        signal.raise_signal(signal.SIGINT)

    before = evidence(writer.database)
    with pytest.raises(KeyboardInterrupt):
        writer.commit(work)
    assert evidence(writer.database) == before + 1


def test_a_second_ctrl_c_is_not_held(writer: Writer) -> None:
    def stubborn(connection: Connection) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        writer.commit(stubborn)


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """This process gets SIGINT after so many seconds."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_the_loser_of_a_deadlock_tries_again(writer: Writer) -> None:
    def work(connection: Connection) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return "done"

    tries: list[int] = []
    assert writer.commit(work) == "done"


def test_an_error_of_ours_is_not_tried_again(writer: Writer) -> None:
    tries: list[int] = []

    def wrong(connection: Connection) -> None:
        tries.append(1)
        connection.execute(text("select 1 / 0"))

    with pytest.raises(Exception, match="division by zero"):
        writer.commit(wrong)
    assert tries == [1]


def test_a_full_disk_of_any_server_is_one_sentence(writer: Writer) -> None:
    def full(connection: Connection) -> None:
        connection.execute(text("do $$ begin raise exception 'no space' using errcode = '53100'; end $$"))

    with pytest.raises(NoRoom, match="The disk of the database server is full") as refusal:
        writer.commit(full)
    assert isinstance(refusal.value, RunFailed)


def test_room_is_looked_for_before_every_transaction(writer: Writer) -> None:
    if not writer.database.embedded:
        pytest.skip("the disk of another server is not ours to measure")
    writer.require_room(10**6)
    tries: list[int] = []
    with pytest.raises(NoRoom, match=r"but 0\.0 GB are to be written and 1000000000\.0 GB must stay free"):
        Writer(writer.database, writer.engine, 10**18).commit(lambda _: tries.append(1))
    assert tries == []
