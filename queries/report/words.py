"""A figure in words, for readers who cannot see it: its panels, its lines, and where they begin, turn and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from queries.figures.layout import STEPS, named_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Lines that are told; of more, only the names.
_MOST_LINES = 12


def in_words(figure: Figure, title: str) -> str:
    """The title, then each panel with its lines."""
    over_steps = figure.get_supxlabel() == STEPS
    panels = list(figure.axes)
    lines = [(axes, name, line) for axes in panels for name, line in _lines(axes)]
    told = len(lines) <= _MOST_LINES
    parts = [f"{title}."]
    for number, axes in enumerate(panels, 1):
        own = [(name, line) for at, name, line in lines if at is axes]
        described = [_line(name, line, over_steps) if told else name for name, line in own]
        parts.append(f"Panel {_panel(axes) or number}: {'; '.join(each for each in described if each)}.")
    return " ".join(parts)


def _panel(axes: Axes) -> str:
    return ", ".join(text for text in (axes.get_title(loc="left"), axes.get_ylabel()) if text)


def _lines(axes: Axes) -> Iterator[tuple[str, Any]]:
    """The lines that have a name; in a panel without any, the last one, which lies on top of the others."""
    named = list(named_lines(axes))
    yield from named or [("", line) for line in axes.lines[-1:]]


def _line(name: str, line: Any, over_steps: bool) -> str:
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    known = np.isfinite(y)
    if not known.any():
        return name
    x, y = x[known] - (1 if over_steps else 0), y[known]
    place = "at step " if over_steps else "at "
    turns = {"lowest": int(y.argmin()), "highest": int(y.argmax())}
    last = len(y) - 1
    told = {"from": 0, "to": last} | {word: at for word, at in turns.items() if at not in (0, last)}
    said = ", ".join(f"{word} {y[at]:.3g} {place}{x[at]:,.0f}" for word, at in told.items())
    return f"{name} {said}".strip()
