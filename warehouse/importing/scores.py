"""Scores measured elsewhere: evaluations of checkpoints on a corpus, with whatever measures a file has.

All of a command is written in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, or_, select

from warehouse import schema
from warehouse.comparisons import derive
from warehouse.dimensions import ConflictingInputs
from warehouse.evaluations import Evaluation, load_evaluations
from warehouse.fact_tables import SCORES
from warehouse.importing.kl import Imported
from warehouse.importing.manifest import Checkpoint, Manifest
from warehouse.importing.target import find_corpus, left_out, save_checkpoints, save_files, save_protocol, source_file
from warehouse.importing.units import BadImport, Target, Unit, blocks_of, checked
from warehouse.interrupts import stop_if_interrupted
from warehouse.ledger import declare_unscored
from warehouse.values import CorpusValues


def load_scores(connection: Connection, units: Iterable[Unit], manifest: Manifest, target: Target) -> Imported:
    """Write evaluations that are new, some at a time. One of which only KL was imported gets its scores.

    Raises BadImport for a checkpoint that comes twice, and ConflictingInputs where one is in the warehouse with other
    scores under this protocol.
    """
    target = find_corpus(connection, target.name)
    protocol_id = save_protocol(connection, manifest)
    values = CorpusValues(target.corpus_id)
    rows, new, n_values = dict[Checkpoint, int](), list[int](), 0
    for block in blocks_of(units, target):
        scores: dict[Checkpoint, dict[str, NDArray[Any]]] = {}
        for unit in block:
            if unit.about[0] in rows or unit.about[0] in scores:
                raise BadImport(f"The scores of {unit} come twice: drop one of them.")
            scores[unit.about[0]] = checked(unit, manifest, target)
        rows |= save_checkpoints(connection, scores, tokenizer_id=target.tokenizer_id, measured=True)
        found = _evaluations(connection, block, scores, manifest, target, (protocol_id, rows))
        written = [e for e, is_new in zip(found, load_evaluations(connection, found, values), strict=True) if is_new]
        new += [evaluation.evaluation_id for evaluation in written]
        n_values += sum(_count(evaluation.scores) for evaluation in written)
    derived = _derive(connection, new, values)
    return Imported(len(new), len(rows) - len(new), derived, n_values, left_out(connection, rows))


def _evaluations(
    connection: Connection,
    units: Sequence[Unit],
    scores: Mapping[Checkpoint, Mapping[str, NDArray[Any]]],
    manifest: Manifest,
    target: Target,
    keys: tuple[int, Mapping[Checkpoint, int]],
) -> list[Evaluation]:
    """Some units as evaluations. keys: the protocol, and the checkpoints. Raises ConflictingInputs."""
    protocol_id, rows = keys
    ids = declare_unscored(connection, target.corpus_id, protocol_id, [rows[each] for each in scores])
    files = save_files(connection, (unit.file for unit in units), manifest)
    found = [
        Evaluation(
            evaluation_id=ids[rows[unit.about[0]]],
            input_digest=_digest(scores[unit.about[0]], target),
            environment_id=files[unit.file],
            window=manifest.window,
            seconds=None,
            anisotropy=None,
            scores={name: scores[unit.about[0]].get(name) for name in SCORES},
        )
        for unit in units
    ]
    for evaluation, unit in zip(found, units, strict=True):
        _refuse_others(connection, evaluation, unit.about[0], unit.file)
    return found


def _digest(scores: Mapping[str, NDArray[Any]], target: Target) -> str:
    """SHA-256 of the token ids and of all scores."""
    digest = hashlib.sha256(target.token_sha256.encode())
    for name in sorted(scores):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(scores[name]).tobytes())
    return digest.hexdigest()


def _count(scores: Mapping[str, NDArray[Any] | None]) -> int:
    surprisal = scores["surprisal"]
    assert surprisal is not None
    return int(np.isfinite(surprisal).sum())


def _refuse_others(connection: Connection, evaluation: Evaluation, about: Checkpoint, file: Path) -> None:
    e = schema.evaluation.c
    query = select(e.input_digest, e.environment_id).where(
        e.evaluation_id == evaluation.evaluation_id, e.status == "complete"
    )
    row = connection.execute(query).one_or_none()
    if row is not None and row.input_digest != evaluation.input_digest:
        raise ConflictingInputs(
            f"Scores of {about} are in the warehouse from {source_file(connection, row.environment_id)}, and {file} "
            "has other ones: import it under another protocol name."
        )


def _derive(connection: Connection, evaluation_ids: Collection[int], values: CorpusValues) -> int:
    """Derive again the comparisons whose pairs now have scores, and so a difference of surprisal."""
    pair, member = schema.comparison_pair.c, schema.comparison_member.c
    query = (
        select(member.comparison_id)
        .join(schema.comparison_pair, pair.pair_id == member.pair_id)
        .where(or_(pair.evaluation_p.in_(evaluation_ids), pair.evaluation_q.in_(evaluation_ids)))
        .distinct()
        .order_by(member.comparison_id)
    )
    found = connection.execute(query).scalars().all()
    for comparison_id in found:
        stop_if_interrupted()
        derive(connection, comparison_id, values)
    return len(found)
