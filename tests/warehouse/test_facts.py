"""Facts in chunks: what binary COPY writes is what comes back, and is what PostgreSQL's own driver would write."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg.copy import Copy, FileWriter
from sqlalchemy import Connection

from warehouse import schema
from warehouse.database import Database
from warehouse.facts import copy_chunks, copy_rows, copy_units, driver, read_groups, read_tokens

REALS = ("surprisal", "entropy", "top_surprisal", "space_logmass", "punct_logmass", "eos_logmass", "pad_logmass")
INTEGERS = ("rank", "top_vocab_id")


def scores(n: int, seed: int = 0) -> dict[str, NDArray[Any] | None]:
    """Columns of score_chunk over n tokens, some of them without value."""
    random = np.random.default_rng(seed)
    reals = {name: random.normal(size=n).astype(np.float32) for name in REALS}
    integers = {name: random.integers(0, 2**31 - 1, n).astype(np.int32) for name in INTEGERS}
    reals["entropy"][::3] = np.nan
    integers["rank"][1::4] = -1
    return {**reals, **integers, "punct_logmass": None}


def read(connection: Connection, *columns: str, evaluation: int = 1) -> list[NDArray[Any]]:
    query = f"select {', '.join(columns)} from warehouse.score_chunk where evaluation_id = %(e)s order by chunk_id"
    return read_tokens(connection, query, {"e": evaluation}, len(columns))


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 511, 512, 513])
def test_what_was_written_comes_back_with_its_gaps(database: Database, n: int) -> None:
    columns = scores(n)
    with database.engine().begin() as connection:
        assert copy_chunks(connection, schema.score_chunk, {"evaluation_id": 1}, 512, columns) == -(-n // 256)
        written = [name for name, values in columns.items() if values is not None]
        for name, values in zip(written, read(connection, *written), strict=True):
            expected = columns[name]
            assert expected is not None
            np.testing.assert_array_equal(values, expected)
            assert values.dtype == expected.dtype


@pytest.mark.parametrize("n", [255, 256, 257])
def test_chunks_hold_256_tokens_and_the_last_what_is_left(database: Database, n: int) -> None:
    columns = scores(n)
    with database.engine().begin() as connection:
        copy_chunks(connection, schema.score_chunk, {"evaluation_id": 1}, 512, columns)
    with database.connect() as plain:
        rows = plain.execute(
            "select chunk_id, surprisal, entropy, rank, punct_logmass from warehouse.score_chunk order by chunk_id"
        ).fetchall()
    assert len(rows) == (2 if n == 257 else 1)
    assert [chunk for chunk, *_ in rows] == [2, 3][: len(rows)]
    assert [len(surprisal) for _, surprisal, *_ in rows] == [min(n, 256), n - 256][: len(rows)]
    surprisal, entropy, rank = columns["surprisal"], columns["entropy"], columns["rank"]
    assert surprisal is not None
    assert entropy is not None
    assert rank is not None
    for row, (_, *arrays, nothing) in enumerate(rows):
        part = slice(256 * row, 256 * row + 256)
        assert np.float32(arrays[0]).tolist() == surprisal[part].tolist()
        assert [value is None for value in arrays[1]] == np.isnan(entropy[part]).tolist()
        assert arrays[2] == as_list(rank[part])
        assert nothing is None


@pytest.mark.parametrize("gaps", [False, True])
def test_the_bytes_are_those_that_psycopg_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch, gaps: bool
) -> None:
    reals, integers = np.array([0.25, -1e-38, 3e38, 7.5], np.float32), np.array([0, 5, 2**31 - 1, 7], np.int32)
    if gaps:
        reals[1], integers[3] = np.nan, -1
    columns = {**dict.fromkeys(REALS, reals), **dict.fromkeys(INTEGERS, integers), "pad_logmass": None}
    sent: list[bytes] = []
    write = Copy.write

    def recorded(self: Copy, data: Any) -> None:
        sent.append(bytes(data))
        write(self, data)

    with database.engine().begin() as connection:
        with monkeypatch.context() as patch:
            patch.setattr(Copy, "write", recorded)
            copy_chunks(connection, schema.score_chunk, {"evaluation_id": 9}, 256, columns)
        file = io.BytesIO()
        with driver(connection).cursor() as cursor, Copy(cursor, binary=True, writer=FileWriter(file)) as copy:
            copy.set_types(["int4", "int8", *("int4[]" if name in INTEGERS else "float4[]" for name in columns)])
            copy.write_row((9, 1, *(None if values is None else as_list(values) for values in columns.values())))
    assert b"".join(sent) == file.getvalue()


def test_many_chunks_with_gaps_here_and_there_are_those_that_were_written(database: Database) -> None:
    columns = scores(256 * 150 + 7)
    surprisal, rank = columns["surprisal"], columns["rank"]
    assert surprisal is not None
    assert rank is not None
    columns["entropy"], rank[:] = surprisal + 1, np.arange(len(rank)) % 1000 + 1
    for chunk in (0, 3, 70, 71, 149):
        surprisal[256 * chunk + 5], rank[256 * chunk + 255] = np.nan, -1
    with database.engine().begin() as connection:
        assert copy_chunks(connection, schema.score_chunk, {"evaluation_id": 1}, 512, columns) == 151
        back = read(connection, "surprisal", "entropy", "rank")
    for values, expected in zip(back, (surprisal, columns["entropy"], rank), strict=True):
        np.testing.assert_array_equal(values, expected)
    with database.connect() as plain:
        chunks = plain.execute("select chunk_id, cardinality(rank) from warehouse.score_chunk order by 1").fetchall()
    assert chunks == [(2 + number, 256 if number < 150 else 7) for number in range(151)]


def test_units_written_together_are_those_written_one_by_one(database: Database) -> None:
    # The second is longer, and the third has gaps.
    units = {pair: np.random.default_rng(pair).random(300 * pair).astype(np.float32) for pair in (1, 2, 3)}
    units[3][::100] = np.nan
    with database.engine().begin() as connection:
        rows = [({"pair_id": pair}, {"kl": kl}) for pair, kl in units.items()]
        assert copy_units(connection, schema.divergence_chunk, rows, 256) == 2 + 3 + 4
        together = chunks_of_pairs(connection)
        connection.rollback()
    with database.engine().begin() as connection:
        for pair, kl in units.items():
            copy_chunks(connection, schema.divergence_chunk, {"pair_id": pair}, 256, {"kl": kl})
        assert together == chunks_of_pairs(connection)


def test_no_units_write_nothing(database: Database) -> None:
    with database.engine().begin() as connection:
        assert copy_units(connection, schema.divergence_chunk, [], 256) == 0
        assert chunks_of_pairs(connection) == []


@pytest.mark.parametrize("n", [255, 256, 300, 600])
def test_several_elements_of_a_token_stay_together(database: Database, n: int) -> None:
    ids = np.arange(3 * n, dtype=np.int32).reshape(n, 3)
    columns = {"vocab_ids": ids, "log_probabilities": -ids.astype(np.float32)}
    with database.engine().begin() as connection:
        copy_chunks(connection, schema.top_chunk, {"evaluation_id": 1, "k": 3}, 0, columns)
        rows = driver(connection).execute(
            "select k, vocab_ids, log_probabilities from warehouse.top_chunk order by chunk_id"
        )
        for number, (k, stored, logs) in enumerate(rows):
            expected = ids[256 * number : 256 * number + 256].ravel().tolist()
            assert (k, stored, logs) == (3, expected, [-float(value) for value in expected])
    assert number == -(-n // 256) - 1


def test_rows_are_those_that_statements_would_insert(database: Database) -> None:
    sums = [c.name for c in schema.score_summary.c if c.name.startswith(("sum", "min", "max", "cluster_"))]
    row = {"evaluation_id": 1, "layer_id": 2, "clusters": 3, "n": 2**40, "n_correct": 0}
    values = [np.random.default_rng(number).random(len(sums)).tolist() for number in range(3)]
    rows = [{**row, "category_id": number, **dict(zip(sums, values[number], strict=True))} for number in range(3)]
    with database.engine().begin() as connection:
        copy_rows(connection, schema.score_summary, rows)
        copied = connection.execute(schema.score_summary.select()).all()
        connection.rollback()
    with database.engine().begin() as connection:
        connection.execute(schema.score_summary.insert(), rows)
        assert copied == connection.execute(schema.score_summary.select()).all()
        assert len(copied) == 3


def test_rows_may_hold_arrays_and_nulls(database: Database) -> None:
    summary = schema.convergence_summary
    numbers = [c.name for c in summary.c if c.name not in ("category_id", "pair_square_sum", "seed_sums")]
    with database.engine().begin() as connection:
        row = {**dict.fromkeys(numbers, 1), "category_id": 5, "pair_square_sum": None, "seed_sums": [0.5, 1e-300]}
        copy_rows(connection, summary, [row])
        copy_rows(connection, summary, [])
        [stored] = connection.execute(summary.select()).mappings()
    assert dict(stored) == row


def chunks_of_pairs(connection: Connection) -> list[tuple[Any, ...]]:
    query = "select pair_id, chunk_id, kl from warehouse.divergence_chunk order by pair_id, chunk_id"
    return driver(connection).execute(query).fetchall()


def as_list(values: NDArray[Any]) -> list[float | int | None]:
    return [None if value == -1 or value != value else value for value in values.tolist()]


def test_arrays_of_unequal_length_are_refused_before_anything_is_sent(database: Database) -> None:
    columns = {**scores(10), "entropy": np.zeros(9, np.float32)}
    with database.engine().begin() as connection:
        with pytest.raises(ValueError, match=r"differ in length: \[9, 10\]"):
            copy_chunks(connection, schema.score_chunk, {"evaluation_id": 1}, 0, columns)
        assert read(connection, "surprisal")[0].size == 0


def test_small_and_big_key_columns_have_their_own_width(database: Database) -> None:
    with database.engine().begin() as connection:
        keys = {"evaluation_id": 2**31 - 1, "reference_id": 3}
        first = 256 * 2**40
        copy_chunks(connection, schema.reference_chunk, keys, first, {"kl": np.ones(3, np.float32)})
    with database.connect() as plain:
        assert plain.execute("select * from warehouse.reference_chunk").fetchall() == [
            (2**31 - 1, 3, 2**40, [1.0, 1.0, 1.0])
        ]


def test_groups_are_put_together_by_unit(database: Database) -> None:
    values = {pair: np.arange(300, dtype=np.float32) * pair for pair in (3, 1, 2)}
    with database.engine().begin() as connection:
        for pair, kl in values.items():
            copy_chunks(connection, schema.divergence_chunk, {"pair_id": pair}, 256, {"kl": kl})
        query = """
        select pair_id, kl from warehouse.divergence_chunk
        where pair_id = any(%(pairs)s) order by pair_id, chunk_id
        """
        groups = read_groups(connection, query, {"pairs": [1, 3]})
    assert list(groups) == [1, 3]
    for pair, kl in groups.items():
        np.testing.assert_array_equal(kl, values[pair])


def test_a_lost_copy_leaves_the_transaction_unusable_and_nothing_behind(database: Database) -> None:
    kl = np.ones(3, np.float32)
    with database.engine().connect() as connection:
        copy_chunks(connection, schema.divergence_chunk, {"pair_id": 1}, 0, {"kl": kl})
        with pytest.raises(psycopg.errors.UniqueViolation):
            copy_chunks(connection, schema.divergence_chunk, {"pair_id": 1}, 0, {"kl": kl})
    with database.connect() as plain:
        assert plain.execute("select count(*) from warehouse.divergence_chunk").fetchone() == (0,)


ELEMENTS = st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False)), min_size=1, max_size=520)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ELEMENTS, st.integers(0, 2**30))
def test_any_array_comes_back_bit_by_bit(database: Database, elements: list[float | None], chunk: int) -> None:
    kl = np.array([np.nan if x is None else x for x in elements], np.float32)
    with database.engine().begin() as connection:
        copy_chunks(connection, schema.divergence_chunk, {"pair_id": 1}, 256 * chunk, {"kl": kl})
        query = "select kl from warehouse.divergence_chunk where pair_id = 1 order by chunk_id"
        (back,) = read_tokens(connection, query, {}, 1)
        connection.rollback()
    np.testing.assert_array_equal(back.view(np.int32)[~np.isnan(kl)], kl.view(np.int32)[~np.isnan(kl)])
    np.testing.assert_array_equal(np.isnan(back), np.isnan(kl))
