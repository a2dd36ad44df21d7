"""The ledger: which evaluations and comparisons are wanted, and which of them the warehouse has.

Rows are written when a plan is made, before anything is computed, so that what is missing can be asked in SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, exists, null, select, text, update
from sqlalchemy.dialects.postgresql import insert

from warehouse import schema
from warehouse.facts import driver
from warehouse.locks import share_corpus

#: Verdicts on a checkpoint that was read, by rules or by hand: reading it again does not change them.
VERDICTS = ("duplicate", "suspect", "quarantined")


@dataclass(frozen=True)
class Entry:
    """An evaluation in the ledger.

    input_digest: of its inputs, None before it is complete. references: ids of those it was held against. top_k: most
    probable entries kept for each token.
    """

    evaluation_id: int
    input_digest: str | None
    references: frozenset[int]
    top_k: int = 0

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


# An evaluation with its run: one side of a pair.
SIDE = """(
    select
        evaluation.evaluation_id, evaluation.corpus_id, evaluation.protocol_id, evaluation.mean_surprisal,
        checkpoint.step, checkpoint.status, run.run_id, run.model_id, run.seed, run.outlier
    from warehouse.evaluation as evaluation
    inner join warehouse.checkpoint as checkpoint on checkpoint.checkpoint_id = evaluation.checkpoint_id
    inner join warehouse.run as run on run.run_id = checkpoint.run_id
)"""

# Which two sides answer a comparison of each kind: two seeds, the evaluations that a study lists, or one seed label on
# both, which within one model is one run.
ANSWERS = """
case comparison.kind
    when 'seed' then p.run_id <> q.run_id
    when 'custom' then exists (
        select from warehouse.custom_pair as listed
        where
            listed.comparison_id = comparison.comparison_id
            and listed.evaluation_p = p.evaluation_id and listed.evaluation_q = q.evaluation_id
    )
    else p.seed = q.seed
end
"""

# All sides of a corpus and protocol, found once and not for every comparison.
SIDES = f"with side as materialized (select * from {SIDE} as s where corpus_id = :corpus and protocol_id = :protocol)"

# The pairs of evaluations that answer a comparison, whether or not they are done.
_PLANNED = f"""
from warehouse.comparison as comparison
inner join side as p on p.model_id = comparison.model_id and p.step = comparison.step
inner join side as q on q.model_id = comparison.model_q_id and q.step = comparison.step_q
where comparison.corpus_id = :corpus and comparison.protocol_id = :protocol and {ANSWERS}
"""

_FLAGGED = f"{SIDES} select distinct comparison.comparison_id {_PLANNED} and (p.outlier or q.outlier)"

_EXPECT_PAIRS = f"""
{SIDES}

update warehouse.comparison as comparison
set n_pairs_expected = expected.n_pairs
from (
    select chosen.comparison_id, count(planned.comparison_id) as n_pairs
    from warehouse.comparison as chosen
    left join (
        select comparison.comparison_id
        {_PLANNED} and (comparison.run_set = 'all' or not (p.outlier or q.outlier))
    ) as planned on planned.comparison_id = chosen.comparison_id
    where chosen.corpus_id = :corpus and chosen.protocol_id = :protocol
    group by chosen.comparison_id
) as expected
where expected.comparison_id = comparison.comparison_id and expected.n_pairs <> comparison.n_pairs_expected
"""

_DECLARE_TWINS = f"""
insert into warehouse.comparison
    (kind, corpus_id, protocol_id, run_set, model_id, step, model_q_id, step_q, n_pairs_expected)
select kind, corpus_id, protocol_id, 'all', model_id, step, model_q_id, step_q, 0
from warehouse.comparison
where run_set = 'default' and comparison_id in ({_FLAGGED})
on conflict do nothing
"""

# Comparisons of run set all beside those of run set default.
_TWINS = """
from warehouse.comparison as twin
inner join warehouse.comparison as comparison
    on comparison.run_set = 'default' and twin.run_set = 'all'
    and (comparison.kind, comparison.corpus_id, comparison.protocol_id) = (twin.kind, twin.corpus_id, twin.protocol_id)
    and (comparison.model_id, comparison.step) = (twin.model_id, twin.step)
    and (comparison.model_q_id, comparison.step_q) = (twin.model_q_id, twin.step_q)
"""

_LIST_TWINS_PAIRS = f"""
insert into warehouse.custom_pair (comparison_id, evaluation_p, evaluation_q)
select twin.comparison_id, listed.evaluation_p, listed.evaluation_q
{_TWINS}
inner join warehouse.custom_pair as listed on listed.comparison_id = comparison.comparison_id
where twin.corpus_id = :corpus and twin.protocol_id = :protocol
on conflict do nothing
"""

_NEEDLESS_TWINS = f"""
select comparison_id from warehouse.comparison
where
    run_set = 'all' and corpus_id = :corpus and protocol_id = :protocol
    and comparison_id not in ({_FLAGGED})
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


def declare_unscored(
    connection: Connection, corpus_id: int, protocol_id: int, checkpoint_ids: Collection[int]
) -> dict[int, int]:
    """Enter evaluations that stand for checkpoints measured elsewhere, without scores; returns the id of each.

    One that has scores keeps them.
    """
    rows = [
        {
            "checkpoint_id": checkpoint_id,
            "corpus_id": corpus_id,
            "protocol_id": protocol_id,
            "status": "unscored",
            "input_digest": "imported without scores",
        }
        for checkpoint_id in sorted(checkpoint_ids)
    ]
    if rows:
        connection.execute(insert(schema.evaluation).on_conflict_do_nothing(), rows)
    found = entries(connection, corpus_id, protocol_id, checkpoint_ids)
    return {checkpoint_id: entry.evaluation_id for checkpoint_id, entry in found.items()}


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
    digest = case((evaluation.status == "complete", evaluation.input_digest)).label("input_digest")
    columns = (evaluation.checkpoint_id, evaluation.evaluation_id, digest, evaluation.top_k)
    return {
        row.checkpoint_id: Entry(
            row.evaluation_id, row.input_digest, frozenset(references.get(row.evaluation_id, ())), row.top_k
        )
        for row in connection.execute(select(*columns).where(*wanted))
    }


def measured_weights(connection: Connection, checkpoint_ids: Collection[int]) -> dict[int, str]:
    """SHA-256 of the weights of those checkpoints that have an evaluation, on whatever corpus."""
    checkpoint = schema.checkpoint.c
    query = select(checkpoint.checkpoint_id, checkpoint.weights_sha256).where(
        checkpoint.checkpoint_id.in_(checkpoint_ids), checkpoint.weights_sha256.is_not(None), _measured("complete")
    )
    return {row.checkpoint_id: row.weights_sha256 for row in connection.execute(query)}


def record_read(connection: Connection, checkpoint_id: int, *, weights_sha256: str, **columns: Any) -> None:
    """Write down that a checkpoint could be read, and what was found; a verdict on it stands.

    columns: others of its row, by name.
    """
    checkpoint = schema.checkpoint.c
    judged = checkpoint.status.in_(VERDICTS)
    connection.execute(
        update(schema.checkpoint)
        .where(checkpoint.checkpoint_id == checkpoint_id)
        .values(
            weights_sha256=weights_sha256,
            status=case((judged, checkpoint.status), else_="ok"),
            reason=case((judged, checkpoint.reason), else_=null()),
            **columns,
        )
    )


def record_failure(connection: Connection, checkpoint_id: int, status: str, reason: str) -> None:
    """Say why a checkpoint could not be read, unless it was measured before or is quarantined, which still holds."""
    checkpoint = schema.checkpoint.c
    unmeasured = update(schema.checkpoint).where(
        checkpoint.checkpoint_id == checkpoint_id,
        checkpoint.status.is_distinct_from("quarantined"),
        ~_measured("complete", "unscored"),
    )
    connection.execute(unmeasured.values(status=status, reason=reason))


def unreadable_checkpoints(connection: Connection, checkpoint_ids: Collection[int]) -> set[int]:
    """Those of some checkpoints that could not be read when they were last tried."""
    checkpoint = schema.checkpoint.c
    failed = checkpoint.status.in_(("missing", "failed"))
    query = select(checkpoint.checkpoint_id).where(checkpoint.checkpoint_id.in_(checkpoint_ids), failed)
    return set(connection.execute(query).scalars())


def is_measured(connection: Connection, checkpoint_id: int) -> bool:
    """Whether a checkpoint was measured, here or elsewhere."""
    checkpoint = schema.checkpoint.c.checkpoint_id
    query = select(_measured("complete", "unscored")).where(checkpoint == checkpoint_id)
    return bool(connection.execute(query).scalar_one())


def _measured(*statuses: str) -> ColumnElement[bool]:
    """Whether a checkpoint has an evaluation of one of these statuses."""
    evaluation = schema.evaluation.c
    return exists().where(
        evaluation.checkpoint_id == schema.checkpoint.c.checkpoint_id, evaluation.status.in_(statuses)
    )


def declare_comparisons(
    connection: Connection,
    corpus_id: int,
    protocol_id: int,
    keys: Iterable[ComparisonKey],
    custom_pairs: Mapping[ComparisonKey, Iterable[tuple[int, int]]] | None = None,
) -> dict[ComparisonKey, int]:
    """Enter the comparisons that are wanted, and how many pairs each expects; returns their ids in run set default.

    custom_pairs: the (evaluation of p, evaluation of q) that comparisons of kind custom want, beside those wanted
    before. Where a flagged run takes part the same comparison is entered in run set all too.
    """
    share_corpus(driver(connection), corpus_id)
    fixed = {"corpus_id": corpus_id, "protocol_id": protocol_id, "run_set": "default"}
    wanted = set(keys)
    rows = [{**vars(key), **fixed, "n_pairs_expected": 0} for key in sorted(wanted, key=lambda key: str(vars(key)))]
    if rows:
        connection.execute(insert(schema.comparison).on_conflict_do_nothing(), rows)
    column = schema.comparison.c
    query = select(
        column.comparison_id, column.kind, column.model_id, column.step, column.model_q_id, column.step_q
    ).where(column.corpus_id == corpus_id, column.protocol_id == protocol_id, column.run_set == "default")
    found = {ComparisonKey(*key): comparison_id for comparison_id, *key in connection.execute(query)}
    ids = {key: found[key] for key in wanted}
    _list_pairs(connection, {ids[key]: pairs for key, pairs in (custom_pairs or {}).items()})
    settle_run_sets(connection, corpus_id, protocol_id)
    return ids


def _list_pairs(connection: Connection, pairs: Mapping[int, Iterable[tuple[int, int]]]) -> None:
    """Enter the pairs of evaluations that comparisons of kind custom want, by comparison."""
    rows = [
        {"comparison_id": comparison_id, "evaluation_p": p, "evaluation_q": q}
        for comparison_id, listed in sorted(pairs.items())
        for p, q in sorted(listed)
    ]
    if rows:
        connection.execute(insert(schema.custom_pair).on_conflict_do_nothing(), rows)


def settle_run_sets(connection: Connection, corpus_id: int, protocol_id: int) -> None:
    """Enter the comparisons of run set all that flagged runs call for, and count the pairs that every one expects."""
    keys = {"corpus": corpus_id, "protocol": protocol_id}
    with in_bulk(connection):
        for statement in (_DECLARE_TWINS, _LIST_TWINS_PAIRS, _EXPECT_PAIRS):
            connection.execute(text(statement), keys)


def needless_twins(connection: Connection, corpus_id: int, protocol_id: int) -> list[int]:
    """Comparisons of run set all in which no flagged run takes part: they say what run set default says."""
    keys = {"corpus": corpus_id, "protocol": protocol_id}
    with in_bulk(connection):
        return list(connection.execute(text(_NEEDLESS_TWINS), keys).scalars())


@contextmanager
def in_bulk(connection: Connection) -> Iterator[None]:
    """Join whole tables meanwhile: of tables that are being filled the planner knows no sizes, and would look up
    each of their rows by its key, millions of times.
    """
    connection.execute(text("set local enable_nestloop = off"))
    yield
    connection.execute(text("reset enable_nestloop"))


def twins(connection: Connection, comparison_ids: Collection[int]) -> dict[int, int]:
    """The comparison of run set default beside each of run set all, for those of these that are of run set all."""
    columns = "twin.comparison_id as twin_id, comparison.comparison_id as default_id"
    query = text(f"select {columns} {_TWINS} where twin.comparison_id = any(:ids)")
    return {row.twin_id: row.default_id for row in connection.execute(query, {"ids": list(comparison_ids)})}


def flagged_seeds(connection: Connection, model_id: int) -> frozenset[int]:
    """The seeds of a model whose runs are flagged as outliers."""
    run = schema.run.c
    return frozenset(connection.execute(select(run.seed).where(run.model_id == model_id, run.outlier)).scalars())


def known_pairs(
    connection: Connection, evaluation_ids: Collection[int], *, token_facts: bool = False
) -> set[tuple[int, int]]:
    """The ordered pairs (evaluation of p, evaluation of q) that are there, among these evaluations.

    token_facts: only those whose KL is kept for every token.
    """
    pair = schema.comparison_pair.c
    query = select(pair.evaluation_p, pair.evaluation_q).where(
        pair.evaluation_p.in_(evaluation_ids), pair.evaluation_q.in_(evaluation_ids)
    )
    if token_facts:
        query = query.where(pair.token_facts)
    return {(p, q) for p, q in connection.execute(query)}
