"""A suite: how the checkpoints of a family are named on the hub, and what is published about them.

Read from the TOML files in `suites/`, or from one of the user's own. Names and numbers only: nothing is looked up.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from ingest.locations import CheckpointLocation
from warehouse.errors import WarehouseError

_SUITES = Path(__file__).parent / "suites"
_INHERITED = ("like", "only")


class BadSuite(WarehouseError):
    """The file of a suite says something that cannot be followed."""


@dataclass(frozen=True)
class SuiteModel:
    """One model of a suite. bytes: of a checkpoint's weights as stored; learning_rate: its peak; None: not known.

    repository and seed_repository are patterns with {model} and {seed}; the second, where there is one, is for every
    seed but 0.
    """

    name: str
    repository: str
    seed_repository: str | None
    steps: tuple[int, ...]
    tokens_per_step: int | None = None
    parameters: int | None = None
    parameters_without_embeddings: int | None = None
    hidden_size: int | None = None
    width: int | None = None
    bytes: int | None = None
    learning_rate: float | None = None

    def repository_of(self, seed: int) -> str:
        """The repository of a run on the hub."""
        pattern = self.seed_repository if self.seed_repository and seed != 0 else self.repository
        return pattern.format(model=self.name, seed=seed)


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to a peak, then a cosine that reaches final_fraction of it at last_step."""

    warmup_steps: int
    last_step: int
    final_fraction: float

    def fraction(self, step: int) -> float:
        """The learning rate at a step, as a part of its peak (docs/methods.md §5)."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        done = min((step - self.warmup_steps) / (self.last_step - self.warmup_steps), 1.0)
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Suite:
    """A family of checkpoints. outliers: notes on runs that statistics leave out, by (model, seed)."""

    name: str
    description: str = ""
    family: str | None = None
    revision: str = ""
    seeds: tuple[int, ...] = ()
    models: tuple[SuiteModel, ...] = ()
    tokenizer_length: int | None = None
    schedule: Schedule | None = None
    outliers: Mapping[tuple[str, int], str] | None = None

    @property
    def is_local(self) -> bool:
        """Whether its checkpoints are found in a folder; any other suite names models on the hub."""
        return not self.models

    def model(self, name: str) -> SuiteModel:
        """A model by name. Raises KeyError."""
        return next((model for model in self.models if model.name == name), None) or _raise(KeyError(name))

    def revision_of(self, model: SuiteModel, step: int) -> str:
        """The revision that holds a step; {tokens} is the training tokens in billions, rounded up."""
        tokens = -(-step * (model.tokens_per_step or 0) // 10**9)
        return self.revision.format(model=model.name, step=step, tokens=tokens)

    def locations(self) -> Iterator[CheckpointLocation]:
        """Every checkpoint that the suite names, in order of model, seed and step."""
        for model in self.models:
            for seed in self.seeds:
                repository = model.repository_of(seed)
                for step in model.steps:
                    yield CheckpointLocation(model.name, seed, step, repository, self.revision_of(model, step))

    def learning_rate(self, model: str, step: int) -> float | None:
        """The learning rate of a model at a step (docs/methods.md §5), None where it is not published."""
        peak = self.model(model).learning_rate
        return None if peak is None or self.schedule is None else peak * self.schedule.fraction(step)


#: Not a file, since nothing about it can be chosen.
FOLDER = Suite("folder", "local checkpoints laid out as {model}/seed{seed}/step{step} below a root folder")


def _raise(error: Exception) -> Any:
    raise error


def suite_names() -> list[str]:
    """The suites that ship with the package."""
    return sorted([FOLDER.name, *(file.stem for file in _SUITES.glob("*.toml"))])


@cache
def load_suite(name: str) -> Suite:
    """A suite by its name, or by the path of a TOML file. Raises BadSuite."""
    if name == FOLDER.name:
        return FOLDER
    file = Path(name) if name.endswith(".toml") else _SUITES / f"{name}.toml"
    return _parse(_read(file), file.stem, str(file))


def _read(file: Path) -> dict[str, Any]:
    """The table of a suite's file, laid over that of the suite it is like."""
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise BadSuite(f"There is no suite {file}; those of the package are {', '.join(suite_names())}.") from None
    except OSError as error:
        raise BadSuite(f"Suite {file} cannot be read ({error.strerror}): give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSuite(f"Suite {file} is no TOML file ({error}): mend it there.") from None
    if "like" in table:
        table = {**_read(_SUITES / f"{table['like']}.toml"), **table}
    return table


def _parse(table: Mapping[str, Any], name: str, where: str) -> Suite:
    own = {key: value for key, value in table.items() if key not in _INHERITED}
    known = {"description", "family", "revision", "seeds", "tokenizer_length", "learning_rate"}
    common = {"repository", "seed_repository", "steps", "tokens_per_step"}
    every = known | common | {"models", "outliers", *_INHERITED}
    if unknown := own.keys() - every:
        raise BadSuite(f"Unknown key {min(unknown)} in suite {where}: known are {', '.join(sorted(every))}.")
    models = own.get("models", {})
    wanted = table.get("only", list(models))
    try:
        shared = {"seed_repository": None, **{key: own[key] for key in common if key in own}}
        suite = Suite(
            name=name,
            description=own.get("description", ""),
            models=tuple(_model(model, {**shared, **models[model]}) for model in wanted),
            seeds=tuple(_number("a seed", seed) for seed in own.get("seeds", ())),
            outliers={(entry["model"], entry["seed"]): entry["note"] for entry in own.get("outliers", ())},
            schedule=Schedule(**own["learning_rate"]) if "learning_rate" in own else None,
            **{key: own[key] for key in ("family", "revision", "tokenizer_length") if key in own},
        )
        if not suite.revision:
            raise KeyError("revision")
        for _ in suite.locations():  # so that every pattern is filled in once
            pass
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BadSuite(f"Suite {where} is incomplete or has a wrong key ({reason}): see docs/studies.md.") from None
    if not (suite.seeds and suite.models and all(model.steps for model in suite.models)):
        raise BadSuite(f"Suite {where} names no checkpoint: give it seeds, and models with steps.")
    return suite


def _model(name: str, table: Mapping[str, Any]) -> SuiteModel:
    known = {field.name for field in fields(SuiteModel)} - {"name"}
    if unknown := table.keys() - known:
        raise TypeError(f"model {name} has no {min(unknown)}")
    for key in table.keys() - {"repository", "seed_repository", "steps"}:
        _number(f"{key} of model {name}", table[key])
    return SuiteModel(name=name, **{**table, "steps": tuple(sorted(_steps(table["steps"])))})


def _number(what: str, value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"{what} is no number but {value!r}")
    return value


def _steps(entries: list[Any]) -> Iterator[int]:
    """Steps of a list of numbers and of ranges { from, to, by }, both ends included."""
    for entry in entries:
        if isinstance(entry, int):
            yield entry
        else:
            yield from range(entry["from"], entry["to"] + 1, entry["by"])
