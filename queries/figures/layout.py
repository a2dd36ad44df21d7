"""Panels, axes and legends that figures share: frames in, artists out. This module may not know a database.

Steps lie at log(step + 1), so that step 0 has a place; the axis says so.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from queries.figures.style import GREY, TINTS, Look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    from queries.figures.captions import Caption

CONVERGENCE = "convergence (nats)"
STEPS = "training step, on a log scale of step + 1"
#: What matplotlib calls a line that nobody named.
_NO_LABEL = re.compile(r"_child\d+")
_MARGIN = 0.12  # inches
_PANEL_HEIGHT = 2.9  # inches
_LEGEND: Mapping[str, Any] = {"borderaxespad": 0.6, "borderpad": 0, "handlelength": 2.6}
_SUBTITLE: Mapping[str, Any] = {"va": "top", "fontsize": 9, "color": GREY, "linespacing": 1.3}
_PHASE = "phase"
_PHASE_NAME: Mapping[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": GREY, "linespacing": 1.0}


def grid(
    n_panels: int,
    caption: Caption | None,
    *,
    rows_each: int = 1,
    n_labels: int = 0,
    shared: bool = True,
    panel_height: float = _PANEL_HEIGHT,
) -> tuple[Figure, list[Axes]]:
    """A figure with its caption, room for a legend of n_labels, and rows_each panels one above the other for each.

    shared: panels have one vertical axis, those of a row of rows_each. Returns first the panels of the first rows.
    """
    from matplotlib.figure import Figure

    columns = min(n_panels, 2 if n_panels in (1, 2, 4) else 3)
    blocks = math.ceil(n_panels / columns)
    width = 7.0 if columns == 1 else columns * (4.6 if columns == 2 else 3.9)
    lines = textwrap.wrap(caption.subtitle, width=int(width * 14.5)) if caption else []
    labels = 0.3 * math.ceil(n_labels / _legend_columns(n_labels, width)) if n_labels else 0
    header = (0.5 + 0.17 * len(lines) if caption else 0.06) + labels
    height = header + blocks * rows_each * panel_height + 0.4
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - header / height), hspace=0.06, wspace=0.05)
    if caption:
        left, top = _MARGIN / width, 1 - 0.12 / height
        figure.text(left, top, caption.title, va="top", fontsize=12.5, fontweight="bold")
        figure.text(left, 1 - 0.42 / height, "\n".join(lines), **_SUBTITLE)
    cells = figure.subplots(blocks * rows_each, columns, sharex=shared, squeeze=False)
    panels: list[Axes] = []
    for row in range(rows_each):
        own = [cells[rows_each * block + row, column] for block in range(blocks) for column in range(columns)]
        for axes in own[n_panels:]:
            axes.remove()
        for axes in own[1:n_panels] if shared else ():
            axes.sharey(own[0])
        panels += own[:n_panels]
    return figure, panels


def line(axes: Axes, curve: pd.DataFrame, look: Look, label: str | None = None, *, value: str = "convergence") -> None:
    """A curve over steps with its interval as a band; without a half-width there is no band."""
    x, y, half = curve["step"] + 1, curve[value], curve["half_width"]
    axes.fill_between(x, y - half, y + half, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, label=label, **look.line(len(curve)))


def dress(axes: Axes, steps: pd.Series[int], title: str | None = None, phases: pd.DataFrame | None = None) -> None:
    """Axis of steps, title, tints of phases; with a title also the names of the phases."""
    first, last = int(steps.min()), int(steps.max())
    axes.set_xscale("log")
    axes.set_xlim((first + 1) / 1.12, (last + 1) * 1.12)
    ticks = _ticks(first, last)
    axes.set_xticks([step + 1 for step in ticks], [_short(step) for step in ticks])
    axes.set_xticks([], minor=True)
    axes.tick_params(labelsize=8, labelbottom=True, labelleft=True)
    shaded = phases is not None and len(phases) > 0
    axes.grid(axis="y", color="white" if shaded else "#EDEDED", linewidth=1 if shaded else 0.7)
    if phases is not None:
        _shade(axes, phases, first, last, named=title is not None)
    if title is not None:
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=26 if shaded else 6)


def legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """A label for each kind of line that some panel has, in the room that the header left for them."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = dict(pair for axes in panels for pair in named_lines(axes))
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    left, top = _MARGIN / figure.get_figwidth(), engine.get()["rect"][3]
    columns = _legend_columns(len(lines), figure.get_figwidth())
    # A label that begins with an underscore would be left out. Columns are filled one by one, and rows are read.
    labels = [(f" {name}" if name.startswith("_") else name, handle) for name, handle in lines.items()]
    labels = [label for column in range(columns) for label in labels[column::columns]]
    drawn = figure.legend(
        [handle for _, handle in labels],
        [name for name, _ in labels],
        loc="lower left",
        bbox_to_anchor=(left, top),
        ncols=columns,
        **_LEGEND,
    )
    drawn.set_in_layout(False)


def named_lines(axes: Axes) -> Iterator[tuple[str, Line2D]]:
    """The lines of a panel that have a name, with it."""
    for drawn in axes.lines:
        if not _NO_LABEL.fullmatch(label := str(drawn.get_label())):
            yield label, drawn


def finish(figure: Figure, panels: Sequence[Axes], labels: Sequence[str] = (), *, below: str = STEPS) -> None:
    """Label the axes, lay the figure out, and move names of phases apart where they would touch.

    labels: of the vertical axes, where they are not labelled yet; of panels that are alike the first in a row is.
    """
    for axes, label in zip(panels, labels, strict=bool(labels)):
        place = axes.get_subplotspec()
        if len(set(labels)) == len(labels) > 1 or (place is not None and place.is_first_col()):
            axes.set_ylabel(label)
    figure.supxlabel(below, fontsize=9)
    figure.draw_without_rendering()
    for axes in panels:
        _move_apart(axes, [text for text in axes.texts if text.get_gid() == _PHASE])


def _shade(axes: Axes, phases: pd.DataFrame, first: int, last: int, *, named: bool) -> None:
    columns = (phases[name] for name in ("position", "phase", "first_step", "last_step"))
    for position, name, begin, end in zip(*columns, strict=True):
        left, right = max(begin, first) + 1, min(end, last) + 1
        if left >= right:
            continue
        axes.axvspan(left, right, color=TINTS[(position - 1) % len(TINTS)], linewidth=0, zorder=0)
        if named:
            place, text = math.sqrt(left * right), name.replace("_", "\n")
            axes.text(place, 1.01, text, transform=axes.get_xaxis_transform(), gid=_PHASE, **_PHASE_NAME)


def _ticks(first: int, last: int) -> list[int]:
    """Steps to label: 0, and powers of ten, or of two where training is short; the last where it is far from these."""
    powers = [2**k for k in range(7)] if last < 65 else [10**k for k in range(10)]
    ticks = [step for step in (0, *powers) if first <= step <= last]
    return ticks if ticks and last < 4 * ticks[-1] + 4 else [*ticks, last]


def _short(step: int) -> str:
    """A step as an axis has room for it."""
    if step >= 1_000_000:
        return f"{step / 1_000_000:g}M"
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:,}"


def _legend_columns(n_labels: int, width: float) -> int:
    """Labels side by side in a figure of a width in inches, as many in each row."""
    most = max(1, int(width / 1.6))
    return math.ceil(n_labels / math.ceil(n_labels / most)) if n_labels else 1


def _move_apart(axes: Axes, names: Sequence[Text], gap: float = 8) -> None:
    """Shift names, which come from left to right, by as little as keeps `gap` pixels between them."""
    boxes = [name.get_window_extent() for name in names]
    starts: list[float] = []
    for box in boxes:
        end = starts[-1] + boxes[len(starts) - 1].width + gap if starts else -math.inf
        starts.append(max(box.x0, end))
    limit = axes.get_window_extent().x1 + gap
    for number in reversed(range(len(names))):
        starts[number] = min(starts[number], limit - boxes[number].width)
        limit = starts[number] - gap
    inverse = axes.transData.inverted()
    for name, box, start in zip(names, boxes, starts, strict=True):
        name.set_x(inverse.transform((start + box.width / 2, 0))[0])
