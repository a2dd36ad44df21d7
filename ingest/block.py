"""The work on a cohort, block by block: visits to steps, each writing scores, pairs and what is derived from them.

The last step comes first, for the pairs that need it; then the steps in order, keeping the readouts of the step before.
Pairs of other steps and models come at the end. What a pass over the tokens computes is written in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from sqlalchemy import Connection

from ingest import layers
from ingest.cohort import Block, Cohort, with_contrasts
from ingest.contexts import as_tensors
from ingest.measure import Measurement, measure
from ingest.plan import Cell, Contrast, Pair, Work, matched_contrasts
from ingest.readings import Readings, Tools
from ingest.record import Recorder
from ingest.scores import VocabularyClasses
from ingest.setting import FINAL_SURPRISAL, Setting, wanted_layers
from ingest.study import Study
from warehouse.annotation_keys import CorpusRange
from warehouse.annotations import BadAnnotation, layer_source
from warehouse.comparisons import withdraw_others
from warehouse.dependent_layers import put_layer
from warehouse.evaluations import mean_surprisals, read_scores
from warehouse.ledger import unreadable_checkpoints
from warehouse.pairs import forget_bare_pairs
from warehouse.standing import assess

log = logging.getLogger(__name__)

#: Readouts that share a pass where the pairs leave the choice; a tile holds the logits of all of them.
_TOGETHER = 24


class CohortRun:
    """One process's work on a cohort. Readouts stay from one block to the next."""

    def __init__(self, study: Study, setting: Setting, cohort: Cohort, tools: Tools) -> None:
        self._study, self._setting, self._tools, self._cohort = study, setting, tools, cohort
        self._readings = Readings(study, setting, cohort, tools)
        self._recorder = Recorder(study, setting, self._readings, tools)
        self._apart = self._find_apart()
        self._targets = torch.from_numpy(setting.corpus.ids[setting.measured]).long().to(tools.device)
        vocabulary = setting.vocabulary
        self._classes = VocabularyClasses.from_masks(
            torch.from_numpy(vocabulary.starts_with_space),
            torch.from_numpy(vocabulary.is_punctuation),
            vocabulary.eos_id,
        )
        named = {str(key): reference for key, reference in setting.references.items()}
        self._references, ngrams = as_tensors(named, setting.corpus.ids, setting.corpus.position)
        self._ngrams = [each.of_tokens(torch.from_numpy(setting.measured)) for each in ngrams]

    # --- blocks -------------------------------------------------------------------------------------------------

    def lacks(self, block: Block) -> bool:
        """Whether something is to do in a block, as far as this process knows."""
        home, missing = self._cohort.home, self._cohort.missing
        return not block.cells.isdisjoint(self._cohort.to_score()) or any(home(pair) in block.cells for pair in missing)

    def run(self, block: Block, still_ours: Callable[[], bool]) -> bool:
        """Do what the ledger says is still to do in a block; False if it was given up, still_ours having said no."""
        self._refresh(self._concerned(block))
        to_score = self._cohort.to_score() & block.cells
        pairs = [pair for pair in self._cohort.missing if self._cohort.home(pair) in block.cells]
        at: dict[int, tuple[set[Cell], set[Pair]]] = {step: (set(), set()) for step in block.steps()}
        for cell in to_score:
            at[cell.step][0].add(cell)
        for pair in pairs:
            home = self._cohort.home(pair)
            assert home is not None
            at[home.step][1].add(pair)
        self._readings.expect(scored for scored, _ in at.values())
        for step, (scored, here) in at.items():
            if not still_ours():
                return False
            self._visit(scored, here)
            self._forget(step)
        if not block.number:
            self._annotate_final_surprisal()
        return True

    def across(self) -> None:
        """Measure the pairs of steps that no visit has in common, and kind `matched`, which needs all scores."""
        self._refresh(set(self._cohort.cells()))
        waiting = self._tools.commit(self._still_expected)
        if waiting:
            self._tools.meter.note(
                f"{len(waiting)} checkpoints are not scored yet, so pairs across steps and models wait: "
                "run the same command again when the other processes have ended."
            )
            return
        if self._matches():
            self._tools.commit(self._match)
        self._apart = self._find_apart()
        self._forget_partial([c for c in self._apart if c.kind == "cross" and self._can_add_to(c)])
        for together in self._packed(self._apart):
            self._readings.keep(_cells(together), readouts=_cells(self._apart))
            pairs = {pair for contrast in together for pair in contrast.pairs if pair in self._cohort.missing}
            pairs = {(p, q) for p, q in pairs if self._scored(p) and self._scored(q)}
            new = self._readings.hold({cell for pair in pairs for cell in pair})
            held = sorted(pair for pair in pairs if pair[0] in self._readings and pair[1] in self._readings)
            if held:
                self._pass(Work([], held), weight=new)

    def finish(self) -> None:
        """Judge the checkpoints by each other, and make up for whatever a run that was killed left undone."""
        self._refresh(self._first_seeds_last_cells())
        self._annotate_final_surprisal()
        for finding in self._tools.commit(self._assess):
            self._tools.outcome.failures.append(finding)
            self._tools.meter.note(finding)
        self._tools.commit(self._recorder.derive_outdated)

    def is_across(self) -> bool:
        """Whether there are pairs for `across`."""
        return self._matches() or bool(self._apart)

    def _matches(self) -> bool:
        return "matched" in self._study.kinds and len(self._cohort.grids) > 1

    def _forget_partial(self, crossed: Sequence[Contrast]) -> None:
        """Of comparisons that keep sums alone all pairs are measured together, also those that were there."""
        pairs = frozenset(pair for contrast in crossed for pair in contrast.pairs) & self._cohort.bare
        ids = [(self._cohort.entries[p].evaluation_id, self._cohort.entries[q].evaluation_id) for p, q in pairs]
        if ids:
            self._tools.commit(lambda connection: forget_bare_pairs(connection, ids))
            self._adopt(replace(self._cohort, missing=self._cohort.missing | pairs))

    def _can_add_to(self, contrast: Contrast) -> bool:
        """Whether some missing pair of a comparison can be measured: one with a checkpoint that nobody has cannot."""
        missing = self._cohort.missing.intersection(contrast.pairs)
        return any(self._scored(p) and self._scored(q) for p, q in missing)

    def _scored(self, cell: Cell) -> bool:
        return self._cohort.entries[cell].complete

    def _still_expected(self, connection: Connection) -> set[Cell]:
        """Cells that somebody may still score: not those that could not be read."""
        cohort = self._cohort
        unreadable = unreadable_checkpoints(connection, list(cohort.checkpoint_ids.values()))
        unscored = {cell for cell in cohort.cells() if not self._scored(cell)} - self._readings.failed
        return {cell for cell in unscored if cohort.checkpoint_ids[cell] not in unreadable}

    def _find_apart(self) -> list[Contrast]:
        """Comparisons with missing pairs that no visit to a step measures."""
        missing, home = self._cohort.missing, self._cohort.home
        contrasts = self._cohort.contrasts.values()
        return [c for c in contrasts if any(pair in missing and home(pair) is None for pair in c.pairs)]

    def _concerned(self, block: Block) -> set[Cell]:
        """The cells of a block, and those that its pairs need."""
        return set(block.cells) | self._cohort.partners(
            pair for pair in self._cohort.missing if self._cohort.home(pair) in block.cells
        )

    def _refresh(self, cells: Collection[Cell]) -> None:
        self._adopt(self._tools.commit(partial(self._cohort.refreshed, cells=cells)))

    def _adopt(self, cohort: Cohort) -> None:
        self._cohort = self._readings.cohort = cohort

    def _match(self, connection: Connection) -> None:
        cohort, inputs = self._cohort, self._cohort.inputs
        means = mean_surprisals(connection, inputs.corpus_id, inputs.protocol_id, list(cohort.model_ids.values()))
        names = {number: model for model, number in cohort.model_ids.items()}
        by_name = {(names[model_id], step): mean for (model_id, step), mean in means.items()}
        wanted = list(matched_contrasts(list(cohort.grids.values()), by_name))
        cohort = with_contrasts(connection, cohort, wanted)
        withdraw_others(connection, inputs.corpus_id, inputs.protocol_id, [cohort.key(each) for each in wanted])
        self._adopt(cohort)

    def _assess(self, connection: Connection) -> list[str]:
        """What is now found of checkpoints that are not what their names say."""
        return [str(found) for model_id in self._cohort.model_ids.values() for found in assess(connection, model_id)]

    def _packed(self, wanted: Iterable[Contrast]) -> Iterator[list[Contrast]]:
        """Comparisons in groups that share a pass: few readouts, all pairs of a comparison together."""
        group: list[Contrast] = []
        cells: set[Cell] = set()
        for contrast in sorted(wanted, key=lambda c: (c.model, c.step, c.model_q, c.step_q)):
            new = {cell for pair in contrast.pairs for cell in pair}
            if group and len(cells | new) > _TOGETHER:
                yield group
                group, cells = [], set()
            group.append(contrast)
            cells |= new
        if group:
            yield group

    def _forget(self, step: int) -> None:
        """Keep what later visits need: each model's latest step up to this one, its last, and what `across` needs."""
        kept = set()
        for grid in self._cohort.grids.values():
            latest = max((s for s in grid.steps[:-1] if s <= step), default=None)
            kept |= {Cell(grid.model, seed, s) for seed in grid.seeds for s in (latest, grid.last) if s is not None}
        self._readings.keep(kept, readouts=set(self._cohort.cells()) if self._matches() else _cells(self._apart))

    # --- visits -------------------------------------------------------------------------------------------------

    def _visit(self, to_score: set[Cell], pairs: set[Pair]) -> None:
        """Read what is wanted, and measure as much of it as could be read."""
        # What nobody could score yet is tried first: where it cannot be read, its partners need not be.
        new = self._readings.hold(to_score | {cell for pair in pairs for cell in pair if not self._scored(cell)})
        pairs = {pair for pair in pairs if self._readings.failed.isdisjoint(pair)}
        new += self._readings.hold(self._cohort.partners(pairs))
        for work in self._passes(to_score, pairs):
            self._pass(work, weight=new)
            new = 0

    def _passes(self, to_score: set[Cell], pairs: set[Pair]) -> Iterator[Work]:
        """What is wanted and held, in passes of few readouts: a model with its own steps, then models seed by seed."""
        held = self._readings
        scored = sorted(cell for cell in to_score if cell in held)
        ready = sorted(pair for pair in pairs if pair[0] in held and pair[1] in held)
        for model in self._cohort.grids:
            own = [(p, q) for p, q in ready if p.model == q.model == model]
            steps = sorted({p.step for p, q in own if p.step == q.step})
            mine = [cell for cell in scored if cell.model == model]
            if mine or own:
                yield Work(mine, own, [group for step in steps for group in self._groups(model, step)])
        others = [(p, q) for p, q in ready if p.model != q.model]
        for label in sorted({min(p.seed, q.seed) for p, q in others}):
            yield Work([], [(p, q) for p, q in others if min(p.seed, q.seed) == label])

    def _groups(self, model: str, step: int) -> Iterator[tuple[Cell, ...]]:
        """The seeds whose mean prediction is wanted: all, and those of run set default where that leaves some out."""
        seeds = self._readings.at(model, step)
        usual = tuple(cell for cell in seeds if cell.seed not in self._cohort.flagged[model])
        yield seeds
        if len(seeds) > len(usual) > 1:
            yield usual

    def _pass(self, work: Work, *, weight: int) -> None:
        measured = self._measure(work, weight)
        self._keep_scores(work, measured)
        self._tools.commit(lambda connection: self._recorder.write(connection, work, measured))
        outcome = self._tools.outcome
        new = sum(not self._scored(cell) for cell in work.scored)
        outcome.evaluations += new
        outcome.extended += len(work.scored) - new
        outcome.pairs += len(work.pairs)
        self._adopt(self._cohort.done({cell: self._readings[cell].digest for cell in work.scored}, work.pairs))

    def _measure(self, work: Work, weight: int) -> Measurement:
        index = work.index
        measured = measure(
            [self._readings.shelved(cell).readout for cell in index],
            self._targets,
            classes=self._classes,
            policy=self._study.protocol.vocabulary,
            scores=[index[cell] for cell in {*work.scored, *self._unscored(work)}],
            pairs=[(index[p], index[q]) for p, q in work.pairs],
            mixtures=[tuple(index[cell] for cell in group) for group in work.groups],
            references=self._references,
            ngrams=self._ngrams,
            top_k=self._study.top_k,
            compiled=self._tools.path == "compiled",
            progress=lambda tokens: self._tools.meter.tokens(tokens * weight),
        )
        return measured if self._setting.measured.all() else measured.spread(self._setting.measured)

    def _unscored(self, work: Work) -> set[Cell]:
        """Cells of pairs whose scores nobody wrote yet, being another block's: statistics of the pairs need them."""
        return {cell for cell in work.index if not self._scored(cell) and self._readings[cell].surprisal is None}

    def _keep_scores(self, work: Work, measured: Measurement) -> None:
        """Remember what statistics of a cell's pairs need; of a cell that was scored before, it is in the warehouse."""
        for cell, number in work.index.items():
            held = self._readings[cell]
            if number in measured.scores:
                held.surprisal = measured.scores[number].surprisal
                held.top_vocab_id = measured.scores[number].top_vocab_id
            elif held.surprisal is None:
                identity = self._cohort.entries[cell].evaluation_id
                columns = ("surprisal", "top_vocab_id")
                known = self._tools.commit(partial(read_scores, evaluation_id=identity, columns=columns))
                held.surprisal, held.top_vocab_id = known["surprisal"], known["top_vocab_id"]

    # --- the layer that a model's own scores make ---------------------------------------------------------------

    def _annotate_final_surprisal(self) -> None:
        """Bin the tokens by the surprisal of the first seed's last step, once that is known."""
        if FINAL_SURPRISAL not in wanted_layers(self._study):
            return
        for cell in self._first_seeds_last_cells():
            if self._cohort.entries[cell].complete:
                self._tools.commit(partial(self._write_final_surprisal, cell=cell))

    def _first_seeds_last_cells(self) -> list[Cell]:
        return [Cell(grid.model, grid.seeds[0], grid.last) for grid in self._cohort.grids.values()]

    def _write_final_surprisal(self, connection: Connection, cell: Cell) -> None:
        corpus_id, model_id = self._setting.corpus_id, self._cohort.model_ids[cell.model]
        if layer_source(connection, corpus_id, FINAL_SURPRISAL) is not None:
            log.warning("Layer %s is there for every model, so that %s gets none of its own.", FINAL_SURPRISAL, cell)
            return
        present = layer_source(connection, corpus_id, FINAL_SURPRISAL, model_id)
        # A study of fewer steps leaves the layer of a later step alone, and every study one that a user loaded.
        if present is not None and not 0 <= _step_in(present) < cell.step:
            return
        evaluation_id = self._cohort.entries[cell].evaluation_id
        surprisal = read_scores(connection, evaluation_id, ("surprisal",))["surprisal"]
        layer = layers.final_surprisal(surprisal, source=str(cell))
        first = self._setting.first_token_id
        corpus = CorpusRange(corpus_id, self._setting.corpus.name, first, first + self._setting.corpus.n_tokens)
        try:
            with connection.begin_nested():
                put_layer(connection, corpus, layer, model_id=model_id, replace_it=True)
        except BadAnnotation as error:
            log.warning("Layer %s stays that of %s: %s", FINAL_SURPRISAL, present, error)


def _cells(contrasts: Iterable[Contrast]) -> set[Cell]:
    return {cell for contrast in contrasts for pair in contrast.pairs for cell in pair}


def _step_in(source: str) -> int:
    """The step in a source that ends in one, as those of final surprisal do; -1 for any other."""
    last = source.rpartition(" ")[2]
    return int(last) if last.isdecimal() else -1
