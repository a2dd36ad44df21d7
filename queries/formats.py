"""The forms a result is written in: a table for people; CSV, JSON and Parquet for programs, as rows arrive.

Each writer takes a result and where to put text or bytes. This module may not know files, terminals or databases.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import IO, Any

from queries.run import Column, Result

Emit = Callable[[str], Any]

#: A table is laid out as a whole, so its rows are held; more than these are for a program, not a person.
TABLE_ROWS = 10_000
_BATCH_ROWS = 10_000
_SHOWN_ELEMENTS = 8
_SHOWN_DIGITS = 8
_NUMBERS = {"int2", "int4", "int8", "float4", "float8", "numeric", "oid"}
#: Wider than any table: rich wraps what does not fit.
_UNLIMITED = 1_000_000


def write_table(result: Result, emit: Emit, *, width: int | None = None) -> None:
    """A table for people: numbers to six digits and aligned right, at most width columns wide, or as wide as needed."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in result.columns:
        right = column.type in _NUMBERS and not column.is_array
        table.add_column(Text(column.name), justify="right" if right else "left", overflow="fold")
    for row in islice(result.rows, TABLE_ROWS):
        table.add_row(*(Text(_shown(value)) for value in row))
    page = io.StringIO()
    Console(file=page, width=width or _UNLIMITED).print(table)
    emit("\n".join(line.rstrip() for line in page.getvalue().rstrip().split("\n")) + "\n")
    if next(result.rows, None) is not None:
        print(f"These are the first {TABLE_ROWS:,} rows; --format csv writes all.", file=sys.stderr)


def write_csv(result: Result, emit: Emit) -> None:
    """CSV with a header; NULL is empty, numbers are exact, arrays and documents are JSON, timestamps ISO 8601."""
    writer = csv.writer(_Sink(emit), lineterminator="\n")
    writer.writerow([column.name for column in result.columns])
    for row in result.rows:
        writer.writerow([_csv_field(value) for value in row])


def write_json(result: Result, emit: Emit) -> None:
    """A JSON array with an object per row; JSON has no NaN or infinity, so these are null."""
    names = [column.name for column in result.columns]
    before = "["
    for row in result.rows:
        emit(before + "\n" + _json(dict(zip(names, row, strict=True))))
        before = ","
    emit("[]\n" if before == "[" else "\n]\n")


def write_parquet(result: Result, file: IO[bytes]) -> None:
    """Parquet with a column per column; numeric becomes a double, what Parquet has no type for becomes text."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(column.name, _arrow_type(column)) for column in result.columns])
    with parquet.ParquetWriter(file, schema) as writer:
        while rows := list(islice(result.rows, _BATCH_ROWS)):
            arrays = [
                pyarrow.array([_arrow_value(value, field.type) for value in values], field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


class _Sink:
    """What csv.writer needs of a file."""

    def __init__(self, emit: Emit) -> None:
        self.write = emit


def _shown(value: object) -> str:
    """A value as a person reads it: on one line, without the digits that mean nothing."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _digits(value)
    if isinstance(value, Decimal):
        return str(value) if len(str(value)) <= _SHOWN_DIGITS else _digits(float(value))
    if isinstance(value, list):
        more = ", …" if len(value) > _SHOWN_ELEMENTS else ""
        return "{" + ", ".join(_shown(element) for element in value[:_SHOWN_ELEMENTS]) + more + "}"
    text = _plain(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _digits(value: float) -> str:
    return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"


def _plain(value: object) -> object:
    """A value as JSON knows it, but for numbers that are not finite."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str | int | float | bool) else str(value)


def _csv_field(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str | int | float):
        return value
    return _json(value) if isinstance(value, list | dict) else _plain(value)


def _json(value: object) -> str:
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """A value whose parts JSON can hold."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Decimal):
        # As a number: exact where a double is, which is what readers of JSON have.
        value = int(value) if value == value.to_integral_value() and value.is_finite() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return _plain(value)


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    known = {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "oid": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "numeric": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "bytea": pa.binary(),
    }
    element = known.get(column.type, pa.string())
    return pa.list_(element) if column.is_array else element


def _arrow_value(value: Any, kind: Any) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_arrow_value(part, kind.value_type) for part in value]
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, memoryview):
        return bytes(value)
    if pa.types.is_string(kind) and not isinstance(value, str):
        return _json(value) if isinstance(value, list | dict) else str(_plain(value))
    return value
