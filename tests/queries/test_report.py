"""The report: one page that holds all it needs, says what the views say, and shows SQL that runs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from queries.figures import convergence
from queries.figures.choice import Choice
from queries.figures.reading import Rows
from queries.report import contents
from queries.report.markup import element
from queries.report.page import MOST_ROWS, Section, Table, column, page
from queries.run import run
from tests.conftest import Outcome
from tests.contents import frame
from tests.queries.measured import Measured
from tests.queries.rows import Connection, add_comparison, add_model, add_text, add_training, insert_many, summary
from warehouse.database import Database

Command = Callable[..., Outcome]
EMPTY = {"img", "meta"}
LARGEST = 5_000_000


@dataclass
class Node:
    """An element with its attributes, its text and what stands within it."""

    name: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Node]:
        """The elements of a name within this one, in order."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.all(name)

    def words(self) -> str:
        """All text within, in the order of the elements' ends."""
        return " ".join([self.text, *(child.words() for child in self.children)])


class Strict(HTMLParser):
    """Reads a page as a tree, and refuses an end that does not match the last beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in EMPTY:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def parsed(text: str) -> Node:
    reader = Strict()
    reader.feed(text)
    reader.close()
    [document] = reader.open
    return document


@pytest.fixture(scope="module")
def text(measured: Measured) -> str:
    with measured.database.read() as reader:
        return contents.write(reader, Choice())


@pytest.fixture(scope="module")
def document(text: str) -> Node:
    return parsed(text)


# --- the page as a file -------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_its_ids_are_unique_and_found_by_its_links(text: str, document: Node) -> None:
    assert text.startswith('<!doctype html>\n<html lang="en">')
    everything = [document, *(node for node in _within(document))]
    ids = [node.attributes["id"] for node in everything if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    links = [node.attributes["href"] for node in document.all("a")]
    assert links
    assert {f"#{name}" for name in ids} == set(links)


def _within(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from _within(child)


def test_the_page_asks_nothing_of_a_network(text: str, document: Node) -> None:
    nodes = list(_within(document))
    sources = [node.attributes[name] or "" for node in nodes for name in ("src", "href") if name in node.attributes]
    assert sources
    assert all(source.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,", "#")) for source in sources)
    assert not {node.name for node in nodes} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    [style] = document.all("style")
    assert not re.search(r"url\(|@import|https?:", style.text)
    policy = [node.attributes["content"] for node in nodes if node.attributes.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_the_page_is_small(text: str) -> None:
    assert len(text.encode()) < LARGEST


def test_figures_are_drawn_without_their_captions_which_stand_below_them(document: Node) -> None:
    figures = [figure for figure in document.all("figure") if list(figure.all("img"))]
    assert len(figures) >= 8
    for figure in figures:
        [image] = figure.all("img")
        [caption] = figure.all("figcaption")
        svg = base64.b64decode((image.attributes["src"] or "").split(",")[1])
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert b"metadata" not in svg
        links = re.findall(rb'href="([^"]*)"', svg)
        assert all(link.startswith(b"#") for link in links)
        title = next(caption.all("strong")).text
        assert re.match(r"Figure \d+\. \w", title)
        # matplotlib writes each text as a comment beside its outlines.
        assert title.split(". ")[1].rstrip(".").encode() not in b" ".join(re.findall(rb"<!-- (.*?) -->", svg))
        assert len(caption.text) > 40


# --- what it says -------------------------------------------------------------------------------------------------


def test_every_part_shows_sql_that_runs_as_the_reader_and_gives_the_tables_rows(
    document: Node, measured: Measured
) -> None:
    parts = [node for node in document.all("div") if node.attributes.get("class") == "part"]
    assert len(parts) >= 20
    for part in parts:
        statements = [code.text for code in part.all("code")]
        assert statements
        results = []
        for statement in statements:
            with measured.database.read() as reader:
                result = run(reader, statement)
                results.append((len(list(result.rows)), [each.name for each in result.columns]))
        for table in part.all("table"):
            [(n_rows, names)] = results
            heads = [head.text for head in table.all("th")]
            lines = list(table.all("tr"))
            upright = not list(table.all("thead"))
            assert heads == names
            assert len(lines) == (len(names) if upright else n_rows + 1)


def test_tables_have_the_numbers_of_the_views(document: Node, measured: Measured) -> None:
    tables = {_title(part): part for part in document.all("figure") if list(part.all("table"))}
    shown = _cells(tables["Convergence of seeds by pos, at the last step"])
    last = measured.steps[-1]
    assert len(shown) == 12
    for model, step, value, tokens, mean, *_ in shown:
        own = measured.layers["pos"] == int(value.removeprefix("pos "))
        kl = measured.mean("seed", model, last)[own]
        assert (step, tokens) == (str(last), f"{np.isfinite(kl).sum():,}")
        assert float(mean.replace("\N{MINUS SIGN}", "-")) == pytest.approx(-np.nanmean(kl), abs=6e-5)


def test_provenance_names_texts_checkpoints_environments_versions_and_hashes(
    document: Node, measured: Measured
) -> None:
    tables = {_title(part): part for part in document.all("figure") if list(part.all("table"))}
    assert {"x" * 64, "y" * 64, "t" * 64} <= set(tables["The text"].words().split())
    assert len(_cells(tables["Checkpoints"])) == len(measured.scores)
    assert "device none" in tables["Where it was computed"].words()
    assert "unigram" in tables["References"].words()
    assert {row[0] for row in _cells(tables["Annotation layers"])} == {"pos", "word_class"}
    [digest] = frame(measured.database, "select digest from warehouse.views_state")["digest"]
    assert digest in tables["Versions"].words()


def test_alt_texts_tell_first_and_last_values(document: Node, measured: Measured) -> None:
    [alt] = [image.attributes["alt"] or "" for image in document.all("img")][:1]
    for model in measured.models:
        first, last = (np.nanmean(measured.mean("seed", model, measured.steps[place])) for place in (0, -1))
        told = re.search(rf"Panel {model}[^:]*: from (\S+) at step 0, to (\S+) at step 64", alt)
        assert told
        assert [float(number) for number in told.groups()] == pytest.approx([-first, -last], abs=6e-4)


def _title(part: Node) -> str:
    return re.sub(r"^\w+ \d+\. |\.$", "", next(part.all("strong")).text)


def _cells(part: Node) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for row in part.all("tr") if list(row.all("td"))]


def test_names_that_look_like_html_or_formulas_stay_text(connection: Connection, database: Database) -> None:
    name, value = "<script>alert('$x_{')</script>&amp;\"", "_</td><b>$\\frac{$"
    hostile = add_text(connection, name)
    add_training(connection, hostile, ["small"], [value, "plain"])
    connection.execute("update warehouse.model set name = '<i>small'")
    with database.read() as reader:
        text = contents.write(reader, Choice())
    document = parsed(text)
    assert not {node.name for node in _within(document)} & {"script", "b", "i"}
    [heading] = document.all("h1")
    assert heading.text == name
    assert value in [cell.text for cell in document.all("td")]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as opened:
        yield opened


def test_what_could_not_be_drawn_is_named_with_the_reason(connection: Connection, database: Database) -> None:
    text = add_text(connection, "verse")
    comparison = add_comparison(connection, text, add_model(connection, text, "poet"), 0)
    insert_many(connection, "convergence_summary", [summary(comparison, text.total_layer, sum_kl=1.0)])
    with database.read() as reader:
        document = parsed(contents.write(reader, Choice()))
    last = list(document.all("section"))[-1]
    assert "What is missing" in next(last.all("h2")).text
    assert "reference: No checkpoint has been measured" in last.words()
    assert "frequency: There is no layer frequency" in last.words()


# --- its parts ----------------------------------------------------------------------------------------------------


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = Rows(("number",), (True,), [(number,) for number in range(MOST_ROWS + 7)])
    table = Table("Numbers", "All of them.", rows, ["select 1"])
    document = parsed(page("t", "l", [], [Section("s", "", [table])], "f"))
    assert len(list(document.all("td"))) == MOST_ROWS
    assert f"first {MOST_ROWS:,} of {MOST_ROWS + 7:,} rows" in document.words()


def test_numbers_of_a_column_have_as_many_decimals_and_tiny_ones_their_magnitude() -> None:
    assert column([0.24063, -0.01, 1e-9, None]) == ["0.2406", "\N{MINUS SIGN}0.0100", "1e\N{MINUS SIGN}09", "–"]
    assert column([12345.678, 0.0]) == ["12,346", "0"]
    assert column([0.0, 0.0]) == ["0.0", "0.0"]
    assert column([float("nan"), 2.0]) == ["nan", "2.000"]
    assert column([143000, True, Decimal(12000), "a<b"]) == ["143,000", "yes", "12,000", "a<b"]
    assert column([datetime(2025, 1, 2, 3, 4, tzinfo=UTC), ["a", 1], {"torch": "2.1"}]) == [
        "2025-01-02 03:04 UTC",
        "a, 1",
        "torch 2.1",
    ]


def test_a_figure_of_very_many_points_is_pixels_and_no_larger_than_its_share() -> None:
    steps = np.arange(4000)
    curves = pd.DataFrame({"model": "m", "step": steps, "convergence": -(np.sin(steps) ** 2), "half_width": 0.1})
    phases = pd.DataFrame(columns=["model", "position", "phase", "first_step", "last_step"])
    for points, form, start in ((curves[:40], "image/svg+xml", b"<svg"), (curves, "image/png", b"\x89PNG")):
        made, image = contents._image(convergence.paint(points, phases, None))
        assert made == form
        assert image.startswith(start)
        assert len(image) <= LARGEST / 40


def test_elements_escape_text_and_attributes() -> None:
    made = element("p", "a<b", element("b", "&"), title='"x"')
    assert made == '<p title="&quot;x&quot;">a&lt;b<b>&amp;</b></p>'


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_which_equal_data_make_the_same_and_prints_its_path(
    named_measured: Measured, command: Command, tmp_path: Path, text: str
) -> None:
    out = tmp_path / "report.html"
    outcome = command("report", "--out", str(out))
    assert (outcome.status, outcome.output, outcome.errors) == (0, f"{out}\n", "")
    assert out.read_text("utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_layers_and_models_can_be_chosen(named_measured: Measured, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert command("report", "--layer", "pos", "--model", "large", "--out", str(out)).status == 0
    document = parsed(out.read_text("utf-8"))
    titles = [strong.text for strong in document.all("strong")]
    assert any("by pos" in title for title in titles)
    assert not any("word class" in title for title in titles)
    assert not re.search(r"\bsmall\b", next(document.all("header")).words())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "report.pdf"], ".html"),
        (["--out", "none/report.html"], "no folder"),
        (["--corpus", "verse", "--out", "report.html"], "no corpus verse; there are prose"),
        (["--definition", "nope", "--out", "report.html"], "no definition nope; there are estimated, fehlauer-2025"),
        (["--layer", "mood", "--out", "report.html"], "no layer mood; there are pos, word_class"),
    ],
)
def test_what_cannot_be_reported_on_is_an_error(
    named_measured: Measured,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command("report", *arguments)
    assert outcome.status == 2
    assert words in outcome.errors
    assert not list(tmp_path.iterdir())


def test_an_empty_warehouse_has_nothing_to_report(named_database: Database, command: Command, tmp_path: Path) -> None:
    outcome = command("report", "--out", str(tmp_path / "report.html"))
    assert outcome.status == 2
    assert "No checkpoint has been measured" in outcome.errors
