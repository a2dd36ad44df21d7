"""Scores measured elsewhere: evaluations of checkpoints on a corpus, with whatever measures a file has.

All of a command is written in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
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
from warehouse.importing.units import BadImport, Target, Unit, checked
from warehouse.ledger import declare_unscored
from warehouse.values import CorpusValues


def load_scores(connection: Connection, units: Sequence[Unit], manifest: Manifest, target: Target) -> Imported:
    """Write evaluations that are new. One of which only KL was imported gets its scores.

    Raises BadImport for a checkpoint that comes twice, and ConflictingInputs where one is in the warehouse with other
    scores under this protocol.
    """
    scores = {unit.about[0]: checked(unit, manifest, target) for unit in units}
    if len(scores) < len(units):
        raise BadImport(f"The scores of {_twice(units)} come twice: drop one of them.")
    target = find_corpus(connection, target.name)
    protocol_id = save_protocol(connection, manifest)
    rows = save_checkpoints(connection, scores, tokenizer_id=target.tokenizer_id, measured=True)
    evaluations = declare_unscored(connection, target.corpus_id, protocol_id, rows.values())
    files = save_files(connection, (unit.file for unit in units), manifest)
    found = [
        Evaluation(
            evaluation_id=evaluations[rows[unit.about[0]]],
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
    values = CorpusValues(target.corpus_id)
    new = load_evaluations(connection, found, values)
    derived = _derive(connection, [e.evaluation_id for e, is_new in zip(found, new, strict=True) if is_new], values)
    n_values = sum(_count(e.scores) for e, is_new in zip(found, new, strict=True) if is_new)
    return Imported(sum(new), len(new) - sum(new), derived, n_values, left_out(connection, rows))


def _twice(units: Sequence[Unit]) -> Checkpoint:
    about = [unit.about[0] for unit in units]
    return next(each for each in about if about.count(each) > 1)


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
        derive(connection, comparison_id, values)
    return len(found)
