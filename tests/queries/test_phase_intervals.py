"""Intervals of phases: the bootstrap against a slow loop over tokens, its coverage, and what the command stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from queries.figures.choice import AmbiguousChoice
from queries.fitting.phase_bootstrap import interval, resampled_curves
from queries.phase_intervals import NoCurve, PartialSums, Request, TooFewDocuments, fit_phases
from queries.refresh import refresh
from tests.conftest import Outcome
from tests.contents import frame
from tests.queries.measured import Measured, measure
from tests.queries.test_phases import estimate
from warehouse.database import Database
from warehouse.standing import flag_run

Command = Callable[..., Outcome]
Floats = NDArray[np.float64]

STEPS = (0, 1, 2, 4, 8, 16, 32)
#: What KL is multiplied by at each step. A peak and a trough that two steps share; a fall on the edge of being one.
TIED = dict(zip(STEPS, (1.0, 0.98, 0.5, 0.5, 1.2, 1.2, 0.9), strict=True))
EDGE = dict(zip(STEPS, (1.0, 1.0, 0.45, 0.45, 0.55, 0.55, 0.5), strict=True))
BOUNDARIES = ("uniform_end", "peak", "trough")


def document_sums(held: Measured, model: str) -> tuple[Floats, Floats]:
    """[steps, D] KL and number of tokens of each document over the pairs of seeds, token by token in float64."""
    n_documents = int(held.documents[-1]) + 1
    kl, n_tokens = np.zeros((2, len(held.steps), n_documents))
    for place, step in enumerate(held.steps):
        for pair in held.members("seed", model, step):
            for document, value in zip(held.documents, held.kl[pair], strict=True):
                if np.isfinite(value):
                    kl[place, document] += float(value)
                    n_tokens[place, document] += 1
    return kl, n_tokens


def turns(steps: Sequence[int], curve: Floats) -> list[int | None]:
    """Steps of the boundaries of a curve of convergence, by the program that test_phases has of its own."""
    found = estimate(steps, curve)
    return [None if at is None else steps[at] for at in (found.uniform_end, found.peak, found.trough)]


def slow_intervals(
    held: Measured, model: str, samples: int, seed: int, confidence: float
) -> dict[str, tuple[Any, ...]]:
    """Step, lower, upper and share of each boundary, one sample after another."""
    kl, n_tokens = document_sums(held, model)
    random = np.random.default_rng(seed)
    found: list[list[int | None]] = []
    for _ in range(samples):
        drawn = random.integers(kl.shape[1], size=kl.shape[1])
        curve = np.array([-sum(kl[place, drawn]) / sum(n_tokens[place, drawn]) for place in range(len(kl))])
        found.append(turns(held.steps, curve))
    whole = turns(held.steps, -kl.sum(axis=1) / n_tokens.sum(axis=1))
    intervals = {}
    for place, name in enumerate(BOUNDARIES):
        steps = sorted(step for sample in found if (step := sample[place]) is not None)
        cut = round(len(steps) * (1 - confidence) / 2 - 0.49999)
        ends = (steps[cut], steps[len(steps) - 1 - cut]) if steps else (None, None)
        intervals[name] = (whole[place], *ends, len(steps) / samples)
    return intervals


@pytest.mark.parametrize(("scales", "n_tokens", "n_documents"), [(TIED, 700, 6), (EDGE, 1500, 280)])
def test_intervals_equal_a_slow_loop_over_samples_of_the_tokens_documents(
    database: Database, scales: dict[int, float], n_tokens: int, n_documents: int
) -> None:
    held = measure(database, n_tokens=n_tokens, n_documents=n_documents, steps=STEPS, unmeasured=["kl"], scales=scales)
    fit_phases(database, Request(samples=80, seed=5, confidence=0.9))
    rows = frame(database, "select * from phase_intervals")
    assert len(rows) == 2 * 3
    assert set(rows["n_documents"]) == {held.documents[-1] + 1}
    for model, own in rows.groupby("model"):
        expected = slow_intervals(held, str(model), 80, 5, 0.9)
        for row in own.astype(object).where(own.notna(), None).itertuples():
            assert (row.step, row.lower, row.upper, row.share) == expected[str(row.boundary)], (model, row.boundary)
    # What is told apart is not always the same: the test would say little otherwise.
    assert (rows["lower"] < rows["upper"]).any()
    if scales is EDGE:
        assert rows.loc[rows["boundary"] == "trough", "share"].between(0.01, 0.99).any()


def test_the_step_of_an_interval_is_that_of_the_view_of_boundaries(database: Database) -> None:
    measure(database, n_tokens=700, steps=STEPS, scales=TIED)
    fit_phases(database, Request(samples=10))
    rows = frame(database, "select model, boundary, step from phase_intervals").set_index(["model", "boundary"])["step"]
    views = frame(database, "select * from phase_boundaries where definition = 'estimated' and position = 2")
    assert len(views) == 2
    for row in views.itertuples():
        steps = (rows[row.model, name] for name in BOUNDARIES)
        assert tuple(steps) == (row.first_step, row.peak_step, row.trough_step)


def test_models_and_steps_get_the_same_documents_in_a_sample() -> None:
    random = np.random.default_rng(0)
    kl, n_tokens = random.gamma(2.0, 1.0, (3, 50)), np.full((3, 50), 7.0)
    kl[2] = 2 * kl[0]
    curves = resampled_curves(kl, n_tokens, 130, 1)
    np.testing.assert_allclose(curves[:, 2], 2 * curves[:, 0], rtol=1e-12)
    assert curves[:, 0].std() > 0
    # The standard deviation of a mean of 50 documents.
    assert curves[:, 0].std() == pytest.approx(kl[0].std() / 7 / np.sqrt(50), rel=0.2)
    np.testing.assert_array_equal(curves[:100], resampled_curves(kl, n_tokens, 100, 1))
    assert (curves != resampled_curves(kl, n_tokens, 130, 2)).any()


@pytest.mark.parametrize(
    ("steps", "confidence", "expected"),
    [
        # Of 100, the 5 least and the 5 greatest are cut off.
        (np.arange(100.0), 0.9, (5, 94, 1.0)),
        (np.arange(1000.0), 0.95, (25, 974, 1.0)),
        (np.arange(1000.0), 0.9, (50, 949, 1.0)),
        # Too few to cut any off.
        (np.arange(10.0), 0.9, (0, 9, 1.0)),
        (np.array([8.0, np.nan, 4.0, np.nan]), 0.9, (4, 8, 0.5)),
        (np.full(4, np.nan), 0.9, (None, None, 0.0)),
    ],
)
def test_an_interval_cuts_off_the_same_share_at_either_end(
    steps: Floats, confidence: float, expected: tuple[object, ...]
) -> None:
    found = interval(np.random.default_rng(0).permutation(steps), confidence)
    assert (found.lower, found.upper, found.share) == expected


def test_intervals_hold_the_boundary_of_the_population_that_texts_are_drawn_from() -> None:
    """Documents differ so much that the last step of the uniform phase and the peak move by a step or two."""
    random = np.random.default_rng(11)
    steps = [0, *(2**k for k in range(12))]
    population = np.array([0.40, 0.40, 0.40, 0.395, 0.39, 0.38, 0.33, 0.2, 0.15, 0.155, 0.3, 0.45, 0.36])
    true = turns(steps, -population)
    texts, held = 40, np.zeros(3)
    widths = np.zeros(3)
    for _ in range(texts):
        n_tokens = np.tile(random.integers(50, 200, 40).astype(float), (len(steps), 1))
        kl = n_tokens * population[:, None] * random.lognormal(-0.02, 0.2, (len(steps), 40))
        curves = resampled_curves(kl, n_tokens, 100, int(random.integers(1 << 30)))
        found = np.array([turns(steps, curve) for curve in curves], float)
        for place in range(3):
            ends = interval(found[:, place], 0.95)
            assert ends.lower is not None
            assert ends.upper is not None
            held[place] += ends.lower <= (true[place] or 0) <= ends.upper
            widths[place] += ends.lower < ends.upper
    assert (held / texts >= 0.9).all()
    # The intervals are no larger than they need be: they do not hold everything.
    assert widths[:2].min() > 0.2 * texts


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_the_intervals_and_stores_them_under_a_name(
    named_database: Database, command: Command
) -> None:
    measure(named_database, n_tokens=700, steps=STEPS, scales=TIED)
    options = ("--model", "small", "--samples", "40", "--seed", "3", "--confidence", "0.8", "--name", "mine")
    printed = command("fit", "phases", *options, "--format", "csv")
    assert printed.status == 0
    assert "Stored: phases mine, family toy, corpus prose, protocol default." in printed.errors
    stored = frame(named_database, "select * from phase_intervals")
    columns = ["model", "boundary", "step", "lower", "upper", "share"]
    rows = [line.split(",") for line in printed.output.splitlines()]
    assert rows[0] == columns
    assert [row[:5] for row in rows[1:]] == stored[columns[:5]].astype(str).to_numpy().tolist()
    assert set(stored["model"]) == {"small"}
    asked = stored[["name", "n_samples", "seed", "confidence"]].drop_duplicates().to_numpy().tolist()
    assert asked == [["mine", 40, 3, 0.8]]
    settings = frame(named_database, "select settings from fits")["settings"][0]
    assert settings == {
        "samples": 40,
        "seed": 3,
        "confidence": 0.8,
        "phase_change": 0.1,
        "phase_uniform": 0.05,
        "models": ["small"],
        "run_set": "default",
    }


def test_what_was_measured_here_comes_before_what_was_imported(database: Database) -> None:
    measure(database, n_tokens=700, steps=STEPS, scales=TIED)
    with database.connect() as connection:
        connection.execute(
            """
            insert into warehouse.protocol (name, windows, vocabulary, dtype, origin)
            values ('imported-lab', 'imported', 'tokenizer', 'float32', 'a lab')
            """
        )
        connection.execute(
            """
            insert into warehouse.comparison (
                kind, corpus_id, protocol_id, run_set, model_id, step, model_q_id, step_q, n_pairs, n_pairs_expected
            )
            select kind, corpus_id, imported.protocol_id, run_set, model_id, step, model_q_id, step_q, n_pairs, n_pairs
            from warehouse.comparison
            inner join warehouse.protocol as imported on imported.name = 'imported-lab'
            where kind = 'seed'
            """
        )
    fit, _ = fit_phases(database, Request(samples=5))
    assert fit.protocol == "default"


def test_a_confidence_that_is_no_number_is_refused(named_database: Database, command: Command) -> None:
    done = command("fit", "phases", "--confidence", "nan")
    assert done.status == 2
    assert "Invalid value for '--confidence': nan is not a finite number." in done.errors


def test_the_same_again_gives_the_same_and_replaces_it(database: Database) -> None:
    measure(database, n_tokens=700, models=("small",), steps=STEPS, scales=TIED)
    columns = "model, boundary, step, lower, upper, share, input_digest"
    query = f"select {columns} from phase_intervals inner join fits using (fit_id) order by model, boundary"
    fit_phases(database, Request(samples=40))
    before = frame(database, query)
    fit_phases(database, Request(samples=40))
    assert frame(database, query).equals(before)
    with database.engine().begin() as connection:
        flag_run(connection, None, "small", 2, "diverged")
    fit_phases(database, Request(samples=40))
    assert set(frame(database, query)["input_digest"]).isdisjoint(before["input_digest"])


def test_a_flagged_run_takes_no_part(database: Database) -> None:
    held = measure(database, n_tokens=700, steps=STEPS, models=("small",), scales=TIED)
    with database.engine().begin() as connection:
        flag_run(connection, None, "small", 2, "diverged")
    fit_phases(database, Request(samples=40, confidence=0.9))
    held.seeds = (0, 1)
    rows = frame(database, "select * from phase_intervals").set_index("boundary")
    for boundary, expected in slow_intervals(held, "small", 40, 0, 0.9).items():
        assert tuple(rows.loc[boundary, ["step", "lower", "upper", "share"]]) == expected


def test_what_cannot_be_fitted_is_refused_with_what_to_do(database: Database) -> None:
    with pytest.raises(NoCurve, match="No model has complete comparisons of seeds at 5 steps"):
        fit_phases(database, Request())
    measure(database, n_tokens=400, n_documents=4, steps=STEPS[:5])
    with pytest.raises(NoCurve, match="No model huge has complete comparisons"):
        fit_phases(database, Request(models=("small", "huge")))
    with pytest.raises(TooFewDocuments, match=r"4 documents of corpus prose have sums .* an interval needs 5"):
        fit_phases(database, Request())
    with database.connect() as connection:
        connection.execute("update warehouse.model set family = 'other' where name = 'large'")
    with pytest.raises(AmbiguousChoice, match=r"There are several families: other, toy\. Choose one with --family"):
        fit_phases(database, Request())
    with database.connect() as connection:
        connection.execute("update warehouse.document set scored_from = 1 where document = 2")
    with pytest.raises(PartialSums, match="1 documents of corpus prose begin with a context"):
        fit_phases(database, Request(family="toy"))
    assert frame(database, "select * from fits").empty


def test_sums_that_are_not_there_are_made_by_refresh(database: Database) -> None:
    measure(database, n_tokens=700, models=("small",), steps=STEPS, scales=TIED)
    fit_phases(database, Request(samples=20))
    before = frame(database, "select model, boundary, lower, upper from phase_intervals order by 1, 2")
    with database.connect() as connection:
        connection.execute("delete from warehouse.document_divergence_chunk")
    with pytest.raises(TooFewDocuments, match=r"^0 documents .*`warehouse refresh` makes sums that are not there"):
        fit_phases(database, Request())
    with database.connect() as connection:
        refresh(connection)
    fit_phases(database, Request(samples=20))
    assert frame(database, "select model, boundary, lower, upper from phase_intervals order by 1, 2").equals(before)
