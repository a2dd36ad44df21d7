"""What stands in the report of a corpus: figures and tables, read in their order, and what had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from queries.figures import (
    conditional,
    convergence,
    cross_entropy_fit,
    phases,
    reference,
    relative_divergence,
    saturation,
    shading,
    style,
    trend_shares,
)
from queries.figures.choice import (
    AmbiguousChoice,
    Choice,
    NothingToDraw,
    Scored,
    UnknownChoice,
    choose_measured,
    require_known,
)
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.report import tables
from queries.report.opening import facts, footer, lead
from queries.report.page import Picture, Section, Table, page
from queries.report.tables import Asked
from queries.report.words import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Kinds of comparison whose expected convergence is drawn, where there are such.
KINDS = ("seed", "step", "final", "size", "matched")
#: Layers of more values say little in a figure of eight lines.
_MOST_VALUES = 60
#: Layers that have figures where none are named.
_MOST_LAYERS = 8
#: Bytes of a figure: thirty of them are a page of under five megabytes.
_LARGEST_IMAGE = 110_000
_DPI = (144, 120, 96, 72)

Part = Picture | Table


@dataclass
class Report:
    """A report in the making. missing: what it lacks, and why."""

    connection: Connection
    subject: Scored
    definition: str
    layers: Sequence[str]
    missing: list[str] = field(default_factory=list)

    @property
    def choice(self) -> Choice:
        """What figures are asked to draw."""
        subject = self.subject
        return Choice(corpus=subject.corpus, protocol=subject.protocol, family=subject.family, models=subject.models)

    def drawn(self, name: str, draw: Callable[..., Drawing], *arguments: object) -> list[Part]:
        """A figure, or nothing and the reason among what is missing. draw: of a figure's module, with its arguments."""
        try:
            drawing = draw(self.connection, *arguments)
        except (NothingToDraw, UnknownChoice, AmbiguousChoice) as reason:
            self.missing.append(f"{name}: {reason}")
            return []
        figure, caption = drawing.figure(titled=False), drawing.caption
        form, image = _image(figure)
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        alt = in_words(figure, caption.title)
        return [Picture(caption.title, caption.subtitle, alt, form, image, (width, height), drawing.statements)]

    def table(self, asked: Asked, **more: object) -> list[Part]:
        """A table, or nothing where it would be empty."""
        table = asked.read(self.connection, **self.subject.names(), definition=self.definition, **more)
        return [table] if table else []


def write(connection: Connection, choice: Choice, layers: Sequence[str] = (), definition: str = "estimated") -> str:
    """The report of a corpus, as HTML. layers: those with figures, otherwise the first that are fit for it.

    Raises NothingToDraw, AmbiguousChoice, UnknownChoice.
    """
    source = Source(connection)
    shading.require_definition(source, definition)
    subject = choose_measured(source, choice)
    report = Report(connection, subject, definition, _layers(source, subject, layers))
    sections = [
        _convergence(report),
        *_by_layer(report),
        _references(report),
        _learning(report),
        _material(report),
        _provenance(report),
    ]
    if report.missing:
        words = "These figures could not be drawn from what is in the warehouse."
        sections.append(Section("What is missing", words, [], report.missing))
    shown = [section for section in sections if section.parts or section in sections[-1:]]
    return page(subject.corpus, lead(source, subject), facts(source, subject), shown, footer(source, subject))


def _image(figure: Figure) -> tuple[str, bytes]:
    """A figure as vectors, or where that is large as pixels, as fine as its share of the page allows."""
    image = style.as_svg_element(figure)
    if len(image) <= _LARGEST_IMAGE:
        return "image/svg+xml", image
    for dpi in _DPI:
        image = style.as_small_png(figure, dpi)
        if len(image) <= _LARGEST_IMAGE:
            break
    return "image/png", image


def _layers(source: Source, subject: Scored, named: Sequence[str]) -> list[str]:
    """Layers that have figures. Raises UnknownChoice for one that is not there."""
    known = source.look_up(
        """
        select layer, max(n_values) as n_values
        from analysis.annotation_layers
        where corpus = %(corpus)s and summarised
        group by layer
        order by min(created_at), layer
        """,
        **subject.names(),
    )
    for layer in named:
        require_known("layer", layer, known["layer"])
    if named:
        return list(named)
    fit = known[(known["n_values"] > 1) & (known["n_values"] <= _MOST_VALUES)]["layer"]
    # Frequency has a figure of its own; documents and contexts are asked for by name.
    plain = [name for name in fit if name.split(".")[0] not in ("document", "frequency") and ".context" not in name]
    return plain[:_MOST_LAYERS]


def _material(report: Report) -> Section:
    parts = [*report.table(tables.MODELS), *report.table(tables.COMPARISONS), *report.table(tables.CORPUS)]
    return Section("What was measured", "", parts)


def _convergence(report: Report) -> Section:
    """Expected convergence of every kind there is, the phases, and frequency."""
    parts: list[Part] = []
    for kind in _kinds(report):
        choice = replace(report.choice, kind=kind)
        parts += report.drawn(f"convergence of kind {kind}", convergence.draw, choice, report.definition)
    parts += report.drawn("phases", phases.draw, report.choice, report.definition)
    parts += report.table(tables.PHASES)
    return Section("Convergence", "How alike models predict, over all tokens, while they train.", parts)


def _by_layer(report: Report) -> list[Section]:
    choice, definition = report.choice, report.definition
    parts = report.drawn("frequency", conditional.draw_frequency, choice, None, definition)
    moving: list[Part] = []
    for layer in report.layers:
        parts += report.drawn(f"convergence by {layer}", conditional.draw, choice, layer, definition)
        parts += report.table(tables.AT_THE_END, layer=layer)
        steps = replace(choice, kind="step")
        moving += report.drawn(f"relative divergence by {layer}", relative_divergence.draw, steps, layer)
        moving += report.table(tables.OUTLIERS, layer=layer)
    for layer in report.layers[:1]:
        steps = replace(choice, kind="step")
        moving += report.drawn("cross-entropy fit", cross_entropy_fit.draw, steps, layer)
    return [
        Section("Convergence by kind of token", "The same, over the tokens with each value of a layer.", parts),
        Section("Relative divergence", "Which tokens' predictions move more than others', and when.", moving),
    ]


def _references(report: Report) -> Section:
    parts = report.drawn("reference", reference.draw, report.choice)
    return Section("References", "How far models are from knowing nothing.", [*parts, *report.table(tables.NEAREST)])


def _learning(report: Report) -> Section:
    """Trends of single tokens, and curves of metrics."""
    parts = report.drawn("trend shares", trend_shares.draw, report.choice)
    parts += report.drawn("saturation", saturation.draw, report.choice)
    parts += report.table(tables.SATURATION)
    return Section("Learning", "What single tokens and whole texts gain by training, and whether it lasts.", parts)


def _provenance(report: Report) -> Section:
    parts = [part for asked in tables.PROVENANCE for part in report.table(asked)]
    return Section("Provenance", "What was measured, by what, and where it came from.", parts)


def _kinds(report: Report) -> list[str]:
    found = Source(report.connection).look_up(
        """
        select distinct kind
        from analysis.comparisons
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and complete
        """,
        **report.subject.names(),
    )
    return [kind for kind in KINDS if kind in set(found["kind"])]
