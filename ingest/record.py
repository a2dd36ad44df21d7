"""What a pass measured, written: descriptions of checkpoints, evaluations, pairs, and what is derived from them.

Everything happens inside the transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ingest.divergence import pair_statistics
from ingest.measure import Measurement
from ingest.plan import Cell, Work
from ingest.readings import Readings, Tools
from ingest.setting import Setting
from ingest.study import Study
from warehouse import schema
from warehouse.comparisons import derive
from warehouse.dimensions import fill
from warehouse.evaluations import Evaluation, Top, load_evaluations
from warehouse.ledger import record_read, twins
from warehouse.pairs import Pair, load_pairs, outdated
from warehouse.values import CorpusValues

Kl = NDArray[np.float32]


class Recorder:
    """Writes what was measured of a cohort."""

    def __init__(self, study: Study, setting: Setting, readings: Readings, tools: Tools) -> None:
        self._study, self._setting, self._readings, self._tools = study, setting, readings, tools
        self._values = CorpusValues(setting.corpus_id)

    def write(self, connection: Connection, work: Work, measured: Measurement) -> None:
        """Write a pass, and derive again the comparisons that its pairs belong to."""
        index, cohort = work.index, self._readings.cohort
        for cell in work.scored:
            self._describe(connection, cell)
        scored = [self._evaluation(cell, index[cell], measured) for cell in work.scored]
        load_evaluations(connection, scored, self._values)
        units = [
            self._pair((p, q), measured.kl[index[p], index[q]], token_facts=(p, q) not in cohort.bare)
            for p, q in work.pairs
        ]
        keys = load_pairs(connection, units, self._setting.corpus_id, self._setting.first_token_id, self._values)
        known = {key: unit.kl for key, unit in zip(keys, units, strict=True) if key is not None}
        mixtures: dict[tuple[str, int], dict[tuple[int, ...], Kl]] = {}
        for group in work.groups:
            entropy = measured.mixture_entropy[tuple(index[cell] for cell in group)]
            mixtures.setdefault((group[0].model, group[0].step), {})[tuple(cell.seed for cell in group)] = entropy
        self.derive_outdated(connection, known, mixtures)

    def derive_outdated(
        self,
        connection: Connection,
        known: Mapping[int, Kl] | None = None,
        mixtures: Mapping[tuple[str, int], Mapping[tuple[int, ...], Kl]] | None = None,
    ) -> None:
        """Derive the cohort's comparisons that are not derived from exactly the pairs that answer them.

        known: KL by pair id; mixtures: by model and step, then by seeds.
        """
        setting, cohort = self._setting, self._readings.cohort
        found = outdated(connection, setting.corpus_id, setting.protocol_id, cohort.model_ids.values())
        defaults = twins(connection, found)
        for comparison_id in found:
            contrast = cohort.contrasts.get(defaults.get(comparison_id, comparison_id))
            here = (mixtures or {}).get((contrast.model, contrast.step)) if contrast is not None else None
            derive(connection, comparison_id, self._values, known=known, mixtures=here)

    def _describe(self, connection: Connection, cell: Cell) -> None:
        """Write down what a checkpoint is."""
        held, cohort = self._readings.shelved(cell), self._readings.cohort
        facts = held.facts
        fill(
            connection,
            schema.model,
            cohort.model_ids[cell.model],
            architecture=facts.architecture,
            parameters=facts.parameters,
            parameters_without_embeddings=facts.parameters_without_embeddings,
            hidden_size=facts.hidden_size,
            layers=facts.layers,
            vocabulary_width=facts.width,
            context_length=facts.context_length,
        )
        seen = cohort.inputs.source.tokens_seen(cell.model, cell.step)
        # A study that does not say how many tokens a step has leaves what another one said.
        training = {} if seen is None else {"tokens_seen": seen, "flops": 6.0 * facts.parameters * seen}
        record_read(
            connection,
            cohort.checkpoint_ids[cell],
            weights_sha256=held.weights_sha256,
            head_singular_values=held.head_singular_values.tolist(),
            **training,
        )

    def _evaluation(self, cell: Cell, number: int, measured: Measurement) -> Evaluation:
        held, top = self._readings.shelved(cell), measured.top.get(number)
        return Evaluation(
            evaluation_id=self._readings.cohort.entries[cell].evaluation_id,
            input_digest=self._readings[cell].digest,
            environment_id=self._tools.environment_id,
            window=held.window,
            seconds=held.seconds,
            anisotropy=held.anisotropy,
            scores=vars(measured.scores[number]),
            references={int(name): kl for (i, name), kl in measured.reference_kl.items() if i == number},
            top=None if top is None else Top(top.ids, top.log_probabilities),
        )

    def _pair(self, pair: tuple[Cell, Cell], kl: Kl, *, token_facts: bool) -> Pair:
        of_p, of_q = (self._readings[cell] for cell in pair)
        assert of_p.surprisal is not None
        assert of_q.surprisal is not None
        assert of_p.top_vocab_id is not None
        assert of_q.top_vocab_id is not None
        known = self._setting.measured
        statistics = pair_statistics(
            kl[known],
            (of_p.surprisal[known], of_q.surprisal[known]),
            (of_p.surprisal_ranks[known], of_q.surprisal_ranks[known]),
            (of_p.top_vocab_id[known], of_q.top_vocab_id[known]),
        )
        p, q = (self._readings.cohort.entries[cell].evaluation_id for cell in pair)
        return Pair(
            p,
            q,
            self._tools.environment_id,
            kl,
            statistics.mean_kl,
            statistics.surprisal_correlation,
            statistics.surprisal_rank_correlation,
            statistics.top1_agreement,
            token_facts,
        )
