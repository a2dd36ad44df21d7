"""What a figure is before it is painted: its caption, the statements behind it, and how to paint it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from queries.figures.captions import Caption


@dataclass(frozen=True)
class Drawing:
    """A figure, read and not yet painted.

    statements: SQL that anybody can run again. paint: makes the figure, with the caption above it or, for None, bare.
    """

    caption: Caption
    statements: Sequence[str]
    paint: Callable[[Caption | None], Figure]

    def figure(self, *, titled: bool = True) -> Figure:
        """The figure. titled: with its caption above; a page that prints captions of its own wants none."""
        return self.paint(self.caption if titled else None)
