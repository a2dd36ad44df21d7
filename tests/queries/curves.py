"""Learning curves put straight into the tables: surprisal of every token at every step of training runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.queries.rows import Connection, Text, add_model, add_run, add_text, insert, insert_many
from warehouse.database import Database

Floats = NDArray[np.float64]
TOKENS_PER_STEP = 100

STEPS = [0, 1, 2, 4, 16, 40, 64, 100, 128, 200, 256, 400, 512, 700, 900, 1000]
N_TOKENS = 600
RUN = ("small", 0)
#: Tokens of RUN that lack something, by what they lack; one far off, one that never moves, one on a straight line.
START, MIDDLE, END, EVERYTHING, MOST, FAR, CONSTANT, LINE = range(250, 258)


@dataclass
class Curves:
    """surprisal: [steps, T] of each (model, seed) as stored, rounded to single precision; NaN where not measured.

    steps: those that are measured. last_step: the last one that a plan names, of each (model, seed).
    """

    database: Database
    first_token_id: int
    parameters: Mapping[str, int]
    steps: dict[tuple[str, int], NDArray[np.int64]] = field(default_factory=dict)
    surprisal: dict[tuple[str, int], Floats] = field(default_factory=dict)
    last_step: dict[tuple[str, int], int] = field(default_factory=dict)

    def ask(self, query: str) -> pd.DataFrame:
        """Rows of a query, asked as the reader."""
        with self.database.read() as connection:
            cursor = connection.execute(query.encode())
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])

    def by_token(self, query: str, run: tuple[str, int]) -> pd.DataFrame:
        """Rows of a query about one run, one for each token, by the token's place in the corpus."""
        rows = self.ask(f"{query} where model = '{run[0]}' and seed = {run[1]}")
        rows.index = pd.Index(rows["token_id"] - self.first_token_id)
        assert sorted(rows.index) == list(range(self.surprisal[run].shape[1]))
        return rows.sort_index()


def shapes(random: np.random.Generator) -> Floats:
    """[steps, T] curves of every kind: falling, rising, flat, with little noise and with much."""
    steps = np.array(STEPS)[:, None] / STEPS[-1]
    slope = random.choice([-3.0, -0.3, 0.0, 0.0, 0.3, 2.0], N_TOKENS)
    noise = random.choice([0.005, 0.03, 0.3], N_TOKENS)
    level = random.uniform(0.5, 6, N_TOKENS)
    return np.abs(level + slope * steps + noise * random.standard_normal((len(STEPS), N_TOKENS)))


def add_varied_curves(database: Database) -> Curves:
    """Two models of two runs, and a flagged run; some tokens lack something, some checkpoints are no good."""
    random = np.random.default_rng(5)
    runs = [(model, seed) for model in ("small", "large") for seed in (0, 1)] + [("large", 2)]
    surprisal = {run: shapes(random) for run in runs}
    special = surprisal[RUN]
    special[STEPS.index(100), START] = np.nan
    special[STEPS.index(256), MIDDLE] = np.nan
    special[-1, END] = np.nan
    special[:, EVERYTHING] = np.nan
    special[8:13, MOST] = np.nan
    special[-1, FAR] += 1000
    special[:, CONSTANT] = 2.5
    special[:, LINE] = np.log(np.array(STEPS) + 500.0)
    return add_curves(
        database,
        surprisal,
        STEPS,
        flagged=[("large", 2)],
        # The last step of training is the plan's, though it was not found; another checkpoint is not to be trusted.
        without={("small", 1): {1000: "missing"}, ("large", 1): {256: "quarantined"}},
    )


def add_curves(
    database: Database,
    surprisal: Mapping[tuple[str, int], Floats],
    steps: Sequence[int],
    *,
    flagged: Collection[tuple[str, int]] = (),
    without: Mapping[tuple[str, int], Mapping[int, str]] | None = None,
) -> Curves:
    """Runs with a checkpoint at every step; surprisal: [steps, T] of each (model, seed).

    flagged: runs that are outliers. without: steps of a run that are there in name only, to the status they have.
    """
    models = dict.fromkeys(model for model, _ in surprisal)
    n_tokens = next(iter(surprisal.values())).shape[1]
    with database.connect() as connection:
        text = add_text(connection, n_tokens=n_tokens)
        held = Curves(database, 256_000 * text.tokenizer_id, {m: 1000 * (1 + i) for i, m in enumerate(models)})
        ids = {model: add_model(connection, text, model) for model in models}
        for model, number in held.parameters.items():
            connection.execute("update warehouse.model set parameters = %s where model_id = %s", [number, ids[model]])
        for run, values in surprisal.items():
            run_id = add_run(connection, ids[run[0]], run[1], outlier=run in flagged)
            status = (without or {}).get(run, {})
            stored = values.astype(np.float32)
            for step, row in zip(steps, stored, strict=True):
                _add_checkpoint(connection, text, held, run, run_id, step, row, status.get(step, "ok"))
            good = [step not in status for step in steps]
            held.steps[run] = np.array(steps)[good]
            held.surprisal[run] = stored[good].astype(np.float64)
            held.last_step[run] = steps[-1]
    return held


def _add_checkpoint(
    connection: Connection,
    text: Text,
    held: Curves,
    run: tuple[str, int],
    run_id: int,
    step: int,
    surprisal: NDArray[np.float32],
    status: str,
) -> None:
    seen = TOKENS_PER_STEP * step
    checkpoint = insert(
        connection,
        "checkpoint",
        run_id=run_id,
        step=step,
        source="made up",
        revision=f"step{step}",
        status=status,
        tokens_seen=seen,
        flops=6.0 * held.parameters[run[0]] * seen,
    )
    if status == "missing":
        return
    evaluation = insert(
        connection,
        "evaluation",
        checkpoint_id=checkpoint,
        corpus_id=text.corpus_id,
        protocol_id=text.protocol_id,
        status="complete",
        input_digest=f"{run} {step}",
        mean_surprisal=float(np.nanmean(surprisal, dtype=np.float64)),
    )
    values: list[Any] = [None if np.isnan(value) else float(value) for value in surprisal]
    chunks = range(0, len(values), 256)
    first = held.first_token_id // 256
    insert_many(
        connection,
        "score_chunk",
        (
            {"evaluation_id": evaluation, "chunk_id": first + start // 256, "surprisal": values[start : start + 256]}
            for start in chunks
        ),
    )
