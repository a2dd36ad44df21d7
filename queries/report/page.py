"""The report as a page of HTML: sections of figures and tables in, text out. This module may not know a database.

The page needs nothing but itself: figures are SVG within it, and its policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from json import dumps
from pathlib import Path

from queries.figures.reading import Rows
from queries.report.markup import Markup, element

#: Rows of a table that are printed; SQL gives the others.
MOST_ROWS = 1_000
#: Letters of a text that stays on one line in a table.
_LONGEST_NAME = 20
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_NOTHING = "–"
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Picture:
    """A figure as it stands on the page. alt: what is seen, in words; form: media type; size: in CSS pixels."""

    title: str
    note: str
    alt: str
    form: str
    image: bytes
    size: tuple[int, int]
    statements: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table as it stands on the page. upright: each column of the one row is a line, folded: shown on demand."""

    title: str
    note: str
    rows: Rows
    statements: Sequence[str]
    upright: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and what stands below it; perhaps a list."""

    title: str
    words: str
    parts: Sequence[Picture | Table]
    items: Sequence[str] = ()


def page(title: str, lead: str, facts: Iterable[tuple[str, str]], sections: Sequence[Section], footer: str) -> str:
    """The whole page. facts: (number, what of), shown large below the lead."""
    figures, tables = count(1), count(1)
    main = [
        element("section", *_section(number, section, figures, tables), id=f"section-{number}")
        for number, section in enumerate(sections, 1)
    ]
    body = element(
        "body",
        element(
            "header",
            element("p", "Report of a token warehouse", class_="kind"),
            element("h1", title),
            element("p", lead, class_="lead"),
            element("dl", *(element("div", element("dt", what), element("dd", number)) for number, what in facts)),
        ),
        element("nav", element("h2", "Contents"), _contents(sections), aria_label="Contents"),
        element("main", *main),
        element("footer", element("p", footer)),
    )
    return f"<!doctype html>\n{element('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    style = (Path(__file__).parent / "style.css").read_text("utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} · token warehouse"),
        element("style", Markup(style)),
    )


def _contents(sections: Sequence[Section]) -> Markup:
    figures, tables = count(1), count(1)
    items = []
    for number, section in enumerate(sections, 1):
        inner = []
        for part in section.parts:
            anchor, label = _label(part, figures, tables)
            inner.append(element("li", element("a", element("span", label), " ", part.title, href=f"#{anchor}")))
        heading = element("a", section.title, href=f"#section-{number}")
        items.append(element("li", heading, *([element("ul", *inner)] if inner else [])))
    return element("ol", *items)


def _label(part: Picture | Table, figures: Iterator[int], tables: Iterator[int]) -> tuple[str, str]:
    """Anchor and name of the next figure or table."""
    noun, numbers = ("Figure", figures) if isinstance(part, Picture) else ("Table", tables)
    number = next(numbers)
    return f"{noun.lower()}-{number}", f"{noun} {number}"


def _section(number: int, section: Section, figures: Iterator[int], tables: Iterator[int]) -> Iterator[Markup]:
    yield element("h2", f"{number} ", section.title)
    if section.words:
        yield element("p", section.words)
    if section.items:
        yield element("ul", *(element("li", item) for item in section.items))
    for part in section.parts:
        anchor, label = _label(part, figures, tables)
        yield _picture(part, anchor, label) if isinstance(part, Picture) else _table(part, anchor, label)


def _picture(picture: Picture, anchor: str, label: str) -> Markup:
    source = f"data:{picture.form};base64,{base64.b64encode(picture.image).decode()}"
    width, height = map(str, picture.size)
    caption = element("figcaption", element("strong", f"{label}. {picture.title}."), " ", picture.note)
    figure = element("figure", element("img", src=source, alt=picture.alt, width=width, height=height), caption)
    return element("div", figure, _statements(picture.statements, "figure"), id=anchor, class_="part")


def _table(table: Table, anchor: str, label: str) -> Markup:
    left_out = len(table.rows.rows) - MOST_ROWS
    cut = f" These are the first {MOST_ROWS:,} of {len(table.rows.rows):,} rows." if left_out > 0 else ""
    caption = element("figcaption", element("strong", f"{label}. {table.title}."), " ", table.note, cut)
    drawn = element("table", *(_upright(table.rows) if table.upright else _lines(table.rows)))
    # A region that scrolls must be reachable by keyboard.
    scrolled = element("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=table.title)
    if table.folded:
        scrolled = element("details", element("summary", f"{len(table.rows.rows):,} rows"), scrolled)
    figure = element("figure", caption, scrolled, class_="table")
    return element("div", figure, _statements(table.statements, "table"), id=anchor, class_="part")


def _lines(rows: Rows) -> Iterator[Markup]:
    columns = list(zip(*rows.rows[:MOST_ROWS], strict=True))
    kinds = [_kind(*each) for each in zip(rows.columns, rows.numeric, columns, strict=True)]
    heads = (element("th", name, scope="col", class_=kind) for name, kind in zip(rows.columns, kinds, strict=True))
    yield element("thead", element("tr", *heads))
    shown = zip(*map(column, columns), strict=True)
    lines = (element("tr", *map(_cell, line, kinds)) for line in shown)
    yield element("tbody", *lines)


def _upright(rows: Rows) -> Iterator[Markup]:
    lines = (
        element("tr", element("th", name, scope="row"), _cell(column([value])[0], _kind(name, False, [value])))
        for row in rows.rows
        for name, value in zip(rows.columns, row, strict=True)
    )
    yield element("tbody", *lines)


def _cell(text: str, kind: str | None) -> Markup:
    return element("td", text, class_=kind)


def _kind(name: str, numeric: bool, values: Sequence[object]) -> str | None:
    """The class of a column's cells: how they are aligned and where they may break."""
    if numeric:
        return "number"
    if any(isinstance(value, datetime) for value in values):
        return "time"
    if name.startswith("SHA-256"):
        return "hash"
    return "name" if all(len(str(value)) <= _LONGEST_NAME for value in values) else None


def _statements(statements: Sequence[str], noun: str) -> Markup:
    code = (element("pre", element("code", statement)) for statement in statements)
    return element("details", element("summary", f"SQL behind this {noun}"), *code, class_="sql")


def column(values: Sequence[object]) -> list[str]:
    """The values of a column as a person reads them; fractions have as many decimals as the largest has four digits."""
    fractions = [abs(value) for value in values if isinstance(value, float) and math.isfinite(value)]
    largest = max(fractions, default=0.0)
    decimals = min(max(3 - math.floor(math.log10(largest)), 0), _MOST_DECIMALS) if largest else 1
    return [_shown(value, decimals) for value in values]


def _shown(value: object, decimals: int) -> str:
    """A value: thousands apart, minus signs, and a dash for what was not measured."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    if isinstance(value, float):
        # Of what would be rounded away, the order of magnitude.
        far_below = 0 < abs(value) < 0.5 * 10.0**-decimals
        return (f"{value:.0e}" if far_below else f"{value:,.{decimals}f}").replace("-", "\N{MINUS SIGN}")
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, list):
        return ", ".join(_shown(part, decimals) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {part if isinstance(part, str) else dumps(part)}" for key, part in value.items())
    return str(value)
