"""Claims: one session has a piece of work at a time, and notices when it has lost it."""

from __future__ import annotations

import threading

import pytest

from tests.contents import frame
from warehouse import claims
from warehouse.claims import Claim, claim
from warehouse.database import Database


def end_claims(database: Database) -> int:
    """End the sessions that hold claims in the database, as a restart does; returns how many there were."""
    others = "select pg_terminate_backend(pid) as ended from pg_locks where locktype = 'advisory' and database = "
    return len(frame(database, others + "(select oid from pg_database where datname = current_database())"))


def test_one_session_has_a_piece_of_work_and_others_have_other_pieces(database: Database) -> None:
    with claim(database, "one") as mine:
        assert mine
        with claim(database, "one") as theirs, claim(database, "two") as other:
            assert not theirs
            assert other
    with claim(database, "one") as again:
        assert again


def test_a_claim_is_of_its_own_database(database: Database, other_database: Database) -> None:
    with claim(database, "one") as here, claim(other_database, "one") as there:
        assert here
        assert there


def test_who_waits_gets_the_claim_when_it_is_given_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PATIENCE", 0.01)
    order: list[str] = []

    def wait() -> None:
        with claim(database, "one", wait=True) as theirs:
            order.append(f"got it: {bool(theirs)}")

    with claim(database, "one"):
        waiter = threading.Thread(target=wait)
        waiter.start()
        waiter.join(0.2)
        assert waiter.is_alive()
        order.append("gave it back")
    waiter.join(60)
    assert order == ["gave it back", "got it: True"]


def test_a_claim_lost_with_its_connection_is_taken_again(database: Database) -> None:
    with claim(database, "one") as mine:
        assert end_claims(database) == 1
        assert mine.renew()
        assert not Claim(database, "one").take()
    assert end_claims(database) == 0


def test_a_claim_that_another_session_took_meanwhile_is_lost(database: Database) -> None:
    with claim(database, "one") as mine:
        end_claims(database)
        with claim(database, "one") as theirs:
            assert theirs
            assert not mine.renew()
            assert not mine
        assert mine.renew()


def test_renewing_what_is_held_keeps_it(database: Database) -> None:
    with claim(database, "one") as mine:
        before = frame(database, "select pid from pg_locks where locktype = 'advisory'")
        assert mine.renew()
        assert frame(database, "select pid from pg_locks where locktype = 'advisory'").equals(before)
