"""The demo: small GPT-NeoX models of several sizes and seeds, trained on English that is at hand.

Importing this package is cheap; torch and transformers are loaded only in the training processes.
"""

from __future__ import annotations

from ingest.demo.experiment import Progress, TrainingUnderWay, train_all, write_corpus
from ingest.demo.export import InTheWay, export_files
from ingest.demo.recipe import STANDARD, TINY, Recipe, Run
from ingest.demo.workers import TrainingFailed

__all__ = [
    "STANDARD",
    "TINY",
    "InTheWay",
    "Progress",
    "Recipe",
    "Run",
    "TrainingFailed",
    "TrainingUnderWay",
    "export_files",
    "train_all",
    "write_corpus",
]
