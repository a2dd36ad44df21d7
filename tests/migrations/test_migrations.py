"""The history of the tables: one line of revisions that ends in what `warehouse.schema` declares."""

from __future__ import annotations

import pandas as pd
import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import sql

from queries.refresh import refresh
from tests.contents import assert_same, contents, findings, frame
from tests.queries.measured import Measured, add_seed, measure
from warehouse import migration
from warehouse.database import Database
from warehouse.facts import driver
from warehouse.migration import alembic_config, ensure_schemas, upgrade
from warehouse.schema import metadata

# What PostgreSQL knows of a table, as text to compare.
COLUMNS = """
    select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
    from pg_class as c
    inner join pg_attribute as a on c.oid = a.attrelid
    left join pg_attrdef as d on c.oid = d.adrelid and a.attnum = d.adnum
    where c.relnamespace = 'warehouse'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
        and c.relname <> 'alembic_version'
"""
CONSTRAINTS = """
    select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    from pg_constraint
    where connamespace = 'warehouse'::regnamespace and contype <> 'n'
        and conrelid <> coalesce(to_regclass('warehouse.alembic_version'), 0)
"""
INDEXES = "select indexdef from pg_indexes where schemaname = 'warehouse' and tablename <> 'alembic_version'"
COMMENTS = """
    select relname, obj_description(oid) from pg_class
    where relnamespace = 'warehouse'::regnamespace and relkind = 'r' and relname <> 'alembic_version'
"""


def _migrate(database: Database, revision: str) -> None:
    with database.engine(search_path="public").begin() as connection:
        older = revision == "base" or revision < (migration.stored_revision(driver(connection)) or "")
        step = command.downgrade if older else command.upgrade
        step(alembic_config(connection), revision)


def _catalogue(database: Database) -> dict[str, list[str]]:
    queries = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES, "comments": COMMENTS}
    with database.connect() as connection:
        connection.execute("set search_path = pg_catalog")
        return {name: sorted(map(str, connection.execute(query.encode()))) for name, query in queries.items()}


def test_there_is_one_head_and_the_package_knows_it_without_alembic() -> None:
    heads = ScriptDirectory.from_config(alembic_config()).get_heads()
    assert heads == [migration.head()]


def test_every_revision_is_known_without_alembic() -> None:
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert {script.revision: script.down_revision for script in scripts} == migration.known_revisions()


def test_alembic_finds_no_difference_between_migrations_and_metadata(database: Database) -> None:
    with database.engine(search_path="public").begin() as connection:
        command.check(alembic_config(connection))


def test_the_catalogue_after_the_migrations_is_that_of_the_metadata(
    database: Database, empty_database: Database
) -> None:
    with empty_database.connect() as connection:
        ensure_schemas(connection)
    metadata.create_all(empty_database.engine(search_path="public"))
    declared, migrated = _catalogue(empty_database), _catalogue(database)
    assert declared["columns"]
    assert migrated == declared


def test_up_down_up_ends_where_up_ends(empty_database: Database) -> None:
    _migrate(empty_database, "head")
    once = _catalogue(empty_database)
    _migrate(empty_database, "base")
    assert _catalogue(empty_database) == {name: [] for name in once}
    _migrate(empty_database, "head")
    assert _catalogue(empty_database) == once


def test_the_version_is_kept_in_our_own_schema(database: Database) -> None:
    with database.connect() as connection:
        tables = connection.execute("select schemaname from pg_tables where tablename = 'alembic_version'").fetchall()
        assert tables == [("warehouse",)]
        assert migration.stored_revision(connection) == migration.head()


# --- databases with rows ---------------------------------------------------------------------------------------------


def _copy_rows(source: Database, target: Database) -> None:
    """Copy what tables and columns both databases have, as text, the tables that others refer to first."""
    with source.connect() as reading, target.connect() as writing:
        for table in metadata.sorted_tables:
            columns = _columns(writing, table.name)
            if not columns or table.name == "views_state":
                continue
            name = sql.Identifier("warehouse", table.name)
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            writing.execute(sql.SQL("delete from {}").format(name))  # the constants
            out = sql.SQL("copy {} ({}) to stdout").format(name, names)
            into = sql.SQL("copy {} ({}) from stdin").format(name, names)
            with reading.cursor().copy(out) as rows, writing.cursor().copy(into) as copy:
                for row in rows:
                    copy.write(row)
            _continue_numbering(writing, table.name, columns)


def _columns(connection: psycopg.Connection[object], table: str) -> list[str]:
    query = """
    select attname from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
    """
    return [str(name) for (name,) in connection.execute(query, [f"warehouse.{table}"])]  # type: ignore[misc]


def _continue_numbering(connection: psycopg.Connection[object], table: str, columns: list[str]) -> None:
    """Let the next row have the next number."""
    found = connection.execute("select pg_get_serial_sequence(%s, %s)", [f"warehouse.{table}", columns[0]]).fetchone()
    if found == (None,):
        return
    query = sql.SQL("select setval(%s::regclass, (select max({}) from {}))")
    named = query.format(sql.Identifier(columns[0]), sql.Identifier("warehouse", table))
    connection.execute(named, found)  # type: ignore[arg-type]


@pytest.fixture
def original(other_database: Database) -> Measured:
    """A warehouse of today."""
    return measure(other_database, n_tokens=600)


@pytest.fixture
def aged(original: Measured, empty_database: Database) -> Database:
    """A database of the first revision with the rows of the original, as far as that revision had room for them."""
    _migrate(empty_database, "0001")
    _copy_rows(original.database, empty_database)
    with empty_database.connect() as connection:
        connection.execute("create view public.mine as select kind, count(*) as n from warehouse.comparison group by 1")
    return empty_database


def _fill_in(database: Database) -> None:
    """Let a refresh compute what was not kept before; it has nothing to put right."""
    with database.connect() as connection:
        changes = refresh(connection)
    # Of pairs the rank correlation, which is new.
    assert {change.table for change in changes if change.changed or change.removed} <= {"comparison_pair"}
    assert {change.table for change in changes if change.added} == {"document_score_chunk", "document_divergence_chunk"}


def _assert_alike(database: Database, other: Database) -> None:
    """Both say the same: to the bit, but for correlations, which a refresh takes anew with those that are new."""
    columns = "model, step, seed_p, seed_q, pearson, spearman, top1_agreement"
    agreement = f"select {columns} from seed_agreement order by 1, 2, 3, 4"
    pd.testing.assert_frame_equal(frame(database, agreement), frame(other, agreement), rtol=1e-9)
    sides = [contents(side) for side in (database, other)]
    for side in sides:
        side["divergence_chunk"] = side["divergence_chunk"].drop(columns=["pearson", "spearman"])
    assert_same(*sides)


def test_an_old_database_with_rows_is_brought_up_to_date_and_says_what_a_new_one_says(
    original: Measured, aged: Database
) -> None:
    upgrade(aged, set_search_path=True)
    assert set(findings(aged)) == {"document_score_incomplete", "document_divergence_incomplete"}
    _fill_in(aged)
    _assert_alike(aged, original.database)
    assert findings(aged) == {}
    with aged.connect() as connection:
        changes = refresh(connection)
    assert not [change for change in changes if change.changed or change.added or change.removed]
    assert frame(aged, "select sum(n) from public.mine").iloc[0, 0] == len(frame(aged, "select * from comparisons"))


def test_an_old_database_with_rows_takes_in_more_after_its_upgrade(original: Measured, aged: Database) -> None:
    upgrade(aged, set_search_path=True)
    original.database = aged
    with aged.engine().begin() as connection:
        add_seed(connection, original, "large", 7)
    query = "select distinct n_pairs, complete from expected_convergence where kind = 'seed' and model = 'large'"
    assert frame(aged, query).to_numpy().tolist() == [[12, True]]
    _fill_in(aged)
    assert findings(aged) == {}


def test_every_revision_is_passed_with_rows_in_both_directions(original: Measured, aged: Database) -> None:
    _migrate(aged, "head")
    _migrate(aged, "0001")
    upgrade(aged, set_search_path=True)
    _fill_in(aged)
    _assert_alike(aged, original.database)


def test_going_back_is_refused_where_there_are_rows_of_the_new_kinds(aged: Database) -> None:
    _migrate(aged, "head")
    with aged.connect() as connection:
        connection.execute("update warehouse.comparison set kind = 'cross' where kind = 'final'")
    with pytest.raises(Exception, match="ck_comparison_kind"):
        _migrate(aged, "0001")
