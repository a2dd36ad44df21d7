"""Rows of an annotation file or table: columns by name, and where each row stands, so that an error can point at it.

Knows columns of text and numbers, and nothing of tokens, corpora or the database.
"""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows named in a message; of more it says how many there are.
SHOWN = 5

_WHOLE = r"^-?\d{1,18}(\.0*)?$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NAN = ("nan", "NaN", "NAN")
#: Decimals or thousands set off by a comma, such as 3,14 or 1,234,567.
_WITH_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+,\d+|\d+,\d+|\d{1,3}(,\d{3})+(\.\d+)?)([eE][+-]?\d+)?$"
#: What programs write where a value is missing (those that pandas takes for missing), and what may be a value too.
_MISSING_WORDS = (
    *("nan", "NaN", "-nan", "-NaN", "NA", "<NA>", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "None", "NULL", "null"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)


class BadAnnotationFile(WarehouseError):
    """A file or table of annotations cannot be read, or does not say what is needed."""


@dataclass(frozen=True)
class Texts:
    """A column as text. codes: [R] int32, an index into values, -1 where the row has none; values: none twice."""

    codes: NDArray[np.int32] = field(repr=False)
    values: Sequence[str]


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows. source: what they are from. columns: pyarrow arrays of R elements by name.

    unit: what a row is counted in, such as line. places: the numbers of rows (from 0) in that unit.
    natural_key: the kind of key that the format has by itself, if any. marks_none: whether it has its own sign for no
    value, so that no word is taken for one.
    """

    source: str
    columns: Mapping[str, pa.Array] = field(repr=False)
    unit: str = "row"
    places: Callable[[Sequence[int]], Sequence[int]] = field(repr=False, default=lambda rows: [r + 1 for r in rows])
    natural_key: str | None = None
    marks_none: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def whole_numbers(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """([R] int64, [R] whether the row has one): whole numbers, also where they are written as 3.0 or as text."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if pa.types.is_string(column.type):
            trimmed = pc.utf8_trim_whitespace(column)
            fine = pc.fill_null(pc.match_substring_regex(trimmed, _WHOLE), False)
            digits = pc.replace_substring_regex(pc.if_else(fine, trimmed, "0"), r"\.0*$", "")
            return _numpy(pc.cast(digits, pa.int64()), np.int64), _numpy(fine, np.bool_)
        if pa.types.is_integer(column.type):
            return _numpy(pc.cast(pc.fill_null(column, 0), pa.int64(), safe=False), np.int64), _numpy(
                column.is_valid(), np.bool_
            )
        if pa.types.is_floating(column.type):
            numbers = _numpy(pc.cast(column, pa.float64()), np.float64)
            fine_numbers = np.isfinite(numbers) & (np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**53)
            return np.where(fine_numbers, numbers, 0).astype(np.int64), fine_numbers
        return np.zeros(len(self), np.int64), np.zeros(len(self), bool)

    def texts(self, name: str) -> Texts:
        """A column as text without white space around it; a number that is whole as 3, empty text and NaN as none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            raise BadAnnotationFile(f"Column {name} of {self.source} holds neither text nor numbers; name another.")
        if pa.types.is_string(column.type):
            column = pc.utf8_trim_whitespace(column)
        encoded = pc.dictionary_encode(column)
        shown = [_shown(value) for value in encoded.dictionary.to_pylist()]
        # What differs before it is shown, such as 3 and 3.0, may be the same after.
        index = {text: code for code, text in enumerate(dict.fromkeys(text for text in shown if text is not None))}
        code_of = np.array([*(index.get(text, -1) if text is not None else -1 for text in shown), -1], np.int32)
        return Texts(code_of[_numpy(pc.fill_null(encoded.indices, len(shown)), np.int64)], list(index))

    def numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """([R] float64, NaN where the row has none; [R] whether it has what is no finite number)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numbers = _numpy(pc.cast(column, pa.float64(), safe=False), np.float64)
            return np.where(np.isinf(numbers), np.nan, numbers), np.isinf(numbers)
        if not pa.types.is_string(column.type):
            return np.full(len(self), np.nan), _numpy(column.is_valid(), np.bool_)
        trimmed = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
        fine = pc.match_substring_regex(trimmed, _NUMBER)
        numbers = _numpy(pc.cast(pc.if_else(fine, trimmed, "nan"), pa.float64()), np.float64)
        empty = pc.is_in(trimmed, value_set=pa.array(["", *_NAN]))
        bad = ~_numpy(pc.or_(fine, empty), np.bool_) | np.isinf(numbers)
        return np.where(bad, np.nan, numbers), bad

    def infinite(self, name: str) -> NDArray[np.bool_]:
        """[R] whether the row has a number that is infinite, or that double precision cannot hold."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if pa.types.is_string(column.type):
            trimmed = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
            column = pc.if_else(pc.match_substring_regex(trimmed, _NUMBER), trimmed, "nan")
        elif not pa.types.is_floating(column.type):
            return np.zeros(len(self), bool)
        infinite: NDArray[np.bool_] = np.isinf(_numpy(pc.cast(column, pa.float64()), np.float64))
        return infinite

    def missing_words(self, name: str) -> NDArray[np.int64]:
        """The rows in which a column of text has a word that may stand for no value, such as NaN or NA."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if self.marks_none or not pa.types.is_string(column.type):
            return np.zeros(0, np.int64)
        words = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(_MISSING_WORDS))
        return np.flatnonzero(_numpy(words, np.bool_))

    def with_comma(self, name: str) -> NDArray[np.bool_]:
        """[R] whether a column of text has a number with a comma, such as 3,14."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if not pa.types.is_string(column.type):
            return np.zeros(len(self), bool)
        found = pc.match_substring_regex(pc.utf8_trim_whitespace(pc.fill_null(column, "")), _WITH_COMMA)
        return np.asarray(_numpy(found, np.bool_))

    def without(self, name: str, texts: Sequence[str]) -> Rows:
        """The same rows, but a column has no value where it is one of these texts, or the number that one is."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.columns[name]
        if pa.types.is_string(column.type):
            found = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(texts, pa.string()))
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numbers = [float(text) for text in texts if re.match(_NUMBER, text)]
            found = pc.is_in(pc.cast(column, pa.float64(), safe=False), value_set=pa.array(numbers, pa.float64()))
        else:
            return self
        # A chain, since the other columns may be put together only when they are asked for.
        columns = ChainMap({name: pc.if_else(found, None, column)}, self.columns)  # type: ignore[arg-type]
        return replace(self, columns=columns)

    def named(self, rows: Sequence[int] | NDArray[np.integer], *columns: str) -> str:
        """The first few rows, as 'line 7 (token_id 12), line 9 (token_id 13) and 3 more'."""
        chosen = [int(row) for row in rows[:SHOWN]]
        shown = [
            f"{self.unit} {place}" + _in_brackets({name: self.columns[name][row].as_py() for name in columns})
            for row, place in zip(chosen, self.places(chosen), strict=True)
        ]
        more = len(rows) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _in_brackets(values: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {'empty' if value in (None, '') else _short(value)}" for name, value in values.items())
    return f" ({said})" if said else ""


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _shown(value: object) -> str | None:
    """A value as text; None for what stands for no value."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    # PostgreSQL text holds no NUL character; its picture stands in, as in the vocabulary.
    return str(value).replace("\0", "\N{SYMBOL FOR NULL}")


def _numpy(array: pa.Array, dtype: type[np.generic]) -> NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(dtype, copy=False)
