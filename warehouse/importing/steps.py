"""Which steps of a model follow one another, where its KL comes in by several files.

Reads the comparisons of the ledger; what a pair is for is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, or_, select

from warehouse import schema
from warehouse.dimensions import ConflictingInputs
from warehouse.importing.kinds import kinds, steps_by_model
from warehouse.importing.manifest import Checkpoint
from warehouse.ledger import ComparisonKey

Models = Mapping[tuple[str, str], int]
_OF_NEIGHBOURS = ("step", "step_reverse", "final", "final_reverse")


def steps_in_order(
    connection: Connection,
    checkpoints: Collection[Checkpoint],
    listed: Sequence[int],
    where: tuple[int, int],
    models: Models,
) -> dict[tuple[str, str], tuple[int, ...]]:
    """The steps that follow one another, by family and model: those listed, or all of these and of the warehouse.

    where: corpus and protocol. models: ids. Raises ConflictingInputs where none are listed and a step comes between
    or after steps that the warehouse has as neighbours, or as the last.
    """
    if listed:
        return steps_by_model(checkpoints, listed)
    rows = _stored(connection, where, set(models.values()))
    known: dict[int, set[int]] = {}
    for row in rows:
        known.setdefault(row.model_id, set()).add(row.step)
        known.setdefault(row.model_q_id, set()).add(row.step_q)
    steps = steps_by_model(checkpoints, known={model: known.get(key, set()) for model, key in models.items()})
    names = {key: model for model, key in models.items()}
    for row in rows:
        if row.kind in _OF_NEIGHBOURS and row.model_id in names:
            _refuse_other_kind(row, names[row.model_id], steps[names[row.model_id]])
    return steps


def _stored(connection: Connection, where: tuple[int, int], models: Collection[int]) -> list[ComparisonKey]:
    column = schema.comparison.c
    query = select(column.kind, column.model_id, column.step, column.model_q_id, column.step_q).where(
        column.corpus_id == where[0],
        column.protocol_id == where[1],
        or_(column.model_id.in_(models), column.model_q_id.in_(models)),
    )
    return [ComparisonKey(*row) for row in connection.execute(query.order_by(column.comparison_id))]


def _refuse_other_kind(row: ComparisonKey, model: tuple[str, str], steps: Sequence[int]) -> None:
    p, q = Checkpoint(*model, 0, row.step), Checkpoint(*model, 0, row.step_q)
    if row.kind not in kinds(p, q, steps):
        raise ConflictingInputs(
            f"KL of {' '.join(model)} between steps {row.step} and {row.step_q} is in the warehouse as kind "
            f"{row.kind}, which it is not among steps {', '.join(map(str, steps))}: say with steps in a manifest which "
            "steps follow one another."
        )
