"""KL measured elsewhere: pairs of evaluations that hold no scores, and the comparisons that are derived from them.

All of a command is written in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from warehouse import schema
from warehouse.comparisons import derive
from warehouse.dimensions import ConflictingInputs
from warehouse.facts import read_groups
from warehouse.importing.kinds import kinds
from warehouse.importing.manifest import Checkpoint, Manifest
from warehouse.importing.steps import steps_in_order
from warehouse.importing.target import (
    find_corpus,
    left_out,
    save_checkpoints,
    save_files,
    save_protocol,
    source_file,
)
from warehouse.importing.units import BadImport, Target, Unit, checked
from warehouse.ledger import ComparisonKey, declare_comparisons, declare_unscored
from warehouse.pairs import Pair, load_pairs, outdated
from warehouse.values import CorpusValues

Kl = NDArray[np.float32]
Ids = Mapping[Checkpoint, int]


@dataclass(frozen=True)
class Imported:
    """What a command did: units written, units that were there with the same values, comparisons derived.

    left_out: checkpoints whose status keeps them out of views.
    """

    new: int
    known: int
    comparisons: int = 0
    n_values: int = 0
    left_out: tuple[str, ...] = ()


def check_kl(units: Sequence[Unit], manifest: Manifest, target: Target) -> dict[tuple[Checkpoint, Checkpoint], Kl]:
    """[T] KL in nats of each pair. Raises BadImport for a pair that comes twice, or is of one checkpoint."""
    found: dict[tuple[Checkpoint, Checkpoint], Kl] = {}
    places: dict[tuple[Checkpoint, Checkpoint], str] = {}
    for unit in units:
        p, q = unit.about
        if p == q:
            raise BadImport(f"{unit.where} holds {p} against itself: mend what the manifest says of p and q.")
        if (p, q) in found:
            raise BadImport(f"{unit.where} and {places[p, q]} are about the same pair, {unit}: drop one of them.")
        found[p, q] = checked(unit, manifest, target)["kl"]
        places[p, q] = unit.where
    return found


def load_kl(connection: Connection, units: Sequence[Unit], manifest: Manifest, target: Target) -> Imported:
    """Write pairs that are new, and derive the comparisons they belong to.

    Raises BadImport, and ConflictingInputs where a pair is in the warehouse with other values.
    """
    kl = check_kl(units, manifest, target)
    target = find_corpus(connection, target.name)
    protocol_id = save_protocol(connection, manifest)
    checkpoints = {checkpoint for pair in kl for checkpoint in pair}
    rows = save_checkpoints(connection, checkpoints, tokenizer_id=target.tokenizer_id, measured=True)
    found = declare_unscored(connection, target.corpus_id, protocol_id, rows.values())
    evaluations = {checkpoint: found[key] for checkpoint, key in rows.items()}
    files = save_files(connection, (unit.file for unit in units), manifest)
    by_pair = {unit.about: unit.file for unit in units}
    stored = _stored_pairs(connection, evaluations)
    for pair in kl.keys() & stored.keys():
        _refuse_other_values(connection, pair, kl[pair], by_pair[pair], stored[pair])
    new = [pair for pair in kl if pair not in stored]
    pairs = [_pair(p, q, kl[p, q], evaluations, files[by_pair[p, q]]) for p, q in new]
    keys = load_pairs(connection, pairs, target.corpus_id, target.first_token_id)
    models = _model_ids(connection, checkpoints)
    _declare(connection, kl, manifest, (target.corpus_id, protocol_id), models, evaluations)
    known = {key: pair.kl for key, pair in zip(keys, pairs, strict=True) if key is not None}
    derived = _derive(connection, target.corpus_id, protocol_id, set(models.values()), known)
    n_values = sum(int(np.isfinite(pair.kl).sum()) for pair in pairs)
    return Imported(len(new), len(kl) - len(new), derived, n_values, left_out(connection, rows))


def _pair(p: Checkpoint, q: Checkpoint, kl: Kl, evaluations: Ids, environment_id: int) -> Pair:
    mean = float(np.nanmean(kl, dtype=np.float64))
    return Pair(evaluations[p], evaluations[q], environment_id, kl, mean, pearson=None, top1_agreement=None)


def _stored_pairs(connection: Connection, evaluations: Ids) -> dict[tuple[Checkpoint, Checkpoint], tuple[int, int]]:
    """Pair and environment of the pairs that are there among these checkpoints."""
    column = schema.comparison_pair.c
    checkpoints = {key: checkpoint for checkpoint, key in evaluations.items()}
    query = select(column.evaluation_p, column.evaluation_q, column.pair_id, column.environment_id).where(
        column.evaluation_p.in_(checkpoints), column.evaluation_q.in_(checkpoints)
    )
    return {
        (checkpoints[p], checkpoints[q]): (pair, environment) for p, q, pair, environment in connection.execute(query)
    }


def _refuse_other_values(
    connection: Connection, unit: tuple[Checkpoint, Checkpoint], kl: Kl, file: Path, stored: tuple[int, int]
) -> None:
    """Raise ConflictingInputs if a pair is there with other values. stored: its pair and environment."""
    facts = "select pair_id, kl from warehouse.divergence_chunk where pair_id = %(pair)s order by chunk_id"
    pair_id, environment_id = stored
    held = read_groups(connection, facts, {"pair": pair_id})[pair_id]
    same = (held == kl) | (np.isnan(held) & np.isnan(kl))
    if not same.all():
        raise ConflictingInputs(
            f"KL of {unit[0]} against {unit[1]} is in the warehouse from {source_file(connection, environment_id)}, "
            f"and {file} has other values for {int((~same).sum())} tokens: import it under another protocol name."
        )


def _model_ids(connection: Connection, checkpoints: set[Checkpoint]) -> dict[tuple[str, str], int]:
    model = schema.model.c
    query = select(model.family, model.name, model.model_id).where(model.name.in_({each.model for each in checkpoints}))
    ids = {(family, name): model_id for family, name, model_id in connection.execute(query)}
    return {each[:2]: ids[each[:2]] for each in checkpoints}


def _declare(
    connection: Connection,
    pairs: Mapping[tuple[Checkpoint, Checkpoint], Any],
    manifest: Manifest,
    where: tuple[int, int],
    models: Mapping[tuple[str, str], int],
    evaluations: Ids,
) -> None:
    """Enter the comparisons that pairs belong to. where: corpus and protocol. Raises ConflictingInputs."""
    checkpoints = {checkpoint for pair in pairs for checkpoint in pair}
    steps = steps_in_order(connection, checkpoints, manifest.steps, where, models)
    wanted: dict[ComparisonKey, list[tuple[int, int]]] = {}
    for p, q in pairs:
        for kind in kinds(p, q, steps[p[:2]]):
            key = ComparisonKey(kind, models[p[:2]], p.step, models[q[:2]], q.step)
            wanted.setdefault(key, []).append((evaluations[p], evaluations[q]))
    listed = {key: both for key, both in wanted.items() if key.kind == "custom"}
    declare_comparisons(connection, *where, wanted, custom_pairs=listed)


def _derive(connection: Connection, corpus_id: int, protocol_id: int, models: set[int], known: Mapping[int, Kl]) -> int:
    """Derive the comparisons whose pairs have changed; returns how many."""
    values = CorpusValues(corpus_id)
    found = outdated(connection, corpus_id, protocol_id, models)
    for comparison_id in found:
        derive(connection, comparison_id, values, known=known)
    return len(found)
