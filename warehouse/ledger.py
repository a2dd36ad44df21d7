"""The ledger: which evaluations and comparisons are wanted, and which of them the warehouse has.

Rows are written when a plan is made, before anything is computed, so that what is missing can be asked in SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert

from warehouse import schema


@dataclass(frozen=True)
class Entry:
    """An evaluation in the ledger.

    input_digest: of its inputs, None before it is complete. references: ids of those it was held against.
    """

    evaluation_id: int
    input_digest: str | None
    references: frozenset[int]

    @property
    def complete(self) -> bool:
        """Whether all its scores are there."""
        return self.input_digest is not None


@dataclass(frozen=True)
class ComparisonKey:
    """What a comparison compares: p is (model, step), q is (model_q, step_q)."""

    kind: str
    model_id: int
    step: int
    model_q_id: int
    step_q: int


# As many pairs as the ledger has evaluations to make them of; the same condition as for the members of a comparison,
# whether or not the evaluations are done.
_EXPECT_PAIRS = """
update warehouse.comparison as comparison
set n_pairs_expected = expected.n_pairs
from (
    select c.comparison_id, count(*) as n_pairs
    from warehouse.comparison as c
    inner join warehouse.run as run_p on run_p.model_id = c.model_id
    inner join warehouse.checkpoint as checkpoint_p
        on checkpoint_p.run_id = run_p.run_id and checkpoint_p.step = c.step
    inner join warehouse.evaluation as p
        on p.checkpoint_id = checkpoint_p.checkpoint_id
        and p.corpus_id = c.corpus_id and p.protocol_id = c.protocol_id
    inner join warehouse.run as run_q
        on run_q.model_id = c.model_q_id and (c.kind = 'seed') = (run_p.run_id <> run_q.run_id)
    inner join warehouse.checkpoint as checkpoint_q
        on checkpoint_q.run_id = run_q.run_id and checkpoint_q.step = c.step_q
    inner join warehouse.evaluation as q
        on q.checkpoint_id = checkpoint_q.checkpoint_id
        and q.corpus_id = c.corpus_id and q.protocol_id = c.protocol_id
    where
        c.corpus_id = :corpus and c.protocol_id = :protocol
        and (c.run_set = 'all' or not (run_p.outlier or run_q.outlier))
    group by c.comparison_id
) as expected
where expected.comparison_id = comparison.comparison_id and expected.n_pairs <> comparison.n_pairs_expected
"""


def declare_evaluations(
    connection: Connection, corpus_id: int, protocol_id: int, checkpoint_ids: Collection[int]
) -> dict[int, Entry]:
    """Enter the evaluations that are wanted; returns the entry of each checkpoint."""
    rows = [
        {"checkpoint_id": checkpoint_id, "corpus_id": corpus_id, "protocol_id": protocol_id, "status": "planned"}
        for checkpoint_id in sorted(checkpoint_ids)
    ]
    if rows:
        connection.execute(insert(schema.evaluation).on_conflict_do_nothing(), rows)
    return entries(connection, corpus_id, protocol_id, checkpoint_ids)


def entries(
    connection: Connection, corpus_id: int, protocol_id: int, checkpoint_ids: Collection[int]
) -> dict[int, Entry]:
    """The ledger's entry of each checkpoint on a corpus under a protocol."""
    evaluation, held = schema.evaluation.c, schema.reference_evaluation.c
    wanted = (
        evaluation.corpus_id == corpus_id,
        evaluation.protocol_id == protocol_id,
        evaluation.checkpoint_id.in_(checkpoint_ids),
    )
    references: dict[int, set[int]] = {}
    joined = schema.reference_evaluation.join(schema.evaluation, evaluation.evaluation_id == held.evaluation_id)
    for key, reference_id in connection.execute(
        select(held.evaluation_id, held.reference_id).select_from(joined).where(*wanted)
    ):
        references.setdefault(key, set()).add(reference_id)
    query = select(evaluation.checkpoint_id, evaluation.evaluation_id, evaluation.input_digest).where(*wanted)
    return {
        row.checkpoint_id: Entry(row.evaluation_id, row.input_digest, frozenset(references.get(row.evaluation_id, ())))
        for row in connection.execute(query)
    }


def measured_weights(connection: Connection, checkpoint_ids: Collection[int]) -> dict[int, str]:
    """SHA-256 of the weights of those checkpoints that have an evaluation, on whatever corpus."""
    checkpoint = schema.checkpoint.c
    query = select(checkpoint.checkpoint_id, checkpoint.weights_sha256).where(
        checkpoint.checkpoint_id.in_(checkpoint_ids), checkpoint.weights_sha256.is_not(None), _measured()
    )
    return {row.checkpoint_id: row.weights_sha256 for row in connection.execute(query)}


def record_failure(connection: Connection, checkpoint_id: int, status: str, reason: str) -> None:
    """Say why a checkpoint could not be read, unless it was measured before: what was measured then still holds."""
    checkpoint = schema.checkpoint.c
    unmeasured = update(schema.checkpoint).where(checkpoint.checkpoint_id == checkpoint_id, ~_measured())
    connection.execute(unmeasured.values(status=status, reason=reason))


def _measured() -> ColumnElement[bool]:
    """Whether a checkpoint has a complete evaluation."""
    evaluation = schema.evaluation.c
    return exists().where(
        evaluation.checkpoint_id == schema.checkpoint.c.checkpoint_id, evaluation.status == "complete"
    )


def declare_comparisons(
    connection: Connection, corpus_id: int, protocol_id: int, keys: Iterable[ComparisonKey], run_set: str = "default"
) -> dict[ComparisonKey, int]:
    """Enter the comparisons that are wanted, and how many pairs each expects; returns their ids."""
    table, column = schema.comparison, schema.comparison.c
    fixed = {"corpus_id": corpus_id, "protocol_id": protocol_id, "run_set": run_set}
    wanted = set(keys)
    rows = [{**vars(key), **fixed, "n_pairs_expected": 0} for key in sorted(wanted, key=lambda key: str(vars(key)))]
    if rows:
        connection.execute(insert(table).on_conflict_do_nothing(), rows)
    connection.execute(text(_EXPECT_PAIRS), {"corpus": corpus_id, "protocol": protocol_id})
    query = select(
        column.comparison_id, column.kind, column.model_id, column.step, column.model_q_id, column.step_q
    ).where(column.corpus_id == corpus_id, column.protocol_id == protocol_id, column.run_set == run_set)
    found = {ComparisonKey(*key): comparison_id for comparison_id, *key in connection.execute(query)}
    return {key: found[key] for key in wanted}


def known_pairs(connection: Connection, evaluation_ids: Collection[int]) -> set[tuple[int, int]]:
    """The ordered pairs (evaluation of p, evaluation of q) that are there, among these evaluations."""
    pair = schema.comparison_pair.c
    query = select(pair.evaluation_p, pair.evaluation_q).where(
        pair.evaluation_p.in_(evaluation_ids), pair.evaluation_q.in_(evaluation_ids)
    )
    return {(p, q) for p, q in connection.execute(query)}
