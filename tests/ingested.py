"""A small study of real models on real text, and its ingestion: what the tests of the whole way start from.

Checkpoints are saved to folders and text to a file, as a user would have them; nothing here knows what is measured.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import pytest
import torch

from ingest.locations import CheckpointLocation
from ingest.options import RunOptions
from ingest.pipeline import Report
from ingest.pipeline import ingest as ingest_study
from ingest.prefetch import Prefetch
from ingest.readout import read
from ingest.study import CorpusSpec, ProtocolSpec, ReferenceSpec, Study
from ingest.windows import windows
from tests.models import EOS_ID, Shape, make_model, save_model, tokenizer
from warehouse.database import Database

SEEDS, STEPS = (0, 1, 2, 3), (0, 1, 4, 16)
#: What tests that change a study start with, of a small model.
SMALL_SEEDS, SMALL_STEPS = (0, 1, 2), (0, 1, 4)
#: More logits than the tokenizer has ids, as a GPT-NeoX has.
WIDTH = 384
WINDOW = 48
#: What tags with NLTK's data is tested elsewhere.
LAYERS = ("document", "word_class", "word_start", "word_end", "frequency", "final_surprisal")


@dataclass(frozen=True)
class Recipe:
    """How a model is made. scale: of its random head; fit: how strongly the head is fitted to the text."""

    shape: Shape
    scale: float = 0.3
    fit: float = 0.0


#: One model is nearly certain of many tokens and badly wrong about others, one hardly prefers any token.
RECIPES = {
    "sharp-9m": Recipe(Shape(hidden=12, context=32, width=WIDTH), scale=0.9, fit=36.0),
    "flat-14m": Recipe(Shape(hidden=24, layers=1, context=64, width=WIDTH)),
}
SMALL = Recipe(Shape(hidden=8, layers=1, context=32))

WORDS = (
    "the river rose in night and by morning lower field was a lake ; Anna walked out along wall , counted eleven "
    "geese two swans one very tired dog . It will be gone said father who had same thing year before ! They carried "
    "chairs upstairs books radio last of all clock — naïve café 1.4 metres smell that lasted until June"
)


def documents(count: int = 10, words: int = 25, seed: int = 7) -> list[str]:
    """Texts of differing lengths."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS.split(), k=words + draw.randrange(words))) for _ in range(count)]


def write_documents(path: Path, texts: Iterable[str]) -> Path:
    """Write texts as JSON lines."""
    lines = [json.dumps({"name": f"letter {number}", "text": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines), "utf-8")
    return path


@cache
def fitted_ids() -> torch.Tensor:
    """The ids that heads are fitted to: all documents, BOS first."""
    ids = [EOS_ID]
    for text in documents():
        ids += [*tokenizer().encode(text).ids, EOS_ID]
    return torch.tensor(ids)


def save_cell(root: Path, model: str, seed: int, step: int, *, recipe: Recipe | None = None) -> Path:
    """One checkpoint of a model, below a root folder. Seeds are relatives that drift apart by steps."""
    recipe = recipe or RECIPES.get(model, SMALL)
    # Far enough apart that rounding in the models' own float32 stays small beside their differences.
    made = make_model("gpt_neox", seed=seed, step=int(2 ** (12 + 12 * log2(step + 1))), shape=recipe.shape)
    head = made.get_output_embeddings().weight
    with torch.no_grad():
        head.mul_(recipe.scale)
        if recipe.fit:
            head.add_(_fitted_head(made, len(head)).float(), alpha=recipe.fit)
    return save_model(made, root / model / f"seed{seed}" / f"step{step}")


def _fitted_head(model: Any, width: int) -> torch.Tensor:
    """[width, d] the head whose logits are nearest, by ridge regression, to one for each next token and else zero."""
    ids = fitted_ids()
    hidden = read(model, ids, windows(len(ids) - 1, 32)).hidden.double()
    wanted = torch.nn.functional.one_hot(ids[1:], width).double()
    return torch.linalg.solve(hidden.T @ hidden + torch.eye(hidden.shape[1]).double(), hidden.T @ wanted).T


def save_models(
    root: Path, models: Iterable[str] = tuple(RECIPES), seeds: Iterable[int] = SEEDS, steps: Iterable[int] = STEPS
) -> Path:
    """Every checkpoint of these models; returns the root folder."""
    seeds, steps = list(seeds), list(steps)
    for model in models:
        for seed in seeds:
            for step in steps:
                save_cell(root, model, seed, step)
    return root


def study_of(root: Path, text: Path, **changes: Any) -> Study:
    """A study of all that lies below a root folder."""
    values: dict[str, Any] = {
        "name": "letters",
        "root": root,
        "family": "tiny",
        "layers": LAYERS,
        "corpus": CorpusSpec(path=text, name="letters"),
        "protocol": ProtocolSpec(window=WINDOW),
        "references": (ReferenceSpec("unigram", text=text),),
        **changes,
    }
    return Study(**values)


@dataclass(frozen=True)
class Ingested:
    """An ingested study, and what its ingestion said."""

    database: Database
    study: Study
    report: Report

    @property
    def root(self) -> Path:
        """The folder of its checkpoints."""
        assert self.study.root is not None
        return self.study.root

    def moved(self, database: Database, folder: Path) -> Ingested:
        """The same on another database, with a copy of its checkpoints in a folder."""
        shutil.copytree(self.root, folder)
        return replace(self, database=database, study=replace(self.study, root=folder))


def small_cells(seeds: Iterable[int] = SMALL_SEEDS, steps: Iterable[int] = SMALL_STEPS) -> list[tuple[str, int, int]]:
    """The checkpoints of the small model with these seeds and steps, as `reads_counted` names them, in order."""
    return sorted(("small", seed, step) for seed in seeds for step in steps)


def make_study(folder: Path) -> Study:
    """The study of both models on all documents, its checkpoints and its text written to a folder."""
    return study_of(save_models(folder / "models"), write_documents(folder / "letters.jsonl", documents()))


class SilentMeter:
    """A meter that shows nothing, and remembers what it was told."""

    def __init__(self, total_tokens: int, total_checkpoints: int) -> None:
        self.total_tokens, self.total_checkpoints = total_tokens, total_checkpoints
        self.done_tokens, self.read, self.notes = 0, list[str](), list[str]()

    def __enter__(self) -> SilentMeter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tokens(self, count: int) -> None:
        """A tile was scored."""
        self.done_tokens += count

    def checkpoint(self, name: str) -> None:
        """A checkpoint was read."""
        self.read.append(name)

    def note(self, message: str) -> None:
        """A message to the user."""
        self.notes.append(message)


def ingest(database: Database, study: Study, meter: Callable[[int, int], Any] = SilentMeter, **options: Any) -> Report:
    """Ingest on the CPU, whatever room the disk has. options: of RunOptions."""
    return ingest_study(database, study, RunOptions(**{"device": "cpu", "reserve": 0, **options}), meter=meter)


def rows(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query, as the owner sees them."""
    with database.connect() as connection:
        return connection.execute(query.encode(), parameters or None).fetchall()


@contextmanager
def reads_counted() -> Iterator[list[tuple[str, int, int]]]:
    """The (model, seed, step) of every checkpoint whose files are read meanwhile."""
    counted: list[tuple[str, int, int]] = []
    read_files = Prefetch._read

    def counting(self: Prefetch, location: CheckpointLocation) -> Any:
        counted.append((location.model, location.seed, location.step))
        return read_files(self, location)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prefetch, "_read", counting)
        yield counted
