"""Tables: the columns of Parquet, CSV and TSV files, as text, whole numbers or numbers.

What the columns are about is not known here.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from warehouse.importing.manifest import INTEGERS, misfit_of
from warehouse.importing.units import BadImport, Floats

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".csv", ".tsv", ".parquet")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
#: Whole numbers of float64 are exact below.
_EXACT = 2.0**53
#: What pandas calls the numbers of rows, where it writes them; they are no data.
_ROW_NUMBERS = ("", "__index_level_0__")
_SHOWN = 80
_LONGEST_SAYING = 200


@dataclass(frozen=True)
class Table:
    """A file's columns by name."""

    path: Path
    columns: Mapping[str, pyarrow.ChunkedArray]
    n_rows: int

    def row(self, number: int) -> str:
        """What to call a row in a message."""
        return (
            f"line {number + 2} of {self.path}" if kind_of(self.path) in _SEPARATORS else f"row {number} of {self.path}"
        )

    def words(self, name: str) -> tuple[list[str], NDArray[np.int64]]:
        """A column of text: its different values, and [n_rows] which of them each row has.

        Raises BadImport where one is empty, or can be no name.
        """
        encoded = self._as_text(name).fill_null("").dictionary_encode().unify_dictionaries()
        values = encoded.chunk(0).dictionary.to_pylist()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
        if "" in values:
            gap = int(np.flatnonzero(codes == values.index(""))[0])
            raise BadImport(f"Column {name} is empty in {self.row(gap)}.")
        for place, value in enumerate(values):
            if misfit := misfit_of(value):
                wrong = int(np.flatnonzero(codes == place)[0])
                raise BadImport(f"Column {name} has {misfit} in {self.row(wrong)}: mend it there.")
        return values, codes

    def _as_text(self, name: str) -> pyarrow.ChunkedArray:
        import pyarrow

        try:
            return self.columns[name].cast("string")
        except pyarrow.ArrowException:
            kind = self.columns[name].type
            raise BadImport(
                f"Column {name} of {self.path} holds no text in UTF-8, but {kind}: write it as text."
            ) from None

    def optional_texts(self, name: str) -> list[str | None]:
        """[n_rows] a column as text, None where it has a gap. Raises BadImport where it holds no text."""
        found: list[str | None] = self._as_text(name).to_pylist()
        return found

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
        column = self.columns[name]
        found = _as_numbers(column)
        if found is None:
            number = _first_without_number(column)
            raise BadImport(
                f"Column {name} has no number in {self.row(number)} but {str(column[number])[:_SHOWN]!r}: write "
                "decimals with a point, and leave cells without a value empty."
            )
        return found


def _as_numbers(column: pyarrow.ChunkedArray) -> Floats | None:
    """[n_rows] a column as float64, to which great whole numbers are rounded; None where it holds something else."""
    import pyarrow

    if pyarrow.types.is_boolean(column.type):
        return None
    try:
        return np.asarray(column.cast("float64", safe=False).to_numpy(), np.float64)
    except pyarrow.ArrowException:
        return None


def _first_without_number(column: pyarrow.ChunkedArray) -> int:
    """The first row that is none, by halves, so that numbers are what `_as_numbers` takes for them."""
    first, end = 0, len(column)
    while end - first > 1:
        middle = (first + end) // 2
        if _as_numbers(column.slice(first, middle - first)) is None:
            end = middle
        else:
            first = middle
    return first


def kind_of(path: Path) -> str:
    """The ending of a file's name, which tells what it is, in lower case."""
    return path.suffix.lower()


def read_table(path: Path, words: Collection[str] = ()) -> Table:
    """A file's columns, but for one without a name: numbers of rows, as pandas writes them.

    words: names of columns that are text, though all of CSV or TSV may look like numbers. Raises BadImport for a file
    that is missing, empty or broken, or has two columns of one name.
    """
    import pyarrow

    try:
        table = _read(path, words)
        names = [name for name in table.column_names if name.strip() not in _ROW_NUMBERS]
    except OSError as error:
        raise BadImport(f"{path} cannot be read ({error.strerror or _plain(error)}).") from None
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise BadImport(f"{path} is no {kind_of(path)[1:]} file in UTF-8 ({_plain(error)}).") from None
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise BadImport(f"{path} has two columns named {twins[0]}: rename one.")
    if not table.num_rows:
        raise BadImport(f"{path} has no rows.")
    found = Table(path, {name: table.column(name) for name in names}, table.num_rows)
    if kind_of(path) in _SEPARATORS:
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


def _plain(error: Exception) -> str:
    """What a library says, in one line and without the bytes of a file that is no text."""
    said = " ".join("".join(letter if letter.isprintable() else " " for letter in str(error)).split())
    return (said if len(said) <= _LONGEST_SAYING else f"{said[:_LONGEST_SAYING]}…").rstrip(".")


def _read(path: Path, words: Collection[str]) -> pyarrow.Table:
    import pyarrow
    from pyarrow import csv, parquet

    if kind_of(path) == ".parquet":
        # One file as it is: what reads data sets would take a folder, and columns from the names of folders.
        with path.open("rb") as file, parquet.ParquetFile(file) as opened:
            return opened.read()
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise BadImport(f"{path} is in UTF-16: save it as UTF-8.")
    # One thread, so that errors name their line.
    table = csv.read_csv(
        path,
        csv.ReadOptions(use_threads=False),
        csv.ParseOptions(delimiter=_SEPARATORS[kind_of(path)], newlines_in_values=True),
        csv.ConvertOptions(column_types=dict.fromkeys(words, pyarrow.string())),
    )
    for field in table.schema:
        # What cannot be text is taken for bytes.
        if str(field.type) == "binary":
            raise BadImport(f"Column {field.name} of {path} is not in UTF-8: save it so.")
    return table
