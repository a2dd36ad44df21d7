"""The standing of runs and checkpoints: flagged, quarantined, released, or judged by rules, and what follows from it.

Whoever changes it is the only writer of every corpus meanwhile, and derives again, in the same transaction, all
comparisons whose pairs are other ones now.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text, update

from warehouse import faults, schema
from warehouse.comparisons import derive, drop_comparison
from warehouse.errors import WarehouseError
from warehouse.facts import driver
from warehouse.faults import Candidate, Cell, Verdict
from warehouse.ledger import VERDICTS, is_measured, needless_twins, settle_run_sets
from warehouse.locks import hold_corpus
from warehouse.pairs import outdated
from warehouse.values import CorpusValues


class UnknownCheckpoint(WarehouseError):
    """The warehouse has no such model, run or checkpoint."""


class NothingToDo(WarehouseError):
    """The run or checkpoint is already as it was asked to be."""


@dataclass(frozen=True)
class Finding:
    """A checkpoint that a rule found to be something else than its name says. status: duplicate or suspect."""

    model: str
    seed: int
    step: int
    status: str
    reason: str

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed} step {self.step} is {self.status}: {self.reason}"


def flag_run(connection: Connection, family: str | None, model: str, seed: int, note: str) -> None:
    """Leave a run out of run set default; run set all keeps it.

    family: may be None where the name of the model tells. Raises UnknownCheckpoint naming the nearest.
    """
    _hold_all(connection)
    model_id = _find_model(connection, family, model)
    run_id = _find_run(connection, model_id, model, seed)
    _fill_run(connection, run_id, outlier=True, note=note)
    settle(connection, model_id)


def unflag_run(connection: Connection, family: str | None, model: str, seed: int) -> None:
    """Take a run into run set default again. Raises UnknownCheckpoint, and NothingToDo if it was not flagged."""
    _hold_all(connection)
    model_id = _find_model(connection, family, model)
    run_id = _find_run(connection, model_id, model, seed)
    run = schema.run.c
    if not connection.execute(select(run.outlier).where(run.run_id == run_id)).scalar_one():
        raise NothingToDo(f"Run {seed} of {model} is not flagged; `warehouse runs list` shows those that are.")
    _fill_run(connection, run_id, outlier=False, note=None)
    settle(connection, model_id)


def quarantine(connection: Connection, family: str | None, model: str, seed: int, step: int, reason: str) -> None:
    """Leave a checkpoint out of every statistic until it is released. Raises UnknownCheckpoint naming the nearest."""
    _hold_all(connection)
    model_id = _find_model(connection, family, model)
    checkpoint = _find_checkpoint(connection, model_id, model, seed, step)
    verdict = {"status": "quarantined", "reason": reason, "released": False, "note": None}
    _fill_checkpoint(connection, checkpoint.checkpoint_id, **verdict)
    _judge_and_settle(connection, model_id)


def release(connection: Connection, family: str | None, model: str, seed: int, step: int) -> None:
    """Declare a checkpoint good: statistics take it in, and no rule condemns it again.

    Raises UnknownCheckpoint, and NothingToDo where it is not left out, or was never read.
    """
    _hold_all(connection)
    model_id = _find_model(connection, family, model)
    checkpoint = _find_checkpoint(connection, model_id, model, seed, step)
    if checkpoint.status not in VERDICTS:
        raise NothingToDo(_not_left_out(f"{model} seed {seed} step {step}", checkpoint.status))
    # What was quarantined before it was read is read by the next ingestion.
    known = checkpoint.weights_sha256 or is_measured(connection, checkpoint.checkpoint_id)
    status = "ok" if known else None
    note = f"released by hand; it was {checkpoint.status}: {checkpoint.reason}"
    _fill_checkpoint(connection, checkpoint.checkpoint_id, status=status, reason=None, released=True, note=note)
    _judge_and_settle(connection, model_id)


def waiting_sums(connection: Connection, family: str | None, model: str) -> int:
    """How many comparisons of kind `cross` of a model lack pairs: changed ones do, of whose tokens nothing is kept."""
    model_id, c = _find_model(connection, family, model), schema.comparison.c
    waiting = select(func.count()).where(
        c.kind == "cross",
        c.run_set == "default",
        c.n_pairs < c.n_pairs_expected,
        (c.model_id == model_id) | (c.model_q_id == model_id),
    )
    return int(connection.execute(waiting).scalar_one())


def assess(connection: Connection, model_id: int) -> list[Finding]:
    """Judge the checkpoints of a model by the rules of docs/methods.md §9; returns those not so judged before.

    All corpora and protocols are looked at, since a checkpoint has one status for all of them, and all checkpoints are
    judged anew, so that the order in which they came does not matter. Nothing is locked where nothing changes.
    """
    if not _changes(connection, model_id):
        return []
    _hold_all(connection)
    return _judge_and_settle(connection, model_id)


def settle(connection: Connection, model_id: int) -> None:
    """Derive again every comparison of a model whose pairs have become other ones, in both run sets."""
    c = schema.comparison.c
    concerned = (
        select(c.corpus_id, c.protocol_id)
        .where((c.model_id == model_id) | (c.model_q_id == model_id))
        .distinct()
        .order_by(c.corpus_id, c.protocol_id)
    )
    values: dict[int, CorpusValues] = {}
    for corpus_id, protocol_id in connection.execute(concerned).all():
        settle_run_sets(connection, corpus_id, protocol_id)
        of_corpus = values.setdefault(corpus_id, CorpusValues(corpus_id))
        for comparison_id in outdated(connection, corpus_id, protocol_id, [model_id]):
            derive(connection, comparison_id, of_corpus)
        for comparison_id in needless_twins(connection, corpus_id, protocol_id):
            drop_comparison(connection, comparison_id)


def _hold_all(connection: Connection) -> None:
    """Be the only writer of every corpus: a run takes part in all of them."""
    corpus = schema.corpus.c
    for corpus_id in connection.execute(select(corpus.corpus_id).order_by(corpus.corpus_id)).scalars().all():
        hold_corpus(driver(connection), corpus_id)


# --- judging -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Standing:
    """A checkpoint that was read and is not quarantined, and what is said of it now."""

    checkpoint_id: int
    candidate: Candidate
    status: str
    reason: str | None
    note: str | None


@dataclass(frozen=True)
class _Change:
    """What is to be said of a checkpoint."""

    standing: _Standing
    verdict: Verdict | None
    note: str | None


def _judge_and_settle(connection: Connection, model_id: int) -> list[Finding]:
    changes = _changes(connection, model_id)
    for change in changes:
        status, reason = ("ok", None) if change.verdict is None else (change.verdict.status, change.verdict.reason)
        _fill_checkpoint(connection, change.standing.checkpoint_id, status=status, reason=reason, note=change.note)
    settle(connection, model_id)
    name = connection.execute(select(schema.model.c.name).where(schema.model.c.model_id == model_id)).scalar_one()
    return [
        Finding(name, *change.standing.candidate.cell, change.verdict.status, change.verdict.reason)
        for change in changes
        if change.verdict is not None and change.verdict.status != change.standing.status
    ]


def _changes(connection: Connection, model_id: int) -> list[_Change]:
    """Checkpoints of which the rules say something else than the warehouse does, by seed and step."""
    standings = _standings(connection, model_id)
    candidates = [standing.candidate for standing in standings]
    verdicts = faults.judge(candidates, _curves(connection, model_id))
    twins = faults.early_twins(candidates)
    changes = [
        _Change(each, verdicts.get(each.candidate.cell), _note(each, twins.get(each.candidate.cell)))
        for each in standings
    ]
    return [change for change in changes if _differs(change)]


def _note(standing: _Standing, twin: str | None) -> str | None:
    """The note on equal first steps; what was noted by hand stays."""
    return standing.note if standing.candidate.released else twin


def _differs(change: _Change) -> bool:
    now = change.standing
    said = None if now.status == "ok" else Verdict(now.status, now.reason or "")
    return (said, now.note) != (change.verdict, change.note)


def _standings(connection: Connection, model_id: int) -> list[_Standing]:
    c, r = schema.checkpoint.c, schema.run.c
    query = (
        select(c.checkpoint_id, r.seed, c.step, c.weights_sha256, c.released, c.status, c.reason, c.note)
        .select_from(schema.checkpoint.join(schema.run, r.run_id == c.run_id))
        .where(r.model_id == model_id, c.status.in_(("ok", "duplicate", "suspect")), c.weights_sha256.is_not(None))
        .order_by(r.seed, c.step)
    )
    return [
        _Standing(key, Candidate((seed, step), weights, released), status, reason, note)
        for key, seed, step, weights, released, status, reason, note in connection.execute(query)
    ]


def _curves(connection: Connection, model_id: int) -> Mapping[str, Mapping[Cell, float]]:
    """Mean surprisals of a model by what they were measured on."""
    query = text(
        """
        select corpus.name as corpus, protocol.name as protocol, run.seed, checkpoint.step, evaluation.mean_surprisal
        from warehouse.evaluation as evaluation
        inner join warehouse.checkpoint as checkpoint using (checkpoint_id)
        inner join warehouse.run as run using (run_id)
        inner join warehouse.corpus as corpus using (corpus_id)
        inner join warehouse.protocol as protocol using (protocol_id)
        where
            run.model_id = :model and evaluation.status = 'complete' and evaluation.mean_surprisal is not null
            -- What others measured says nothing of the files here.
            and protocol.origin is null
        """
    )
    curves: dict[str, dict[Cell, float]] = {}
    for row in connection.execute(query, {"model": model_id}):
        if math.isfinite(row.mean_surprisal):
            name = f"corpus {row.corpus} under protocol {row.protocol}"
            curves.setdefault(name, {})[row.seed, row.step] = row.mean_surprisal
    return curves


# --- finding rows by name ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Named:
    """A checkpoint that was asked for by name."""

    checkpoint_id: int
    status: str | None
    reason: str | None
    weights_sha256: str | None


def _find_model(connection: Connection, family: str | None, model: str) -> int:
    m = schema.model.c
    rows = connection.execute(select(m.model_id, m.family, m.name).order_by(m.family, m.name)).all()
    found = [row for row in rows if row.name == model and family in (None, row.family)]
    if len(found) == 1:
        return int(found[0].model_id)
    if found:
        families = ", ".join(row.family for row in found)
        raise UnknownCheckpoint(f"Several families have a model {model} ({families}): say which with --family.")
    if family is not None and family not in {row.family for row in rows}:
        raise UnknownCheckpoint(f"There is no family {family}; {_nearest(family, {row.family for row in rows})}.")
    names = {row.name for row in rows if family in (None, row.family)}
    raise UnknownCheckpoint(f"There is no model {model}; {_nearest(model, names)}.")


def _find_run(connection: Connection, model_id: int, model: str, seed: int) -> int:
    run = schema.run.c
    query = select(run.seed, run.run_id).where(run.model_id == model_id)
    runs = {row.seed: row.run_id for row in connection.execute(query)}
    if seed not in runs:
        raise UnknownCheckpoint(f"Model {model} has no seed {seed}; {_nearest(seed, runs)}.")
    return int(runs[seed])


def _find_checkpoint(connection: Connection, model_id: int, model: str, seed: int, step: int) -> _Named:
    run_id = _find_run(connection, model_id, model, seed)
    c = schema.checkpoint.c
    query = select(c.step, c.checkpoint_id, c.status, c.reason, c.weights_sha256).where(c.run_id == run_id)
    rows = {step: _Named(*columns) for step, *columns in connection.execute(query)}
    if step not in rows:
        raise UnknownCheckpoint(f"Model {model} seed {seed} has no step {step}; {_nearest(step, rows)}.")
    return rows[step]


def _nearest(wanted: str | int, known: Collection[str] | Collection[int]) -> str:
    """Which of the known ones may be meant."""
    if not known:
        return "the warehouse has none"
    if isinstance(wanted, int):
        numbers = sorted(map(int, known), key=lambda other: (abs(other - wanted), other))
        near = [str(number) for number in numbers[:3]]
    else:
        names = sorted(map(str, known))
        near = difflib.get_close_matches(wanted, names, n=3) or names[:5]
    return f"nearest {'are' if len(near) > 1 else 'is'} {', '.join(near)}"


def _not_left_out(name: str, status: str | None) -> str:
    if status == "ok":
        return f"Checkpoint {name} is not left out; there is nothing to release."
    said = "was not read yet" if status is None else f"is {status}"
    return f"Checkpoint {name} {said}: run its ingestion again, which tries it anew."


def _fill_run(connection: Connection, run_id: int, *, outlier: bool, note: str | None) -> None:
    connection.execute(update(schema.run).where(schema.run.c.run_id == run_id).values(outlier=outlier, note=note))


def _fill_checkpoint(connection: Connection, checkpoint_id: int, **columns: object) -> None:
    table = schema.checkpoint
    connection.execute(update(table).where(table.c.checkpoint_id == checkpoint_id).values(**columns))
