"""Every view, asked on a warehouse of the demo's size and on one of 40 million KL values, by PostgreSQL 18 and by 15.

Views with a row per comparison, value or phase are asked whole; those that read facts, which have a row per token,
word, sequence or item or are made of such rows, for what FACTS_OF says. Bounds are seconds on a machine of two cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.claim import Claim
from benchmarks.made_up import LAYERS, fill
from benchmarks.scratch import database_on, scratch_server, server_of
from benchmarks.timing import timed
from queries.files import definitions
from warehouse.database import Database

#: Views that read facts, and the columns that a question about them has a condition on. No other view may read facts.
FACTS_OF: Mapping[str, tuple[str, ...]] = {
    "age_of_acquisition": ("model", "seed"),
    "bits_per_byte": ("model",),
    "conditional_convergence_exact": ("layer", "model", "step"),
    "conditional_surprisal_exact": ("layer", "model", "step"),
    "confidence": ("model", "seed"),
    "cross_run_distance": ("model", "seed_p", "seed_q"),
    "expected_jensen_shannon": ("model", "step"),
    "expected_surprisal_exact": ("model", "step"),
    "forgettability": ("model", "seed"),
    "in_context_learning_score": ("model", "step"),
    "jensen_shannon": ("model", "step"),
    "metric_against_loss": ("model",),
    "minimal_pairs": ("model", "step"),
    "option_perplexity": ("model", "step"),
    "pairwise_kl": ("kind", "model", "step"),
    "reference_divergence_exact": ("model", "step"),
    "sequence_divergence": ("kind", "model", "step"),
    "sequence_score": ("model", "step"),
    "surprisal_curves": ("model", "seed"),
    "task_convergence_exact": ("model", "step"),
    "token_annotation": ("layer",),
    "token_convergence": ("kind", "model", "step"),
    "token_cross_run_distance": ("model", "seed_p", "seed_q"),
    "token_learning": ("model", "seed"),
    "token_score": ("model", "step"),
    "token_top": ("model", "step"),
    "token_trend": ("model", "seed"),
    "tokens": ("corpus",),
    "trend_overlap": ("model", "seed"),
    "trend_shares": ("model", "seed"),
    "variability": ("model", "seed"),
    "vocabulary_convergence": ("kind", "model", "step"),
    "word_score": ("model", "step"),
    "words": ("corpus",),
}

#: Where the programs of PostgreSQL 15, the oldest that is supported, are looked for.
_OLDEST = Path(os.environ.get("PG15_BIN", "/usr/lib/postgresql/15/bin"))
_ROUNDS = 3


@dataclass(frozen=True)
class _Size:
    """A warehouse to be made up, and the seconds that a view may take on it."""

    name: str
    bound: float
    n_tokens: int
    n_seeds: int
    n_steps: int
    models: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def n_kl(self) -> int:
        """KL values of pairs of seeds."""
        return len(self.models) * self.n_steps * self.n_seeds * (self.n_seeds - 1) * self.n_tokens

    @property
    def step(self) -> int:
        """The step that is asked for."""
        return self.n_steps // 2


DEMO = _Size("demo", 0.2, 15_581, 3, 12, ("32d", "64d"), ("seed", "step", "final"))
LARGE = _Size("40 M", 2.0, 20_000, 5, 100, ("70m",), ("seed",))
SMALL = _Size("small", 60.0, 600, 3, 4, ("32d", "64d"), ("seed", "step", "final"))


@dataclass(frozen=True)
class _Taken:
    """What one server took. version: of PostgreSQL. seconds: by view, one for each size."""

    version: str
    seconds: Mapping[str, Sequence[float]]

    def share(self, view: str, sizes: Sequence[_Size]) -> float:
        """The largest share that a view takes of what it may take."""
        return max(part / size.bound for size, part in zip(sizes, self.seconds[view], strict=True))

    def told(self, view: str, sizes: Sequence[_Size]) -> str:
        """Version, and milliseconds by size."""
        each = (f"{size.name} {1000 * part:.0f} ms" for size, part in zip(sizes, self.seconds[view], strict=True))
        return f"{self.version}: {', '.join(each)}"


def claims(*, small: bool = False) -> Iterator[Claim]:
    """One a view: the largest share of what it may take, of all warehouses and servers."""
    sizes = [SMALL] if small else [DEMO, LARGE]
    servers = [scratch_server()]
    if (_OLDEST / "postgres").exists():
        servers.append(server_of(_OLDEST))
    taken = [_ask_all(server, sizes, 1 if small else _ROUNDS) for server in servers]
    for number, view in enumerate(sorted(views())):
        yield Claim.at_most(
            f"view {view}{_condition_told(view)}",
            max(each.share(view, sizes) for each in taken),
            1.0,
            ours=taken[0].told(view, sizes),
            other=taken[1].told(view, sizes) if taken[1:] else f"no PostgreSQL 15 in {_OLDEST}",
            note="" if number else _note(sizes),
        )


def views() -> list[str]:
    """All views of schema analysis."""
    return [file.name for file in definitions() if file.kind == "view"]


def question(view: str, size: _Size) -> sql.Composed:
    """What is asked of a view."""
    values = {"corpus": "text", "kind": "seed", "layer": "pos", "model": size.models[-1], "seed": 0, "step": size.step}
    values |= {"seed_p": 0, "seed_q": 1}
    query = sql.SQL("select * from analysis.{}").format(sql.Identifier(view))
    conditions = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(values[name])) for name in FACTS_OF.get(view, ())
    ]
    return query + sql.SQL(" where ") + sql.SQL(" and ").join(conditions) if conditions else query


def make_up(database: Database, size: _Size) -> None:
    """Fill a database as an ingestion would."""
    fill(
        database.engine(),
        name="text",
        n_tokens=size.n_tokens,
        n_seeds=size.n_seeds,
        n_steps=size.n_steps,
        layers=LAYERS,
        models=size.models,
        kinds=size.kinds,
        with_items=True,
    )
    with database.connect(autocommit=True) as connection:
        connection.execute("analyze")


def _ask_all(server: AbstractContextManager[str], sizes: Sequence[_Size], rounds: int) -> _Taken:
    seconds: dict[str, list[float]] = {view: [] for view in views()}
    version = ""
    with server as url:
        for size in sizes:
            with database_on(url) as database:
                make_up(database, size)
                with database.read() as reader:
                    version = str(reader.info.parameter_status("server_version")).split()[0]
                    for view, its in seconds.items():
                        asking = partial(_ask, reader, question(view, size))
                        its.append(min(timed(asking) for _ in range(rounds)))
    return _Taken(version, seconds)


def _ask(reader: psycopg.Connection[Any], query: sql.Composed) -> None:
    """All rows in binary form, without what it takes to make Python's numbers of them."""
    with reader.cursor() as cursor, cursor.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as rows:
        while rows.read():
            pass


def _condition_told(view: str) -> str:
    return f", one {' and '.join(FACTS_OF[view])}" if view in FACTS_OF else ""


def _note(sizes: Sequence[_Size]) -> str:
    told = "; ".join(
        f"{size.name}: {size.n_tokens:,} tokens, models {', '.join(size.models)}, {size.n_seeds} seeds, {size.n_steps} "
        f"steps, {size.n_kl / 1e6:.1f} M KL values of seeds, at most {1000 * size.bound:.0f} ms"
        for size in sizes
    )
    return (
        f"{told}; as all rows on views: made up, all rows copied out in binary form, the best of {_ROUNDS}; "
        "two versions of PostgreSQL; the ratio is the largest share of what is allowed"
    )
