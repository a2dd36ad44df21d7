"""What the demo trains: the sizes, seeds, schedule and saved steps of its runs.

Plain values, cheap to import. Nothing here reads text or imports a training library.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ingest.demo.text import TextSource

#: What the learning rate ends at, as a share of its peak.
FINAL_LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Run:
    """One model to train: a size and a seed."""

    model: str
    hidden_size: int
    seed: int

    def folder(self, checkpoints: Path) -> Path:
        """Where this run's ``step{n}`` folders lie below the folder of all checkpoints."""
        return checkpoints / self.model / f"seed{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """A family of GPT-NeoX models that differ in size and seed, and the steps at which each is saved.

    Lengths are in tokens, the warm-up and ``steps`` in updates of the weights; the last of ``steps`` ends training.
    """

    name: str
    text: TextSource
    vocabulary_size: int
    sequence_length: int
    hidden_sizes: tuple[int, ...]
    head_size: int
    layers: int
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    batch_size: int
    warmup_steps: int
    peak_learning_rate: float
    weight_decay: float
    dtype: Literal["float32", "float64"]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, smallest first: the recipe's prefix and the hidden size, as ``neox-32d``."""
        return tuple(self.model_name(hidden_size) for hidden_size in self.hidden_sizes)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, largest first, so that workers which take the next one finish together."""
        sizes = sorted(self.hidden_sizes, reverse=True)
        return tuple(Run(self.model_name(size), size, seed) for size in sizes for seed in self.seeds)

    def model_name(self, hidden_size: int) -> str:
        """The name of the model of this hidden size."""
        return f"{self.name}-{hidden_size}d"

    def digest(self, text_digest: str) -> str:
        """Twelve hexadecimal digits that change with any value of the recipe and with the text."""
        values = json.dumps([asdict(self), text_digest], sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The recipe as a JSON object, one key per field."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe written by :meth:`to_json`."""
        values: Any = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        return cls(**values)


#: Two sizes x three seeds, about two minutes on two cores; both sizes go through all four phases.
#: Small models hardly forget their initialisation in 1000 steps without a strong weight decay: with 0.01 the seeds of
#: the larger one reconverge by 6 % of their KL instead of 37 %.
STANDARD = Recipe(
    name="neox",
    text="python",
    vocabulary_size=1024,
    sequence_length=64,
    hidden_sizes=(32, 64),
    head_size=16,
    layers=2,
    seeds=(0, 1, 2),
    steps=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
    batch_size=32,
    warmup_steps=200,
    peak_learning_rate=2e-3,
    weight_decay=0.7,
    dtype="float32",
)

#: The same experiment in seconds. It trains in float64, so that machines whose kernels round differently arrive at the
#: same float32 weights.
TINY = Recipe(
    name="tiny",
    text="tiny",
    vocabulary_size=512,
    sequence_length=64,
    hidden_sizes=(16, 32),
    head_size=8,
    layers=2,
    seeds=(0, 1, 2),
    steps=(0, 1, 8, 24, 64, 96, 128),
    batch_size=4,
    warmup_steps=48,
    peak_learning_rate=2e-2,
    weight_decay=1.0,
    dtype="float64",
)
