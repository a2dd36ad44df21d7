"""Whose results a file has: from options, from patterns of paths and repositories, or from what the file says.

Names alone; files and the database are unknown here, but for the models that the warehouse knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warehouse.importing.harness import step_of
from warehouse.importing.manifest import CHECKPOINT_KEYS, INTEGERS, MOST_DIGITS, BadManifest, Checkpoint, misfit_of
from warehouse.importing.units import BadImport

_DIGITS = rf"\d{{1,{MOST_DIGITS}}}"
_PLACEHOLDERS = {"family": r"[^/]+?", "model": r"[^/]+?", "seed": _DIGITS, "step": _DIGITS}


@dataclass(frozen=True)
class Known:
    """What the warehouse has: models by family and name; repositories, with family, model and seed of what is there."""

    models: frozenset[tuple[str, str]] = frozenset()
    repositories: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)

    def families(self, model: str) -> list[str]:
        """The families that have a model of this name."""
        return sorted(family for family, name in self.models if name == model)

    def alike(self, family: str, model: str) -> list[str]:
        """Models of a family whose names may mean the same as one that it lacks: 70m and EleutherAI__pythia-70m."""
        if (family, model) in self.models:
            return []
        near = [each for each in self.models if _plain(each[0]) == _plain(family) and _alike(each[1], model)]
        return [name if each == family else f"{each}/{name}" for each, name in sorted(near)]


@dataclass(frozen=True)
class Naming:
    """How checkpoints are found.

    family, model, seed, step: the same for all files. path: a pattern for the end of their paths; repository: for the
    repository that a file names. Both have {family}, {model}, {seed} and {step} for what they name. new_model: a model
    may be new though another one has nearly its name.
    """

    family: str | None = None
    model: str | None = None
    seed: int | None = None
    step: int | None = None
    path: str | None = None
    repository: str | None = None
    new_model: bool = False

    def checkpoint(self, file: Path, repository: str | None, revision: str | None, known: Known) -> Checkpoint:
        """The checkpoint that a file is about.

        A repository that the warehouse has checkpoints of says whose they are. Raises BadImport where nothing says it,
        or two things do otherwise, or where the warehouse lacks the model and has one of nearly the same name.
        """
        said: dict[str, dict[Any, str]] = {key: {} for key in CHECKPOINT_KEYS}
        for key, value in self._fixed().items():
            said[key][value] = f"--{key}"
        for origin, found in self._matched(file, repository):
            for key, value in found.items():
                said[key].setdefault(value, origin)
        # A name that a pattern reads says no more than that, and one that needs no reading nothing.
        name = None if self.path or self.step is not None else file.stem
        for origin, words in (("its revision", revision), ("its name", name)):
            step = step_of(words) if words else None
            if step is not None:
                said["step"].setdefault(step, origin)
        if not said["model"] and repository and repository in known.repositories:
            for key, value in zip(("family", "model", "seed"), known.repositories[repository], strict=True):
                said[key].setdefault(value, "its repository")
        if not said["model"] and repository:
            said["model"][repository.rstrip("/").rpartition("/")[2]] = "its repository"
        said["seed"] = said["seed"] or {0: "nothing else"}
        about = self._agreed(file, said, known)
        near = [] if self.new_model else known.alike(about.family, about.model)
        if near:
            raise BadImport(
                f"{file} is about model {about.model}, which family {about.family} lacks, and there is "
                f"{' and '.join(near)}: pass --model (and --family) if that is meant, or --new-model if it is another."
            )
        return about

    def _fixed(self) -> dict[str, Any]:
        return {key: value for key in CHECKPOINT_KEYS if (value := getattr(self, key)) is not None}

    def _matched(self, file: Path, repository: str | None) -> list[tuple[str, dict[str, Any]]]:
        found = []
        if self.path is not None:
            found.append(("its path", match(f"**/{self.path}", f"/{file.as_posix()}", "--path-pattern")))
        if self.repository is not None:
            if repository is None:
                raise BadImport(f"{file} names no repository: use --path-pattern, or --model and --step.")
            found.append(("its repository", match(self.repository, repository, "--repository-pattern")))
        return found

    def _agreed(self, file: Path, said: Mapping[str, Mapping[Any, str]], warehouse: Known) -> Checkpoint:
        for key, values in said.items():
            if len(values) > 1:
                (one, first), (other, second) = list(values.items())[:2]
                raise BadImport(
                    f"{file} is about {key} {one} by {first} and about {key} {other} by {second}: rename it, or leave "
                    "out what is wrong."
                )
        known: dict[str, Any] = {key: next(iter(values), None) for key, values in said.items()}
        if known["family"] is None and known["model"] is not None:
            candidates = warehouse.families(known["model"])
            known["family"] = candidates[0] if len(candidates) == 1 else None
        for key, value in known.items():
            if value is None:
                raise BadImport(
                    f"Nothing says the {key} of {file}: pass --{key}, or --path-pattern with {{{key}}} in it."
                )
        for key, value in known.items():
            origin = said[key].get(value, "the warehouse")
            if isinstance(value, str) and (misfit := misfit_of(value)):
                raise BadImport(f"The {key} of {file} by {origin} has {misfit}, {value[:80]!r}: mend it there.")
            if isinstance(value, int) and not 0 <= value < INTEGERS:
                raise BadImport(
                    f"{file} is about {key} {value} by {origin}, which is not from 0, and less than {INTEGERS}: mend "
                    "it there."
                )
        return Checkpoint(**known)


def _alike(one: str, other: str) -> bool:
    """Whether two names differ only in signs and capitals, or in what stands before the last parts of one."""
    if _plain(one) == _plain(other):
        return True
    short, long = sorted(
        ([part for part in re.split(r"[^\w.]|_", name.casefold()) if part] for name in (one, other)), key=len
    )
    return bool(short) and long[len(long) - len(short) :] == short


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def match(pattern: str, text: str, option: str) -> dict[str, Any]:
    """What the placeholders of a pattern stand for in a text; ** for anything.

    option: what named the pattern. Raises BadImport where the text is otherwise, BadManifest for another placeholder.
    """
    parts = re.split(r"(\*\*|\{\w*\})", pattern)
    expression = "".join(_part(part, pattern, option) for part in parts)
    found = re.fullmatch(expression, text)
    if found is None:
        raise BadImport(f"{text.lstrip('/')} is not like {pattern.removeprefix('**/')}: mend {option}.")
    return {key: int(value) if key in ("seed", "step") else value for key, value in found.groupdict().items()}


def _part(part: str, pattern: str, option: str) -> str:
    if part == "**":
        return ".*"
    if not part.startswith("{"):
        return re.escape(part)
    name = part[1:-1]
    if name not in _PLACEHOLDERS or pattern.count(part) > 1:
        raise BadManifest(f"Option {option} has {part}: write {{family}}, {{model}}, {{seed}} or {{step}}, each once.")
    return f"(?P<{name}>{_PLACEHOLDERS[name]})"
