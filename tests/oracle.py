"""What an ingested study should say, in float64 from its saved checkpoints."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import float64
from tests.ingested import RECIPES, SMALL, WINDOW, Ingested, rows
from tests.models import EOS_ID, tokenizer

Floats = NDArray[np.float64]
V = tokenizer().get_vocab_size()


class Oracle:
    """Log-probabilities of the tokens of an ingested study, by checkpoint."""

    def __init__(self, ingested: Ingested) -> None:
        self.root = ingested.root
        stored = rows(ingested.database, "select vocab_id from analysis.tokens order by token_id")
        self.targets = np.array([vocab_id for (vocab_id,) in stored])
        self.log_p = cache(self._log_p)
        self.logits = cache(self._logits)

    def _logits(self, model: str, seed: int, step: int) -> Floats:
        """[T, W] over the full width."""
        window = min(WINDOW, RECIPES.get(model, SMALL).shape.context)
        folder = self.root / model / f"seed{seed}" / f"step{step}"
        return float64.logits(folder, [EOS_ID, *self.targets.tolist()], window)

    def _log_p(self, model: str, seed: int, step: int) -> Floats:
        """[T, V] over the ids of the tokenizer."""
        return float64.log_softmax(self.logits(model, seed, step)[:, :V])

    def of_targets(self, values: Floats) -> Floats:
        """[T] the entry of each target."""
        own: Floats = values[np.arange(len(self.targets)), self.targets]
        return own


def scores(ingested: Ingested, columns: str, cell: tuple[str, int, int]) -> list[NDArray[Any]]:
    """The columns of view token_score for one checkpoint, over tokens."""
    query = f"select {columns} from analysis.token_score where model = %s and seed = %s and step = %s order by token_id"
    return [np.array(column) for column in zip(*rows(ingested.database, query, *cell), strict=True)]


def assert_close(actual: NDArray[Any], expected: Floats) -> None:
    """Relative error below 1e-5, or absolute error below 1e-9."""
    assert actual.shape == expected.shape
    error = np.abs(actual - expected)
    relative = np.where(error < 1e-9, 0, error / np.abs(expected))
    assert relative.max() < 1e-5
