"""Writes the rows of a query to a file or to standard output, in one of the formats of ``queries.formats``.

A file takes its name when it is complete. This module may not know what a row looks like in a format.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from queries import formats
from queries.run import Column, Result, Row
from warehouse.errors import WarehouseError

FORMATS = ("table", "csv", "json", "parquet")


class BadOutput(WarehouseError):
    """The result cannot be written in this form or to this place."""


def write(result: Result, form: str, out: Path | None = None, *, width: int | None = None) -> None:
    """Write a result to a file, or to standard output, and close it.

    form: one of FORMATS. out: takes its name only when it is complete. width: columns of a table where no terminal
    limits them; as wide as needed if None.
    Raises BadOutput, and whatever fetching the rows raises.
    """
    try:
        _refuse_twins(result.columns, form)
        with _new_file(out) if out else _standard_output(form) as file:
            _write(result, form, file, width)
    finally:
        result.close()


def _write(result: Result, form: str, file: IO[bytes], width: int | None) -> None:
    if form == "parquet":
        formats.write_parquet(result, file)
        return
    with _text(file) as text:
        if form == "table":
            formats.write_table(result, text.write, width=_terminal_width(file) or width)
        else:
            {"csv": formats.write_csv, "json": formats.write_json}[form](result, text.write)


def _terminal_width(file: IO[bytes]) -> int | None:
    """Columns of the terminal behind a file; None where nothing limits a line."""
    return os.get_terminal_size(file.fileno()).columns if file.isatty() else None


def _refuse_twins(columns: Sequence[Column], form: str) -> None:
    """Where a column is found by its name, a second one of the same name would be lost."""
    names = [column.name for column in columns]
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None and form in ("json", "parquet"):
        raise BadOutput(f"Two columns are named {twin}; name them apart with `as` to write {form}.")


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is complete, and leaves nothing behind when it is not."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise BadOutput(f"Cannot write {path}: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise BadOutput(f"Cannot write {path}: {error.strerror}.") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _text(file: IO[bytes]) -> Iterator[IO[str]]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    try:
        yield text
        text.flush()
    finally:
        # The wrapper must not close standard output.
        text.detach()


@contextmanager
def _standard_output(form: str) -> Iterator[IO[bytes]]:
    """Standard output; a reader such as `head` that has seen enough is no error."""
    if form == "parquet" and sys.stdout.isatty():
        raise BadOutput("Parquet is not for a terminal: name a file with --out.")
    try:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def rows_result(columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> Result:
    """Rows made by a program, as a result: columns are names and PostgreSQL types."""
    return Result(tuple(Column(name, kind, is_array=False) for name, kind in columns), iter(rows))
