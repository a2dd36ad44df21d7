"""Evaluations: a checkpoint's scores of a corpus, loaded as immutable units.

A unit is its facts, its summaries and its ledger row in one transaction: fully visible, or absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, insert, select, update

from warehouse import schema
from warehouse.dimensions import ConflictingInputs
from warehouse.facts import copy_chunks, driver, read_tokens
from warehouse.locks import share_corpus
from warehouse.summaries import Values, score_rows
from warehouse.values import CorpusValues


@dataclass(frozen=True)
class Evaluation:
    """What one reading of a checkpoint found on a corpus.

    scores: the [T] array columns of ``score_chunk``, None for a column that does not apply.
    references: [T] KL(model || reference) in nats, by reference id.
    input_digest: SHA-256 of weights, token ids, tokenizer and protocol.
    """

    evaluation_id: int
    input_digest: str
    environment_id: int
    window: int
    seconds: float
    anisotropy: float | None
    scores: Mapping[str, NDArray[Any] | None]
    references: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Ledger:
    corpus_id: int
    model_id: int
    first_token_id: int
    complete: bool
    input_digest: str | None
    name: str


def load_evaluation(connection: Connection, unit: Evaluation, values: CorpusValues) -> bool:
    """Write an evaluation and its references; False if it was there already.

    Raises ConflictingInputs if the ledger holds a result of other inputs for the same checkpoint, corpus and protocol.
    """
    share_corpus(driver(connection), values.corpus_id)
    ledger = _ledger(connection, unit.evaluation_id)
    if ledger.complete and ledger.input_digest != unit.input_digest:
        raise ConflictingInputs(
            f"{ledger.name} was measured from other inputs (digest {str(ledger.input_digest)[:12]}, "
            f"now {unit.input_digest[:12]}): its weights, tokenizer, text or protocol have changed. "
            "Restore them, or use another family or corpus name."
        )
    new = not ledger.complete
    if new:
        _write_scores(connection, unit, ledger)
        layers = values.layers(connection, ledger.model_id)
        _write_summaries(connection, unit.evaluation_id, unit.scores, layers, values.clusters(connection))
    for reference_id, kl in unit.references.items():
        _write_reference(connection, unit.evaluation_id, reference_id, kl, ledger.first_token_id)
    return new


def _ledger(connection: Connection, evaluation_id: int) -> _Ledger:
    e, c, r, m, k = (
        table.c for table in (schema.evaluation, schema.checkpoint, schema.run, schema.model, schema.corpus)
    )
    query = (
        select(
            e.corpus_id,
            r.model_id,
            k.first_token_id,
            e.status,
            e.input_digest,
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
        .where(e.evaluation_id == evaluation_id)
        .with_for_update(of=schema.evaluation)
    )
    row = connection.execute(query).one()
    return _Ledger(
        row.corpus_id,
        row.model_id,
        row.first_token_id,
        row.status == "complete",
        row.input_digest,
        f"Checkpoint {row.name} seed {row.seed} step {row.step} on corpus {row.corpus}",
    )


def _write_scores(connection: Connection, unit: Evaluation, ledger: _Ledger) -> None:
    copy_chunks(
        connection, schema.score_chunk, {"evaluation_id": unit.evaluation_id}, ledger.first_token_id, unit.scores
    )
    surprisal = unit.scores["surprisal"]
    assert surprisal is not None
    connection.execute(
        update(schema.evaluation)
        .where(schema.evaluation.c.evaluation_id == unit.evaluation_id)
        .values(
            status="complete",
            input_digest=unit.input_digest,
            environment_id=unit.environment_id,
            window=unit.window,
            seconds=unit.seconds,
            anisotropy=unit.anisotropy,
            mean_surprisal=float(surprisal.astype(np.float64).mean()),
            measured_at=func.now(),
        )
    )


def _write_reference(
    connection: Connection, evaluation_id: int, reference_id: int, kl: NDArray[np.float32], first_token_id: int
) -> None:
    key = {"evaluation_id": evaluation_id, "reference_id": reference_id}
    held = schema.reference_evaluation.c
    known = select(held.n_tokens).where(held.evaluation_id == evaluation_id, held.reference_id == reference_id)
    if connection.execute(known).one_or_none() is None:
        mean = float(kl.astype(np.float64).mean())
        connection.execute(insert(schema.reference_evaluation).values(**key, n_tokens=len(kl), mean_kl=mean))
        copy_chunks(connection, schema.reference_chunk, key, first_token_id, {"kl": kl})


def _write_summaries(
    connection: Connection,
    evaluation_id: int,
    scores: Mapping[str, NDArray[Any] | None],
    layers: Iterable[Values],
    clusters: NDArray[np.int64],
) -> None:
    surprisal, entropy, rank = scores["surprisal"], scores["entropy"], scores["rank"]
    assert surprisal is not None
    assert entropy is not None
    assert rank is not None
    rows = [
        {"evaluation_id": evaluation_id, **row}
        for layer in layers
        for row in score_rows(surprisal, entropy, rank, layer, clusters)
    ]
    if rows:
        connection.execute(insert(schema.score_summary), rows)


def summarise_layer(connection: Connection, layer: Values, model_id: int | None, values: CorpusValues) -> None:
    """Write the summaries of a new layer for every complete evaluation of its corpus (and model)."""
    e, c, r = schema.evaluation.c, schema.checkpoint.c, schema.run.c
    joined = schema.evaluation.join(schema.checkpoint, c.checkpoint_id == e.checkpoint_id).join(
        schema.run, r.run_id == c.run_id
    )
    query = select(e.evaluation_id).select_from(joined).where(e.corpus_id == values.corpus_id, e.status == "complete")
    if model_id is not None:
        query = query.where(r.model_id == model_id)
    for evaluation_id in connection.execute(query.order_by(e.evaluation_id)).scalars().all():
        scores = read_scores(connection, evaluation_id, ("surprisal", "entropy", "rank"))
        _write_summaries(connection, evaluation_id, scores, [layer], values.clusters(connection))


def read_scores(connection: Connection, evaluation_id: int, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """[T] arrays of an evaluation, by column of ``score_chunk``."""
    query = (
        f"select {', '.join(columns)} from warehouse.score_chunk where evaluation_id = %(evaluation)s order by chunk_id"
    )
    return dict(zip(columns, read_tokens(connection, query, {"evaluation": evaluation_id}, len(columns)), strict=True))


def forget_layer(connection: Connection, layer_id: int) -> None:
    """Delete the summaries of a layer."""
    connection.execute(delete(schema.score_summary).where(schema.score_summary.c.layer_id == layer_id))
