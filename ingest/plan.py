"""The plan of a study: which checkpoints and pairs are wanted, and which of them the ledger lacks.

Knows the study and the ledger; reads no model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from sqlalchemy import Connection, select

from ingest.architecture import ArchitectureFacts
from ingest.checkpoints import CheckpointLocation
from ingest.study import Study
from warehouse import schema
from warehouse.dimensions import ConflictingInputs, find_or_make
from warehouse.errors import WarehouseError
from warehouse.ledger import (
    ComparisonKey,
    Entry,
    declare_comparisons,
    declare_evaluations,
    known_pairs,
    measured_weights,
)

#: One checkpoint of a model: (seed, step).
Cell = tuple[int, int]
Pair = tuple[Cell, Cell]


class MissingRevision(WarehouseError):
    """The study names a model, seed or step that does not exist."""


@dataclass(frozen=True)
class Grid:
    """The checkpoints of one model that a study wants. locations: by (seed, step); a wanted one may be missing."""

    model: str
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    locations: Mapping[Cell, CheckpointLocation]

    def cells(self) -> Iterator[Cell]:
        """Every (seed, step), in order."""
        return ((seed, step) for step in self.steps for seed in self.seeds)


@dataclass(frozen=True)
class Contrast:
    """What one comparison compares: the ordered pairs of cells of a kind at a step."""

    kind: str
    step: int
    step_q: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Block:
    """The work on one model: its checkpoints, what the ledger has of them, and its comparisons by id.

    weights: SHA-256 of the weights of cells that were measured before, on whatever corpus. facts: the sizes that the
    model's checkpoints had so far, None before the first.
    """

    grid: Grid
    model_id: int
    checkpoint_ids: Mapping[Cell, int]
    weights: Mapping[Cell, str]
    entries: Mapping[Cell, Entry]
    contrasts: Mapping[int, Contrast]
    missing_pairs: frozenset[Pair]
    reference_ids: frozenset[int]
    facts: ArchitectureFacts | None

    def absent(self) -> set[Cell]:
        """Cells without a checkpoint."""
        return {cell for cell in self.grid.cells() if cell not in self.grid.locations}

    def to_score(self) -> set[Cell]:
        """Cells whose scores, or whose KL to a reference, the warehouse lacks."""
        return {
            cell for cell, entry in self.entries.items() if not entry.complete or self.reference_ids - entry.references
        }

    def partners(self, pairs: Iterable[Pair]) -> set[Cell]:
        """Cells that must be read for these pairs: their two sides, and for two seeds all seeds at that step.

        All seeds, because the entropy of the seeds' mean prediction needs every one of them.
        """
        pairs = list(pairs)
        steps = {p[1] for p, q in pairs if p[1] == q[1]}
        mixed = {cell for cell in self.grid.cells() if cell[1] in steps}
        return {cell for pair in pairs for cell in pair} | mixed - self.absent()

    def to_read(self) -> set[Cell]:
        """Cells that must be read, as far as that is known without reading."""
        absent = self.absent()
        readable = [pair for pair in self.missing_pairs if absent.isdisjoint(pair)]
        return (self.to_score() | self.partners(readable)) - absent


def survey(study: Study, found: Sequence[CheckpointLocation]) -> list[Grid]:
    """What the study wants of the checkpoints that were found, one grid a model.

    Raises MissingRevision for a model, seed or step that no checkpoint has.
    """
    _refuse_unknown("model {}", study.models, {location.model for location in found}, study)
    return [
        _grid(study, model, found)
        for model in sorted({location.model for location in found}, key=_natural)
        if model in study.models or not study.models
    ]


def _grid(study: Study, model: str, found: Sequence[CheckpointLocation]) -> Grid:
    locations = {(location.seed, location.step): location for location in found if location.model == model}
    seeds, steps = {seed for seed, _ in locations}, {step for _, step in locations}
    _refuse_unknown(f"seed {{}} of {model}", study.seeds, seeds, study)
    _refuse_unknown(f"step {{}} of {model}", study.steps, steps, study)
    return Grid(model, study.seeds or tuple(sorted(seeds)), study.steps or tuple(sorted(steps)), locations)


_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def _natural(name: str) -> tuple[float, str]:
    """Order of model names: by the first size in them, so that 9m comes before 14m, and 410m before 1.4b."""
    number = r"(\d+(?:\.\d+)?)"
    size = re.search(number + r"([kmbt])(?![a-z])", name.lower()) or re.search(number + "()", name)
    return (float(size[1]) * _UNITS[size[2]] if size else 0.0, name)


def _refuse_unknown(what: str, wanted: Collection[object], known: Collection[object], study: Study) -> None:
    for value in wanted:
        if value not in known:
            raise MissingRevision(
                f"Study {study.name} names {what.format(value)}, which is not below {study.root}; "
                f"{_nearest(value, known)}. Drop it from the study, or add its checkpoints."
            )


def _nearest(value: object, known: Collection[object]) -> str:
    if isinstance(value, int):
        near: list[object] = sorted(known, key=lambda other: abs(int(str(other)) - value))[:3]
    else:
        near = [*difflib.get_close_matches(str(value), [str(other) for other in known])] or sorted(known, key=str)[:5]
    return f"nearest are {', '.join(str(other) for other in near)}"


def contrasts(kinds: Collection[str], seeds: Sequence[int], steps: Sequence[int]) -> Iterator[Contrast]:
    """The comparisons of each kind over these seeds and this step list, with their ordered pairs (p, q)."""
    last = steps[-1]
    for step in steps:
        if "seed" in kinds and len(seeds) > 1:
            yield Contrast("seed", step, step, tuple(((p, step), (q, step)) for p, q in permutations(seeds, 2)))
    spans = {"step": list(pairwise(steps)), "final": [(step, last) for step in steps if step != last]}
    for kind, pairs in spans.items():
        for earlier, later in pairs:
            if kind in kinds:
                yield _along(kind, seeds, earlier, later)
            if f"{kind}_reverse" in kinds:
                yield _along(f"{kind}_reverse", seeds, later, earlier)


def _along(kind: str, seeds: Sequence[int], step: int, step_q: int) -> Contrast:
    """Each run held against itself at another step."""
    return Contrast(kind, step, step_q, tuple(((seed, step), (seed, step_q)) for seed in seeds))


def plan_block(
    connection: Connection,
    study: Study,
    grid: Grid,
    *,
    family: str,
    tokenizer_id: int,
    corpus_id: int,
    protocol_id: int,
    reference_ids: Collection[int],
) -> Block:
    """Enter a model's checkpoints, evaluations and comparisons in the ledger, and find what it lacks of them."""
    model_id = find_or_make(
        connection, schema.model, {"family": family, "name": grid.model}, objective="causal", tokenizer_id=tokenizer_id
    )
    facts = _known_facts(connection, model_id, tokenizer_id)
    checkpoint_ids = _declare_checkpoints(connection, study, grid, model_id)
    entries = declare_evaluations(connection, corpus_id, protocol_id, list(checkpoint_ids.values()))
    by_cell = {cell: entries[key] for cell, key in checkpoint_ids.items()}
    wanted = {
        ComparisonKey(contrast.kind, model_id, contrast.step, model_id, contrast.step_q): contrast
        for contrast in contrasts(study.kinds, grid.seeds, grid.steps)
    }
    ids = declare_comparisons(connection, corpus_id, protocol_id, wanted)
    weights = measured_weights(connection, list(checkpoint_ids.values()))
    done = known_pairs(connection, [entry.evaluation_id for entry in by_cell.values()])
    return Block(
        grid,
        model_id,
        checkpoint_ids,
        {cell: weights[key] for cell, key in checkpoint_ids.items() if key in weights},
        by_cell,
        {ids[key]: contrast for key, contrast in wanted.items()},
        frozenset(
            (p, q)
            for contrast in wanted.values()
            for p, q in contrast.pairs
            if (by_cell[p].evaluation_id, by_cell[q].evaluation_id) not in done
        ),
        frozenset(reference_ids),
        facts,
    )


def _known_facts(connection: Connection, model_id: int, tokenizer_id: int) -> ArchitectureFacts | None:
    """The sizes of a model's checkpoints, once one was read. Raises ConflictingInputs if it has another tokenizer."""
    model = schema.model.c
    columns = (
        *(model.architecture, model.parameters, model.parameters_without_embeddings, model.hidden_size),
        *(model.layers, model.vocabulary_width, model.context_length),
    )
    query = select(model.family, model.name, model.tokenizer_id, *columns).where(model.model_id == model_id)
    family, name, known_tokenizer, *facts = connection.execute(query).one()
    if known_tokenizer != tokenizer_id:
        raise ConflictingInputs(
            f"Model {name} of family {family} is in the warehouse with another tokenizer: "
            "restore its tokenizer.json, or ingest it under another family."
        )
    return None if facts[0] is None else ArchitectureFacts(*facts)


def _declare_checkpoints(connection: Connection, study: Study, grid: Grid, model_id: int) -> dict[Cell, int]:
    runs = {seed: find_or_make(connection, schema.run, {"model_id": model_id, "seed": seed}) for seed in grid.seeds}
    tokens_per_step = study.tokens_per_step
    return {
        (seed, step): find_or_make(
            connection,
            schema.checkpoint,
            {"run_id": runs[seed], "step": step},
            source=str(study.root),
            revision=f"step{step}",
            tokens_seen=None if tokens_per_step is None else step * tokens_per_step,
        )
        for seed, step in grid.cells()
    }
