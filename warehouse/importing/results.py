"""Results of checkpoints on benchmarks, measured elsewhere: one number for each checkpoint, metric and source.

All of a command is written in one transaction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, select, update

from warehouse import schema
from warehouse.dimensions import ConflictingInputs
from warehouse.facts import copy_rows
from warehouse.importing.kl import Imported
from warehouse.importing.manifest import INTEGERS, Checkpoint, misfit_of
from warehouse.importing.target import save_checkpoints
from warehouse.importing.units import BadImport


@dataclass(frozen=True)
class Result:
    """One number. higher_is_better: None where not known. where: the file, and perhaps the line, for messages."""

    checkpoint: Checkpoint
    name: str
    source: str
    value: float
    standard_error: float | None
    n: int | None
    higher_is_better: bool | None
    where: str

    @property
    def numbers(self) -> tuple[float, float | None, int | None]:
        """What two reports of one result must agree in."""
        return self.value, self.standard_error, self.n

    def __str__(self) -> str:
        return f"{self.name} of {self.checkpoint} from {self.source}"


Key = tuple[Checkpoint, str, str]


def _refuse_unstorable(result: Result) -> None:
    """Raise BadImport for a result that the warehouse cannot hold."""
    for words in (result.name, result.source):
        if misfit := misfit_of(words):
            raise BadImport(f"{result.where} has a name with {misfit}, {words[:80]!r}: mend it there.")
    if result.n is not None and not 0 <= result.n < INTEGERS:
        raise BadImport(f"{result.where} says n {result.n} of {result}: it is from 0, and less than {INTEGERS}.")
    error = result.standard_error
    if error is not None and not (error >= 0 and math.isfinite(error)):
        raise BadImport(f"{result.where} says standard error {error} of {result}: it is finite, and not below 0.")


def merged(results: Iterable[Result]) -> dict[Key, Result]:
    """Results by checkpoint, name and source.

    Raises BadImport where two files say different numbers of one, or a number that it cannot have.
    """
    found: dict[Key, Result] = {}
    for result in results:
        _refuse_unstorable(result)
        key = (result.checkpoint, result.name, result.source)
        first = found.setdefault(key, result)
        if first.numbers != result.numbers:
            raise BadImport(
                f"{first.where} and {result.where} differ about {result}: {first.value:.6g} and {result.value:.6g}; "
                "give each a --source of its own, or leave one out."
            )
    return found


def load_results(connection: Connection, results: Sequence[Result]) -> Imported:
    """Write results that are new. Raises BadImport, and ConflictingInputs where one is there with other numbers."""
    wanted = merged(results)
    ids = save_checkpoints(connection, {key[0] for key in wanted}, tokenizer_id=None, measured=False)
    stored = _stored(connection, ids)
    known = [key for key in wanted if key in stored]
    for key in known:
        _refuse_other_numbers(wanted[key], stored[key])
    new = [wanted[key] for key in wanted if key not in stored]
    rows = [
        {
            "checkpoint_id": ids[result.checkpoint],
            "name": result.name,
            "source": result.source,
            "value": result.value,
            "standard_error": result.standard_error,
            "n": result.n,
            "higher_is_better": result.higher_is_better,
        }
        for result in new
    ]
    copy_rows(connection, schema.checkpoint_metric, rows)
    _learn_directions(connection, ids, [wanted[key] for key in known if stored[key].higher_is_better is None])
    return Imported(len(new), len(known))


def _stored(connection: Connection, ids: Mapping[Checkpoint, int]) -> dict[Key, Row[tuple[object, ...]]]:
    names = {key: checkpoint for checkpoint, key in ids.items()}
    query = select(schema.checkpoint_metric).where(schema.checkpoint_metric.c.checkpoint_id.in_(names))
    return {(names[row.checkpoint_id], row.name, row.source): row for row in connection.execute(query)}


def _refuse_other_numbers(result: Result, stored: Row[tuple[object, ...]]) -> None:
    numbers = (stored.value, stored.standard_error, stored.n)
    if numbers != result.numbers:
        raise ConflictingInputs(
            f"{result} is {stored.value:.6g} in the warehouse, imported on {stored.imported_at:%Y-%m-%d}, and "
            f"{result.where} says {_said(numbers, result)}: give this one a --source of its own."
        )
    directions = {stored.higher_is_better, result.higher_is_better} - {None}
    if len(directions) > 1:
        raise ConflictingInputs(
            f"{result} is in the warehouse as better when {'higher' if stored.higher_is_better else 'lower'}, and "
            f"{result.where} says the opposite: mend --higher or --lower."
        )


def _said(stored: tuple[float, float | None, int | None], result: Result) -> str:
    """What differs: the value, or else what comes with it."""
    if stored[0] != result.value:
        return f"{result.value:.6g}"
    return f"standard error {result.standard_error} of {result.n} items instead of {stored[1]} of {stored[2]}"


def _learn_directions(connection: Connection, ids: Mapping[Checkpoint, int], results: Iterable[Result]) -> None:
    """Write down which way a metric improves, where that was not known."""
    metric = schema.checkpoint_metric.c
    rows = [
        {"key": ids[each.checkpoint], "metric": each.name, "from": each.source, "direction": each.higher_is_better}
        for each in results
        if each.higher_is_better is not None
    ]
    if rows:
        statement = update(schema.checkpoint_metric).where(
            metric.checkpoint_id == bindparam("key"),
            metric.name == bindparam("metric"),
            metric.source == bindparam("from"),
        )
        connection.execute(statement.values(higher_is_better=bindparam("direction")), rows)
