"""Phases of training: the estimator against a program of its own, published boundaries, and statistics of phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.queries.rows import Connection, Text, add_curve, add_model, add_text
from warehouse.database import Database

Curve = NDArray[np.float64]

STEPS = [0, *(2**k for k in range(10)), 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 143000]
FOUR = ["uniform", "sharp_convergence", "sharp_divergence", "slow_reconvergence"]


# --- the estimator, written from its description ------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """Indices into a curve; None for a turn that it does not have."""

    uniform_end: int | None
    peak: int | None
    trough: int | None
    converges: bool
    diverges: bool
    reconverges: bool


def estimate(steps: Sequence[int], c: Curve, change: float = 0.10, uniform: float = 0.05) -> Estimate:
    """The turns of a curve of convergence c (nats, at most 0), step by step as docs/methods.md §5 describes them."""
    greatest = float((-c).max())
    drawdown = np.maximum.accumulate(c) - c
    m = int(np.flatnonzero(drawdown == drawdown.max())[0])
    diverges = bool(greatest > 0 and drawdown[m] >= change * greatest)
    searched = c[: m + 1] if diverges else c
    p = int(np.flatnonzero(searched == searched.max())[0])
    rise = c[p] - c[0]
    converges = bool(greatest > 0 and p > 0 and rise >= change * greatest)
    if converges:
        u = max(i for i in range(p) if c[i] - c[0] < uniform * rise)
        if not diverges:
            p = min(i for i in range(u + 1, len(c)) if c[i] - c[0] >= (1 - uniform) * rise)
    elif diverges:
        u = p = max(i for i in range(m) if c[0] - c[i] < uniform * (c[0] - c[m]))
    else:
        return Estimate(None, None, None, False, False, False)
    if not diverges:
        return Estimate(u, p, None, True, False, False)
    if c[-1] - c[m] >= change * (c[p] - c[m]):
        return Estimate(u, p, m, converges, True, True)
    x = np.log2(np.array(steps) + 1.0)
    line = np.interp(x, [x[p], x[-1]], [c[p], c[-1]])
    below = (line - c)[p + 1 :]
    return Estimate(u, p, p + 1 + int(np.argmax(below)), converges, True, False)


def phases_of(steps: Sequence[int], c: Curve) -> dict[str, tuple[int, int]]:
    """Name of each phase that a curve has, with its first and last step."""
    found = estimate(steps, c)
    turns = {
        "uniform": (0, found.uniform_end) if found.uniform_end else None,
        "sharp_convergence": (found.uniform_end, found.peak) if found.converges else None,
        "sharp_divergence": (found.peak, found.trough) if found.diverges else None,
        "slow_reconvergence": (found.trough, len(steps) - 1) if found.reconverges else None,
    }
    return {phase: (steps[at[0]], steps[at[1]]) for phase, at in turns.items() if at}  # type: ignore[index]


# --- simulated curves ---------------------------------------------------------------------------------------------

#: Corners of mean KL (step, nats), straight in log(step + 1) between them, and the phases that such training has.
SHAPES: dict[str, tuple[list[tuple[int, float]], list[str]]] = {
    "four": ([(0, 0.40), (16, 0.40), (128, 0.15), (2000, 0.45), (143000, 0.30)], FOUR),
    "no convergence": ([(0, 0.30), (32, 0.30), (1000, 0.60), (143000, 0.35)], ["uniform", *FOUR[2:]]),
    "rising": ([(0, 0.50), (16, 0.50), (1000, 0.10), (143000, 0.10)], FOUR[:2]),
    "falling": ([(0, 0.10), (16, 0.10), (1000, 0.50), (143000, 0.50)], ["uniform", "sharp_divergence"]),
    "flat": ([(0, 0.40), (143000, 0.40)], []),
    "no return": ([(0, 0.40), (16, 0.40), (128, 0.15), (2000, 0.45), (143000, 0.46)], FOUR[:3]),
}
NOISES = (0.0, 0.01, 0.02, 0.03)
CURVES = 36


def simulate(corners: Sequence[tuple[int, float]], noise: float, random: np.random.Generator) -> Curve:
    """Mean KL at STEPS: the corners moved by up to a twentieth in height, with noise as a share of the greatest KL."""
    log_steps = np.log2(np.array([step for step, _ in corners]) + 1.0)
    scale = random.uniform(0.95, 1.05)
    kl = np.interp(np.log2(np.array(STEPS) + 1.0), log_steps, [scale * value for _, value in corners])
    return np.maximum(kl + noise * kl.max() * random.standard_normal(len(STEPS)), 1e-6)


@dataclass(frozen=True)
class Simulation:
    """A curve that is stored as the comparisons of a model of its own."""

    model: str
    shape: str
    noise: float
    kl: Curve

    @property
    def expected(self) -> list[str]:
        """The phases that its shape has."""
        return SHAPES[self.shape][1]


def simulations() -> list[Simulation]:
    random = np.random.default_rng(0)
    return [
        Simulation(f"{shape} {number}", shape, NOISES[number % 4], simulate(corners, NOISES[number % 4], random))
        for shape, (corners, _) in SHAPES.items()
        for number in range(CURVES)
    ]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def store(connection: Connection, text: Text, steps: Sequence[int], kl: Sequence[float], **values: object) -> None:
    """A model called `one` with this mean KL, in nats."""
    add_curve(connection, text, add_model(connection, text, "one"), steps, kl, **values)


def boundaries(connection: Connection, definition: str = "estimated") -> pd.DataFrame:
    """phase_boundaries of one definition, in the order of models and phases."""
    cursor = connection.execute(
        "select * from analysis.phase_boundaries where definition = %s order by model, position", [definition]
    )
    assert cursor.description
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description], dtype=object)


def as_phases(frame: pd.DataFrame) -> dict[str, tuple[int, int]]:
    return dict(zip(frame["phase"], zip(frame["first_step"], frame["last_step"], strict=True), strict=True))


# --- the estimator ------------------------------------------------------------------------------------------------


@pytest.fixture
def found(connection: Connection, text: Text) -> tuple[list[Simulation], pd.DataFrame]:
    """Every simulated curve, and all estimated boundaries."""
    curves = simulations()
    for curve in curves:
        add_curve(connection, text, add_model(connection, text, curve.model), STEPS, curve.kl.tolist())
    return curves, boundaries(connection)


def test_estimated_phases_match_an_independent_program_and_the_shape_of_the_curve(
    found: tuple[list[Simulation], pd.DataFrame],
) -> None:
    curves, frame = found
    phases = {str(model): as_phases(rows) for model, rows in frame.groupby("model")}
    assert len(curves) > 200
    for curve in curves:
        assert phases.get(curve.model, {}) == phases_of(STEPS, -curve.kl), curve
    kl = {curve.model: curve.kl for curve in curves}
    for row in frame.itertuples():
        expected = estimate(STEPS, -kl[str(row.model)])
        assert (row.converges, row.diverges, row.reconverges) == (
            expected.converges,
            expected.diverges,
            expected.reconverges,
        )
    right = pd.DataFrame(
        [(c.shape, c.noise, list(phases.get(c.model, {})) == c.expected) for c in curves],
        columns=["shape", "noise", "right"],
    )
    assert right.loc[right["noise"] <= 0.01, "right"].all()
    # Noise of 3 % at every step makes a flat curve rise and fall by a tenth now and then.
    assert right[right["noise"] == 0.02].groupby("shape")["right"].mean().min() > 0.87


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        # Nothing ever differs: no greatest KL to measure a change by.
        ([0.0] * 6, {}),
        # A change of exactly a tenth is a change.
        ([10.0, 10.0, 10.0, 10.0, 9.0, 9.0], {"uniform": (0, 4), "sharp_convergence": (4, 8)}),
        ([10.0, 10.0, 10.0, 10.0, 9.1, 9.1], {}),
        ([9.0, 9.0, 9.0, 9.0, 10.0, 10.0], {"uniform": (0, 4), "sharp_divergence": (4, 8)}),
        ([9.1, 9.1, 9.1, 9.1, 10.0, 10.0], {}),
        # Turning at the first step leaves no room for a uniform phase.
        (
            [1.0, 0.5, 0.4, 0.8, 0.9, 0.4],
            {"sharp_convergence": (0, 2), "sharp_divergence": (2, 8), "slow_reconvergence": (8, 16)},
        ),
        ([0.5, 0.9, 1.0, 0.6, 0.5, 0.5], {"sharp_divergence": (0, 2), "slow_reconvergence": (2, 16)}),
        # Rising for ever, the phase ends where 95 % of the rise is done, not at a maximum on the plateau.
        ([1.0, 1.0, 0.5, 0.204, 0.202, 0.2], {"uniform": (0, 1), "sharp_convergence": (1, 4)}),
        # Two equal peaks: the first. Two equal troughs: the first.
        (
            [1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 0.6],
            {"uniform": (0, 1), "sharp_convergence": (1, 2), "sharp_divergence": (2, 8), "slow_reconvergence": (8, 32)},
        ),
        # Never reconverging, the fall ends at the knee, farthest below the line from peak to end.
        (
            [1.0, 1.0, 0.5, 0.9, 0.95, 0.96, 0.97],
            {"uniform": (0, 1), "sharp_convergence": (1, 2), "sharp_divergence": (2, 4)},
        ),
        # Falling faster and faster there is no knee before the last step.
        ([0.5, 0.5, 0.5, 0.52, 0.6, 1.0], {"uniform": (0, 4), "sharp_divergence": (4, 16)}),
    ],
)
def test_curves_with_corners_have_the_phases_worked_out_by_hand(
    connection: Connection, text: Text, kl: list[float], expected: dict[str, tuple[int, int]]
) -> None:
    steps = [0, 1, 2, 4, 8, 16, 32][: len(kl)]
    store(connection, text, steps, kl)
    assert as_phases(boundaries(connection)) == expected
    assert phases_of(steps, -np.array(kl)) == expected


def test_most_of_the_rise_is_looked_for_after_the_uniform_phase(connection: Connection, text: Text) -> None:
    """An early spike that falls back by less than a divergence must not end a phase before it begins."""
    kl = [1.0, 0.897, 0.9965, 0.9965, 0.9965, 0.896]
    store(connection, text, [0, 1, 2, 4, 8, 16], kl)
    assert as_phases(boundaries(connection)) == {"uniform": (0, 8), "sharp_convergence": (8, 16)}


def test_a_curve_may_begin_after_step_0(connection: Connection, text: Text) -> None:
    steps = [10, 100, 200, 400, 800, 1600]
    store(connection, text, steps, [1.0, 1.0, 0.5, 0.5, 1.0, 0.7])
    assert as_phases(boundaries(connection)) == {
        "uniform": (10, 100),
        "sharp_convergence": (100, 200),
        "sharp_divergence": (200, 800),
        "slow_reconvergence": (800, 1600),
    }


def test_each_boundary_has_the_measured_steps_on_either_side(connection: Connection, text: Text) -> None:
    store(connection, text, [0, 1, 2, 4, 8, 16], [1.0, 1.0, 0.5, 1.0, 1.2, 0.7])
    sides = boundaries(connection).set_index("phase")[
        ["before_first_step", "after_first_step", "before_last_step", "after_last_step"]
    ]
    assert sides.loc["uniform"].tolist() == [None, 1, 0, 2]
    assert sides.loc["sharp_convergence"].tolist() == [0, 2, 1, 4]
    assert sides.loc["sharp_divergence"].tolist() == [1, 4, 4, 16]
    assert sides.loc["slow_reconvergence"].tolist() == [4, 16, 8, None]


def test_too_few_steps_give_no_estimated_phases(connection: Connection, text: Text) -> None:
    store(connection, text, [0, 1, 2, 4], [1.0, 1.0, 0.5, 1.0])
    assert boundaries(connection).empty
    connection.execute("update warehouse.settings set phase_min_steps = 4")
    assert not boundaries(connection).empty


def test_thresholds_are_read_from_the_settings(connection: Connection, text: Text) -> None:
    store(connection, text, [0, 1, 2, 4, 8], [1.0, 1.0, 0.8, 0.8, 0.8])
    assert list(as_phases(boundaries(connection))) == ["uniform", "sharp_convergence"]
    connection.execute("update warehouse.settings set phase_change = 0.3")
    assert boundaries(connection).empty


def test_a_curve_that_begins_at_its_peak_does_not_converge_whatever_the_threshold(
    connection: Connection, text: Text
) -> None:
    connection.execute("update warehouse.settings set phase_change = 0")
    store(connection, text, [0, 1, 2, 4, 8], [0.5, 0.6, 0.7, 0.8, 0.9])
    frame = boundaries(connection)
    assert set(as_phases(frame)) == {"sharp_divergence", "slow_reconvergence"}
    assert not frame["converges"].any()


def test_only_complete_comparisons_of_seeds_are_read(connection: Connection, text: Text) -> None:
    steps = [0, 1, 2, 4, 8, 16]
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, steps, [1.0, 1.0, 0.5, 1.0, 1.2, 0.7])
    before = boundaries(connection)
    add_curve(connection, text, model, [3, 32], [0.1, 5.0], n_pairs=5)
    add_curve(connection, text, model, [5, 64], [0.1, 5.0], kind="step", step_q=128)
    add_curve(connection, text, model, [6, 128], [0.1, 5.0], run_set="all")
    pd.testing.assert_frame_equal(boundaries(connection), before)


def test_texts_and_models_have_phases_of_their_own(connection: Connection, text: Text) -> None:
    model = add_model(connection, text, "one")
    other_text = add_text(connection, "verse")
    steps = [0, 1, 2, 4, 8]
    add_curve(connection, text, model, steps, [1.0, 1.0, 0.5, 0.5, 0.5])
    add_curve(connection, other_text, model, steps, [0.5, 0.5, 0.5, 1.0, 1.0])
    frame = boundaries(connection)
    assert as_phases(frame[frame["corpus"] == "prose"]) == {"uniform": (0, 1), "sharp_convergence": (1, 2)}
    assert as_phases(frame[frame["corpus"] == "verse"]) == {"uniform": (0, 2), "sharp_divergence": (2, 4)}


# --- published boundaries -----------------------------------------------------------------------------------------


def test_published_boundaries_that_were_measured_are_kept(connection: Connection, text: Text) -> None:
    store(connection, text, STEPS, np.linspace(1, 0.5, len(STEPS)).tolist())
    assert as_phases(boundaries(connection, "fehlauer-2025")) == {
        "uniform": (0, 16),
        "sharp_convergence": (16, 256),
        "sharp_divergence": (256, 2000),
        "slow_reconvergence": (2000, 143000),
    }
    assert as_phases(boundaries(connection, "slides")) == {
        "uniform": (0, 8),
        "functional_universality": (8, 64),
        "unigram_transition": (64, 1000),
        "contextual_learning": (1000, 143000),
    }


def test_published_boundaries_take_the_nearest_measured_step_inside(connection: Connection, text: Text) -> None:
    store(connection, text, [0, 10, 20, 200, 300, 1500, 5000], [1.0] * 7)
    frame = boundaries(connection, "fehlauer-2025")
    assert as_phases(frame) == {
        "uniform": (0, 10),
        "sharp_convergence": (20, 200),
        "sharp_divergence": (300, 1500),
        "slow_reconvergence": (5000, 5000),
    }
    assert frame["published_first_step"].tolist() == [0, 16, 256, 2000]
    assert frame["published_last_step"].tolist() == [16, 256, 2000, None]
    assert frame["peak_step"].tolist() == [300] * 4
    assert frame["trough_step"].tolist() == [5000] * 4


def test_published_phases_without_a_measured_step_of_their_own_are_absent(connection: Connection, text: Text) -> None:
    store(connection, text, [0, 16, 300, 2000], [1.0] * 4)
    frame = boundaries(connection, "fehlauer-2025")
    assert as_phases(frame) == {"uniform": (0, 16), "sharp_divergence": (300, 2000)}
    assert frame["trough_step"].isna().all()
