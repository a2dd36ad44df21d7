"""How often intervals hold the truth: simulated studies, asked through the views, and the table in docs/uncertainty.md.

Every replicate is a comparison of its own in a scratch database, so that what is tried is what users get. Which seeds
and documents turn up is drawn at random; the truth is known. `python -m benchmarks.coverage` writes the table anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.simulated import Warehouse
from warehouse.database import Database

Floats = NDArray[np.float64]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "uncertainty.md"
REPLICATES = 4000
#: Of differences, each of which is a call of a function.
DIFFERENCES = 1000

#: Mean KL in nats, and the standard deviations of what is added to that of a pair of seeds on a document: for each of
#: its seeds, for the two together, for the direction, for the document, and for each seed on the document.
MEAN, OF_SEED, OF_TWO_SEEDS, OF_DIRECTION, OF_DOCUMENT, OF_SEED_ON_DOCUMENT = 0.4, 0.02, 0.01, 0.005, 0.06, 0.02
#: Documents have exp(this +- that) tokens.
LOG_LENGTH = (5.5, 0.5)


@dataclass(frozen=True)
class Design:
    """How many training runs and documents a simulated study has."""

    seeds: int
    documents: int


DESIGNS = (
    *(Design(3, 10), Design(5, 10), Design(10, 10)),
    *(Design(5, 5), Design(5, 30), Design(5, 100)),
)
DIFFERENCE_DESIGNS = (Design(3, 10), Design(5, 10), Design(5, 30))


@dataclass(frozen=True)
class Draw:
    """Replicates of a study. kl: [R, n, n, D] mean KL of ordered pairs by document, nats; lengths: [R, D] tokens.

    on_text, of_runs: [R] what the expected KL would be over all possible runs on this text, and of these runs over all
    possible text.
    """

    kl: Floats
    lengths: Floats
    on_text: Floats
    of_runs: Floats


def draw(design: Design, replicates: int, random: np.random.Generator) -> Draw:
    """Draw seeds and documents at random, each with its own effect on KL."""
    lengths, seeds, documents = _common(design, replicates, random)
    return _draw_step(design, lengths, seeds, documents, random)


def draw_pair(design: Design, replicates: int, random: np.random.Generator) -> tuple[Draw, Draw]:
    """Two steps of the same runs on the same text: documents keep most of their difficulty, runs half of theirs."""
    lengths, seeds, documents = _common(design, replicates, random)
    first = _draw_step(design, lengths, seeds, documents, random)
    later_seeds, later_documents = (
        share * effect + np.sqrt(1 - share**2) * random.standard_normal(effect.shape)
        for share, effect in ((np.sqrt(0.5), seeds), (0.95, documents))
    )
    return first, _draw_step(design, lengths, later_seeds, later_documents, random)


def _common(design: Design, replicates: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """[R, D] lengths of documents, and [R, n] and [R, D] standard normal effects of seeds and of documents."""
    lengths = np.ceil(np.exp(random.normal(*LOG_LENGTH, (replicates, design.documents))))
    seeds = random.standard_normal((replicates, design.seeds))
    return lengths, seeds, random.standard_normal(lengths.shape)


def _draw_step(design: Design, lengths: Floats, seeds: Floats, documents: Floats, random: np.random.Generator) -> Draw:
    """seeds: [R, n] and documents: [R, D] standard normal effects."""
    n, d, replicates = design.seeds, design.documents, len(lengths)
    together = np.triu(random.standard_normal((replicates, n, n)), 1)
    pair = OF_TWO_SEEDS * (together + together.transpose(0, 2, 1))
    pair += OF_DIRECTION * random.standard_normal((replicates, n, n))
    pair += OF_SEED * (seeds[:, :, None] + seeds[:, None, :])
    here = OF_SEED_ON_DOCUMENT * random.standard_normal((replicates, n, d))
    text = OF_DOCUMENT * documents
    kl = MEAN + pair[..., None] + text[:, None, None] + here[:, :, None] + here[:, None]
    two = ~np.eye(n, dtype=bool)
    on_text = MEAN + (text * lengths).sum(1) / lengths.sum(1)
    return Draw(kl, lengths, on_text, MEAN + pair[:, two].mean(1))


_INTERVALS: LiteralString = """
select
    -convergence as kl, se_seed, se_document, se_total,
    analysis.student_t_quantile(0.95, df_seed) as t_seed,
    analysis.student_t_quantile(0.95, df_document) as t_document,
    analysis.student_t_quantile(0.95, analysis.welch_df(se_seed, df_seed, se_document, df_document)) as t_total
from analysis.expected_convergence
where model = %s
order by step
"""

_DIFFERENCES: LiteralString = """
select found.difference, found.lower, found.upper, found.se_document, one.se_document, other.se_document
from analysis.expected_convergence as one
inner join analysis.expected_convergence as other on one.step = other.step
cross join lateral analysis.convergence_difference(one.comparison_id, other.comparison_id) as found
where one.model = %s and other.model = %s
order by one.step
"""


@dataclass(frozen=True)
class Coverage:
    """Share of replicates whose interval holds the truth. normal: +- 1.96 standard errors; student: by Student's t."""

    design: Design
    se_seed: float
    se_seed_normal: float
    se_document: float
    se_document_normal: float
    se_total: float


@dataclass(frozen=True)
class DifferenceCoverage:
    """Of a difference. width: standard error over documents without pairing, by that with it; the median."""

    design: Design
    interval: float
    width: float


def coverage(database: Database, designs: Sequence[Design], replicates: int) -> Iterator[Coverage]:
    """Simulate studies of each design and ask expected_convergence for their intervals."""
    for number, design in enumerate(designs):
        drawn = draw(design, replicates, np.random.default_rng([1, number]))
        model = f"{design.seeds} seeds, {design.documents} documents"
        with database.connect() as connection:
            Warehouse.of(connection).add_comparisons(model, drawn.kl, drawn.lengths)
            kl, se_seed, se_document, se_total, t_seed, t_document, t_total = _columns(connection, _INTERVALS, model)

        def held(truth: Floats | float, half_width: Floats, kl: Floats = kl) -> float:
            return float((np.abs(kl - truth) <= half_width).mean())

        yield Coverage(
            design,
            held(drawn.on_text, t_seed * se_seed),
            held(drawn.on_text, 1.96 * se_seed),
            held(drawn.of_runs, t_document * se_document),
            held(drawn.of_runs, 1.96 * se_document),
            held(MEAN, t_total * se_total),
        )


def difference_coverage(database: Database, designs: Sequence[Design], replicates: int) -> Iterator[DifferenceCoverage]:
    """Simulate two steps of the same studies and ask convergence_difference for the interval of their difference."""
    for number, design in enumerate(designs):
        drawn = draw_pair(design, replicates, np.random.default_rng([2, number]))
        models = [f"{step} step of {design.seeds} seeds, {design.documents} documents" for step in ("one", "other")]
        with database.connect() as connection:
            for model, each in zip(models, drawn, strict=True):
                Warehouse.of(connection).add_comparisons(model, each.kl, each.lengths, pairs=True)
            _, lower, upper, paired, one, other = _columns(connection, _DIFFERENCES, *models)
        # Both steps have the same expected KL.
        holds = (lower <= 0) & (upper >= 0)
        yield DifferenceCoverage(design, float(holds.mean()), float(np.median(np.hypot(one, other) / paired)))


def _columns(connection: psycopg.Connection[Any], query: LiteralString, *models: str) -> list[Floats]:
    rows = np.array(connection.execute(query, models).fetchall(), np.float64)
    return list(rows.T)


def tables(found: Sequence[Coverage], differences: Sequence[DifferenceCoverage]) -> tuple[str, str]:
    """Both tables as Markdown."""
    one = [
        "| seeds | documents | `se_seed`, t | with 1.96 | `se_document`, t | with 1.96 | `se_total`, t |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row.design.seeds} | {row.design.documents} | {row.se_seed:.1%} | {row.se_seed_normal:.1%} "
            f"| {row.se_document:.1%} | {row.se_document_normal:.1%} | {row.se_total:.1%} |"
            for row in found
        ),
    ]
    two = [
        "| seeds | documents | interval | unpaired / paired `se_document` |",
        "|---|---|---|---|",
        *(
            f"| {row.design.seeds} | {row.design.documents} | {row.interval:.1%} | {row.width:.1f} |"
            for row in differences
        ),
    ]
    return "\n".join(one), "\n".join(two)


def write(document: Path, written: Sequence[str]) -> None:
    """Put tables in the place of those of the document, in order."""
    parts = iter(written)
    text = re.sub(r"^\| seeds .*?(?=\n\n|\n\Z)", lambda _: next(parts), document.read_text("utf-8"), flags=re.M | re.S)
    document.write_text(text, "utf-8")


def main() -> None:
    """Simulate, and write the tables."""
    from benchmarks.scratch import scratch_database

    with scratch_database() as database:
        found = list(coverage(database, DESIGNS, REPLICATES))
        differences = list(difference_coverage(database, DIFFERENCE_DESIGNS, DIFFERENCES))
    written = tables(found, differences)
    print(*written, sep="\n\n")
    write(DOCUMENT, written)


if __name__ == "__main__":
    main()
