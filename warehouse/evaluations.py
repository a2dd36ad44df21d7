"""Evaluations: a checkpoint's scores of a corpus, loaded as immutable units.

A unit is its facts, its summaries and its ledger row in one transaction: fully visible, or absent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from warehouse import schema
from warehouse.blocks import Columns, map_units, read_units
from warehouse.dimensions import ConflictingInputs
from warehouse.documents import Documents, score_sums
from warehouse.facts import copy_rows, copy_units, driver
from warehouse.locks import hold_paradigms, share_corpus
from warehouse.paradigms import write_results
from warehouse.summaries import Row, Values, portions, score_rows
from warehouse.values import CorpusValues


@dataclass(frozen=True)
class Top:
    """The k most probable entries at every token, in order: [T, k] int32 ids and float32 log-probabilities, in nats."""

    vocab_ids: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Entries of each token."""
        return int(self.vocab_ids.shape[1])


@dataclass(frozen=True)
class Evaluation:
    """What one reading of a checkpoint found on a corpus.

    scores: the [T] array columns of ``score_chunk``, None for a column that does not apply.
    references: [T] KL(model || reference) in nats, by reference id.
    input_digest: SHA-256 of weights, token ids, tokenizer and protocol. top: the most probable entries, if wanted.
    """

    evaluation_id: int
    input_digest: str
    environment_id: int
    window: int | None
    seconds: float | None
    anisotropy: float | None
    scores: Mapping[str, NDArray[Any] | None]
    references: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    top: Top | None = None


#: What is summed over values and over documents.
_SUMMED = ("surprisal", "entropy", "rank")
#: Columns of an evaluation's row that its measurement fills.
_MEASURED = ("input_digest", "environment_id", "window", "seconds", "anisotropy", "mean_surprisal")


@dataclass(frozen=True)
class _Ledger:
    model_id: int
    first_token_id: int
    complete: bool
    input_digest: str | None
    top_k: int
    name: str


def load_evaluation(connection: Connection, unit: Evaluation, values: CorpusValues) -> bool:
    """Write an evaluation and its references; False if it was there already. Raises ConflictingInputs."""
    return load_evaluations(connection, [unit], values)[0]


def load_evaluations(connection: Connection, units: Sequence[Evaluation], values: CorpusValues) -> list[bool]:
    """Write evaluations of one corpus and their references; for each whether it is new.

    Raises ConflictingInputs if the ledger holds a result of other inputs for the same checkpoint, corpus and protocol.
    """
    share_corpus(driver(connection), values.corpus_id)
    if len(values.items(connection).paradigm_ids):
        hold_paradigms(driver(connection), values.corpus_id)
    ledgers = _ledgers(connection, [unit.evaluation_id for unit in units])
    for unit in units:
        _refuse_other_inputs(unit, ledgers[unit.evaluation_id])
    new = [unit for unit in units if not ledgers[unit.evaluation_id].complete]
    if new:
        documents = values.documents(connection)
        _write_scores(connection, new, ledgers[new[0].evaluation_id].first_token_id, documents)
        _write_new_summaries(connection, new, ledgers, values)
        write_results(connection, values.items(connection), [unit.evaluation_id for unit in new])
    if units:
        first_token_id = ledgers[units[0].evaluation_id].first_token_id
        _write_references(connection, units, first_token_id)
        _write_top(connection, [u for u in units if u.top and u.top.k > ledgers[u.evaluation_id].top_k], first_token_id)
    return [not ledgers[unit.evaluation_id].complete for unit in units]


def _ledgers(connection: Connection, evaluation_ids: Collection[int]) -> dict[int, _Ledger]:
    """The ledger's rows by evaluation, locked in the order of their ids."""
    e, c, r, m, k = (
        table.c for table in (schema.evaluation, schema.checkpoint, schema.run, schema.model, schema.corpus)
    )
    query = (
        select(
            e.evaluation_id,
            r.model_id,
            k.first_token_id,
            e.status,
            e.input_digest,
            e.top_k,
            m.name,
            r.seed,
            c.step,
            k.name.label("corpus"),
        )
        .select_from(
            schema.evaluation.join(schema.checkpoint, c.checkpoint_id == e.checkpoint_id)
            .join(schema.run, r.run_id == c.run_id)
            .join(schema.model, m.model_id == r.model_id)
            .join(schema.corpus, k.corpus_id == e.corpus_id)
        )
        .where(e.evaluation_id.in_(evaluation_ids))
        .order_by(e.evaluation_id)
        .with_for_update(of=schema.evaluation)
    )
    return {
        row.evaluation_id: _Ledger(
            row.model_id,
            row.first_token_id,
            row.status == "complete",
            row.input_digest,
            row.top_k,
            f"Checkpoint {row.name} seed {row.seed} step {row.step} on corpus {row.corpus}",
        )
        for row in connection.execute(query)
    }


def _refuse_other_inputs(unit: Evaluation, ledger: _Ledger) -> None:
    if ledger.complete and ledger.input_digest != unit.input_digest:
        raise ConflictingInputs(
            f"{ledger.name} was measured from other inputs (digest {str(ledger.input_digest)[:12]}, "
            f"now {unit.input_digest[:12]}): its weights, tokenizer, text or protocol have changed. "
            "Restore them, or use another family or corpus name."
        )


def _write_scores(
    connection: Connection, units: Sequence[Evaluation], first_token_id: int, documents: Documents
) -> None:
    """Write scores by token and by document; the latter are summed while the server takes in the former."""
    sums = []

    def by_token() -> Iterator[tuple[dict[str, int], Mapping[str, NDArray[Any] | None]]]:
        for unit in units:
            key = {"evaluation_id": unit.evaluation_id}
            yield key, unit.scores
            sums.append((key, _document_sums(unit, documents)))

    copy_units(connection, schema.score_chunk, by_token(), first_token_id)
    copy_units(connection, schema.document_score_chunk, sums, 0, chunk="document_chunk")
    statement = (
        update(schema.evaluation)
        .where(schema.evaluation.c.evaluation_id == bindparam("unit"))
        .values(status="complete", measured_at=func.now(), **{name: bindparam(name) for name in _MEASURED})
    )
    connection.execute(statement, [_measured_row(unit) for unit in units])


def _measured_row(unit: Evaluation) -> dict[str, Any]:
    surprisal = unit.scores["surprisal"]
    assert surprisal is not None
    row = {name: getattr(unit, name) for name in _MEASURED if name != "mean_surprisal"}
    return {"unit": unit.evaluation_id, "mean_surprisal": _mean(surprisal), **row}


def _mean(x: NDArray[np.float32]) -> float | None:
    """Mean over the tokens that were measured; None if none was."""
    measured = x[~np.isnan(x)].astype(np.float64)
    return float(measured.mean()) if len(measured) else None


def _document_sums(unit: Evaluation, documents: Documents) -> dict[str, NDArray[Any] | None]:
    surprisal, entropy, rank = (unit.scores[name] for name in _SUMMED)
    assert surprisal is not None
    return score_sums(documents, surprisal, entropy, rank)


def _write_references(connection: Connection, units: Sequence[Evaluation], first_token_id: int) -> None:
    held = schema.reference_evaluation.c
    ids = [unit.evaluation_id for unit in units]
    query = select(held.evaluation_id, held.reference_id).where(held.evaluation_id.in_(ids))
    known = {(evaluation_id, reference_id) for evaluation_id, reference_id in connection.execute(query)}
    new = [
        ({"evaluation_id": unit.evaluation_id, "reference_id": reference_id}, kl)
        for unit in units
        for reference_id, kl in unit.references.items()
        if (unit.evaluation_id, reference_id) not in known
    ]
    if new:
        rows = [{**key, "n_tokens": len(kl), "mean_kl": _mean(kl)} for key, kl in new]
        connection.execute(insert(schema.reference_evaluation), rows)
        copy_units(connection, schema.reference_chunk, [(key, {"kl": kl}) for key, kl in new], first_token_id)


def _write_top(connection: Connection, units: Sequence[Evaluation], first_token_id: int) -> None:
    """Write the most probable entries, in place of fewer ones."""
    if not units:
        return
    top, evaluation = schema.top_chunk.c, schema.evaluation.c
    connection.execute(delete(schema.top_chunk).where(top.evaluation_id.in_([unit.evaluation_id for unit in units])))
    facts = [({"evaluation_id": u.evaluation_id, "k": u.top.k}, vars(u.top)) for u in units if u.top]
    copy_units(connection, schema.top_chunk, facts, first_token_id)
    statement = update(schema.evaluation).where(evaluation.evaluation_id == bindparam("unit"))
    rows = [{"unit": key["evaluation_id"], "k": key["k"]} for key, _ in facts]
    connection.execute(statement.values(top_k=bindparam("k")), rows)


def _write_new_summaries(
    connection: Connection, units: Iterable[Evaluation], ledgers: Mapping[int, _Ledger], values: CorpusValues
) -> None:
    models = {ledgers[unit.evaluation_id].model_id for unit in units}
    layers = {model_id: values.layers(connection, model_id) for model_id in models}
    clusters = values.clusters(connection)
    rows = [
        row
        for unit in units
        for row in _summary_rows(
            unit.evaluation_id, unit.scores, layers[ledgers[unit.evaluation_id].model_id], clusters
        )
    ]
    copy_rows(connection, schema.score_summary, rows)


def _summary_rows(
    evaluation_id: int,
    scores: Mapping[str, NDArray[Any] | None],
    layers: Iterable[Values],
    clusters: NDArray[np.int64],
) -> list[dict[str, Any]]:
    surprisal, entropy, rank = (scores[name] for name in _SUMMED)
    assert surprisal is not None
    return [
        {"evaluation_id": evaluation_id, **row}
        for layer in layers
        for row in score_rows(surprisal, entropy, rank, layer, clusters)
    ]


def summarise_layer(connection: Connection, layer: Values, model_id: int | None, values: CorpusValues) -> None:
    """Write the summaries of a new layer for every complete evaluation of its corpus (and model)."""
    e, c, r = schema.evaluation.c, schema.checkpoint.c, schema.run.c
    joined = schema.evaluation.join(schema.checkpoint, c.checkpoint_id == e.checkpoint_id).join(
        schema.run, r.run_id == c.run_id
    )
    query = select(e.evaluation_id).select_from(joined).where(e.corpus_id == values.corpus_id, e.status == "complete")
    if model_id is not None:
        query = query.where(r.model_id == model_id)
    clusters = values.clusters(connection)

    def rows_of(columns: Columns) -> list[Row]:
        surprisal, entropy, rank = columns
        assert surprisal is not None
        return score_rows(surprisal, entropy, rank, layer, clusters)

    evaluations = connection.execute(query.order_by(e.evaluation_id)).scalars().all()
    for portion in portions(evaluations, layer.size, lambda _: 0):
        found = map_units(connection, schema.score_chunk, portion, _SUMMED, rows_of)
        rows = [{"evaluation_id": evaluation_id, **row} for evaluation_id in portion for row in found[evaluation_id]]
        copy_rows(connection, schema.score_summary, rows)


def read_scores(connection: Connection, evaluation_id: int, columns: tuple[str, ...]) -> dict[str, Any]:
    """[T] arrays of an evaluation, by column of ``score_chunk``."""
    [(_, values)] = read_units(connection, schema.score_chunk, [evaluation_id], columns)
    return dict(zip(columns, values, strict=True))


def mean_surprisals(
    connection: Connection, corpus_id: int, protocol_id: int, model_ids: Collection[int]
) -> dict[tuple[int, int], float]:
    """Mean surprisal in nats by (model, step): over its good checkpoints of runs that are not flagged."""
    e, c, r = schema.evaluation.c, schema.checkpoint.c, schema.run.c
    joined = schema.evaluation.join(schema.checkpoint, c.checkpoint_id == e.checkpoint_id).join(
        schema.run, r.run_id == c.run_id
    )
    query = (
        select(r.model_id, c.step, e.mean_surprisal)
        .select_from(joined)
        .where(
            e.corpus_id == corpus_id,
            e.protocol_id == protocol_id,
            e.status == "complete",
            c.status == "ok",
            ~r.outlier,
            r.model_id.in_(model_ids),
        )
        .order_by(r.model_id, c.step, r.seed)
    )
    means: dict[tuple[int, int], list[float]] = {}
    for model_id, step, mean in connection.execute(query):
        means.setdefault((model_id, step), []).append(mean)
    return {key: sum(values) / len(values) for key, values in means.items()}


def forget_layer(connection: Connection, layer_id: int) -> None:
    """Delete the summaries of a layer."""
    connection.execute(delete(schema.score_summary).where(schema.score_summary.c.layer_id == layer_id))
