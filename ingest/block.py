"""A block of work: all checkpoints of one model, each read once while every wanted pair is computed.

The last step is visited first, for the pairs that need it; then the steps in order, keeping the readouts of the step
before. What a visit computes is written in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from ingest import layers
from ingest.architecture import ArchitectureFacts, check_vocabulary
from ingest.checkpoints import CheckpointReader
from ingest.divergence import pair_statistics
from ingest.geometry import anisotropy, head_singular_values
from ingest.measure import Measurement, Readout, measure
from ingest.plan import Block, Cell, MissingRevision
from ingest.progress import Meter
from ingest.readout import read
from ingest.scores import VocabularyClasses
from ingest.setting import FINAL_SURPRISAL, Setting, wanted_layers
from ingest.study import Study
from ingest.weights import MissingCheckpoint
from warehouse import schema
from warehouse.annotations import layer_names, load_layer
from warehouse.comparisons import Pair, derive, load_pair
from warehouse.dimensions import ConflictingInputs, fill
from warehouse.errors import WarehouseError
from warehouse.evaluations import Evaluation, load_evaluation, read_scores
from warehouse.values import CorpusValues


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


@dataclass(frozen=True)
class Tools:
    """What a block works with. commit: runs a function in one transaction, again if the server was lost."""

    engine: Engine
    commit: Callable[[Callable[[Connection], None]], None]
    reader: CheckpointReader
    meter: Meter
    device: str
    environment_id: int


@dataclass
class _Resident:
    """A checkpoint in memory: its readout, and the scores that statistics of its pairs need."""

    readout: Readout
    input_digest: str
    window: int
    seconds: float
    surprisal: NDArray[np.float32] | None = None
    top_vocab_id: NDArray[np.int32] | None = None


class BlockRun:
    """One pass over a block."""

    def __init__(self, study: Study, setting: Setting, block: Block, tools: Tools) -> None:
        self._study, self._setting, self._block, self._tools = study, setting, block, tools
        self._outcome = Outcome()
        self._values = CorpusValues(setting.corpus_id)
        self._resident: dict[Cell, _Resident] = {}
        self._seen: set[Cell] = set()
        self._to_read, self._to_score = block.to_read(), block.to_score()
        self._pairs = set(block.missing_pairs)
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
        return self._outcome

    def _visit(self, step: int) -> None:
        new = [cell for cell in sorted(self._to_read - self._seen) if cell[1] == step]
        for cell in new:
            self._read(cell)
        scored = sorted(cell for cell in self._to_score if cell in self._resident)
        pairs = sorted(pair for pair in self._pairs if all(cell in self._resident for cell in pair))
        if scored or pairs:
            order = sorted({*scored, *(cell for pair in pairs for cell in pair)})
            measured = self._measure(order, scored, pairs, weight=len(new))
            self._keep_scores(order, scored, measured)
            self._tools.commit(lambda connection: self._write(connection, order, scored, pairs, measured))
            self._to_score -= set(scored)
            self._pairs -= set(pairs)
            self._outcome.evaluations += sum(not self._block.entries[cell].complete for cell in scored)
            self._outcome.pairs += len(pairs)

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
        loaded = self._tools.reader.load(location.path)
        check_vocabulary(loaded.facts, self._setting.vocabulary.length, location.path)
        limit = loaded.facts.context_length
        window = min(self._study.protocol.window, limit) if limit else self._study.protocol.window
        readout = read(loaded.model, self._ids, window=window)
        digest = self._setting.input_digest(self._study, loaded.sha256)
        known = self._block.entries[cell].input_digest
        if known is not None and known != digest:
            raise ConflictingInputs(
                f"{location.path} is not what was measured before (input digest {digest[:12]}, in the warehouse "
                f"{known[:12]}): restore its files, or ingest it under another family or corpus name."
            )
        self._tools.commit(lambda connection: self._describe(connection, cell, loaded.sha256, loaded.facts, readout))
        return _Resident(readout, digest, window, time.monotonic() - started)

    def _describe(
        self, connection: Connection, cell: Cell, sha256: str, facts: ArchitectureFacts, readout: Readout
    ) -> None:
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
        fill(
            connection,
            schema.checkpoint,
            self._block.checkpoint_ids[cell],
            weights_sha256=sha256,
            status="ok",
            reason=None,
            tokens_seen=seen,
            flops=None if seen is None else 6.0 * facts.parameters * seen,
            head_singular_values=head_singular_values(readout.head).tolist(),
        )

    def _fail(self, cell: Cell, name: str, status: str, reason: str) -> None:
        """Record why a checkpoint could not be read; the block goes on without it."""
        self._outcome.failures.append(f"{name}: {reason}")
        self._tools.meter.note(f"Left out {name}: {reason}")
        if not self._block.entries[cell].complete:
            identity = self._block.checkpoint_ids[cell]
            self._tools.commit(lambda c: fill(c, schema.checkpoint, identity, status=status, reason=reason))

    # --- measuring ----------------------------------------------------------------------------------------------

    def _measure(
        self, order: list[Cell], scored: list[Cell], pairs: list[tuple[Cell, Cell]], *, weight: int
    ) -> Measurement:
        index = {cell: number for number, cell in enumerate(order)}
        return measure(
            [self._resident[cell].readout for cell in order],
            self._targets,
            classes=self._classes,
            policy="model" if self._study.protocol.vocabulary == "model" else "tokenizer",
            scores=[index[cell] for cell in scored],
            pairs=[(index[p], index[q]) for p, q in pairs],
            mixtures=[tuple(index[cell] for cell in group) for group in _seed_groups(pairs)],
            references=self._references,
            progress=lambda tokens: self._tools.meter.tokens(tokens * weight),
        )

    def _keep_scores(self, order: list[Cell], scored: list[Cell], measured: Measurement) -> None:
        for number, cell in enumerate(order):
            held = self._resident[cell]
            if cell in scored:
                held.surprisal = measured.scores[number].surprisal
                held.top_vocab_id = measured.scores[number].top_vocab_id
            elif held.surprisal is None:
                with self._tools.engine.connect() as connection:
                    known = read_scores(
                        connection, self._block.entries[cell].evaluation_id, ("surprisal", "top_vocab_id")
                    )
                held.surprisal, held.top_vocab_id = known["surprisal"], known["top_vocab_id"]

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(
        self,
        connection: Connection,
        order: list[Cell],
        scored: list[Cell],
        pairs: list[tuple[Cell, Cell]],
        measured: Measurement,
    ) -> None:
        index = {cell: number for number, cell in enumerate(order)}
        for cell in scored:
            load_evaluation(connection, self._evaluation(cell, index[cell], measured), self._values)
        known = {}
        for p, q in pairs:
            pair = self._pair(p, q, measured.kl[index[p], index[q]])
            pair_id = load_pair(connection, pair, self._setting.corpus_id, self._setting.first_token_id)
            if pair_id is not None:
                known[pair_id] = pair.kl
        mixtures = {
            (group[0][1], tuple(seed for seed, _ in group)): measured.mixture_entropy[tuple(index[c] for c in group)]
            for group in _seed_groups(pairs)
        }
        written = set(pairs)
        for comparison_id, contrast in self._block.contrasts.items():
            if written & set(contrast.pairs):
                here = {seeds: entropy for (step, seeds), entropy in mixtures.items() if step == contrast.step}
                derive(connection, comparison_id, self._values, known=known, mixtures=here)

    def _evaluation(self, cell: Cell, number: int, measured: Measurement) -> Evaluation:
        held = self._resident[cell]
        return Evaluation(
            evaluation_id=self._block.entries[cell].evaluation_id,
            input_digest=held.input_digest,
            environment_id=self._tools.environment_id,
            window=held.window,
            seconds=held.seconds,
            anisotropy=anisotropy(held.readout.hidden),
            scores=vars(measured.scores[number]),
            references={int(name): kl for (i, name), kl in measured.reference_kl.items() if i == number},
        )

    def _pair(self, p: Cell, q: Cell, kl: NDArray[np.float32]) -> Pair:
        of_p, of_q = self._resident[p], self._resident[q]
        assert of_p.surprisal is not None
        assert of_q.surprisal is not None
        assert of_p.top_vocab_id is not None
        assert of_q.top_vocab_id is not None
        statistics = pair_statistics(kl, (of_p.surprisal, of_q.surprisal), (of_p.top_vocab_id, of_q.top_vocab_id))
        entries = self._block.entries
        return Pair(
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
        if FINAL_SURPRISAL not in layer_names(connection, corpus_id, model_id):
            surprisal = read_scores(connection, evaluation_id, ("surprisal",))["surprisal"]
            load_layer(connection, corpus_id, layers.final_surprisal(surprisal, source=source), model_id=model_id)


def _seed_groups(pairs: list[tuple[Cell, Cell]]) -> Iterator[tuple[Cell, ...]]:
    """For each step, the cells of different seeds that are paired there, in order."""
    for step in sorted({p[1] for p, q in pairs if p[1] == q[1]}):
        yield tuple(sorted({cell for p, q in pairs if p[1] == q[1] == step for cell in (p, q)}))
