"""Columns of text that grow by blocks of rows, so that Python's objects exist for one block at a time.

What the columns mean, and the format they come from, are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that readers gather before they hand them over.
BLOCK_ROWS = 1 << 16
#: A block holds its different values and an index where there are this many times fewer of them than rows.
_REPEATED = 4


class RowBlocks(Mapping[str, "pa.Array"]):
    """R rows as columns of text: arrow strings by name, NULL for none, put together when they are asked for."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Any]] = {}
        self._lines: list[NDArray[np.int64]] = []
        self._last: tuple[str, pa.Array] | None = None
        self.n_rows = 0

    def append(self, lines: Sequence[int], columns: Mapping[str, Sequence[str | None]]) -> None:
        """Add rows. lines: where each begins; columns: a cell for each row. Columns may come late, or stay away."""
        for name, cells in columns.items():
            self._blocks.setdefault(name, [self.n_rows] if self.n_rows else []).append(_packed(cells))
        for name in self._blocks.keys() - columns.keys():
            self._blocks[name].append(len(lines))
        self._lines.append(np.array(lines, np.int64))
        self.n_rows += len(lines)
        self._last = None

    def lines(self) -> NDArray[np.int64]:
        """[R] the line on which each row begins."""
        return np.concatenate([np.zeros(0, np.int64), *self._lines])

    def __getitem__(self, name: str) -> pa.Array:
        """The last one asked for is kept, since it is often asked for again."""
        import pyarrow as pa

        if self._last is None or self._last[0] != name:
            self._last = (name, pa.concat_arrays([_unpacked(block) for block in self._blocks[name]]))
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


def _packed(cells: Sequence[str | None]) -> pa.Array:
    """Cells as arrow strings, or as their different values with the narrowest index."""
    import pyarrow as pa

    texts = pa.array(cells, pa.string())
    encoded = texts.dictionary_encode()
    n_values = len(encoded.dictionary)
    if n_values * _REPEATED > len(texts):
        return texts
    width = pa.int8() if n_values < 1 << 7 else pa.int16()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(width), encoded.dictionary)


def _unpacked(block: Any) -> pa.Array:
    """A block as arrow strings. block: what `_packed` made, or a number of rows without a value."""
    import pyarrow as pa

    if isinstance(block, int):
        return pa.nulls(block, pa.string())
    return block.dictionary_decode() if pa.types.is_dictionary(block.type) else block
