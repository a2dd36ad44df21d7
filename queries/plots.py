"""Figures of convergence over training: frames in, a figure out. This module may not know a database.

Steps lie at log(step + 1), so that step 0 has a place; the axis says so. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart, and tints of phases stay lighter than any line, in print too.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from queries.captions import Caption

FORMATS = ("png", "svg", "pdf")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
#: Tints of the first to the fourth phase of a definition.
TINTS = ("#EDEDED", "#DCEBF5", "#FBE6DA", "#DDF1EA")
INK, GREY, PALE = "#222222", "#6B6B6B", "#C4C4C4"

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
    "lines.markersize": 3.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    # Equal data give equal files.
    "svg.hashsalt": "token-warehouse",
}

READINGS = {"kl_uniform": "KL to uniform", "kl_unigram": "KL to unigram", "cross_entropy": "cross-entropy"}
_STEP_LABEL = "training step, on a log scale of step + 1"
_CONVERGENCE_LABEL = "convergence (nats)"
_MARGIN = 0.12  # inches
_LEGEND: Mapping[str, Any] = {"borderaxespad": 0.6, "borderpad": 0, "handlelength": 1.6}
_PHASE_NAME: Mapping[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": GREY, "linespacing": 1.0}


class MissingMatplotlib(WarehouseError):
    """Drawing needs matplotlib, which is not installed: pip install 'token-warehouse[plots]'"""


class BadOutput(WarehouseError):
    """The figure cannot be written where it should go."""


def draw_convergence(curves: pd.DataFrame, phases: pd.DataFrame, caption: Caption) -> Figure:
    """Convergence against step, a panel per model; the curves of the other models are faint in each.

    curves: model, step, convergence, half_width in nats. phases: model, position, phase, first_step, last_step.
    """
    models = list(curves["model"].unique())
    with _style():
        figure, panels = _grid(len(models), caption)
        for model, axes in zip(models, panels, strict=True):
            for _, other in curves[curves["model"] != model].groupby("model"):
                axes.plot(other["step"] + 1, other["convergence"], color=PALE, linewidth=1)
            _line(axes, curves[curves["model"] == model], COLOURS[0])
            _dress(axes, curves["step"], phases[phases["model"] == model], model)
        _finish(figure, panels, [_CONVERGENCE_LABEL] * len(panels))
    return figure


def draw_conditional(curves: pd.DataFrame, phases: pd.DataFrame, caption: Caption) -> Figure:
    """Convergence against step, a line per value of a layer and a panel per model.

    curves: as for draw_convergence, with value and value_order (NaN unless numeric); values in the order to show.
    """
    models, values = list(curves["model"].unique()), list(curves["value"].unique())
    colours = dict(zip(values, _colours(len(values), ordered=bool(curves["value_order"].notna().all())), strict=True))
    with _style():
        figure, panels = _grid(len(models), caption, n_labels=len(values))
        for model, axes in zip(models, panels, strict=True):
            for value, curve in curves[curves["model"] == model].groupby("value", sort=False):
                _line(axes, curve, colours[value], label=str(value))
            _dress(axes, curves["step"], phases[phases["model"] == model], model)
        _legend(figure, panels)
        _finish(figure, panels, [_CONVERGENCE_LABEL] * len(panels))
    return figure


def draw_phases(curves: pd.DataFrame, readings: pd.DataFrame, phases: pd.DataFrame, caption: Caption) -> Figure:
    """Two panels per model, one above the other: convergence, and what the checkpoints are like on average.

    curves, phases: as for draw_convergence. readings: model, step, kl_uniform, kl_unigram, cross_entropy in nats.
    """
    models = list(curves["model"].unique())
    shown = [name for name in READINGS if readings[name].notna().any()]
    with _style():
        figure, panels = _grid(len(models), caption, rows_per_model=2, n_labels=len(shown))
        upper, lower = panels[: len(models)], panels[len(models) :]
        for model, above, below in zip(models, upper, lower, strict=True):
            own = phases[phases["model"] == model]
            _line(above, curves[curves["model"] == model], COLOURS[0])
            _dress(above, curves["step"], own, model)
            reading = readings[readings["model"] == model]
            for name, colour in zip(shown, COLOURS[1:], strict=False):
                below.plot(reading["step"] + 1, reading[name], color=colour, marker="o", label=READINGS[name])
            _dress(below, curves["step"], own)
        if shown:
            _legend(figure, lower)
        labels = [_CONVERGENCE_LABEL] * len(models) + ["KL, cross-entropy (nats)"] * len(models)
        _finish(figure, panels, labels)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says: png, svg or pdf. Raises BadOutput; nothing half-written is left."""
    check_output(path)
    buffer = io.BytesIO()
    kind = path.suffix[1:].lower()
    # Without the date of today equal figures are equal files.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with _style():
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(buffer.getvalue())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadOutput(f"Cannot write {path}: {error.strerror}.") from error


def check_output(path: Path) -> None:
    """Raise BadOutput for a suffix that is no format of ours, and for a folder that does not exist."""
    if path.suffix[1:].lower() not in FORMATS:
        raise BadOutput(f"{path} ends in no known format; name a file that ends in .{', .'.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise BadOutput(f"There is no folder {path.parent}; create it, or name another.")


@contextmanager
def _style() -> Iterator[None]:
    """Our look, for what is drawn within. Raises MissingMatplotlib."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingMatplotlib from error
    with matplotlib.rc_context(STYLE):
        yield


def _grid(n_models: int, caption: Caption, *, rows_per_model: int = 1, n_labels: int = 0) -> tuple[Figure, list[Axes]]:
    """A figure with its caption, room for a legend of n_labels, and a panel per model and row: first rows first."""
    from matplotlib.figure import Figure

    columns = min(n_models, 2 if n_models in (1, 2, 4) else 3)
    blocks = math.ceil(n_models / columns)
    width = 7.0 if columns == 1 else columns * (4.6 if columns == 2 else 3.9)
    lines = textwrap.wrap(caption.subtitle, width=int(width * 14.5))
    header = 0.5 + 0.17 * len(lines) + (0.3 * math.ceil(n_labels / _legend_columns(n_labels, width)) if n_labels else 0)
    height = header + blocks * rows_per_model * 2.9 + 0.4
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - header / height), hspace=0.06, wspace=0.05)
    figure.text(_MARGIN / width, 1 - 0.12 / height, caption.title, va="top", fontsize=12.5, fontweight="bold")
    figure.text(_MARGIN / width, 1 - 0.42 / height, "\n".join(lines), va="top", fontsize=9, color=GREY, linespacing=1.3)
    grid = figure.subplots(blocks * rows_per_model, columns, sharex=True, squeeze=False)
    panels: list[Axes] = []
    for row in range(rows_per_model):
        cells = [grid[rows_per_model * block + row, column] for block in range(blocks) for column in range(columns)]
        for axes in cells[n_models:]:
            axes.remove()
        for axes in cells[1:n_models]:
            axes.sharey(cells[0])
        panels += cells[:n_models]
    return figure, panels


def _line(axes: Axes, curve: pd.DataFrame, colour: str, label: str | None = None) -> None:
    """A curve of convergence with its interval as a band; without a half-width there is no band."""
    x, y, half = curve["step"] + 1, curve["convergence"], curve["half_width"]
    axes.fill_between(x, y - half, y + half, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, color=colour, marker="o", label=label)


def _dress(axes: Axes, steps: pd.Series[int], phases: pd.DataFrame, title: str | None = None) -> None:
    """Axis of steps, tints of phases, title; with a title also the names of the phases."""
    first, last = int(steps.min()), int(steps.max())
    axes.set_xscale("log")
    axes.set_xlim((first + 1) / 1.12, (last + 1) * 1.12)
    ticks = _ticks(first, last)
    axes.set_xticks([step + 1 for step in ticks], [f"{step:,}" for step in ticks])
    axes.set_xticks([], minor=True)
    axes.tick_params(labelsize=8, labelbottom=True, labelleft=True)
    axes.grid(axis="y", color="white", linewidth=1)
    columns = (phases[name] for name in ("position", "phase", "first_step", "last_step"))
    for position, name, begin, end in zip(*columns, strict=True):
        left, right = max(begin, first) + 1, min(end, last) + 1
        if left >= right:
            continue
        axes.axvspan(left, right, color=TINTS[(position - 1) % len(TINTS)], linewidth=0, zorder=0)
        if title is not None:
            place, text = math.sqrt(left * right), name.replace("_", "\n")
            axes.text(place, 1.01, text, transform=axes.get_xaxis_transform(), **_PHASE_NAME)
    if title is not None:
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=26 if len(phases) else 6)


def _ticks(first: int, last: int) -> list[int]:
    """Steps to label: 0, and powers of ten, or of two where training is short."""
    powers = [2**k for k in range(7)] if last < 65 else [10**k for k in range(10)]
    return [step for step in (0, *powers) if first <= step <= last]


def _colours(number: int, *, ordered: bool) -> Sequence[str]:
    """Colours of the values of a layer: a ramp from light to dark where they are ordered."""
    if not ordered:
        return COLOURS[:number]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    ramp = colormaps["viridis_r"]
    return [to_hex(ramp(0.12 + 0.88 * place / max(number - 1, 1))) for place in range(number)]


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """A label for each kind of line that some panel has, in the room that the header left for them."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = {str(line.get_label()): line for axes in panels for line in axes.lines}
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    left, top = _MARGIN / figure.get_figwidth(), engine.get()["rect"][3]
    columns = _legend_columns(len(lines), figure.get_figwidth())
    legend = figure.legend(
        lines.values(), lines.keys(), loc="lower left", bbox_to_anchor=(left, top), ncols=columns, **_LEGEND
    )
    legend.set_in_layout(False)


def _legend_columns(n_labels: int, width: float) -> int:
    """Labels side by side in a figure of a width in inches."""
    return max(1, min(n_labels, int(width / 1.4)))


def _finish(figure: Figure, panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """Label the axes, lay the figure out, and move names of phases apart where they would touch."""
    for axes, label in zip(panels, labels, strict=True):
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
            axes.set_ylabel(label)
    figure.supxlabel(_STEP_LABEL, fontsize=9)
    figure.draw_without_rendering()
    for axes in panels:
        _move_apart(axes, axes.texts)


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
