"""Units read whole: by one session or by several, with gaps, and seen by the transaction that wrote them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection

from warehouse import blocks, schema
from warehouse.blocks import Columns, map_units, read_units
from warehouse.database import Database
from warehouse.facts import copy_units, driver

N_TOKENS = 600


@pytest.fixture(params=["stored", "sent"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How arrays are read: as stored, where the server lets us, or as sent."""
    monkeypatch.setattr(blocks, "_MANY", 0 if request.param == "stored" else 1 << 30)
    return str(request.param)


@pytest.fixture
def connection(database: Database, monkeypatch: pytest.MonkeyPatch, form: str) -> Iterator[Connection]:
    """A connection in a transaction; units are read two at a time by up to three sessions."""
    monkeypatch.setattr(blocks, "_PORTION", 2)
    monkeypatch.setattr(blocks, "_SESSIONS", 3)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    with database.engine().connect() as connection:
        yield connection


def write(connection: Connection, pairs: range) -> dict[int, NDArray[np.float32]]:
    kl = {pair: np.random.default_rng(pair).random(N_TOKENS).astype(np.float32) for pair in pairs}
    for pair in pairs:
        kl[pair][: pair % 3] = np.nan
    copy_units(connection, schema.divergence_chunk, [({"pair_id": p}, {"kl": x}) for p, x in kl.items()], 512)
    return kl


def kl_of(columns: Columns) -> NDArray[np.float32]:
    (kl,) = columns
    assert kl is not None
    return kl


def assert_same(found: dict[int, NDArray[np.float32]], written: dict[int, NDArray[np.float32]]) -> None:
    assert found.keys() == written.keys()
    for pair, kl in written.items():
        np.testing.assert_array_equal(found[pair], kl)


def test_units_come_back_whole_and_those_without_facts_do_not(connection: Connection) -> None:
    written = write(connection, range(1, 8))
    found = read_units(connection, schema.divergence_chunk, [*range(1, 8), 99], ["kl"])
    assert_same({pair: kl_of(columns) for pair, columns in found}, written)
    assert list(read_units(connection, schema.divergence_chunk, [], ["kl"])) == []


def test_arrays_are_read_as_stored_where_a_superuser_is_on_the_servers_machine(
    connection: Connection, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    written = write(connection, range(1, 9))
    query = "select usesuper and inet_server_addr() is null from pg_user where usename = current_user"
    may = connection.exec_driver_sql(query).scalar_one() and form == "stored"
    monkeypatch.setattr(blocks, "decode" if may else "decode_stored", refuse)
    assert_same(
        {pair: kl_of(c) for pair, c in read_units(connection, schema.divergence_chunk, list(written), ["kl"])}, written
    )
    monkeypatch.setattr(blocks, "decode_stored" if may else "decode", refuse)
    with pytest.raises(AssertionError, match="decoded"):
        next(read_units(connection, schema.divergence_chunk, [1], ["kl"]))


def test_a_transaction_that_only_reads_can_read_many_units(connection: Connection) -> None:
    written = write(connection, range(1, 13))
    connection.commit()
    connection.exec_driver_sql("set transaction read only")
    found = read_units(connection, schema.divergence_chunk, list(written), ["kl"])
    assert_same({pair: kl_of(columns) for pair, columns in found}, written)


def test_few_units_leave_no_function_behind(database: Database) -> None:
    with database.engine().begin() as connection:
        write(connection, range(1, 3))
        assert len(list(read_units(connection, schema.divergence_chunk, [1, 2], ["kl"]))) == 2
        assert connection.exec_driver_sql("select count(*) from pg_proc where proname = 'stored_bytes'").scalar() == 0


def scans(connection: Connection) -> list[str]:
    """What plans may do in this transaction, or in the next one where the copy was cut off before its end."""
    if driver(connection).info.transaction_status == TransactionStatus.INERROR:
        driver(connection).rollback()
    query = "select setting from pg_settings where name in ('enable_seqscan', 'enable_bitmapscan')"
    return list(connection.exec_driver_sql(query).scalars())


@pytest.mark.parametrize("n_taken", [0, 1, 40])
def test_the_plans_of_later_statements_are_as_before_however_many_units_were_taken(
    connection: Connection, n_taken: int
) -> None:
    write(connection, range(1, 41))
    found = read_units(connection, schema.divergence_chunk, range(1, 41), ["kl"])
    taken = [next(found) for _ in range(n_taken)]
    found.close()
    assert len(taken) == n_taken
    assert scans(connection) == ["on", "on"]


def test_an_error_in_the_midst_of_units_is_the_one_that_is_raised(connection: Connection) -> None:
    write(connection, range(1, 41))
    found = read_units(connection, schema.divergence_chunk, range(1, 41), ["kl"])
    next(found)
    with pytest.raises(ArithmeticError, match="no such sum"):
        found.throw(ArithmeticError("no such sum"))
    assert scans(connection) == ["on", "on"]


def test_columns_that_are_null_are_none(connection: Connection) -> None:
    numbers = np.arange(N_TOKENS, dtype=np.int32)
    columns = dict.fromkeys(schema.SCORES) | {"surprisal": numbers.astype(np.float32), "rank": numbers - 1}
    copy_units(connection, schema.score_chunk, [({"evaluation_id": 3}, columns)], 0)
    [(unit, found)] = read_units(connection, schema.score_chunk, [3], ["rank", "entropy", "surprisal"])
    rank, entropy, surprisal = found
    assert unit == 3
    assert entropy is None
    np.testing.assert_array_equal(rank, numbers - 1)
    np.testing.assert_array_equal(surprisal, numbers.astype(np.float32))


def test_several_sessions_read_what_one_reads(connection: Connection) -> None:
    written = write(connection, range(1, 30))
    driver(connection).commit()
    found = map_units(connection, schema.divergence_chunk, [*written, 77], ["kl"], kl_of)
    assert_same(found, written)
    driver(connection).rollback()


def test_what_only_this_transaction_sees_is_read_too(connection: Connection) -> None:
    committed = write(connection, range(1, 12))
    driver(connection).commit()
    written = committed | write(connection, range(12, 30))
    assert_same(map_units(connection, schema.divergence_chunk, list(written), ["kl"], kl_of), written)
    driver(connection).rollback()
    assert_same(map_units(connection, schema.divergence_chunk, list(written), ["kl"], kl_of), committed)


def test_a_server_without_sessions_to_spare_is_read_by_one(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(connection, range(1, 30))
    driver(connection).commit()

    def refuse() -> None:
        raise blocks.psycopg.OperationalError("too many clients already")

    monkeypatch.setattr(type(connection.engine), "connect", lambda engine: refuse())
    assert_same(map_units(connection, schema.divergence_chunk, list(written), ["kl"], kl_of), written)


def test_an_error_in_the_work_ends_all_of_it(connection: Connection) -> None:
    written = write(connection, range(1, 30))
    driver(connection).commit()
    done = []

    def fail(columns: Columns) -> None:
        done.append(columns)
        raise ArithmeticError("no such sum")

    with pytest.raises(ArithmeticError, match="no such sum"):
        map_units(connection, schema.divergence_chunk, list(written), ["kl"], fail)
    assert len(done) <= 3  # one a session
