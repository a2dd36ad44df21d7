"""Where studies of several lists of steps meet: which next and which last step counts, wherever one must."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from queries.figures.choice import Choice, choose
from queries.figures.reading import Source
from queries.report.tables import OUTLIERS
from tests.contents import frame
from tests.queries.rows import Connection, Text, add_comparison, add_curve, add_layer, add_model, add_text, insert
from tests.queries.rows import summary as sums
from warehouse.database import Database

KINDS = ("step", "step_reverse", "final", "final_reverse")
#: Two studies of one model: the second knows other steps, and goes on for longer.
LISTS = ((0, 1, 24), (0, 8, 24, 64))
#: The step and the step of q that each kind prefers of them, by hand.
PREFERRED = {
    "step": [(0, 1), (1, 24), (8, 24), (24, 64)],
    "step_reverse": [(1, 0), (24, 1), (24, 8), (64, 24)],
    "final": [(0, 64), (8, 64), (24, 64)],
    "final_reverse": [(64, 0), (64, 8), (64, 24)],
}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def wanted(steps: Sequence[int], kind: str) -> list[tuple[int, int]]:
    """What a study with this list of steps compares, as (step, step_q)."""
    earlier = list(pairwise(steps)) if kind.startswith("step") else [(step, steps[-1]) for step in steps[:-1]]
    return [(q, p) for p, q in earlier] if kind.endswith("reverse") else earlier


def add_studies(
    connection: Connection, text: Text, model: int, lists: Sequence[Sequence[int]], **values: object
) -> None:
    """Comparisons of every kind that studies of these lists want, with a mean KL of their own."""
    for kind in KINDS:
        for p, q in sorted({pair for steps in lists for pair in wanted(steps, kind)}):
            add_curve(connection, text, model, [p], [1 + (p + q) / 100], kind=kind, step_q=q, **values)


def rows_of(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def preferred(connection: Connection, kind: str, model: int) -> list[tuple[int, int]]:
    query = "select step, step_q from analysis.comparisons where kind = %s and model_id = %s and preferred"
    return sorted(connection.execute(query, [kind, model]).fetchall())


def test_the_nearest_next_and_the_latest_last_step_are_preferred_both_ways(connection: Connection, text: Text) -> None:
    model = add_model(connection, text, "one")
    add_studies(connection, text, model, LISTS)
    assert {kind: preferred(connection, kind, model) for kind in KINDS} == PREFERRED


def test_each_step_of_any_lists_has_one_preferred_comparison(connection: Connection, text: Text) -> None:
    random = np.random.default_rng(8)
    for number in range(12):
        model = add_model(connection, text, f"model {number}")
        lists = [sorted(random.choice(40, random.integers(2, 9), replace=False).tolist()) for _ in range(3)]
        add_studies(connection, text, model, lists)
        last = max(steps[-1] for steps in lists)
        nearest: dict[int, int] = {}
        for steps in lists:
            for step, following in pairwise(steps):
                nearest[step] = min(following, nearest.get(step, following))
        of_last = sorted({step for steps in lists if steps[-1] == last for step in steps[:-1]})
        assert preferred(connection, "step", model) == sorted(nearest.items())
        assert preferred(connection, "step_reverse", model) == sorted((q, p) for p, q in nearest.items())
        assert preferred(connection, "final", model) == [(step, last) for step in of_last]
        assert preferred(connection, "final_reverse", model) == [(last, step) for step in of_last]


def test_only_lists_about_the_same_runs_and_text_compete_and_plans_count(connection: Connection, text: Text) -> None:
    one, two = add_model(connection, text, "one"), add_model(connection, text, "two")
    other = add_text(connection, "verse")
    add_curve(connection, text, one, [0], [0.5], kind="step", step_q=8)
    add_curve(connection, text, one, [0], [0.5], kind="final", step_q=8)
    add_comparison(connection, text, two, 0, kind="step", step_q=1)
    add_comparison(connection, text, one, 0, kind="step", step_q=1, run_set="all")
    add_comparison(connection, other, one, 0, kind="step", step_q=1)
    add_comparison(connection, text, one, 0, kind="final", step_q=64, protocol_id=other.protocol_id)
    for step_q in (1, 8):
        add_comparison(connection, text, one, 0, kind="cross", model_q_id=two, step_q=step_q)
        add_comparison(connection, text, one, 0, kind="custom", step_q=step_q)
    assert rows_of(connection, "select preferred from analysis.comparisons") == [(True,)] * 10
    assert rows_of(connection, "select preferred from analysis.expected_convergence") == [(True,)] * 2
    add_comparison(connection, text, one, 0, kind="step", step_q=1, n_pairs=0)
    query = "select step_q, preferred from analysis.comparisons where kind = 'step' and corpus = 'prose'"
    query += " and run_set = 'default' and model = 'one' order by 1"
    assert rows_of(connection, query) == [(1, True), (8, False)]


def test_curves_have_one_point_a_step_and_their_break_points_stay(connection: Connection, text: Text) -> None:
    steps = [0, 1, 2, 4, 8, 16, 24]
    alone, met = add_model(connection, text, "alone"), add_model(connection, text, "met")
    for model in (alone, met):
        add_studies(connection, text, model, [steps])
    add_studies_beside(connection, text, met, steps)
    rows = rows_of(
        connection,
        "select metric, step, array_agg(value order by model) from analysis.training_curves group by metric, step",
    )
    assert len(rows) == 4 * 6
    assert all(len(values) == 2 and values[0] == values[1] for *_, values in rows)
    for view, columns in (("saturation", "best_step, n_steps"), ("break_points", "break_step, n_steps")):
        query = f"select metric, {columns}, count(*) from analysis.{view} group by metric, {columns}"
        found = rows_of(connection, query)
        assert [(metric, n, count) for metric, _, n, count in sorted(found)] == [
            (f"convergence_{kind}", 6, 2) for kind in sorted(KINDS)
        ], view


def add_studies_beside(connection: Connection, text: Text, model: int, steps: Sequence[int]) -> None:
    """What a second study adds: a farther next step, and an earlier last one."""
    for p, q in ((0, 8), (2, 16)):
        add_curve(connection, text, model, [p], [9.0], kind="step", step_q=q)
        add_curve(connection, text, model, [q], [9.0], kind="step_reverse", step_q=p)
    for step in steps[:3]:
        add_curve(connection, text, model, [step], [9.0], kind="final", step_q=16)
        add_curve(connection, text, model, [16], [9.0], kind="final_reverse", step_q=step)


def test_a_difference_is_of_the_nearest_steps_and_says_what_p_is_held_against(
    connection: Connection, text: Text, database: Database
) -> None:
    add_studies(connection, text, add_model(connection, text, "one"), LISTS)
    asked = "select * from convergence_difference_between('prose', 'one', 0, step_b => 24, kind => '{}')"
    for kind, of_a, of_b in (("step", 1, 64), ("final", 64, 64)):
        rows = frame(database, asked.format(kind))
        assert rows[["model_q_a", "step_q_a", "model_q_b", "step_q_b"]].values.tolist() == [["one", of_a, "one", of_b]]
        assert rows["difference"].item() == pytest.approx((24 + of_b - of_a) / 100)
        assert rows["complete"].item()
        other_way = frame(
            database, f"select * from convergence_difference_between('prose', 'one', 24, null, 0, kind => '{kind}')"
        )
        assert other_way["step_q_b"].tolist() == [of_a]
    connection.execute("update warehouse.comparison set n_pairs_expected = 9 where kind = 'step' and step_q = 64")
    assert not frame(database, asked.format("step"))["complete"].item()
    assert frame(database, asked.format("final"))["complete"].item()


@pytest.mark.parametrize("column", ["protocol_id", "run_set"])
def test_comparisons_of_different_protocols_or_run_sets_have_no_difference(
    connection: Connection, text: Text, database: Database, column: str
) -> None:
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, [0, 1], [0.5, 0.25])
    other = {"protocol_id": add_text(connection, "verse").protocol_id, "run_set": "all"}
    add_curve(connection, text, model, [2], [0.1], **{column: other[column]})
    keys = rows_of(connection, "select comparison_id from warehouse.comparison order by step")
    one, two, three = (key for (key,) in keys)
    assert frame(database, f"select * from convergence_difference({one}, {two})")["difference"].tolist() == [-0.25]
    assert frame(database, f"select * from convergence_difference({one}, {three})").empty


def test_the_outliers_of_a_report_are_of_the_nearest_next_step(
    connection: Connection, text: Text, database: Database
) -> None:
    model = add_model(connection, text, "one")
    layer = add_layer(connection, text.corpus_id, "word_class", {"function": 500, "content": 500})
    for step_q in (8, 1):
        comparison = add_comparison(connection, text, model, 0, kind="step", step_q=step_q)
        for layer_id, category, n, kl in ((text.total_layer, 0, 1000, 1.0), (layer, 0, 500, 1.8), (layer, 1, 500, 0.2)):
            insert(connection, "convergence_summary", **_spread(comparison, layer_id, category, n, kl))
    assert len(rows_of(connection, "select value from analysis.relative_divergence_outliers")) == 4
    with database.read() as reader:
        table = OUTLIERS.read(reader, **choose(Source(reader), Choice("step")).names(), layer="word_class")
    assert table is not None
    assert [row[1:4] for row in table.rows.rows] == [(0, 1, "content"), (0, 1, "function")]


def _spread(comparison: int, layer: int, category: int, n: int, kl: float) -> dict[str, object]:
    """Sums over ten documents of n / 10 tokens each, which differ by a hundredth, and as much over all tokens."""
    size = n / 10
    totals, overall = kl * size * np.linspace(0.99, 1.01, 10), 100 * np.linspace(1.01, 0.99, 10)
    return sums(
        comparison,
        layer,
        category,
        n=n,
        clusters=10,
        sum_kl=float(totals.sum()),
        cluster_xx=float(totals @ totals),
        cluster_xn=float(totals.sum() * size),
        cluster_nn=10 * size * size,
        cross_xx=float(totals @ overall),
        cross_xn=float(totals.sum() * 100),
        cross_nx=float(size * overall.sum()),
        cross_nn=10 * size * 100,
    )
