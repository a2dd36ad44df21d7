"""KL measured elsewhere: pairs of evaluations that hold no scores, and the comparisons that are derived from them.

All of a command is written in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from warehouse.importing.units import BadImport, Target, Unit, blocks_of, checked
from warehouse.interrupts import stop_if_interrupted
from warehouse.ledger import ComparisonKey, declare_comparisons, declare_unscored
from warehouse.pairs import Pair, load_pairs, outdated
from warehouse.values import CorpusValues

Kl = NDArray[np.float32]
Ids = Mapping[Checkpoint, int]
PairOf = tuple[Checkpoint, ...]  # p and q


@dataclass(frozen=True)
class Imported:
    """What a command did: units written, units that were there with the same values, comparisons derived.

    left_out: checkpoints whose status keeps them out of views. new_models: as FAMILY/NAME, those that were not there.
    """

    new: int
    known: int
    comparisons: int = 0
    n_values: int = 0
    left_out: tuple[str, ...] = ()
    new_models: tuple[str, ...] = ()


@dataclass
class _Done:
    """What was written so far. places: what holds each pair; rows, evaluations: ids of the checkpoints."""

    places: dict[PairOf, str] = field(default_factory=dict)
    rows: dict[Checkpoint, int] = field(default_factory=dict)
    evaluations: dict[Checkpoint, int] = field(default_factory=dict)
    new: int = 0
    n_values: int = 0


def load_kl(connection: Connection, units: Iterable[Unit], manifest: Manifest, target: Target) -> Imported:
    """Write pairs that are new, some at a time, and derive the comparisons they belong to.

    Raises BadImport, also for a pair that comes twice or is of one checkpoint, and ConflictingInputs where a pair is in
    the warehouse with other values.
    """
    target = find_corpus(connection, target.name)
    protocol_id = save_protocol(connection, manifest)
    done, known = _Done(), dict[int, Kl]()
    for number, block in enumerate(blocks_of(units, target)):
        written = _write(connection, block, manifest, target, protocol_id, done)
        # Comparisons read again what would take too much memory until then.
        known = written if number == 0 else {}
    models = _model_ids(connection, set(done.evaluations))
    _declare(connection, done.places, manifest, (target.corpus_id, protocol_id), models, done.evaluations)
    derived = _derive(connection, target.corpus_id, protocol_id, set(models.values()), known)
    n_known = len(done.places) - done.new
    return Imported(done.new, n_known, derived, done.n_values, left_out(connection, done.rows))


def _write(
    connection: Connection, units: Sequence[Unit], manifest: Manifest, target: Target, protocol_id: int, done: _Done
) -> dict[int, Kl]:
    """Write the new ones of some pairs, with their checkpoints; returns the KL of each by its id."""
    kl = {unit.about: _checked(unit, manifest, target, done) for unit in units}
    rows = save_checkpoints(
        connection, {each for pair in kl for each in pair}, tokenizer_id=target.tokenizer_id, measured=True
    )
    found = declare_unscored(connection, target.corpus_id, protocol_id, rows.values())
    evaluations = {checkpoint: found[key] for checkpoint, key in rows.items()}
    files = save_files(connection, (unit.file for unit in units), manifest)
    by_pair = {unit.about: unit.file for unit in units}
    stored = _stored_pairs(connection, evaluations)
    for pair in kl.keys() & stored.keys():
        _refuse_other_values(connection, pair, kl[pair], by_pair[pair], stored[pair])
    pairs = [_pair(pair, kl[pair], evaluations, files[by_pair[pair]]) for pair in kl if pair not in stored]
    keys = load_pairs(connection, pairs, target.corpus_id, target.first_token_id)
    done.rows |= rows
    done.evaluations |= evaluations
    done.new += len(pairs)
    done.n_values += sum(int(np.isfinite(pair.kl).sum()) for pair in pairs)
    return {key: pair.kl for key, pair in zip(keys, pairs, strict=True) if key is not None}


def _checked(unit: Unit, manifest: Manifest, target: Target, done: _Done) -> Kl:
    """[T] KL in nats of a pair, which is entered among those that came. Raises BadImport."""
    p, q = unit.about
    if p == q:
        raise BadImport(f"{unit.where} holds {p} against itself: mend what the manifest says of p and q.")
    if (p, q) in done.places:
        raise BadImport(f"{unit.where} and {done.places[p, q]} are about the same pair, {unit}: drop one of them.")
    done.places[p, q] = unit.where
    return checked(unit, manifest, target)["kl"]


def _pair(pair: PairOf, kl: Kl, evaluations: Ids, environment_id: int) -> Pair:
    p, q = pair
    mean = float(np.nanmean(kl, dtype=np.float64))
    units = evaluations[p], evaluations[q]
    # What needs both sides' scores is filled in by a refresh, once they are imported too.
    return Pair(*units, environment_id, kl, mean, pearson=None, spearman=None, top1_agreement=None)


def _stored_pairs(connection: Connection, evaluations: Ids) -> dict[PairOf, tuple[int, int]]:
    """Pair and environment of the pairs that are there among these checkpoints."""
    column = schema.comparison_pair.c
    checkpoints = {key: checkpoint for checkpoint, key in evaluations.items()}
    query = select(column.evaluation_p, column.evaluation_q, column.pair_id, column.environment_id).where(
        column.evaluation_p.in_(checkpoints), column.evaluation_q.in_(checkpoints)
    )
    return {
        (checkpoints[p], checkpoints[q]): (pair, environment) for p, q, pair, environment in connection.execute(query)
    }


def _refuse_other_values(connection: Connection, unit: PairOf, kl: Kl, file: Path, stored: tuple[int, int]) -> None:
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
    pairs: Mapping[PairOf, Any],
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
        stop_if_interrupted()
        derive(connection, comparison_id, values, known=known)
    return len(found)
