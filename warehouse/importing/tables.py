"""Tables: the columns of Parquet, CSV and TSV files, as text, whole numbers or numbers.

What the columns are about is not known here.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from warehouse.importing.manifest import INTEGERS, can_be_stored
from warehouse.importing.units import BadImport, Floats

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".tsv", ".parquet")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
#: Whole numbers of float64 are exact below.
_EXACT = 2.0**53
#: What pandas calls the numbers of rows, where it writes them; they are no data.
_ROW_NUMBERS = ("", "__index_level_0__")


@dataclass(frozen=True)
class Table:
    """A file's columns by name."""

    path: Path
    columns: Mapping[str, pyarrow.ChunkedArray]
    n_rows: int

    def row(self, number: int) -> str:
        """What to call a row in a message."""
        return (
            f"line {number + 2} of {self.path}" if self.path.suffix in _SEPARATORS else f"row {number} of {self.path}"
        )

    def words(self, name: str) -> tuple[list[str], NDArray[np.int64]]:
        """A column of text: its different values, and [n_rows] which of them each row has.

        Raises BadImport where one is empty.
        """
        encoded = self.columns[name].cast("string").fill_null("").dictionary_encode().unify_dictionaries()
        values = encoded.chunk(0).dictionary.to_pylist()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
        if "" in values:
            gap = int(np.flatnonzero(codes == values.index(""))[0])
            raise BadImport(f"Column {name} is empty in {self.row(gap)}.")
        for place, value in enumerate(values):
            if not can_be_stored(value):
                wrong = int(np.flatnonzero(codes == place)[0])
                raise BadImport(f"Column {name} has a NUL character in {self.row(wrong)}: take it out.")
        return values, codes

    def texts(self, name: str) -> list[str]:
        """[n_rows] a column as text. Raises BadImport where one is empty."""
        values, codes = self.words(name)
        return [values[code] for code in codes.tolist()]

    def whole(self, name: str) -> NDArray[np.int64]:
        """[n_rows] a column as whole numbers. Raises BadImport at the first that is none."""
        values = self.numbers(name)
        self._refuse(name, values == np.round(values), "no whole number")
        self._refuse(name, np.abs(values) < _EXACT, "no finite number, or one that is too great,")
        return values.astype(np.int64)

    def counts(self, name: str) -> NDArray[np.int64]:
        """[n_rows] a column as whole numbers from 0, as great as the warehouse holds. Raises BadImport."""
        values = self.whole(name)
        self._refuse(name, (values >= 0) & (values < INTEGERS), f"no number from 0, and less than {INTEGERS},")
        return values

    def _refuse(self, name: str, right: NDArray[np.bool_], what: str) -> None:
        """Raise BadImport at the first row that is not right."""
        if not right.all():
            raise BadImport(f"Column {name} has {what} in {self.row(int(np.flatnonzero(~right)[0]))}.")

    def numbers(self, name: str) -> Floats:
        """[n_rows] a column as numbers, NaN where it is empty. Raises BadImport at the first that is none."""
        import pyarrow

        column = self.columns[name]
        try:
            return np.asarray(column.cast("float64").to_numpy(), np.float64)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
            raise BadImport(
                f"Column {name} has no number in {self._first_wordy(column)}: write decimals with a point, and leave "
                "cells without a value empty."
            ) from None

    def _first_wordy(self, column: pyarrow.ChunkedArray) -> str:
        for number, value in enumerate(column.to_pylist()):
            try:
                float(value or 0)
            except (TypeError, ValueError):
                return f"{self.row(number)} but {value!r}"
        return str(self.path)


def read_table(path: Path) -> Table:
    """A file's columns, but for one without a name: numbers of rows, as pandas writes them.

    Raises BadImport for a file that is missing, empty or broken, or has two columns of one name.
    """
    import pyarrow

    try:
        table = _read(path)
    except OSError as error:
        raise BadImport(f"{path} cannot be read ({error.strerror or error}).") from None
    except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise BadImport(f"{path} is no {path.suffix[1:]} file in UTF-8 ({said}).") from None
    names = [name for name in table.column_names if name.strip() not in _ROW_NUMBERS]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise BadImport(f"{path} has two columns named {twins[0]}: rename one.")
    if not table.num_rows:
        raise BadImport(f"{path} has no rows.")
    found = Table(path, {name: table.column(name) for name in names}, table.num_rows)
    if path.suffix in _SEPARATORS:
        _refuse_line_breaks(found)
    return found


def _refuse_line_breaks(table: Table) -> None:
    """Raise BadImport for a cell over several lines: a quote that is never closed would swallow rows without a word."""
    import pyarrow
    from pyarrow import compute

    said = "goes over several lines, as after a quote that is not closed: close it."
    for name, column in table.columns.items():
        if "\n" in name or "\r" in name:
            raise BadImport(f"The name of a column in line 1 of {table.path} {said}")
        if pyarrow.types.is_string(column.type):
            row = compute.index(compute.match_substring_regex(column, "[\r\n]"), True).as_py()
            if row >= 0:
                raise BadImport(f"Column {name} in {table.row(row)} {said}")


def _read(path: Path) -> pyarrow.Table:
    from pyarrow import csv, parquet

    if path.suffix == ".parquet":
        return parquet.read_table(path)
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise BadImport(f"{path} is in UTF-16: save it as UTF-8.")
    # One thread, so that errors name their line.
    table = csv.read_csv(
        path,
        csv.ReadOptions(use_threads=False),
        csv.ParseOptions(delimiter=_SEPARATORS[path.suffix], newlines_in_values=True),
    )
    for field in table.schema:
        # What cannot be text is taken for bytes.
        if str(field.type) == "binary":
            raise BadImport(f"Column {field.name} of {path} is not in UTF-8: save it so.")
    return table
