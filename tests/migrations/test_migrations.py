"""The history of the tables: one line of revisions that ends in what `warehouse.schema` declares."""

from __future__ import annotations

from alembic import command
from alembic.script import ScriptDirectory

from warehouse import migration
from warehouse.database import Database
from warehouse.migration import alembic_config, ensure_schemas
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
        step = command.downgrade if revision == "base" else command.upgrade
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
