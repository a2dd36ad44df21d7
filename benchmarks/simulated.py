"""Rows of simulated comparisons, put straight into the tables: KL of pairs by document, and the sums of it.

The sums are those that docs/methods.md §3 defines, from arrays; where the numbers come from is unknown here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, permutations
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Warehouse:
    """A corpus whose documents are independent, with its layer of all tokens and a protocol, in a database."""

    connection: Connection
    corpus_id: int
    protocol_id: int
    layer_id: int
    environment_id: int

    @classmethod
    def of(cls, connection: Connection) -> Warehouse:
        """That of the database, made where there is none."""
        found = connection.execute(
            """
            select corpus_id, protocol_id, layer_id, environment_id
            from warehouse.corpus inner join warehouse.annotation_layer using (corpus_id)
            cross join warehouse.protocol cross join warehouse.environment
            """
        ).fetchone()
        return cls(connection, *found) if found else cls._make(connection)

    @classmethod
    def _make(cls, connection: Connection) -> Warehouse:
        tokenizer = _insert(connection, "tokenizer", name="simulated", sha256="simulated", length=1)
        corpus = _insert(
            connection,
            "corpus",
            name="simulated",
            tokenizer_id=tokenizer,
            first_token_id=0,
            n_tokens=1,
            n_documents=1,
            n_characters=1,
            n_bytes=1,
            source="simulated",
            text_sha256="simulated",
            token_sha256="simulated",
            eos_policy="none",
            cluster="document",
        )
        layer = _insert(
            connection,
            "annotation_layer",
            corpus_id=corpus,
            name="all",
            kind="categorical",
            source="simulated",
            is_total=True,
            summarised=True,
        )
        _insert(connection, "annotation_category", layer_id=layer, category_id=0, value="all", n_tokens=1)
        protocol = _insert(
            connection,
            "protocol",
            name="simulated",
            windows="documents",
            window=1,
            bos=True,
            vocabulary="model",
            dtype="float64",
            tf32=False,
        )
        environment = _insert(connection, "environment", sha256="simulated", description=Jsonb({}))
        return cls(connection, corpus, protocol, layer, environment)

    def add_comparisons(self, model: str, kl: Floats, lengths: Floats, *, pairs: bool = False) -> None:
        """A comparison of kind seed a replicate, whose number is its step.

        kl: [R, n, n, D] mean KL of ordered pairs by document, nats; lengths: [R, D] tokens. pairs: with the pairs
        themselves and their sums over documents.
        """
        model_id = _insert(
            self.connection, "model", family="simulated", name=model, objective="causal", vocabulary_width=1
        )
        n = kl.shape[1]
        constant, seeds = ("seed", self.corpus_id, self.protocol_id, "default"), list(range(n))
        keys = range(*_free(self.connection, "comparison", "comparison_id", len(kl)))
        _copy(
            self.connection,
            "comparison",
            "comparison_id kind corpus_id protocol_id run_set model_id step model_q_id step_q n_pairs n_pairs_expected "
            "seeds seed_pairs",
            (
                (key, *constant, model_id, step, model_id, step, n * (n - 1), n * (n - 1), seeds, [2 * (n - 1)] * n)
                for step, key in enumerate(keys)
            ),
        )
        _copy(
            self.connection,
            "convergence_summary",
            "comparison_id layer_id category_id clusters n sum_kl sum_kl2 min_kl max_kl "
            "cluster_xx cluster_xn cluster_nn cross_xx cross_xn cross_nx cross_nn pair_square_sum seed_sums",
            (self._summary(key, kl[step], lengths[step]) for step, key in enumerate(keys)),
        )
        if pairs:
            self._add_pairs(model_id, keys, kl, lengths)

    def _summary(self, key: int, kl: Floats, lengths: Floats) -> tuple[object, ...]:
        """kl: [n, n, D]; lengths: [D]."""
        off = ~np.eye(len(kl), dtype=bool)
        x = kl[off].mean(0) * lengths  # [D] sums of tokens' mean KL
        sums = np.where(off, kl @ lengths, 0)  # [n, n] sums of each pair
        squares = float((np.triu(sums + sums.T) ** 2).sum()) if len(kl) > 3 else None
        clusters = [float(x @ x), float(x @ lengths), float(lengths @ lengths)]
        means = kl[off].mean(0)
        spread = (float(means**2 @ lengths), float(means.min()), float(means.max()))
        crossed = [clusters[0], clusters[1], clusters[1], clusters[2]]
        touching = (sums.sum(0) + sums.sum(1)).tolist()
        n = int(lengths.sum())
        return (key, self.layer_id, 0, len(x), n, float(x.sum()), *spread, *clusters, *crossed, squares, touching)

    def _add_pairs(self, model_id: int, keys: Sequence[int], kl: Floats, lengths: Floats) -> None:
        n = kl.shape[1]
        runs = [_insert(self.connection, "run", model_id=model_id, seed=seed) for seed in range(n)]
        first, _ = _free(self.connection, "evaluation", "evaluation_id", len(keys) * n)
        _copy(
            self.connection,
            "checkpoint",
            "checkpoint_id run_id step source revision status",
            (
                (first + n * step + seed, runs[seed], step, "simulated", str(step), "ok")
                for step in range(len(keys))
                for seed in range(n)
            ),
        )
        _copy(
            self.connection,
            "evaluation",
            "evaluation_id checkpoint_id corpus_id protocol_id status input_digest",
            (
                (number, number, self.corpus_id, self.protocol_id, "complete", "simulated")
                for number in range(first, first + n * len(keys))
            ),
        )
        numbers = count(_free(self.connection, "comparison_pair", "pair_id", len(keys) * n * (n - 1))[0])
        rows = [(next(numbers), step, key, p, q) for step, key in enumerate(keys) for p, q in permutations(range(n), 2)]

        def mean(step: int, p: int, q: int) -> tuple[int, float]:
            """Tokens of a pair, and their mean KL."""
            n_tokens = lengths[step].sum()
            return int(n_tokens), float(kl[step, p, q] @ lengths[step] / n_tokens)

        _copy(
            self.connection,
            "comparison_pair",
            "pair_id evaluation_p evaluation_q environment_id n_tokens mean_kl",
            (
                (pair, first + n * step + p, first + n * step + q, self.environment_id, *mean(step, p, q))
                for pair, step, _, p, q in rows
            ),
        )
        _copy(
            self.connection, "comparison_member", "comparison_id pair_id", ((key, pair) for pair, _, key, _, _ in rows)
        )
        _copy(
            self.connection,
            "document_divergence_chunk",
            "pair_id document_chunk n_tokens kl",
            (
                (pair, 0, lengths[step].astype(int).tolist(), (kl[step, p, q] * lengths[step]).tolist())
                for pair, step, _, p, q in rows
            ),
        )


def _insert(connection: Connection, table: str, **values: object) -> int:
    statement = sql.SQL("insert into {} ({}) values ({}) returning *").format(
        sql.Identifier("warehouse", table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    [row] = connection.execute(statement, list(values.values())).fetchall()
    return int(row[0])


def _copy(connection: Connection, table: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    statement = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier("warehouse", table), sql.SQL(", ").join(map(sql.Identifier, columns.split()))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for row in rows:
            stream.write_row(row)


def _free(connection: Connection, table: str, key: str, wanted: int) -> tuple[int, int]:
    """The bounds of so many keys that no row has."""
    statement = sql.SQL("select coalesce(max({}), 0) from {}").format(
        sql.Identifier(key), sql.Identifier("warehouse", table)
    )
    [row] = connection.execute(statement).fetchall()
    return int(row[0]) + 1, int(row[0]) + 1 + wanted
