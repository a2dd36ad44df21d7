"""The demo's experiment on disk: the checkpoints of a recipe, trained once, and the text to evaluate them on.

Knows recipes, texts and training processes; nothing of the database.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.demo.recipe import Recipe, Run
from ingest.demo.text import Document, load_texts
from ingest.demo.tokenizer import prepare
from ingest.demo.workers import available_processes, train_in_processes
from warehouse.errors import WarehouseError
from warehouse.filelock import open_lock, try_lock

#: Called with the training steps done and the steps to do, over all runs.
Progress = Callable[[int, int], None]


class TrainingUnderWay(WarehouseError):
    """Another process is training the same demo."""


def train_all(recipe: Recipe, root: Path, progress: Progress | None = None, processes: int | None = None) -> Path:
    """Train every run of the recipe that is not finished, and return the folder of checkpoints.

    Checkpoints lie below it as ``{model}/seed{n}/step{n}``. The folder's name carries a digest of recipe and text: a
    changed recipe never mixes with old runs. A run appears when it is complete; an interrupted one starts again.
    ``progress`` is not called when nothing is left to train; ``processes`` defaults to the number of cores.
    Raises TrainingUnderWay, TrainingFailed, and NoDemoText.
    """
    texts = load_texts(recipe.text)
    folder = root / f"{recipe.name}-{recipe.digest(texts.digest())}"
    checkpoints = folder / "checkpoints"
    if not _unfinished(recipe, checkpoints):
        return checkpoints
    with _alone_in(folder), _work_folder(folder) as work_folder:
        runs = _unfinished(recipe, checkpoints)
        (work_folder / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
        prepare(texts, recipe.vocabulary_size, recipe.sequence_length, work_folder)
        count = _Count(len(runs) * recipe.steps[-1], progress)
        train_in_processes(runs, work_folder, checkpoints, processes or available_processes(), count.add)
    return checkpoints


def write_corpus(recipe: Recipe, path: Path) -> Path:
    """Write the held-out documents to ``path``, and the training documents beside it, as JSON lines.

    Each line has ``id`` and ``text``. Returns the path of the training text: ``x.training.jsonl`` for ``x.jsonl``.
    """
    texts = load_texts(recipe.text)
    training_path = path.with_suffix(f".training{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_json_lines(texts.evaluation, path)
    _write_json_lines(texts.training, training_path)
    return training_path


def _write_json_lines(documents: Iterable[Document], path: Path) -> None:
    lines = [json.dumps({"id": document.name, "text": document.text}, ensure_ascii=False) for document in documents]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")  # another demo may be reading the file
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _unfinished(recipe: Recipe, checkpoints: Path) -> list[Run]:
    return [run for run in recipe.runs if not run.folder(checkpoints).is_dir()]


class _Count:
    """Adds up the steps of all processes and passes them on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self.add(0)

    def add(self, steps: int) -> None:
        self._done += steps
        if self._progress and self._total:
            self._progress(self._done, self._total)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock file, which the system releases however this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_lock(folder / "lock") as file:
        if not try_lock(file):
            raise TrainingUnderWay(f"Another process is training the demo in {folder}; wait until it has finished.")
        yield


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for unfinished runs, on the finished ones' file system; kept after an error for its logs."""
    work_folder = folder / "work"
    shutil.rmtree(work_folder, ignore_errors=True)
    work_folder.mkdir()
    yield work_folder
    shutil.rmtree(work_folder)
