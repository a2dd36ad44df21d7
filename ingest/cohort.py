"""A cohort: models whose checkpoints are visited together, with what the ledger has of them and what it lacks.

Writes the rows that a plan needs and reads the ledger; no model is read here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, bindparam, select, update

from ingest.architecture import ArchitectureFacts
from ingest.plan import Cell, Contrast, Grid, Pair, contrasts, home
from ingest.source import Source
from ingest.study import Study
from warehouse import schema
from warehouse.dimensions import ConflictingInputs, find_or_make
from warehouse.importing.target import claim_tokenizer, locate_imported
from warehouse.ledger import (
    ComparisonKey,
    Entry,
    declare_comparisons,
    declare_evaluations,
    entries,
    flagged_seeds,
    known_pairs,
    measured_weights,
)

#: Steps of a block. A block that another process did costs the readings of the step before it and of the last one.
BLOCK_STEPS = 8


@dataclass(frozen=True)
class Block:
    """What one process claims at a time: some steps of a cohort, all seeds and models of them."""

    number: int
    cells: frozenset[Cell]

    def __str__(self) -> str:
        models, steps = ", ".join(sorted({cell.model for cell in self.cells})), self.steps()
        if len(steps) == 1:
            return f"Step {steps[0]} of {models}"
        return f"The block of steps {steps[0]} to {steps[-1]} of {models}"

    @property
    def key(self) -> str:
        """What it is claimed by."""
        steps = self.steps()
        return f"{steps[0]}-{steps[-1]}" if self.number else "last"

    def steps(self) -> list[int]:
        """Its steps in order."""
        return sorted({cell.step for cell in self.cells})


@dataclass(frozen=True)
class Inputs:
    """Keys of what every checkpoint of a study is measured on, and where its checkpoints come from.

    usual: the sizes that most of a model's checkpoints state, where they do not agree.
    """

    source: Source
    tokenizer_id: int
    corpus_id: int
    protocol_id: int
    reference_ids: frozenset[int]
    usual: Mapping[str, ArchitectureFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """The work on some models: checkpoints, comparisons by id, and what the ledger has of them.

    weights: SHA-256 of the weights of cells that were measured before, on whatever corpus. facts: the sizes that a
    model's checkpoints had so far, or that most of them state. missing: ordered pairs that some comparison wants and
    nobody measured. bare: pairs that only kind `cross` wants, of which nothing is kept for each token. flagged: seeds
    of a model that run set default leaves out.
    """

    grids: Mapping[str, Grid]
    inputs: Inputs
    top_k: int
    model_ids: Mapping[str, int]
    checkpoint_ids: Mapping[Cell, int]
    weights: Mapping[Cell, str]
    entries: Mapping[Cell, Entry]
    contrasts: Mapping[int, Contrast]
    missing: frozenset[Pair]
    bare: frozenset[Pair]
    flagged: Mapping[str, frozenset[int]]
    facts: Mapping[str, ArchitectureFacts]

    def cells(self) -> Iterator[Cell]:
        """Every cell, model after model."""
        return (cell for grid in self.grids.values() for cell in grid.cells())

    def absent(self) -> set[Cell]:
        """Cells without a checkpoint."""
        return {cell for cell in self.cells() if cell not in self.grids[cell.model].locations}

    def to_score(self) -> set[Cell]:
        """Cells whose scores, or whose KL to a reference, the warehouse lacks."""
        return {cell for cell, entry in self.entries.items() if self._lacks(entry)}

    def _lacks(self, entry: Entry) -> bool:
        return not entry.complete or bool(self.inputs.reference_ids - entry.references) or entry.top_k < self.top_k

    def lacking_references(self) -> dict[Cell, frozenset[int]]:
        """Of cells that were scored, and whose checkpoint is there, the references that they were not held against."""
        absent = self.absent()
        scored = {cell: entry for cell, entry in self.entries.items() if entry.complete and cell not in absent}
        return {cell: self.inputs.reference_ids - entry.references for cell, entry in scored.items()}

    def home(self, pair: Pair) -> Cell | None:
        """Where a pair is measured; see `ingest.plan.home`. Bare ones stay with those of their comparison."""
        return None if pair in self.bare else home(pair, self.grids)

    def partners(self, pairs: Iterable[Pair]) -> set[Cell]:
        """Cells that must be read for these pairs: their two sides, and for two seeds of a step all seeds there.

        All seeds, because the entropy of the seeds' mean prediction needs every one of them.
        """
        pairs = list(pairs)
        mixed = {(p.model, p.step) for p, q in pairs if p.model == q.model and p.step == q.step}
        all_seeds = {Cell(model, seed, step) for model, step in mixed for seed in self.grids[model].seeds}
        return {cell for pair in pairs for cell in pair} | all_seeds - self.absent()

    def to_read(self) -> set[Cell]:
        """Cells that must be read, as far as that is known without reading."""
        absent = self.absent()
        readable = [pair for pair in self.missing if absent.isdisjoint(pair)]
        return (self.to_score() | self.partners(readable)) - absent

    def blocks(self, size: int = BLOCK_STEPS) -> list[Block]:
        """The cohort in blocks: the last step of each model first, for pairs with it, then the others in order."""
        last = {cell for cell in self.cells() if cell.step == self.grids[cell.model].last}
        others = set(self.cells()) - last
        steps = sorted({cell.step for cell in others})
        runs = [set(steps[start : start + size]) for start in range(0, len(steps), size)]
        parts = [last, *({cell for cell in others if cell.step in run} for run in runs)]
        return [Block(number, frozenset(part)) for number, part in enumerate(parts)]

    def done(self, digests: Mapping[Cell, str], pairs: Iterable[Pair]) -> Cohort:
        """The cohort after some cells, with their input digests, and some pairs were written."""
        scored = {
            cell: replace(
                self.entries[cell], input_digest=digest, references=self.inputs.reference_ids, top_k=self.top_k
            )
            for cell, digest in digests.items()
        }
        return replace(self, entries={**self.entries, **scored}, missing=self.missing - frozenset(pairs))

    def key(self, contrast: Contrast) -> ComparisonKey:
        """What the ledger knows a comparison by."""
        model, model_q = self.model_ids[contrast.model], self.model_ids[contrast.model_q]
        return ComparisonKey(contrast.kind, model, contrast.step, model_q, contrast.step_q)

    def refreshed(self, connection: Connection, cells: Collection[Cell]) -> Cohort:
        """The cohort with what the ledger says now of these cells, and of the pairs among them."""
        keys = {cell: self.checkpoint_ids[cell] for cell in cells}
        found = entries(connection, self.inputs.corpus_id, self.inputs.protocol_id, list(keys.values()))
        weights = measured_weights(connection, list(keys.values()))
        among = frozenset(pair for pair in self.missing if pair[0] in keys and pair[1] in keys)
        now = replace(
            self,
            entries={**self.entries, **{cell: found[key] for cell, key in keys.items()}},
            weights={**self.weights, **{cell: weights[key] for cell, key in keys.items() if key in weights}},
            facts={**self.facts, **_all_known_facts(connection, self.model_ids, self.inputs.tokenizer_id)},
        )
        return replace(now, missing=self.missing - among | now.lacking(connection, among))

    def lacking(self, connection: Connection, pairs: Iterable[Pair]) -> frozenset[Pair]:
        """Those of some pairs that the warehouse has not, or has without the values of each token where they count."""
        wanted = set(pairs)
        ids = {self.entries[cell].evaluation_id for pair in wanted for cell in pair}
        measured, full = known_pairs(connection, ids), known_pairs(connection, ids, token_facts=True)
        keys = {pair: (self.entries[pair[0]].evaluation_id, self.entries[pair[1]].evaluation_id) for pair in wanted}
        return frozenset(pair for pair, key in keys.items() if key not in (measured if pair in self.bare else full))


def plan_cohort(connection: Connection, study: Study, grids: Sequence[Grid], inputs: Inputs) -> Cohort:
    """Enter a cohort's checkpoints, evaluations and comparisons in the ledger, and find what it lacks of them."""
    model_ids = {grid.model: _declare_model(connection, grid.model, inputs) for grid in grids}
    facts = {**inputs.usual, **_all_known_facts(connection, model_ids, inputs.tokenizer_id)}
    checkpoint_ids: dict[Cell, int] = {}
    for grid in grids:
        checkpoint_ids |= _declare_checkpoints(connection, grid, model_ids[grid.model], inputs.source)
    found = declare_evaluations(connection, inputs.corpus_id, inputs.protocol_id, list(checkpoint_ids.values()))
    weights = measured_weights(connection, list(checkpoint_ids.values()))
    cohort = Cohort(
        {grid.model: grid for grid in grids},
        inputs,
        study.top_k,
        model_ids,
        checkpoint_ids,
        {cell: weights[key] for cell, key in checkpoint_ids.items() if key in weights},
        {cell: found[key] for cell, key in checkpoint_ids.items()},
        {},
        frozenset(),
        frozenset(),
        {model: flagged_seeds(connection, model_id) for model, model_id in model_ids.items()},
        facts,
    )
    return with_contrasts(connection, cohort, contrasts(study.kinds, grids, study.custom))


def with_contrasts(connection: Connection, cohort: Cohort, wanted: Iterable[Contrast]) -> Cohort:
    """The cohort with further comparisons, entered in the ledger, and the pairs that they lack."""
    by_key = {cohort.key(contrast): contrast for contrast in wanted}
    listed = {
        key: [(cohort.entries[p].evaluation_id, cohort.entries[q].evaluation_id) for p, q in contrast.pairs]
        for key, contrast in by_key.items()
        if contrast.kind == "custom"
    }
    inputs = cohort.inputs
    ids = declare_comparisons(connection, inputs.corpus_id, inputs.protocol_id, by_key, custom_pairs=listed)
    known = {**cohort.contrasts, **{ids[key]: contrast for key, contrast in by_key.items()}}
    crossed = {pair for contrast in known.values() if contrast.kind == "cross" for pair in contrast.pairs}
    full = {pair for contrast in known.values() if contrast.kind != "cross" for pair in contrast.pairs}
    now = replace(cohort, contrasts=known, bare=frozenset(crossed - full))
    return replace(now, missing=now.missing | now.lacking(connection, full | crossed))


def _declare_model(connection: Connection, model: str, inputs: Inputs) -> int:
    key = {"family": inputs.source.family, "name": model}
    model_id = find_or_make(connection, schema.model, key, objective="causal", tokenizer_id=inputs.tokenizer_id)
    claim_tokenizer(connection, model_id, inputs.tokenizer_id)
    return model_id


def _all_known_facts(
    connection: Connection, model_ids: Mapping[str, int], tokenizer_id: int
) -> dict[str, ArchitectureFacts]:
    known = {model: _known_facts(connection, model_id, tokenizer_id) for model, model_id in model_ids.items()}
    return {model: facts for model, facts in known.items() if facts is not None}


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


def _declare_checkpoints(connection: Connection, grid: Grid, model_id: int, source: Source) -> dict[Cell, int]:
    runs = {seed: _declare_run(connection, grid.model, seed, model_id, source) for seed in grid.seeds}
    somewhere = next(iter(grid.locations.values()))
    ids, places = {}, {}
    for cell in grid.cells():
        location = grid.locations.get(cell)
        place = {
            "source": (location or somewhere).source,
            "revision": location.revision if location else f"{cell.model}/seed{cell.seed}/step{cell.step}",
            "tokens_seen": source.tokens_seen(cell.model, cell.step),
        }
        ids[cell] = find_or_make(connection, schema.checkpoint, {"run_id": runs[cell.seed], "step": cell.step}, **place)
        places[ids[cell]] = place
    locate_imported(connection, places)
    _fill_learning_rates(connection, {key: source.learning_rate(cell.model, cell.step) for cell, key in ids.items()})
    return ids


def _fill_learning_rates(connection: Connection, rates: Mapping[int, float | None]) -> None:
    """Say the learning rates of checkpoints, by id, that have none yet: new ones, and those planned without."""
    checkpoint = schema.checkpoint.c
    told = [key for key, rate in rates.items() if rate is not None]
    query = select(checkpoint.checkpoint_id).where(
        checkpoint.checkpoint_id.in_(told), checkpoint.learning_rate.is_(None)
    )
    if silent := sorted(connection.execute(query).scalars()):
        statement = update(schema.checkpoint).where(checkpoint.checkpoint_id == bindparam("key"))
        rows = [{"key": key, "rate": rates[key]} for key in silent]
        connection.execute(statement.values(learning_rate=bindparam("rate")), rows)


def _declare_run(connection: Connection, model: str, seed: int, model_id: int, source: Source) -> int:
    """The row of a training run; one that its suite knows as an outlier is flagged when it is first seen."""
    note = source.outliers.get((model, seed))
    flag = {} if note is None else {"outlier": True, "note": note}
    return find_or_make(connection, schema.run, {"model_id": model_id, "seed": seed}, **flag)
