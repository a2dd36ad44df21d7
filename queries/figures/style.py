"""How figures look, and how they become files. This module may not know a database.

Lines differ in colour, in dashes and in markers, so that they can be told apart in grey too. Colours are those of Okabe
and Ito, which colour-blind readers can tell apart; tints of phases stay lighter than any line.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
#: Solid, long dashes, dots, dashes and dots: lengths of ink and gap in line widths.
DASHES: Sequence[Any] = ("solid", (0, (4.5, 1.4)), (0, (1.1, 1.1)), (0, (5, 1.2, 1.1, 1.2)))
#: Tints of the first to the fourth phase of a definition.
TINTS = ("#EDEDED", "#DCEBF5", "#FBE6DA", "#DDF1EA")
INK, GREY, PALE = "#222222", "#6B6B6B", "#C4C4C4"
#: Dots per inch of figures that have pixels.
_DPI = 200
#: Of numbers from 1 on: the scales of glyphs are below.
_LONG_FRACTION = re.compile(rb"(\b\d*[1-9]\d*\.\d\d)\d+")
#: Points of a line up to which each has a marker; of longer ones some, evenly apart, have.
_MOST_MARKERS = 24
#: Between markers of longer lines, as a share of a panel's diagonal.
_MARKER_DISTANCE = 0.09

STYLE: Any = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.8,
    "lines.markeredgewidth": 0.6,
    "legend.frameon": False,
    # A name with two dollar signs is no formula.
    "text.parse_math": False,
    "pdf.fonttype": 42,
    # Equal data give equal files.
    "svg.hashsalt": "token-warehouse",
}


class MissingMatplotlib(WarehouseError):
    """Drawing needs matplotlib, which is not installed: pip install 'token-warehouse[plots]'"""


class BadOutput(WarehouseError):
    """The figure cannot be written where it should go."""


@dataclass(frozen=True)
class Look:
    """How one of several lines looks."""

    colour: str
    marker: str
    dashes: Any

    def line(self, n_points: int) -> dict[str, Any]:
        """Arguments of matplotlib for a line of so many points."""
        every = 1 if n_points <= _MOST_MARKERS else _MARKER_DISTANCE
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes, "markevery": every}


ALONE = Look(COLOURS[0], MARKERS[0], DASHES[0])


def looks(number: int, *, ordered: bool = False, after: int = 0) -> list[Look]:
    """Looks of so many lines, eight at most. ordered: from light to dark. after: leave out the first of them."""
    places = range(after, after + number)
    colours = _ramp(number) if ordered else [COLOURS[place] for place in places]
    return [
        Look(colour, MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
        for place, colour in zip(places, colours, strict=True)
    ]


def _ramp(number: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    ramp = colormaps["viridis_r"]
    return [to_hex(ramp(1 - 0.72 * (number - 1 - place) / max(number - 1, 1))) for place in range(number)]


@contextmanager
def styled() -> Iterator[None]:
    """Our look, for what is drawn within. Raises MissingMatplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingMatplotlib from error
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A piece of text in a script that the font lacks shows as a box, as anywhere.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says: png, svg or pdf. Raises BadOutput; nothing half-written is left."""
    check_output(path)
    write_file(path, as_bytes(figure, path.suffix[1:].lower()))


def write_file(path: Path, content: bytes) -> None:
    """Write a file at once, or leave what was there. Raises BadOutput."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadOutput(f"Cannot write {path}: {error.strerror}.") from error


def as_bytes(figure: Figure, form: str) -> bytes:
    """A figure in one of FORMATS; equal figures give equal bytes."""
    # Without the date of today equal figures are equal files.
    return _written(figure, form, {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form))


def as_svg_element(figure: Figure) -> bytes:
    """A figure as an svg element to stand in a page: nothing about a file, places to hundredths of a point."""
    content = _written(figure, "svg", dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _LONG_FRACTION.sub(rb"\1", content[content.index(b"<svg") :])


def as_small_png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG with a palette, a quarter of the size of one without."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(io.BytesIO(_written(figure, "png", None, dpi))) as picture:
        picture.convert("RGB").quantize(128).save(small, "png", optimize=True)
    return small.getvalue()


def _written(figure: Figure, form: str, metadata: dict[str, None] | None, dpi: int = _DPI) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def check_output(path: Path, formats: Sequence[str] = FORMATS) -> None:
    """Raise BadOutput for a suffix that is none of the formats, and for a folder that does not exist."""
    if path.suffix[1:].lower() not in formats:
        raise BadOutput(f"{path} ends in no known format; name a file that ends in .{', .'.join(formats)}.")
    if not path.parent.is_dir():
        raise BadOutput(f"There is no folder {path.parent}; create it, or name another.")
