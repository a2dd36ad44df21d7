"""Puts the views and functions of this package into schema ``analysis``, in one transaction.

Views are code: they are replaced where PostgreSQL allows it, and otherwise dropped and made again together with
whatever users built on them. This module may not know what the views say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from queries import files
from queries.dependents import Dependents, ViewSyncError
from queries.files import SqlFile

Connection = psycopg.Connection[Any]

READER = "warehouse_read"
#: A single bigint, so that it cannot meet the two-integer locks of corpora.
_LOCK = 0x76696577
_INSTALLED = "warehouse.installed_views()"


def digest() -> str:
    """SHA-256 of the view and function files of this package."""
    return files.digest()


def is_current(connection: Connection) -> bool:
    """Whether the database holds exactly the views of this package."""
    state = _state(connection)
    return state is not None and state[0] == digest()


def sync(connection: Connection, *, force: bool = False) -> None:
    """Make schema ``analysis`` equal to the files of this package; nothing happens when it already is.

    connection: of the owner. force: make the views again even when they are current.
    What users built on the views survives, or the error names it and nothing has changed.
    Raises ViewSyncError; also when a newer version of the package made the views.
    """
    with connection.transaction(), _plain_search_path(connection):
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        if is_current(connection) and not force:
            return
        _refuse_downgrade(connection)
        wanted = files.definitions()
        _refuse_foreign_objects(connection, wanted)
        if not _replace(connection, wanted):
            _rebuild(connection, wanted)
        _grant(connection, wanted)
        _record(connection, wanted)


def _rows(connection: Connection, query: LiteralString, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, params).fetchall()


@contextmanager
def _plain_search_path(connection: Connection) -> Iterator[None]:
    """Every name of ours is qualified, and PostgreSQL then qualifies every name in the definitions it hands out."""
    [(before,)] = _rows(connection, "select current_setting('search_path')")
    connection.execute("select set_config('search_path', 'pg_catalog', true)")
    yield
    connection.execute("select set_config('search_path', %s, true)", [before])


def _state(connection: Connection) -> tuple[str, str] | None:
    rows = _rows(connection, "select digest, package_version from warehouse.views_state")
    return rows[0] if rows else None


def _package_version() -> str:
    try:
        return metadata.version("token-warehouse")
    except metadata.PackageNotFoundError:
        return "0"


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _refuse_downgrade(connection: Connection) -> None:
    state, version = _state(connection), _package_version()
    if state and _release(state[1]) > _release(version):
        raise ViewSyncError(
            f"The views of this database were made by token-warehouse {state[1]} and this is {version}: "
            "upgrade the package."
        )


def _installed(connection: Connection) -> set[str]:
    """What an earlier sync made, as ``view name`` and ``function name``."""
    if _rows(connection, "select 1 where to_regprocedure(%s) is null", [_INSTALLED]):
        return set()
    [(names,)] = _rows(connection, "select warehouse.installed_views()")
    return set(names)


def _labels(wanted: Sequence[SqlFile]) -> set[str]:
    return {f"{file.kind} {file.name}" for file in wanted}


def _refuse_foreign_objects(connection: Connection, wanted: Sequence[SqlFile]) -> None:
    """`create or replace` would overwrite a user's own view or function of the same name without a word."""
    taken = _rows(
        connection,
        """
        select case when relkind = 'v' then 'view ' else 'relation ' end || relname
        from pg_class where relnamespace = 'analysis'::regnamespace and relname = any(%(views)s)
        union
        select 'function ' || proname
        from pg_proc where pronamespace = 'analysis'::regnamespace and proname = any(%(functions)s)
        """,
        {kind + "s": [file.name for file in wanted if file.kind == kind] for kind in ("view", "function")},  # type: ignore[arg-type]
    )
    foreign = sorted({label for (label,) in taken} - _installed(connection))
    if foreign:
        raise ViewSyncError(
            f"Schema analysis holds {', '.join(foreign)}, which token-warehouse did not make and needs the name of: "
            "rename it."
        )


def _replace(connection: Connection, wanted: Sequence[SqlFile]) -> bool:
    """Create or replace in place. False, with nothing changed, where PostgreSQL refuses or something is left over."""
    if _installed(connection) - _labels(wanted):
        return False
    try:
        with connection.transaction():
            for file in wanted:
                connection.execute(file.text.encode())
            if _has_stale_signature(connection, wanted):
                raise psycopg.errors.InvalidFunctionDefinition
    except psycopg.ProgrammingError:
        return False
    return True


def _has_stale_signature(connection: Connection, wanted: Sequence[SqlFile]) -> bool:
    """A function whose arguments changed is a second function beside the first: replacing leaves the old one."""
    names = [file.name for file in wanted if file.kind == "function"]
    return bool(
        _rows(
            connection,
            """
            select proname from pg_proc
            where pronamespace = 'analysis'::regnamespace and proname = any(%s)
            group by proname having count(*) > 1
            """,
            [names],
        )
    )


def _rebuild(connection: Connection, wanted: Sequence[SqlFile]) -> None:
    """Drop our objects and everything users built on them, make ours, put theirs back."""
    dependents = Dependents.of(connection, _installed(connection))
    dependents.drop(connection)
    for file in wanted:
        try:
            connection.execute(file.text.encode())
        except psycopg.ProgrammingError as error:
            raise ViewSyncError(f"The {file.kind} analysis.{file.name} cannot be created: {error}") from error
    dependents.restore(connection)


def _grant(connection: Connection, wanted: Sequence[SqlFile]) -> None:
    reader = sql.Identifier(READER)
    connection.execute(sql.SQL("grant usage on schema analysis to {}").format(reader))
    for kind, privilege in (("view", sql.SQL("select on {}")), ("function", sql.SQL("execute on function {}"))):
        names = [sql.Identifier("analysis", file.name) for file in wanted if file.kind == kind]
        if names:
            objects = privilege.format(sql.SQL(", ").join(names))
            connection.execute(sql.SQL("grant {} to {}").format(objects, reader))


def _record(connection: Connection, wanted: Sequence[SqlFile]) -> None:
    connection.execute(
        sql.SQL(
            "create or replace function warehouse.installed_views() returns text[] "
            "language sql immutable parallel safe as {};"
            "comment on function warehouse.installed_views() is 'Views and functions that token-warehouse made.'"
        ).format(sql.Literal(f"select array[{', '.join(sorted(repr(label) for label in _labels(wanted)))}]::text[]"))
    )
    connection.execute(
        """
        insert into warehouse.views_state (only_row, digest, package_version, made_at) values (true, %s, %s, now())
        on conflict (only_row) do update
        set digest = excluded.digest, package_version = excluded.package_version, made_at = excluded.made_at
        """,
        [digest(), _package_version()],
    )
