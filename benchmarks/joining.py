"""An annotation that nobody knew of at ingest, joined to tokens by its user: in SQL, by DuckDB on Parquet, by pandas.

The files hold what a script would have written, one row a value; here they are arrays behind views. The others read one
flat file, and DuckDB is made for that: the ratios are told as they are, no bound is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from sqlalchemy import Engine, select

from benchmarks.claim import Claim
from benchmarks.made_up import Plan, fill
from benchmarks.scratch import database_on, scratch_folder, scratch_server
from benchmarks.timing import Timing, timed
from warehouse import schema
from warehouse.blocks import read_units
from warehouse.database import Database
from warehouse.layer import TOTAL

_VALUES = np.array(["animate", "inanimate", "abstract"])
#: Share of the tokens that have a value.
_ANNOTATED = 0.6
Means = pd.Series


@dataclass(frozen=True)
class _Facts:
    """Facts as a table of the warehouse, and as files. query: the question, of the warehouse's view."""

    what: str
    table: str
    query: str
    parquet: Path
    csv: Path
    n_rows: int
    rounds: int

    def bytes_on_disk(self, reader: psycopg.Connection[Any]) -> dict[str, int]:
        """Of each form, with what it needs to be found by its key."""
        query = "select pg_total_relation_size(%s::text::regclass)"
        ((ours,),) = reader.execute(query, (f"warehouse.{self.table}",)).fetchall()
        return {"ours": ours, "Parquet": self.parquet.stat().st_size, "CSV": self.csv.stat().st_size}


def claims(*, small: bool = False) -> Iterator[Claim]:
    """Over comparison means, then over the KL of every pair; seconds, then bytes."""
    n_tokens, n_seeds, n_steps, rounds = (600, 3, 3, 1) if small else (20_000, 5, 100, 3)
    with scratch_server() as server, database_on(server) as database, scratch_folder() as folder:
        engine = database.engine()
        made = fill(engine, name="text", n_tokens=n_tokens, n_seeds=n_seeds, n_steps=n_steps, layers=[TOTAL])
        annotation = _annotate(database, made, n_tokens)
        means = _facts(folder, "means", "token_convergence", "convergence_chunk", _means(engine), rounds)
        pairs = _facts(folder, "KL values", "pairwise_kl", "divergence_chunk", _pairs(engine), 1)
        with database.read() as reader:
            for facts in (means, pairs):
                yield from _claims(reader, facts, annotation)


def _claims(reader: psycopg.Connection[Any], facts: _Facts, annotation: pd.DataFrame) -> Iterator[Claim]:
    ways: dict[str, Callable[[], Means]] = {
        "ours": partial(_ask_warehouse, reader, facts.query),
        "DuckDB on Parquet": partial(_ask_duckdb, facts.parquet, annotation),
        "pandas on CSV": partial(_ask_pandas, facts.csv, annotation),
    }
    answers = {name: _timed(ask, facts.rounds) for name, ask in ways.items()}
    size, (ours, answer) = f"{facts.n_rows / 1e6:g} M {facts.what}", answers.pop("ours")
    for name, (theirs, its_answer) in answers.items():
        pd.testing.assert_series_equal(
            answer, its_answer, rtol=1e-6, check_names=False, check_dtype=False, check_index_type=False
        )
        yield Claim.told(
            f"a table of one's own joined to {size}, over {name}",
            theirs / ours,
            ours=f"{ours:.2f} s",
            other=f"{theirs:.2f} s",
            note=f"mean by step and value over the {100 * _ANNOTATED:.0f} % of tokens that have one; the same answers "
            f"within 1e-6; from files and tables that the system has cached; rounds: {facts.rounds}",
        )
    sizes = facts.bytes_on_disk(reader)
    for name in ("Parquet", "CSV"):
        yield Claim.told(
            f"{size} on disk, over {name}",
            sizes[name] / sizes["ours"],
            ours=f"{sizes['ours'] / 1e6:.0f} MB",
            other=f"{sizes[name] / 1e6:.0f} MB",
            note=f"table {facts.table} with its indexes, and the files as pyarrow writes them by default: "
            "one row a value, named by step, seeds where there are two, and token",
        )


def _timed(ask: Callable[[], Means], rounds: int) -> tuple[float, Means]:
    """Median seconds, and the answer."""
    answers: list[Means] = []
    return Timing(tuple(timed(lambda: answers.append(ask())) for _ in range(rounds))).median, answers[-1]


def _annotate(database: Database, made: Plan, n_tokens: int) -> pd.DataFrame:
    """A user's own table, in the warehouse and at hand."""
    random = np.random.default_rng(3)
    tokens = made.first_token_id + np.flatnonzero(random.random(n_tokens) < _ANNOTATED)
    annotation = pd.DataFrame({"token_id": tokens, "value": _VALUES[random.integers(0, len(_VALUES), len(tokens))]})
    with database.connect(autocommit=True) as connection:
        connection.execute("create table public.animacy (token_id bigint primary key, value text not null)")
        connection.execute("grant select on public.animacy to public")
        with connection.cursor().copy("copy public.animacy from stdin") as copy:
            for row in annotation.itertuples(index=False):
                copy.write_row(row)
        connection.execute("analyze")
    return annotation


def _facts(folder: Path, what: str, view: str, table: str, blocks: Iterator[pa.Table], rounds: int) -> _Facts:
    """Write the files, a block at a time."""
    parquet, csv = folder / f"{table}.parquet", folder / f"{table}.csv"
    first = next(blocks)
    n_rows = 0
    with pa.parquet.ParquetWriter(parquet, first.schema) as columns, pa.csv.CSVWriter(csv, first.schema) as lines:
        for block in (first, *blocks):
            columns.write_table(block)
            lines.write_table(block)
            n_rows += len(block)
    kl = "-convergence" if view == "token_convergence" else "kl"
    query = (
        f"select step, value, avg({kl}) from analysis.{view} join public.animacy using (token_id) group by step, value"
    )
    return _Facts(what, table, query, parquet, csv, n_rows, rounds)


def _means(engine: Engine) -> Iterator[pa.Table]:
    """Rows of (step, token_id, kl), a comparison at a time."""
    c = schema.comparison.c
    with engine.connect() as connection:
        steps = dict(connection.execute(select(c.comparison_id, c.step)).all())
        first = connection.execute(select(schema.corpus.c.first_token_id)).scalar_one()
        for comparison, (kl,) in read_units(connection, schema.convergence_chunk, list(steps), ["kl"]):
            yield _tall({"step": steps[comparison]}, first, kl)


def _pairs(engine: Engine) -> Iterator[pa.Table]:
    """Rows of (step, seed_p, seed_q, token_id, kl), a pair at a time."""
    query = """
        select pair_id, p_checkpoint.step, p_run.seed, q_run.seed
        from warehouse.comparison_pair
        join warehouse.evaluation p on p.evaluation_id = evaluation_p
        join warehouse.checkpoint p_checkpoint on p_checkpoint.checkpoint_id = p.checkpoint_id
        join warehouse.run p_run on p_run.run_id = p_checkpoint.run_id
        join warehouse.evaluation q on q.evaluation_id = evaluation_q
        join warehouse.checkpoint q_checkpoint on q_checkpoint.checkpoint_id = q.checkpoint_id
        join warehouse.run q_run on q_run.run_id = q_checkpoint.run_id
    """
    with engine.connect() as connection:
        sides = {pair: names for pair, *names in connection.exec_driver_sql(query)}
        first = connection.execute(select(schema.corpus.c.first_token_id)).scalar_one()
        for pair, (kl,) in read_units(connection, schema.divergence_chunk, list(sides), ["kl"]):
            yield _tall(dict(zip(("step", "seed_p", "seed_q"), sides[pair], strict=True)), first, kl)


def _tall(names: dict[str, int], first_token_id: int, kl: Any) -> pa.Table:
    columns = {name: np.full(len(kl), value, np.int32) for name, value in names.items()}
    return pa.table({**columns, "token_id": first_token_id + np.arange(len(kl)), "kl": kl})


def _ask_warehouse(reader: psycopg.Connection[Any], query: str) -> Means:
    return _series(pd.DataFrame(reader.execute(query.encode()).fetchall(), columns=["step", "value", "kl"]))


def _ask_duckdb(parquet: Path, annotation: pd.DataFrame) -> Means:
    with duckdb.connect() as connection:
        connection.register("animacy", annotation)
        query = f"select step, value, avg(kl) as kl from '{parquet}' join animacy using (token_id) group by all"
        return _series(connection.execute(query).df())


def _ask_pandas(csv: Path, annotation: pd.DataFrame) -> Means:
    rows = pd.read_csv(csv).merge(annotation, on="token_id")
    return rows.groupby(["step", "value"])["kl"].mean().sort_index()


def _series(means: pd.DataFrame) -> Means:
    return means.set_index(["step", "value"])["kl"].sort_index()
