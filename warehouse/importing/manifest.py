"""A manifest: what a file of measurements made elsewhere is about, read from TOML and overridden by options.

This module knows the words of a manifest, and neither the files that it describes nor the database.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from warehouse.errors import WarehouseError
from warehouse.fact_tables import SCORES

#: What says which checkpoint something is about; a pair has them twice, as p_family, q_family and so on.
CHECKPOINT_KEYS = ("family", "model", "seed", "step")
PAIR_KEYS = tuple(f"{side}_{key}" for side in "pq" for key in CHECKPOINT_KEYS)
#: What says which token a row of a table is about.
TOKEN_KEYS = ("token_id", "document", "position")
#: Those of them that are names, though all may look like numbers: 070, 1.40.
NAME_KEYS = tuple(key for key in (*CHECKPOINT_KEYS, *PAIR_KEYS) if key.endswith(("family", "model")))


#: Whole numbers are less: PostgreSQL holds no greater ones in an integer column.
INTEGERS = 2**31
#: Digits of a number in a name or an option; more are no number of anything, and too many for Python to read.
MOST_DIGITS = 18
#: Characters of a name; what is several times longer fits no index of PostgreSQL.
LONGEST_NAME = 500
_SHOWN = 80


class BadManifest(WarehouseError):
    """A manifest says something that cannot be followed."""


class Checkpoint(NamedTuple):
    """A checkpoint by the names it has in the warehouse."""

    family: str
    model: str
    seed: int
    step: int

    def __str__(self) -> str:
        return f"{self.family} {self.model} seed {self.seed} step {self.step}"


def can_be_stored(words: str) -> bool:
    """Whether PostgreSQL holds a text: it has no NUL character and no half of a pair of code units."""
    return "\0" not in words and not any("\ud800" <= letter <= "\udfff" for letter in words)


def misfit_of(name: str) -> str | None:
    """What a text has that no name in the warehouse may have; None where it can be one."""
    if not can_be_stored(name):
        return "a NUL character"
    if not name.strip():
        return "no letters"
    return f"more than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else None


class Positions(NamedTuple):
    """A range of positions: from the first to the one before the last; None for as many as there are."""

    first: int
    end: int | None

    def __str__(self) -> str:
        return f"{self.first}:{'' if self.end is None else self.end}"


@dataclass(frozen=True)
class Grid:
    """Checkpoints in order: model by model, of each seed by seed, of each step by step.

    skip_file: leave out the one that the file is about.
    """

    models: tuple[str, ...]
    steps: tuple[int, ...]
    seeds: tuple[int, ...] = ()
    skip_file: bool = False

    def checkpoints(self, family: str, seed: int) -> Iterator[Checkpoint]:
        """All of them. seed: where the grid names none."""
        return (
            Checkpoint(family, model, each, step)
            for model in self.models
            for each in self.seeds or (seed,)
            for step in self.steps
        )


@dataclass(frozen=True)
class Manifest:
    """What files of measurements are about; docs/imports.md explains every key.

    path: of the files, {model}, {seed}, {step} and {measure} standing for what they are about. offset: a value at
    position i is about token i + offset. clip: values so little below zero are rounding. row: the checkpoints of rows
    that are no grid. steps: which steps follow one another; empty for all that occur.
    """

    corpus: str
    protocol: str
    origin: str
    path: str | None = None
    family: str | None = None
    seed: int = 0
    positions: Positions | None = None
    offset: int = 0
    unit: Literal["nats", "bits"] = "nats"
    clip: float = 0.0
    allow_nan: bool = False
    p: Literal["files", "rows"] = "files"
    measures: tuple[str, ...] = ("surprisal",)
    steps: tuple[int, ...] = ()
    window: int | None = None
    bos: bool | None = None
    dtype: str = "not known"
    vocabulary: Literal["tokenizer", "model"] = "tokenizer"
    files: Grid | None = None
    rows: Grid | None = None
    row: tuple[Mapping[str, Any], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol_name(self) -> str:
        """The protocol's name in the warehouse, which none of ours can have."""
        return f"imported-{self.protocol}"


def read_manifest(path: Path | None, options: Mapping[str, Any]) -> Manifest:
    """The manifest of a TOML file, with every given option in place of its key; of options alone without a file.

    Raises BadManifest for a missing or broken file, an unknown key, a value of the wrong type, or what is lacking.
    """
    table = {} if path is None else _read(path)
    table |= {key: value for key, value in options.items() if value is not None}
    return parse_manifest(table, where="the options" if path is None else str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise BadManifest(f"Manifest {path} cannot be read ({error.strerror}): give the path of a TOML file.") from None
    except RecursionError:
        raise BadManifest(f"Manifest {path} is nested too deeply: mend it there.") from None
    except ValueError as error:
        # Broken TOML, bytes that are no text, and numbers of thousands of digits.
        raise BadManifest(f"Manifest {path} is no TOML file ({error}): mend it there.") from None


def parse_manifest(table: Mapping[str, Any], *, where: str) -> Manifest:
    """The manifest that a TOML table says. where: what errors call it. Raises BadManifest."""
    values = _values(table, _READERS, where)
    for key in ("corpus", "protocol", "origin"):
        if key not in values:
            raise BadManifest(f"Nothing says {key} ({_REQUIRED[key]}): add it to the manifest, or pass --{key}.")
    manifest = Manifest(**values)
    if manifest.rows is not None and manifest.row:
        raise BadManifest(f"{where} has both [rows] and [[row]]: say with one of them what the rows are about.")
    return manifest


_REQUIRED = {
    "corpus": "what the values are about the tokens of",
    "protocol": "a short name for how it was measured",
    "origin": "a sentence about who measured it and how",
}


# --- one value at a time ------------------------------------------------------------------------------------------


class _Misfit(Exception):
    """A value is not what its key wants, which the message says."""


def _values(table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], where: str) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in readers:
            raise BadManifest(f"Unknown key {key} in {where}: {suggestion(key, readers)}")
        try:
            values[key] = readers[key](value)
        except _Misfit as misfit:
            raise BadManifest(f"Key {key} in {where} must be {misfit}, not {_shown(value)}.") from None
    return values


def _shown(value: Any) -> str:
    try:
        words = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def suggestion(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """What to write instead of an unknown word."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."


def _of(kind: type[Any], words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _Misfit(words)
        return value

    return read


_any_text, _any_whole, _flag = _of(str, "text"), _of(int, "a whole number"), _of(bool, "true or false")


def _text(value: Any) -> Any:
    if not _any_text(value).strip() or not can_be_stored(value):
        raise _Misfit("text without NUL characters, and not empty")
    return value


def _between(least: int, words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not least <= _any_whole(value) < INTEGERS:
            raise _Misfit(f"{words}, and less than {INTEGERS}")
        return value

    return read


_whole = _between(1 - INTEGERS, f"a whole number from {1 - INTEGERS}")
_from_0, _from_1 = _between(0, "a whole number from 0"), _between(1, "a whole number from 1")


def _one_of(*known: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in known:
            raise _Misfit(" or ".join(known))
        return value

    return read


def _list_of(reader: Callable[[Any], Any], words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or not value:
            raise _Misfit(f"a list of {words}, none twice")
        try:
            found = tuple(reader(each) for each in value)
        except _Misfit as misfit:
            raise _Misfit(f"a list of {words}, each {misfit}") from None
        if len(set(found)) < len(found):
            raise _Misfit(f"a list of {words}, none twice")
        return found

    return read


_names, _numbers = _list_of(_text, "names"), _list_of(_from_0, "whole numbers")


def _room(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise _Misfit("a number from 0, and less than 1")
    return float(value)


def _is_position(part: str) -> bool:
    return part == "" or (part.isdecimal() and len(part) <= MOST_DIGITS)


def _positions(value: Any) -> Positions:
    first, separator, end = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not separator or not all(map(_is_position, (first, end))):
        raise _Misfit("A:B, from position A to the one before B")
    positions = Positions(int(first or 0), int(end) if end else None)
    if positions.end is not None and positions.end <= positions.first:
        raise _Misfit("A:B with A less than B")
    return positions


def _grid(value: Any) -> Grid:
    readers = {"models": _names, "steps": _numbers, "seeds": _numbers, "skip_file": _flag}
    if not isinstance(value, dict) or not {"models", "steps"} <= set(value):
        raise _Misfit("a table with models and steps")
    return Grid(**_values(value, readers, "a table of checkpoints"))


_NAMED = {key: _from_0 if key.endswith(("seed", "step")) else _text for key in (*CHECKPOINT_KEYS, *PAIR_KEYS)}


def _named(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Misfit("a table of family, model, seed and step")
    return _values(value, _NAMED, "a table that names a checkpoint")


def _rows(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list):
        raise _Misfit("a list of tables")
    return tuple(_named(each) for each in value)


def _columns(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise _Misfit("a table of our names and those in the file")
    return _values(value, dict.fromkeys((*_NAMED, *TOKEN_KEYS, "kl", *SCORES), _text), "[columns]")


def _measures(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = _names(value)
    for name in names:
        _one_of(*SCORES)(name)
    return names


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("corpus", "protocol", "origin", "path", "family", "dtype"), _text),
    "seed": _from_0,
    "offset": _whole,
    "window": _from_1,
    **dict.fromkeys(("allow_nan", "bos"), _flag),
    **dict.fromkeys(("files", "rows"), _grid),
    "positions": _positions,
    "unit": _one_of("nats", "bits"),
    "clip": _room,
    "p": _one_of("files", "rows"),
    "measures": _measures,
    "steps": _numbers,
    "vocabulary": _one_of("tokenizer", "model"),
    "row": _rows,
    "columns": _columns,
    "constants": _named,
}

assert set(_READERS) == {entry.name for entry in fields(Manifest)}
