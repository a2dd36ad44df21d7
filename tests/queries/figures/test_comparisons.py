"""What is read for figures, against the views and against what was put into the tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.figure import Figure

from queries.figures import captions, choice, comparisons, conditional, convergence, phases, shading
from queries.figures.choice import AmbiguousChoice, Choice, UnknownChoice, choose
from queries.figures.reading import Source
from tests.queries.rows import (
    TRAINING_STEPS,
    Connection,
    Text,
    add_curve,
    add_evaluation,
    add_run,
    add_training,
    insert_many,
    summary,
)
from warehouse.database import Database


def test_curves_and_their_intervals_are_those_of_the_view(loaded: Database, connection: Connection) -> None:
    with loaded.read() as reader:
        subject = choose(Source(reader), Choice())
        curves = comparisons.expected(Source(reader), subject)
    assert subject.models == ("small", "medium")
    assert subject.n_tokens == 1000
    assert list(curves["model"].unique()) == ["small", "medium"]
    view = connection.execute(
        """
        select convergence, se_seed, df_seed, se_document, df_document
        from analysis.expected_convergence
        order by model = 'medium', step
        """
    ).fetchall()
    convergence, seed, df_seed, text, df_text = np.array(view, dtype=float).T
    np.testing.assert_allclose(curves["convergence"], convergence)
    variance = seed**2 + text**2
    df = np.maximum(np.floor(variance**2 / (seed**4 / df_seed + text**4 / df_text)), np.minimum(df_seed, df_text))
    np.testing.assert_allclose(curves["half_width"], np.sqrt(variance) * scipy.stats.t.ppf(0.975, df), rtol=1e-9)
    assert (curves["half_width"] > 0).all()


def test_readings_are_means_over_seeds_without_flagged_runs(
    loaded: Database, connection: Connection, text: Text
) -> None:
    [(small,)] = connection.execute("select model_id from warehouse.model where name = 'small'").fetchall()
    for seed, outlier in ((1, False), (7, True)):
        run = add_run(connection, small, seed, outlier=outlier)
        add_evaluation(connection, text, run, 0, surprisal=100.0 if outlier else 8.0, entropy=6.9)
    with loaded.read() as reader:
        readings = phases.readings(Source(reader), choose(Source(reader), Choice(models=("small",))))
    assert readings["step"].tolist() == TRAINING_STEPS
    np.testing.assert_allclose(readings["cross_entropy"], [7.5, *(7 - step / 250 for step in TRAINING_STEPS[1:])])
    np.testing.assert_allclose(readings["kl_unigram"], 1 + np.array(TRAINING_STEPS) / 1000)
    np.testing.assert_allclose(readings["kl_uniform"], np.log(1000) - 6.9 + np.array(TRAINING_STEPS) / 300)


def test_of_many_values_the_most_frequent_are_read_and_the_caption_says_so(
    connection: Connection, text: Text, database: Database
) -> None:
    add_training(connection, text, ["small"], [f"value {place}" for place in range(11)])
    with database.read() as reader:
        subject = choose(Source(reader), Choice())
        curves = comparisons.by_value(Source(reader), subject, "word_class")
    assert list(curves["value"].unique()) == [f"value {place}" for place in range(8)]
    caption = captions.of_values(subject, "estimated", "word_class", 8, int(curves["n_values"].iloc[0]))
    assert "the 8 most frequent of 11 values" in caption.subtitle
    assert caption.title == "Convergence of seeds by word class"


def test_values_of_a_numeric_layer_come_in_their_order(connection: Connection, text: Text, database: Database) -> None:
    add_training(connection, text, ["small"], ["[10,100)", "[0,1)", "[1,10)"])
    connection.execute(
        "update warehouse.annotation_category set lower = split_part(substr(value, 2), ',', 1)::float8"
        " where value like '[%'"
    )
    with database.read() as reader:
        curves = comparisons.by_value(Source(reader), choose(Source(reader), Choice()), "word_class")
    assert list(curves["value"].unique()) == ["[0,1)", "[1,10)", "[10,100)"]


def test_incomplete_comparisons_are_left_out_and_counted(loaded: Database, connection: Connection) -> None:
    connection.execute("update warehouse.comparison set n_pairs = 5 where step = 16")
    with loaded.read() as reader:
        subject = choose(Source(reader), Choice())
        curves = comparisons.expected(Source(reader), subject)
    assert 16 not in set(curves["step"])
    assert subject.n_incomplete == 2
    assert "incomplete: 2" in captions.of_convergence(subject, "estimated").subtitle


# --- kinds with another model or step on the other side --------------------------------------------------------------


def add_pairs_of_sides(
    connection: Connection, text: Text, kind: str, kl: Mapping[tuple[str, int, str, int], float]
) -> None:
    """Comparisons of (model, step) with (model, step), each with a mean KL."""
    models = dict(connection.execute("select name, model_id from warehouse.model").fetchall())
    for (p, step, q, step_q), value in kl.items():
        sides = {"kind": kind, "model_q_id": models[q], "step_q": step_q}
        add_curve(connection, text, models[p], [step], [value], **sides)


def drawn(database: Database, choice: Choice) -> pd.DataFrame:
    with database.read() as reader:
        return comparisons.expected(Source(reader), choose(Source(reader), choice))


def points(curves: pd.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in curves[[*columns, "convergence"]].itertuples(index=False)]


@pytest.mark.parametrize("kind", ["size", "matched"])
def test_two_models_have_a_panel_each_way_and_the_phases_of_the_one_that_gives_p(
    loaded: Database, connection: Connection, text: Text, kind: str
) -> None:
    kl = {("small", 0, "medium", 4): 1.0, ("small", 4, "medium", 4): 2.0, ("medium", 4, "small", 4): 3.0}
    add_pairs_of_sides(connection, text, kind, kl)
    curves = drawn(loaded, Choice(kind))
    assert points(curves, "model", "step") == [
        ("small and medium", 0, -1.0),
        ("small and medium", 4, -2.0),
        ("medium and small", 4, -3.0),
    ]
    with loaded.read() as reader:
        found = shading.phases(Source(reader), choose(Source(reader), Choice()), "estimated")
    shaded = shading.of_panels(found, curves)
    for panel, model in (("small and medium", "small"), ("medium and small", "medium")):
        ends = ["first_step", "last_step"]
        assert shaded.loc[shaded["model"] == panel, ends].values.tolist() == (
            found.loc[found["model"] == model, ends].values.tolist()
        )
    assert points(drawn(loaded, Choice(kind, models=("medium",))), "model", "step") == [("medium and small", 4, -3.0)]


def test_of_many_steps_of_q_eight_have_a_line_the_first_and_last_among_them(
    loaded: Database, connection: Connection, text: Text
) -> None:
    kl = {("small", step, "medium", other): step + other / 8 for step in (0, 1) for other in range(11)}
    add_pairs_of_sides(connection, text, "cross", kl)
    parts = connection.execute(
        "select comparison_id, layer_id from warehouse.comparison as c, warehouse.annotation_layer as a"
        " where c.kind = 'cross' and a.name = 'word_class'"
    ).fetchall()
    insert_many(connection, "convergence_summary", [summary(*part, sum_kl=1.0) for part in parts])
    lines = comparisons.by_step_q(drawn(loaded, Choice("cross")))
    assert lines is not None
    assert list(lines["value"].unique()) == [f"q at step {other}" for other in (0, 1, 3, 4, 6, 7, 9, 10)]
    assert points(lines[lines["other"] == 10], "step") == [(0, -1.25), (1, -2.25)]
    with loaded.read() as reader:
        words = _words(convergence.draw(reader, Choice("cross")).figure())
        one = convergence.draw(reader, Choice("cross", step_q=7)).figure()
        with pytest.raises(AmbiguousChoice, match="choose one with --step-q"):
            conditional.draw(reader, Choice("cross"))
        conditional.draw(reader, Choice("cross", step_q=7))
        with pytest.raises(UnknownChoice, match="kind cross has a q at step 77"):
            convergence.draw(reader, Choice("cross", step_q=77))
    assert "Shown are 8 of 11 steps of q." in words
    assert "steps of q" not in _words(one)


def test_of_studies_of_several_lists_of_steps_the_latest_last_and_the_nearest_next_step_are_drawn(
    loaded: Database, connection: Connection, text: Text
) -> None:
    for kind, other in (("final", 16), ("final", 64), ("step", 16), ("step", 4)):
        add_pairs_of_sides(connection, text, kind, {("small", 0, "small", other): other})
        add_pairs_of_sides(connection, text, f"{kind}_reverse", {("small", other, "small", 0): other})
    for kind, other in (("final", 64), ("final_reverse", 64), ("step", 4), ("step_reverse", 4)):
        # Also where p is the later one, the curve is of the earlier steps.
        assert points(drawn(loaded, Choice(kind)), "step") == [(0, -float(other))], kind
    # The step of q says which, unless q is the earlier one.
    for kind, step_q, other in (("final", 16, 16), ("step", 16, 16), ("final_reverse", 0, 64), ("step_reverse", 0, 4)):
        assert points(drawn(loaded, Choice(kind, step_q=step_q)), "step") == [(0, -float(other))], kind


def test_listed_comparisons_of_one_step_of_q_each_are_one_curve(
    loaded: Database, connection: Connection, text: Text
) -> None:
    kl = {("small", 0, "small", 64): 1.0, ("small", 4, "small", 16): 2.0}
    add_pairs_of_sides(connection, text, "custom", kl)
    curves = drawn(loaded, Choice("custom"))
    assert points(curves, "model", "step") == [("small", 0, -1.0), ("small", 4, -2.0)]
    assert comparisons.by_step_q(curves) is None


def test_a_caption_speaks_of_a_band_only_where_an_interval_is_known(loaded: Database, connection: Connection) -> None:
    with loaded.read() as reader:
        known = convergence.draw(reader, Choice()).figure()
    connection.execute("update warehouse.settings set min_clusters = 1000")
    with loaded.read() as reader:
        unknown = convergence.draw(reader, Choice()).figure()
    for figure, said in ((known, "Band: 95% interval"), (unknown, "No band")):
        words = _words(figure)
        assert said in words
        assert (said == "No band") == ("Band:" not in words)


def test_a_caption_speaks_of_phases_only_where_some_are_shaded(loaded: Database, connection: Connection) -> None:
    with loaded.read() as reader:
        shaded = convergence.draw(reader, Choice()).figure()
    connection.execute("update warehouse.settings set phase_min_steps = 1000")
    with loaded.read() as reader:
        plain = convergence.draw(reader, Choice()).figure()
    assert "Shaded:" in _words(shaded)
    assert "Shaded:" not in _words(plain)


def _words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def test_what_was_measured_here_is_drawn_before_what_was_imported() -> None:
    both = ["concatenated-2048", "imported-lab", "imported-lab"]
    assert choice.settle("protocol", "protocols", None, both) == "concatenated-2048"
    assert choice.settle("protocol", "protocols", "imported-lab", both) == "imported-lab"
    assert choice.settle("protocol", "protocols", None, both[1:]) == "imported-lab"
