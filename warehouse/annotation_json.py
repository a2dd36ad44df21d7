"""JSON lines: an object a line, as rows that know their lines, read a block at a time.

What the columns mean is not known here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.annotation_blocks import BLOCK_ROWS, RowBlocks
from warehouse.annotation_rows import BadAnnotationFile, Rows
from warehouse.json_objects import with_distinct_names

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = 2**63


@dataclass
class _Seen:
    """What a column has held so far. great: a whole number beyond 64 bits. infinite: the line of the first one."""

    kinds: set[type] = field(default_factory=set)
    great: bool = False
    infinite: int | None = None

    @property
    def numeric(self) -> bool:
        """Whether all of it is numbers that arrow can hold."""
        return self.kinds <= {int, float} and not self.great


def read_json_lines(path: Path) -> Rows:
    """The rows of a file: numbers or booleans where a column holds nothing else, text otherwise; NaN is no value.

    Raises BadAnnotationFile, which names the line.
    """
    blocks, seen = RowBlocks(), dict[str, _Seen]()
    with path.open("rb") as file:
        for numbers, texts in _blocks_of_lines(file):
            records = _records(path, numbers, texts)
            names = dict.fromkeys(chain.from_iterable(records))
            columns = {name: [record.get(name) for record in records] for name in names}
            texts_of = {
                name: _texts(path, name, cells, numbers, seen.setdefault(name, _Seen()))
                for name, cells in columns.items()
            }
            blocks.append(numbers, texts_of)
    lines = blocks.lines()
    arrays = {name: _typed(path, name, blocks[name], seen[name]) for name in blocks}
    return Rows(path.name, arrays, "line", lambda rows: [int(lines[row]) for row in rows])


def _blocks_of_lines(file: Any) -> Iterator[tuple[list[int], list[bytes]]]:
    """The lines that are not empty, with their numbers, some at a time."""
    stripped = (
        (number, (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip())
        for number, raw in enumerate(file, start=1)
    )
    full = ((number, text) for number, text in stripped if text)
    while block := list(islice(full, BLOCK_ROWS)):
        yield [number for number, _ in block], [text for _, text in block]


def _records(path: Path, numbers: Sequence[int], texts: Sequence[bytes]) -> list[dict[str, Any]]:
    """The objects on some lines: all in one call, which is several times faster, unless one is no object."""
    # Lines that begin and end in braces cannot make one object of two: it would have to hold others, which are refused.
    if all(text.startswith(b"{") and text.endswith(b"}") for text in texts):
        try:
            found: list[dict[str, Any]] = json.loads(
                b"".join((b"[", b",\n".join(texts), b"]")).decode(), object_pairs_hook=with_distinct_names
            )
        except (ValueError, RecursionError):
            pass
        else:
            if len(found) == len(texts):
                return found
    return [_record(path, number, text) for number, text in zip(numbers, texts, strict=True)]


def _record(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=with_distinct_names)
    except UnicodeDecodeError as error:
        raise BadAnnotationFile(f"{path}, line {number}, is not UTF-8: convert the file to UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BadAnnotationFile(f"{path}, line {number}, is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BadAnnotationFile(f'{path}, line {number}, is not a JSON object such as {{"token_id": 0}}.')
    return value


def _texts(path: Path, name: str, cells: list[Any], numbers: Sequence[int], seen: _Seen) -> Sequence[str | None]:
    """Cells as text, None for null and NaN; what they are is added to what the column has held."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds & {list, dict}:
        row = next(row for row, cell in enumerate(cells) if isinstance(cell, list | dict))
        raise BadAnnotationFile(f"{path}, line {numbers[row]}: {name} is a list or an object; give text or a number.")
    seen.kinds |= kinds
    seen.great |= int in kinds and any(type(cell) is int and abs(cell) >= _INT64 for cell in cells)
    if float in kinds:
        cells = [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]
        if seen.infinite is None:
            infinite = (row for row, cell in enumerate(cells) if isinstance(cell, float) and math.isinf(cell))
            seen.infinite = next((numbers[row] for row in infinite), None)
    texts = [cell if cell is None or isinstance(cell, str) else _number_or_flag(cell) for cell in cells]
    # JSON may escape half of a pair of code units, which no text can hold.
    return [text and text.encode(errors="replace").decode() for text in texts] if str in kinds else texts


def _number_or_flag(cell: float | bool) -> str:
    """As JSON writes it; of numbers Python's own words are the same, and come several times faster."""
    return json.dumps(cell) if isinstance(cell, bool) else repr(cell)


def _typed(path: Path, name: str, texts: pa.Array, seen: _Seen) -> pa.Array:
    """A column as numbers or booleans, where it holds nothing else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if seen.numeric:
        return pc.cast(texts, pa.float64() if float in seen.kinds else pa.int64() if seen.kinds else pa.string())
    if seen.infinite is not None:
        raise BadAnnotationFile(f"{path}, line {seen.infinite}: {name} is infinite; give a finite number.")
    return pc.equal(texts, "true") if seen.kinds == {bool} else texts
