"""Computes again, in SQL and from facts alone, what the loader derived in numpy, and puts it right where it differs.

One file of ``refresh/`` per derived table: it reads the temporary table ``refresh_unit`` and leaves its rows in the
temporary table ``refreshed``. What an import of KL could not know of its pairs, and what an older version did not
compute, is filled in likewise. This module may not know what the rows mean. The entropy of mixtures needs the models'
predictions, which are not kept: it stays as it is. So do sums of which no token's KL is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from queries.files import ROOT
from warehouse.locks import hold_corpus

Connection = psycopg.Connection[Any]

#: Rounding differs between numpy and PostgreSQL; a relative difference beyond this is a fault.
TOLERANCE = 1e-9
#: Of sums that are kept in single precision, where rounding may go either way.
SINGLE_TOLERANCE = 2.5e-7
#: Units computed together: bounds the temporary tables.
_BATCH = 50


@dataclass(frozen=True)
class Change:
    """What a refresh found in one table. largest: relative difference, over rows that were there before and after."""

    table: str
    rows: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0
    largest: float = 0.0

    def __add__(self, other: Change) -> Change:
        return Change(
            self.table,
            self.rows + other.rows,
            self.changed + other.changed,
            self.added + other.added,
            self.removed + other.removed,
            max(self.largest, other.largest),
        )


@dataclass(frozen=True)
class _Derived:
    """A derived table: its unit's key column, the columns that complete the key, and the columns that are computed.

    arrays: those of the computed columns that are arrays. units: a query of the units that should have rows.
    except_: one of the units whose rows cannot be computed from facts.
    """

    table: str
    unit: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    arrays: tuple[str, ...] = ()
    units: LiteralString = "select comparison_id from warehouse.comparison"
    except_: LiteralString = "select null::integer where false"
    tolerance: float = TOLERANCE

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.unit, *self.key)


_CLUSTER_SUMS = ("clusters", "cluster_xx", "cluster_xn", "cluster_nn")
_CROSS_SUMS = ("cross_xx", "cross_xn", "cross_nx", "cross_nn")
_DOCUMENT_SCORES = ("n_tokens", "n_correct", "surprisal", "eos_surprisal", "entropy")
_EVALUATIONS: LiteralString = "select evaluation_id from warehouse.evaluation"

# In this order: the sums are of the means, and need to know how many pairs and seeds there are; results by paradigm are
# of the sums over documents.
_TABLES = (
    _Derived(
        "comparison_pair",
        "pair_id",
        (),
        ("pearson", "spearman", "top1_agreement"),
        units="select pair_id from warehouse.comparison_pair",
        # A correlation near nothing is a small difference of large sums.
        tolerance=1e-7,
    ),
    _Derived("convergence_chunk", "comparison_id", ("chunk_id",), ("kl",), ("kl",)),
    _Derived(
        "comparison",
        "comparison_id",
        (),
        ("n_pairs", "seeds", "seed_pairs", "sd_pairs", "surprisal_difference"),
        ("seeds", "seed_pairs"),
    ),
    _Derived(
        "convergence_summary",
        "comparison_id",
        ("layer_id", "category_id"),
        (
            *("n", "sum_kl", "sum_kl2", "min_kl", "max_kl", *_CLUSTER_SUMS, *_CROSS_SUMS),
            *("pair_square_sum", "seed_sums"),
        ),
        ("seed_sums",),
        except_="select comparison_id from warehouse.comparison where kind = 'cross'",
    ),
    _Derived(
        "score_summary",
        "evaluation_id",
        ("layer_id", "category_id"),
        (
            *("n", "n_correct", "sum_surprisal", "sum_surprisal2", "min_surprisal", "max_surprisal", "sum_entropy"),
            *_CLUSTER_SUMS,
        ),
        units=_EVALUATIONS,
    ),
    _Derived(
        "document_score_chunk",
        "evaluation_id",
        ("document_chunk",),
        _DOCUMENT_SCORES,
        _DOCUMENT_SCORES,
        units=_EVALUATIONS,
        tolerance=SINGLE_TOLERANCE,
    ),
    _Derived(
        "document_divergence_chunk",
        "pair_id",
        ("document_chunk",),
        ("n_tokens", "kl"),
        ("n_tokens", "kl"),
        units="select pair_id from warehouse.comparison_pair",
        tolerance=SINGLE_TOLERANCE,
    ),
    _Derived(
        "paradigm_score",
        "evaluation_id",
        ("paradigm_id",),
        ("n_items", "n_correct", "n_correct_with_eos", "sum_margin", "sum_margin2"),
        units=_EVALUATIONS,
    ),
    _Derived(
        "paradigm_divergence",
        "evaluation_p",
        ("evaluation_q", "paradigm_id"),
        ("n_items", "sum_kl", "sum_kl_with_eos"),
        units=_EVALUATIONS,
    ),
)
#: Functions that the scripts call, made for the session.
_FUNCTIONS = ("relative_difference", "kl_term")


def refresh(connection: Connection, progress: Callable[[str, int, int], None] | None = None) -> list[Change]:
    """Compute all derived rows again and replace those that differ by more than TOLERANCE; one Change per table.

    connection: of the owner. Everything happens in one transaction, with every corpus locked against other writers.
    progress: called with the table, the units done and the units in all.
    """
    with connection.transaction():
        for (corpus_id,) in _rows(connection, "select corpus_id from warehouse.corpus order by corpus_id"):
            hold_corpus(connection, corpus_id)
        connection.execute("set local work_mem = '128MB'")
        for function in _FUNCTIONS:
            connection.execute(_script(function))
        connection.execute("create temporary table refresh_unit (id integer primary key)")
        changes = [_refresh_table(connection, derived, progress) for derived in _TABLES]
        connection.execute("drop table refresh_unit")
    return changes


def _refresh_table(
    connection: Connection, derived: _Derived, progress: Callable[[str, int, int], None] | None
) -> Change:
    total = Change(derived.table)
    done = 0
    units = _units(connection, derived)
    for batch in _batches(units):
        total += _refresh_batch(connection, derived, batch)
        done += len(batch)
        if progress:
            progress(derived.table, done, len(units))
    return total


def _refresh_batch(connection: Connection, derived: _Derived, units: Sequence[int]) -> Change:
    connection.execute("truncate refresh_unit")
    connection.execute("insert into refresh_unit select unnest(%s::integer[])", [units])
    connection.execute("analyze refresh_unit")
    connection.execute(_script(derived.table))
    connection.execute("analyze refreshed")
    change = _compare(connection, derived)
    if change.changed or change.added or change.removed:
        _replace(connection, derived)
    connection.execute("drop table refreshed")
    return change


def _script(name: str) -> bytes:
    return (ROOT / "refresh" / f"{name}.sql").read_bytes()


def _rows(connection: Connection, query: str | sql.Composed) -> list[tuple[Any, ...]]:
    statement = query.encode() if isinstance(query, str) else query
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(statement).fetchall()


def _units(connection: Connection, derived: _Derived) -> list[int]:
    """Units that should have rows, and those that have some."""
    query = sql.SQL("({wanted} union select {unit} from {table}) except {others} order by 1").format(
        wanted=sql.SQL(derived.units),
        others=sql.SQL(derived.except_),
        unit=sql.Identifier(derived.unit),
        table=sql.Identifier("warehouse", derived.table),
    )
    return [unit for (unit,) in _rows(connection, query)]


def _batches(units: Sequence[int]) -> Iterator[list[int]]:
    return (list(units[start : start + _BATCH]) for start in range(0, len(units), _BATCH))


def _parts(derived: _Derived) -> dict[str, sql.Composable]:
    """Pieces of SQL that name the columns of a derived table."""
    return {
        "table": sql.Identifier("warehouse", derived.table),
        "unit": sql.Identifier(derived.unit),
        "keys": sql.SQL(", ").join(map(sql.Identifier, derived.keys)),
        "columns": sql.SQL(", ").join(map(sql.Identifier, [*derived.keys, *derived.values])),
        "same_key": sql.SQL(" and ").join(
            sql.SQL("stored.{0} = refreshed.{0}").format(sql.Identifier(key)) for key in derived.keys
        ),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = refreshed.{0}").format(sql.Identifier(value)) for value in derived.values
        ),
        "difference": sql.SQL("pg_temp.relative_difference({}, {})").format(
            _numbers("stored", derived), _numbers("refreshed", derived)
        ),
        "tolerance": sql.Literal(derived.tolerance),
    }


def _numbers(row: str, derived: _Derived) -> sql.Composed:
    """All computed columns of a row as one array."""
    scalars = [sql.Identifier(row, name) for name in derived.values if name not in derived.arrays]
    arrays = [
        # A planned comparison may have NULL or no seeds; an evaluation may know no ranks.
        sql.SQL("coalesce({}::double precision[], '{{}}')").format(sql.Identifier(row, name))
        for name in derived.arrays
    ]
    head = sql.SQL("array[{}]::double precision[]").format(sql.SQL(", ").join(scalars))
    return sql.SQL(" || ").join([head, *arrays])


def _compare(connection: Connection, derived: _Derived) -> Change:
    query = sql.SQL(
        """
        select
            count(stored.{unit}),
            count(*) filter (where found.difference > {tolerance}),
            count(*) filter (where stored.{unit} is null),
            count(*) filter (where refreshed.{unit} is null),
            coalesce(max(found.difference), 0)
        from (select * from {table} where {unit} in (select id from refresh_unit)) as stored
        full join refreshed on {same_key}
        cross join lateral (
            select case when stored.{unit} = refreshed.{unit} then {difference} end as difference
        ) as found
        """
    ).format(**_parts(derived))
    [row] = _rows(connection, query)
    return Change(derived.table, *row)


def _replace(connection: Connection, derived: _Derived) -> None:
    parts = _parts(derived)
    for statement in (
        "delete from {table} where {unit} in (select id from refresh_unit) "
        "and ({keys}) not in (select {keys} from refreshed)",
        "update {table} as stored set {assignments} from refreshed where {same_key} and {difference} > {tolerance}",
        "insert into {table} ({columns}) select {columns} from refreshed "
        "where not exists (select from {table} as stored where {same_key})",
    ):
        connection.execute(sql.SQL(statement).format(**parts))
