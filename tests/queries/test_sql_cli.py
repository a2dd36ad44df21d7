"""`warehouse sql`: what it prints, and that nothing it is given can write."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.conftest import Outcome
from tests.queries.measured import Measured

Command = Callable[..., Outcome]

ODD = """
select * from (values
    (1::bigint, 0.1::float8, 1.50::numeric, 'a,"b"', true, array[1, null, 3], '2025-01-02 03:04:05+00'::timestamptz),
    (null, 'NaN', null, '', null, null, null),
    (3, 'infinity', 'NaN', E'two\nlines', false, '{}'::int[], null)
) as t (whole, number, exact, words, flag, list, moment)
"""

WRITES = {
    "delete": "delete from warehouse.score_summary",
    "delete returning": "delete from warehouse.score_summary returning *",
    "update": "update warehouse.run set outlier = true",
    "insert": "insert into warehouse.settings default values",
    "truncate": "truncate warehouse.score_chunk",
    "create table": "create table written (x integer)",
    "create temporary table": "create temporary table written (x integer)",
    "create table as": "create table written as select 1 as x",
    "select into": "select 1 as x into written",
    "drop": "drop view analysis.token_score cascade",
    "commit and drop": "commit; drop schema warehouse cascade",
    "commit": "commit",
    "rollback": "rollback",
    "set read write": "set transaction read write",
    "set session read write": "set session characteristics as transaction read write",
    "set_config": "select set_config('transaction_read_only', 'off', false)",
    "set_config role": "select set_config('role', (select rolname from pg_roles where rolsuper limit 1), false)",
    "set role": "set role warehouse",
    "reset role": "reset role",
    "set session authorization": "set session authorization warehouse",
    "copy to program": "copy (select 1) to program 'touch /tmp/written'",
    "copy to file": "copy (select 1) to '/tmp/written'",
    "copy from program": "copy warehouse.settings from program 'echo'",
    "lo_import": "select lo_import('/etc/passwd')",
    "lo_export": "select lo_export(1, '/tmp/written')",
    "query_to_xml": "select query_to_xml('delete from warehouse.score_summary returning 1', true, true, '')",
    "do": "do $$ begin delete from warehouse.score_summary; end $$",
    "explain analyze": "explain analyze delete from warehouse.score_summary",
    "with delete": "with gone as (delete from warehouse.score_summary returning 1) select count(*) from gone",
    "nextval": "select nextval(pg_get_serial_sequence('warehouse.run', 'run_id'))",
    "lock": "lock table warehouse.run in access exclusive mode",
    "for update": "select * from warehouse.run for update",
    "read file": "select pg_read_file('/etc/passwd')",
    "prepare": "prepare p as delete from warehouse.run",
    "listen": "notify someone",
    "several": "select 1; select 2",
    "empty": " -- nothing ",
    "parameter": "select $1::int",
}


def fingerprint(measured: Measured) -> list[tuple[Any, ...]]:
    """Everything a write of ours could change: rows, objects, settings."""
    with measured.database.connect() as connection:
        return connection.execute(
            """
            select
                (select count(*) from pg_class),
                (select count(*) from pg_roles),
                (select count(*) from pg_largeobject_metadata),
                (select sum(n) from warehouse.score_summary),
                (select count(*) from warehouse.score_chunk),
                (select count(*) from warehouse.run where outlier),
                (select count(*) from warehouse.settings),
                (select last_value from pg_sequences where sequencename = 'run_run_id_seq')
            """
        ).fetchall()


@pytest.mark.parametrize("attempt", WRITES)
def test_what_writes_is_refused_in_one_sentence_and_changes_nothing(
    named_measured: Measured, command: Command, attempt: str
) -> None:
    before = fingerprint(named_measured)
    outcome = command("sql", WRITES[attempt])
    assert outcome.status == 2
    assert outcome.output == ""
    assert outcome.errors.startswith("Error: ")
    assert outcome.errors.count("\n") == 1
    assert "Traceback" not in outcome.errors
    assert fingerprint(named_measured) == before
    assert not Path("/tmp/written").exists()


@pytest.mark.parametrize("call", ["lo_create(0)", "lo_from_bytea(0, 'x')"])
def test_a_large_object_is_refused_or_gone_with_the_transaction(
    named_measured: Measured, command: Command, call: str
) -> None:
    """PostgreSQL 15 makes large objects in read-only transactions; only the embedded server takes the right away."""
    before = fingerprint(named_measured)
    command("sql", f"select {call}")
    assert fingerprint(named_measured) == before


def test_several_statements_are_refused_by_name(named_measured: Measured, command: Command) -> None:
    assert "one statement at a time" in command("sql", "select 1; select 2").errors
    assert command("sql", "select 1 as x;", "--format", "csv").output == "x\n1\n"


def test_an_error_names_the_place(named_measured: Measured, command: Command) -> None:
    outcome = command("sql", "select model,\n  convergance from expected_convergence")
    assert outcome.status == 2
    assert "at line 2, column 3" in outcome.errors
    assert '"convergance"' in outcome.errors
    assert command("sql", "selec 1").errors.startswith('Error: Syntax error at or near "selec" at line 1, column 1')


def test_an_error_while_rows_arrive_is_a_sentence(named_measured: Measured, command: Command) -> None:
    outcome = command("sql", "select 1 / (x - 5000) from generate_series(1, 5000) as x", "--format", "csv")
    assert outcome.status == 2
    assert outcome.errors == "Error: Division by zero.\n"


def test_csv_keeps_values_exactly(named_measured: Measured, command: Command) -> None:
    rows = list(csv.DictReader(io.StringIO(command("sql", ODD, "--format", "csv").output)))
    assert rows[0] == {
        "whole": "1",
        "number": "0.1",
        "exact": "1.50",
        "words": 'a,"b"',
        "flag": "true",
        "list": "[1, null, 3]",
        "moment": "2025-01-02T03:04:05+00:00",
    }
    assert [rows[1]["number"], rows[2]["number"], rows[2]["exact"]] == ["nan", "inf", "NaN"]
    assert rows[2]["words"] == "two\nlines"
    assert rows[1]["whole"] == ""


def test_json_is_strict_and_has_an_object_per_row(named_measured: Measured, command: Command) -> None:
    rows = json.loads(command("sql", ODD, "--format", "json").output)
    assert rows[0]["list"] == [1, None, 3]
    assert rows[0]["exact"] == 1.5
    assert rows[0]["flag"] is True
    assert rows[1] == dict.fromkeys(rows[0]) | {"words": ""}
    assert json.loads(command("sql", "select 1 as x where false", "--format", "json").output) == []


def test_parquet_keeps_types(named_measured: Measured, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "odd.parquet"
    assert command("sql", ODD, "--format", "parquet", "--out", str(out)).status == 0
    table = pyarrow.parquet.read_table(out)
    types = {field.name: str(field.type) for field in table.schema}
    assert types["whole"] == "int64"
    assert types["list"] == "list<element: int32>"
    assert types["moment"] == "timestamp[us, tz=UTC]"
    assert table.column("list").to_pylist() == [[1, None, 3], None, []]
    assert table.column("exact").to_pylist()[:2] == [1.5, None]
    assert list(tmp_path.iterdir()) == [out]


def test_many_rows_arrive_in_order_in_every_format(named_measured: Measured, command: Command, tmp_path: Path) -> None:
    query = "select x, x / 3.0::float8 as third from generate_series(1, 25000) as x"
    lines = command("sql", query, "--format", "csv").output.splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, 25001))
    assert [row["x"] for row in json.loads(command("sql", query, "--format", "json").output)] == list(range(1, 25001))
    out = tmp_path / "rows.parquet"
    command("sql", query, "--format", "parquet", "--out", str(out))
    assert pyarrow.parquet.read_table(out).column("x").to_pylist() == list(range(1, 25001))


def test_a_table_aligns_numbers_and_is_not_cut_in_a_pipe(named_measured: Measured, command: Command) -> None:
    output = command("sql", "select 'a' as name, 1234.56789123 as x, repeat('w', 300) as wide, null as none").output
    header, rule, row = output.splitlines()
    assert header.split() == ["name", "x", "wide", "none"]
    assert set(rule.strip()) == {"─"}
    assert row.split() == ["a", "1234.57", "w" * 300, "NULL"]
    two = command("sql", "select * from (values (1, '[b]x'), (20, E'new\\nline')) as t (n, s)").output.splitlines()
    assert two[2:] == [" 1   [b]x", "20   new\\nline"]


def test_a_long_table_says_that_it_is_cut(named_measured: Measured, command: Command) -> None:
    outcome = command("sql", "select x from generate_series(1, 10001) as x")
    assert len(outcome.output.splitlines()) == 10_002
    assert "first 10,000 rows" in outcome.errors


def test_a_query_comes_from_a_file_or_from_standard_input(
    named_measured: Measured, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "query.sql"
    file.write_text("-- a comment\nselect count(*) as n from checkpoints\n;", encoding="utf-8")
    assert command("sql", "--file", str(file), "--format", "csv").output == "n\n24\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("select '%s' || 'é' as x"))
    assert command("sql", "-", "--format", "csv").output == "x\n%sé\n"
    assert command("sql", "--file", str(tmp_path / "none.sql")).status == 2
    assert command("sql").status == 2


@pytest.mark.parametrize("comment", ["-- how many\n", "--how many\n", "--\n"])
def test_a_query_may_begin_with_a_comment(named_measured: Measured, command: Command, comment: str) -> None:
    outcome = command("sql", f"{comment}select 7 as x", "--format", "csv")
    assert (outcome.status, outcome.output) == (0, "x\n7\n")


def test_a_file_appears_only_when_it_is_complete(named_measured: Measured, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    out.write_text("before")
    failing = "select 1 / (x - 20000) from generate_series(1, 20000) as x"
    assert command("sql", failing, "--format", "csv", "--out", str(out)).status == 2
    assert out.read_text() == "before"
    assert command("sql", "select 1 as x", "--format", "csv", "--out", str(out)).status == 0
    assert out.read_text() == "x\n1\n"
    assert list(tmp_path.iterdir()) == [out]
    missing = command("sql", "select 1", "--out", str(tmp_path / "none" / "x.csv"))
    assert (missing.status, missing.errors.count("\n")) == (2, 1)


def test_columns_of_one_name_are_refused_where_they_would_be_lost(named_measured: Measured, command: Command) -> None:
    assert command("sql", "select 1 as x, 2 as x", "--format", "csv").output == "x,x\n1,2\n"
    assert "Two columns are named x" in command("sql", "select 1 as x, 2 as x", "--format", "json").errors


def test_a_closed_pipe_is_no_error(named_measured: Measured) -> None:
    program = [sys.executable, "-c", "from warehouse.cli import main; main()"]
    query = "select x from generate_series(1, 2000000) as x"
    running = subprocess.Popen(
        [*program, "sql", query, "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == b"x\n"
    running.stdout.close()
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait() == 0
