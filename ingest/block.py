"""A block of work: all checkpoints of one model, each read once while every wanted pair is computed.

The last step is visited first, for the pairs that need it; then the steps in order, keeping the readouts of the step
before. What a visit computes is written in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import Connection

from ingest import layers
from ingest.architecture import ArchitectureFacts, check_vocabulary
from ingest.checkpoints import CheckpointReader, LoadedCheckpoint
from ingest.divergence import pair_statistics
from ingest.geometry import anisotropy, head_singular_values
from ingest.measure import Measurement, Readout, measure
from ingest.plan import Block, Cell, MissingRevision, Pair
from ingest.progress import Meter
from ingest.readout import read
from ingest.scores import VocabularyClasses
from ingest.setting import FINAL_SURPRISAL, Setting, wanted_layers
from ingest.study import Study
from ingest.weights import MissingCheckpoint
from warehouse import schema
from warehouse.annotations import layer_source, load_layer
from warehouse.comparisons import Pair as PairUnit
from warehouse.comparisons import derive, load_pair, outdated
from warehouse.dimensions import ConflictingInputs, fill
from warehouse.errors import WarehouseError
from warehouse.evaluations import Evaluation, load_evaluation, read_scores
from warehouse.ledger import record_failure
from warehouse.values import CorpusValues


class OtherArchitecture(WarehouseError):
    """A checkpoint has other sizes than its model."""


Kl = NDArray[np.float32]
T = TypeVar("T")


@dataclass
class Outcome:
    """What became of a block: counts of what was written, and the reasons of what was not."""

    checkpoints: int = 0
    evaluations: int = 0
    pairs: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another block in."""
        self.checkpoints += other.checkpoints
        self.evaluations += other.evaluations
        self.pairs += other.pairs
        self.failures += other.failures


class Commit(Protocol):
    """Runs a function in one transaction, again if the server was lost; returns what it returns."""

    def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Run work."""
        ...


@dataclass(frozen=True)
class Tools:
    """What a block works with."""

    commit: Commit
    reader: CheckpointReader
    meter: Meter
    device: str
    environment_id: int


#: Scores that statistics of a pair need.
_PAIRED = ("surprisal", "top_vocab_id")


@dataclass
class _Resident:
    """A checkpoint in memory: its readout, and the scores that statistics of its pairs need."""

    readout: Readout
    sha256: str
    facts: ArchitectureFacts
    window: int
    seconds: float
    surprisal: Kl | None = None
    top_vocab_id: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class _Work:
    """What a visit computes. groups: for each step at which two seeds are paired, all seeds there, to be mixed."""

    scored: list[Cell]
    pairs: list[Pair]
    groups: list[tuple[Cell, ...]]

    @cached_property
    def index(self) -> dict[Cell, int]:
        """The cells that take part, numbered."""
        cells = {*self.scored, *chain.from_iterable(self.pairs), *chain.from_iterable(self.groups)}
        return {cell: number for number, cell in enumerate(sorted(cells))}


class BlockRun:
    """One pass over a block."""

    def __init__(self, study: Study, setting: Setting, block: Block, tools: Tools) -> None:
        self._study, self._setting, self._block, self._tools = study, setting, block, tools
        self._outcome = Outcome()
        self._values = CorpusValues(setting.corpus_id)
        self._resident: dict[Cell, _Resident] = {}
        self._seen: set[Cell] = set()
        self._facts = block.facts
        self._to_score = block.to_score()
        self._pairs = set(block.missing_pairs)
        self._absent = block.absent() & {cell for pair in self._pairs for cell in pair}
        self._drop_pairs(self._absent)
        ids = [setting.vocabulary.bos_id, *setting.corpus.ids.tolist()]
        self._ids = torch.tensor(ids, dtype=torch.int64)
        self._targets = self._ids[1:].to(tools.device)
        vocabulary = setting.vocabulary
        self._classes = VocabularyClasses.from_masks(
            torch.from_numpy(vocabulary.starts_with_space),
            torch.from_numpy(vocabulary.is_punctuation),
            vocabulary.eos_id,
        )
        self._references = {
            str(key): torch.from_numpy(reference.log_probabilities()).float()
            for key, reference in setting.references.items()
        }

    def run(self) -> Outcome:
        """Visit every step that lacks something; returns what was written and what failed."""
        last = self._block.grid.steps[-1]
        for step in (last, *self._block.grid.steps):
            self._visit(step)
            if step == last:
                self._annotate_final_surprisal(last)
            self._resident = {cell: held for cell, held in self._resident.items() if cell[1] in (step, last)}
        self._tools.commit(self._derive_outdated)
        return self._outcome

    def _visit(self, step: int) -> None:
        new = self._read_all(self._to_score | self._absent, step)
        # What could not be read needs no partners.
        new += self._read_all(self._block.partners(self._pairs), step)
        work = self._work()
        if work.index:
            measured = self._measure(work, weight=len(new))
            self._keep_scores(work, measured)
            self._tools.commit(lambda connection: self._write(connection, work, measured))
            self._to_score -= set(work.scored)
            self._pairs -= set(work.pairs)
            self._outcome.evaluations += sum(not self._block.entries[cell].complete for cell in work.scored)
            self._outcome.pairs += len(work.pairs)

    def _work(self) -> _Work:
        """What can be computed from what is in memory, and is not there yet."""
        scored = sorted(cell for cell in self._to_score if cell in self._resident)
        pairs = sorted(pair for pair in self._pairs if all(cell in self._resident for cell in pair))
        steps = sorted({p[1] for p, q in pairs if p[1] == q[1]})
        groups = [tuple(sorted(cell for cell in self._resident if cell[1] == step)) for step in steps]
        return _Work(scored, pairs, groups)

    def _read_all(self, wanted: set[Cell], step: int) -> list[Cell]:
        """Read those cells of a step that were not tried yet; returns those that are in memory now."""
        cells = sorted(cell for cell in wanted - self._seen if cell[1] == step)
        for cell in cells:
            self._read(cell)
        return [cell for cell in cells if cell in self._resident]

    def _drop_pairs(self, cells: set[Cell]) -> None:
        self._pairs = {pair for pair in self._pairs if cells.isdisjoint(pair)}

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, cell: Cell) -> None:
        name = f"{self._block.grid.model} seed {cell[0]} step {cell[1]}"
        self._seen.add(cell)
        try:
            self._resident[cell] = self._read_checkpoint(cell)
        except ConflictingInputs:
            raise
        except WarehouseError as error:
            missing = isinstance(error, MissingCheckpoint | MissingRevision)
            self._fail(cell, name, "missing" if missing else "failed", str(error))
        else:
            self._outcome.checkpoints += 1
            self._tools.meter.checkpoint(name)

    def _read_checkpoint(self, cell: Cell) -> _Resident:
        started = time.monotonic()
        location = self._block.grid.locations.get(cell)
        if location is None:
            raise MissingRevision(
                f"{self._study.root} has no such checkpoint: add it, or drop its step from the study."
            )
        self._setting.require_tokenizer(location.path)
        loaded = self._tools.reader.load(location.path)
        check_vocabulary(loaded.facts, self._setting.vocabulary.length, location.path)
        self._require_known(cell, location.path, loaded)
        limit = loaded.facts.context_length
        window = min(self._study.protocol.window, limit) if limit else self._study.protocol.window
        readout = read(loaded.model, self._ids, window=window)
        self._facts = loaded.facts
        return _Resident(readout, loaded.sha256, loaded.facts, window, time.monotonic() - started)

    def _require_known(self, cell: Cell, path: Path, loaded: LoadedCheckpoint) -> None:
        """Refuse a checkpoint that is not what was measured before, or is no checkpoint of its model."""
        known = self._block.weights.get(cell)
        if known is not None and known != loaded.sha256:
            raise ConflictingInputs(
                f"{path} holds other weights than were measured before (sha256 {loaded.sha256[:12]}, in the "
                f"warehouse {known[:12]}): restore its files, or ingest them under another family."
            )
        if self._facts is not None and self._facts != loaded.facts:
            ours, theirs = vars(loaded.facts), vars(self._facts)
            differing = [f"{key} {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key]]
            raise OtherArchitecture(
                f"{path} is not like the other checkpoints of {self._block.grid.model} ({'; '.join(differing)}): "
                "put it into the folder of its own model."
            )

    def _describe(self, connection: Connection, cell: Cell) -> None:
        """Write down what a checkpoint is, and that it is good."""
        held = self._resident[cell]
        facts = held.facts
        fill(
            connection,
            schema.model,
            self._block.model_id,
            architecture=facts.architecture,
            parameters=facts.parameters,
            parameters_without_embeddings=facts.parameters_without_embeddings,
            hidden_size=facts.hidden_size,
            layers=facts.layers,
            vocabulary_width=facts.width,
            context_length=facts.context_length,
        )
        seen = None if self._study.tokens_per_step is None else cell[1] * self._study.tokens_per_step
        # A study that does not say how many tokens a step has leaves what another one said.
        training = {} if seen is None else {"tokens_seen": seen, "flops": 6.0 * facts.parameters * seen}
        fill(
            connection,
            schema.checkpoint,
            self._block.checkpoint_ids[cell],
            weights_sha256=held.sha256,
            status="ok",
            reason=None,
            head_singular_values=head_singular_values(held.readout.head).tolist(),
            **training,
        )

    def _fail(self, cell: Cell, name: str, status: str, reason: str) -> None:
        """Record why a checkpoint could not be read; the block goes on without it."""
        self._drop_pairs({cell})
        self._outcome.failures.append(f"{name}: {reason}")
        self._tools.meter.note(f"Left out {name}: {reason}")
        identity = self._block.checkpoint_ids[cell]
        self._tools.commit(lambda connection: record_failure(connection, identity, status, reason))

    # --- measuring ----------------------------------------------------------------------------------------------

    def _measure(self, work: _Work, *, weight: int) -> Measurement:
        index = work.index
        return measure(
            [self._resident[cell].readout for cell in index],
            self._targets,
            classes=self._classes,
            policy="model" if self._study.protocol.vocabulary == "model" else "tokenizer",
            scores=[index[cell] for cell in work.scored],
            pairs=[(index[p], index[q]) for p, q in work.pairs],
            mixtures=[tuple(index[cell] for cell in group) for group in work.groups],
            references=self._references,
            progress=lambda tokens: self._tools.meter.tokens(tokens * weight),
        )

    def _keep_scores(self, work: _Work, measured: Measurement) -> None:
        for cell, number in work.index.items():
            held = self._resident[cell]
            if number in measured.scores:
                held.surprisal = measured.scores[number].surprisal
                held.top_vocab_id = measured.scores[number].top_vocab_id
            elif held.surprisal is None:
                identity = self._block.entries[cell].evaluation_id
                known = self._tools.commit(partial(read_scores, evaluation_id=identity, columns=_PAIRED))
                held.surprisal, held.top_vocab_id = known["surprisal"], known["top_vocab_id"]

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(self, connection: Connection, work: _Work, measured: Measurement) -> None:
        index = work.index
        for cell in work.scored:
            self._describe(connection, cell)
            load_evaluation(connection, self._evaluation(cell, index[cell], measured), self._values)
        known = {}
        for p, q in work.pairs:
            pair = self._pair(p, q, measured.kl[index[p], index[q]])
            pair_id = load_pair(connection, pair, self._setting.corpus_id, self._setting.first_token_id)
            if pair_id is not None:
                known[pair_id] = pair.kl
        mixtures = {
            group[0][1]: {tuple(seed for seed, _ in group): measured.mixture_entropy[tuple(index[c] for c in group)]}
            for group in work.groups
        }
        self._derive_outdated(connection, known, mixtures)

    def _derive_outdated(
        self,
        connection: Connection,
        known: Mapping[int, Kl] | None = None,
        mixtures: Mapping[int, Mapping[tuple[int, ...], Kl]] | None = None,
    ) -> None:
        """Derive the model's comparisons that lack a pair. known: KL by pair id; mixtures: by step, then by seeds."""
        setting = self._setting
        for comparison_id in outdated(connection, setting.corpus_id, setting.protocol_id, self._block.model_id):
            contrast = self._block.contrasts.get(comparison_id)
            here = (mixtures or {}).get(contrast.step) if contrast is not None else None
            derive(connection, comparison_id, self._values, known=known, mixtures=here)

    def _evaluation(self, cell: Cell, number: int, measured: Measurement) -> Evaluation:
        held = self._resident[cell]
        return Evaluation(
            evaluation_id=self._block.entries[cell].evaluation_id,
            input_digest=self._setting.input_digest(self._study, held.sha256),
            environment_id=self._tools.environment_id,
            window=held.window,
            seconds=held.seconds,
            anisotropy=anisotropy(held.readout.hidden),
            scores=vars(measured.scores[number]),
            references={int(name): kl for (i, name), kl in measured.reference_kl.items() if i == number},
        )

    def _pair(self, p: Cell, q: Cell, kl: Kl) -> PairUnit:
        of_p, of_q = self._resident[p], self._resident[q]
        assert of_p.surprisal is not None
        assert of_q.surprisal is not None
        assert of_p.top_vocab_id is not None
        assert of_q.top_vocab_id is not None
        statistics = pair_statistics(kl, (of_p.surprisal, of_q.surprisal), (of_p.top_vocab_id, of_q.top_vocab_id))
        entries = self._block.entries
        return PairUnit(
            entries[p].evaluation_id,
            entries[q].evaluation_id,
            self._tools.environment_id,
            kl,
            statistics.mean_kl,
            statistics.surprisal_correlation,
            statistics.top1_agreement,
        )

    def _annotate_final_surprisal(self, last: int) -> None:
        """Bin the tokens by the surprisal of the first seed's last step, once that is known."""
        if FINAL_SURPRISAL not in wanted_layers(self._study):
            return
        seed = self._block.grid.seeds[0]
        entry = self._block.entries[seed, last]
        if not entry.complete and (seed, last) not in self._resident:
            return
        source = f"{self._block.grid.model} seed {seed} step {last}"
        self._tools.commit(lambda connection: self._write_final_surprisal(connection, entry.evaluation_id, source))

    def _write_final_surprisal(self, connection: Connection, evaluation_id: int, source: str) -> None:
        corpus_id, model_id = self._setting.corpus_id, self._block.model_id
        present = layer_source(connection, corpus_id, FINAL_SURPRISAL, model_id)
        # A study of fewer steps leaves the layer of a later step alone.
        if present is None or _step_in(present) < _step_in(source):
            surprisal = read_scores(connection, evaluation_id, ("surprisal",))["surprisal"]
            layer = layers.final_surprisal(surprisal, source=source)
            load_layer(connection, corpus_id, layer, model_id=model_id, replace=True)


def _step_in(source: str) -> int:
    """The step in a source that ends in one, as those of final surprisal do; -1 for any other."""
    last = source.rpartition(" ")[2]
    return int(last) if last.isdecimal() else -1
