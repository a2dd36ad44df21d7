"""Units as they are imported: values over the tokens of a corpus, and which checkpoints they are about.

Arrays and names alone; where they come from and where they go is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError
from warehouse.importing.manifest import Checkpoint, Manifest, Positions
from warehouse.interrupts import stop_if_interrupted

Floats = NDArray[np.float64]

#: Measures that are logarithms of probabilities, or sums of them: in nats or in bits.
_LOGARITHMIC = frozenset(
    ("kl", "surprisal", "entropy", "top_surprisal", "space_logmass", "punct_logmass", "eos_logmass", "pad_logmass")
)
_WHOLE = frozenset(("rank", "top_vocab_id"))
#: How far rounding may carry a score beyond its bound, as `warehouse check` sees it.
_ROUNDING = 1e-5
#: What is further below 0 is no rounding, even in half precision.
_LARGEST_SLIP = 0.1


#: Values of a measure that are held in memory before they are written.
BLOCK_VALUES = 1 << 22


class BadImport(WarehouseError):
    """A file of measurements cannot be imported as it is."""


@dataclass(frozen=True)
class Target:
    """The corpus that measurements are about."""

    corpus_id: int
    name: str
    first_token_id: int
    n_tokens: int
    tokenizer_id: int
    tokenizer_length: int
    token_sha256: str


@dataclass(frozen=True)
class Unit:
    """Values about one checkpoint, or about p and q.

    values: [T] float64 by measure, NaN where not measured. where: the file, and the row in it, for messages.
    """

    about: tuple[Checkpoint, ...]
    values: Mapping[str, Floats]
    file: Path
    where: str

    def __str__(self) -> str:
        return " against ".join(map(str, self.about))


@dataclass(frozen=True)
class Placement:
    """Which token of a corpus each position of a file is about."""

    target: Target
    positions: Positions | None
    offset: int

    @classmethod
    def of(cls, manifest: Manifest, target: Target) -> Placement:
        """As a manifest says."""
        return cls(target, manifest.positions, manifest.offset)

    def columns(self, n_columns: int, where: str) -> slice:
        """The columns to take. Raises BadImport where one is about no token, or where tokens lack one unsaid.

        where: what errors call the file.
        """
        corpus, n_tokens = self.target.name, self.target.n_tokens
        if self.positions is None and n_columns + self.offset != n_tokens:
            raise BadImport(
                f"{where} has {n_columns} positions, which with offset {self.offset} end at token "
                f"{n_columns + self.offset}, and corpus {corpus} has {n_tokens}: say which were measured with "
                "--positions A:B, or mend offset."
            )
        first, end = self.positions or Positions(0, None)
        end = n_columns if end is None else end
        if end > n_columns:
            raise BadImport(f"{where} has {n_columns} positions, not {end}: mend --positions {self.positions}.")
        if first + self.offset < 0 or end + self.offset > n_tokens:
            raise BadImport(
                f"Positions {first}:{end} of {where} with offset {self.offset} are about tokens {first + self.offset} "
                f"to {end + self.offset - 1}, and corpus {corpus} has tokens 0 to {n_tokens - 1}: mend positions or "
                "offset."
            )
        return slice(first, end)

    def row(self, values: Floats, columns: slice) -> Floats:
        """[T] values of the tokens from those at the positions of one row."""
        placed = np.full(self.target.n_tokens, np.nan)
        placed[columns.start + self.offset : columns.stop + self.offset] = values[columns]
        return placed


def blocks_of(units: Iterable[Unit], target: Target) -> Iterator[list[Unit]]:
    """Units, as many at a time as are held in memory together."""
    remaining = iter(units)
    while block := list(islice(remaining, max(1, BLOCK_VALUES // target.n_tokens))):
        stop_if_interrupted()
        yield block


def checked(unit: Unit, manifest: Manifest, target: Target) -> dict[str, NDArray[Any]]:
    """A unit's values as they are stored: float32 in nats with NaN for none, int32 with -1 for none.

    Raises BadImport for a value that its measure cannot have, or where nothing is measured.
    """
    stored = {name: _stored(unit, name, values, manifest) for name, values in unit.values.items()}
    first = next(iter(stored))
    if not np.isfinite(unit.values[first]).any():
        raise BadImport(f"{unit.where} has no {first} at all for {unit}: leave it out, or mend positions.")
    _refuse_foreign_ids(unit, stored, manifest, target)
    if {"surprisal", "top_surprisal"} <= stored.keys():
        above = stored["top_surprisal"] > stored["surprisal"] + _ROUNDING
        _refuse(unit, "top_surprisal", above, "above the token's own surprisal: the most probable entry is not")
    return stored


def _stored(unit: Unit, name: str, values: Floats, manifest: Manifest) -> NDArray[Any]:
    _refuse(unit, name, np.abs(values) > np.finfo(np.float32).max, "infinite")
    if name in _WHOLE:
        _refuse(unit, name, values != np.round(values), "no whole numbers")
        _refuse(unit, name, values < (1 if name == "rank" else 0), "too small")
        _refuse(unit, name, values > np.iinfo(np.int32).max, "too great")
        return np.where(np.isnan(values), -1, values).astype(np.int32)
    if name in _LOGARITHMIC and manifest.unit == "bits":
        values = values * math.log(2)
    if name.endswith("_logmass"):
        _refuse(unit, name, values > max(_ROUNDING, manifest.clip), "above 0, the logarithm of more than 1")
        return np.minimum(values, 0).astype(np.float32)
    _refuse(unit, name, values < -manifest.clip, _negative(name, values, manifest))
    return np.maximum(values, 0).astype(np.float32)


def _negative(name: str, values: Floats, manifest: Manifest) -> str:
    least = float(np.fmin.reduce(values, initial=0.0))
    said = f"below 0, the least {least:.3g}, which {name} never is"
    # A tenth more, so that the two digits are not less than what they stand for.
    return f"{said}; if that is rounding, set clip = {-least * 1.1:.2g}" if least > -_LARGEST_SLIP else said


def _refuse(unit: Unit, name: str, wrong: NDArray[np.bool_], why: str) -> None:
    wrong = wrong & ~np.isnan(unit.values[name])
    if wrong.any():
        token = int(np.flatnonzero(wrong)[0])
        raise BadImport(
            f"{unit.where} has {int(wrong.sum())} values of {name} for {unit} that are {why}; the first is about token "
            f"{token} of the corpus ({unit.values[name][token]:.6g})."
        )


def _refuse_foreign_ids(unit: Unit, stored: Mapping[str, NDArray[Any]], manifest: Manifest, target: Target) -> None:
    if "top_vocab_id" in stored and manifest.vocabulary == "tokenizer":
        foreign = stored["top_vocab_id"] >= target.tokenizer_length
        _refuse(unit, "top_vocab_id", foreign, f"no id of the tokenizer, which has {target.tokenizer_length}")
