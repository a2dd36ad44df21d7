"""Phases of training: the estimator against a program of its own, published boundaries, and statistics of phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.queries.rows import Connection, Text, add_curve, add_layer, add_model, add_text, insert
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
    """The turns of a curve of convergence c (nats, at most 0), step by step as METHODS describes them."""
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


def simulations() -> list[Simulation]:
    random = np.random.default_rng(0)
    return [
        Simulation(f"{shape} {number}", shape, noise := NOISES[number % 4], simulate(corners, noise, random))
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


def store(connection: Connection, text: Text, kl: Sequence[float], steps: Sequence[int], **values: object) -> int:
    """A model called `one` with this mean KL; its key."""
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, steps, kl, **values)
    return model


def boundaries(connection: Connection, definition: str = "estimated") -> pd.DataFrame:
    """phase_boundaries of one definition, in the order of models and phases."""
    cursor = connection.execute(
        "select * from analysis.phase_boundaries where definition = %s order by model, position", [definition]
    )
    assert cursor.description
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def as_phases(frame: pd.DataFrame) -> dict[str, tuple[int, int]]:
    return {row.phase: (row.first_step, row.last_step) for row in frame.itertuples()}  # type: ignore[misc]


# --- the estimator ------------------------------------------------------------------------------------------------


def test_estimated_phases_of_noisy_curves_match_an_independent_program(connection: Connection, text: Text) -> None:
    curves = simulations()
    for curve in curves:
        add_curve(connection, text, add_model(connection, text, curve.model), STEPS, curve.kl.tolist())
    frame = boundaries(connection)
    found = {str(model): as_phases(rows) for model, rows in frame.groupby("model")}
    kl_of = {curve.model: curve.kl for curve in curves}
    assert len(curves) > 200
    for curve in curves:
        assert found.get(curve.model, {}) == phases_of(STEPS, -curve.kl), curve
    for row in frame.itertuples():
        expected = estimate(STEPS, -kl_of[row.model])
        assert (row.converges, row.diverges, row.reconverges) == (
            expected.converges,
            expected.diverges,
            expected.reconverges,
        )
    shares = {
        (shape, noise): np.mean([list(found.get(c.model, {})) == SHAPES[shape][1] for c in curves if (c.shape, c.noise) == (shape, noise)])
        for shape in SHAPES
        for noise in NOISES
    }
    print(shares)
