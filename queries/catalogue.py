"""What views there are, and what their columns mean: the comments that the views carry."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from queries.output import rows_result
from queries.run import Result
from warehouse.errors import WarehouseError

Connection = psycopg.Connection[Any]

_VIEWS = """
select relname, obj_description(oid, 'pg_class')
from pg_class
where relnamespace = 'analysis'::regnamespace and relkind in ('v', 'm')
order by relname
"""

_COLUMNS = """
select attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
from pg_attribute
inner join pg_class on pg_class.oid = attrelid
where relnamespace = 'analysis'::regnamespace and relname = %s and attnum > 0 and not attisdropped
order by attnum
"""


class UnknownView(WarehouseError):
    """There is no view of this name."""


def list_views(connection: Connection) -> Result:
    """The views of schema analysis, users' own included, with their comments."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_VIEWS).fetchall()
    return rows_result([("view", "text"), ("shows", "text")], rows)


def columns_of(connection: Connection, name: str) -> Result:
    """The columns of a view with type and comment. name: may be qualified with analysis. Raises UnknownView."""
    bare = name.removeprefix("analysis.")
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_COLUMNS, [bare]).fetchall()
        known = [row[0] for row in cursor.execute(_VIEWS).fetchall()]
    if bare not in known:
        near = get_close_matches(bare, known, n=1)
        suggestion = f"did you mean {near[0]}?" if near else "`warehouse views` lists them."
        raise UnknownView(f"There is no view {name}; {suggestion}")
    return rows_result([("column", "text"), ("type", "text"), ("meaning", "text")], rows)
