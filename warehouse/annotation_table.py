"""A table or view of the user's own in the database, as rows of annotations."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from warehouse.annotation_keys import DOCUMENT_COLUMNS, KEY_COLUMNS
from warehouse.annotation_rows import BadAnnotationFile, Rows
from warehouse.facts import driver

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(connection: Connection, name: str, key: str | None = None) -> tuple[Rows, str]:
    """(the rows of a table, the column with the values); name: schema.table.column, or table.column.

    key: the kind of key, if it is said. Only the column and those that may be keys are read. Raises BadAnnotationFile
    for a table or column that is not there, or cannot be read.
    """
    *table, column = name.split(".")
    if len(table) not in (1, 2) or not all((*table, column)):
        raise BadAnnotationFile(f"{name} does not name a column: write it as schema.table.column.")
    try:
        names = _column_names(connection, table)
        if column not in names:
            raise BadAnnotationFile(f"{'.'.join(table)} has no column {column}; it has {', '.join(names)}.")
        rows = _read(connection, table, _wanted(names, column, key))
    except psycopg.errors.InsufficientPrivilege as error:
        raise BadAnnotationFile(
            f"The owner of the warehouse may not read {'.'.join(table)}: grant it select on the table."
        ) from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise BadAnnotationFile(f"There is no table {'.'.join(table)} in this database.") from error
    if len(rows) == 0:
        raise BadAnnotationFile(f"Table {'.'.join(table)} has no rows; give it at least one.")
    return rows, column


def _column_names(connection: Connection, table: Sequence[str]) -> list[str]:
    statement = sql.SQL("select * from {} limit 0").format(sql.Identifier(*table))
    with driver(connection).cursor() as cursor:
        return [column.name for column in cursor.execute(statement).description or ()]


def _wanted(names: Sequence[str], column: str, key: str | None) -> list[str]:
    """The columns to read: one token_id is enough of keys, unless another one is asked for."""
    if key is None and "token_id" in names:
        key = "token_id"
    choices = [choice for kind, choices in KEY_COLUMNS.items() if key in (None, kind) for choice in choices]
    keys = {name for choice in choices for name in choice} | ({*DOCUMENT_COLUMNS} if key != "token_id" else set())
    keys |= {"value"} if key is not None and key not in KEY_COLUMNS else set()
    return [name for name in names if name == column or name in keys]


def _read(connection: Connection, table: Sequence[str], wanted: Sequence[str]) -> Rows:
    # As text, which tells true from t, and numbers to their last digit.
    columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in wanted)
    statement = sql.SQL("copy (select {} from {}) to stdout (format csv)").format(columns, sql.Identifier(*table))
    text = BytesIO()
    with driver(connection).cursor() as cursor, cursor.copy(statement) as copy:
        for part in copy:
            text.write(part)
    text.seek(0)
    table_columns = _parse(text, wanted) if text.getbuffer().nbytes else {}
    return Rows(f"table {'.'.join(table)}", table_columns, "row")


def _parse(text: BytesIO, names: Sequence[str]) -> dict[str, pa.Array]:
    import pyarrow as pa
    from pyarrow import csv

    table = csv.read_csv(
        text,
        read_options=csv.ReadOptions(column_names=list(names)),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    return {name: table.column(name).combine_chunks() for name in names}
