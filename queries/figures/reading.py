"""Reads frames from the views, and remembers the statements. This module may not know what a figure shows."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    import pandas as pd

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Rows:
    """The rows of a query as they are, and which columns hold numbers."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: list[tuple[Any, ...]]


class Source:
    """A reader's connection. statements: what was read through it, as anybody can run it again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.statements: list[str] = []

    def read(self, query: str, **parameters: object) -> pd.DataFrame:
        """The rows of a query, remembered with its values in it: what is shown below a figure is what was run."""
        statement = self._with_values(query, parameters)
        self.statements.append(statement)
        return self._frame(statement)

    def rows(self, query: str, **parameters: object) -> Rows:
        """As read, but not as a frame: integers stay what they are beside NULL."""
        statement = self._with_values(query, parameters)
        self.statements.append(statement)
        with self._connection.cursor() as cursor:
            cursor.execute(statement.encode())
            columns = cursor.description or []
            numeric = tuple(column.type_code in _NUMBERS for column in columns)
            return Rows(tuple(column.name for column in columns), numeric, cursor.fetchall())

    def look_up(self, query: str, **parameters: object) -> pd.DataFrame:
        """The rows of a query that finds out what there is to read, and is not remembered."""
        return self._frame(self._with_values(query, parameters))

    def _with_values(self, query: str, parameters: dict[str, object]) -> str:
        return psycopg.ClientCursor(self._connection).mogrify(cleandoc(query), parameters)

    def _frame(self, statement: str) -> pd.DataFrame:
        import pandas as pd

        with self._connection.cursor() as cursor:
            cursor.execute(statement.encode())
            columns = cursor.description or []
            frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in columns])
            # What is NULL throughout would otherwise be a column of None.
            real = [column.name for column in columns if column.type_code == _FLOAT8]
        return frame.astype(dict.fromkeys(real, "float64"))


_NUMBERS = {psycopg.adapters.types[name].oid for name in ("int2", "int4", "int8", "float4", "float8", "numeric")}
_FLOAT8 = psycopg.adapters.types["float8"].oid
