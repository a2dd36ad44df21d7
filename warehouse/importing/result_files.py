"""Files of results on benchmarks: harness files, alone or in folders, and tables by result or by metric.

Reads files and says whose results they are; what becomes of them is not known here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warehouse.importing import harness
from warehouse.importing.manifest import CHECKPOINT_KEYS, NAME_KEYS, Checkpoint
from warehouse.importing.naming import Known, Naming
from warehouse.importing.results import Result
from warehouse.importing.tables import SUFFIXES, Table, kind_of, read_table
from warehouse.importing.units import BadImport, Floats
from warehouse.json_objects import with_distinct_names

_BESIDE = ("standard_error", "n", "higher_is_better", "source", "name", "value")
_TRUE, _FALSE = frozenset(("true", "t", "1", "yes")), frozenset(("false", "f", "0", "no"))


@dataclass(frozen=True)
class Reading:
    """How files are read. source: instead of what they say. higher, lower: metrics whose direction is known."""

    naming: Naming
    source: str | None = None
    higher: frozenset[str] = frozenset()
    lower: frozenset[str] = frozenset()

    def direction(self, name: str, said: bool | None) -> bool | None:
        """Which way a metric improves: as asked for by its name, or by what follows the task; else as said."""
        asked = {name, name.rpartition("/")[2]}
        if asked & self.higher:
            return True
        return False if asked & self.lower else said


@dataclass(frozen=True)
class Found:
    """What files have. skipped: files of a folder that are no results; without_number: results that are no number."""

    results: tuple[Result, ...]
    skipped: int = 0
    without_number: tuple[str, ...] = ()


def read_results(paths: Sequence[Path], reading: Reading, known: Known) -> Found:
    """The results of files, and of all harness files below folders. known: the models of the warehouse.

    Raises BadImport for a file that is no result file, or whose checkpoint nothing says, and for a folder without any.
    """
    results: list[Result] = []
    without: list[str] = []
    skipped = 0
    for path in paths:
        if kind_of(path) in SUFFIXES:
            results += _from_table(read_table(path, (*NAME_KEYS, "name", "source")), reading, known)
            continue
        for file, document in _documents(path):
            if document is None:
                skipped += 1
                continue
            parsed = harness.parse_results(document)
            checkpoint = reading.naming.checkpoint(file, parsed.repository, parsed.revision, known)
            results += [_from_harness(score, checkpoint, file, reading) for score in parsed.scores]
            without += [f"{name} in {file}" for name in parsed.without_number]
    _refuse_idle(reading, results)
    return Found(tuple(results), skipped, tuple(without))


def _refuse_idle(reading: Reading, results: Sequence[Result]) -> None:
    """Raise BadImport for a metric of --higher or --lower that no result has, or that is in both."""
    both = sorted(reading.higher & reading.lower)
    if both:
        raise BadImport(f"Metric {both[0]} is named by --higher and by --lower: leave out one of them.")
    metrics = {name for result in results for name in (result.name, result.name.rpartition("/")[2])}
    idle = sorted((reading.higher | reading.lower) - metrics)
    if results and idle:
        raise BadImport(
            f"No result is of metric {idle[0]}, which --higher or --lower names; there are "
            f"{', '.join(sorted({result.name for result in results})[:5])}: name one as it stands there."
        )


# --- harness files ------------------------------------------------------------------------------------------------


def _documents(path: Path) -> Iterator[tuple[Path, Mapping[str, Any] | None]]:
    """The JSON documents of a file, or of a folder; None for one of a folder that holds no results."""
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    found = 0
    for file in files:
        document = _parsed(file)
        if harness.is_result_file(document):
            found += 1
            yield file, document
        elif path.is_dir():
            yield file, None
    if not found:
        what = f"Folder {path} holds no result file" if path.is_dir() else f"{path} is no result file"
        raise BadImport(
            f"{what} of lm-evaluation-harness (JSON with results by task), nor a CSV, TSV or Parquet table."
        )


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8-sig"), object_pairs_hook=with_distinct_names)
    except OSError as error:
        raise BadImport(f"{file} cannot be read ({error.strerror}).") from None
    except RecursionError:
        raise BadImport(f"{file} is nested too deeply for a result file: mend it, or leave it out.") from None
    except ValueError as error:
        # Broken JSON, a name twice, bytes that are no text, and numbers of thousands of digits.
        raise BadImport(f"{file} is no JSON file ({error}): mend it, or leave it out.") from None


def _from_harness(score: harness.Score, checkpoint: Checkpoint, file: Path, reading: Reading) -> Result:
    return Result(
        checkpoint,
        score.name,
        score.source if reading.source is None else reading.source,
        score.value,
        score.standard_error,
        score.n,
        reading.direction(score.name, score.higher_is_better),
        str(file),
    )


# --- tables -------------------------------------------------------------------------------------------------------


def _from_table(table: Table, reading: Reading, known: Known) -> Iterator[Result]:
    """A row for each result where there are columns name and value, else a column for each metric."""
    checkpoints = _checkpoints(table, reading.naming, known)
    if {"name", "value"} <= set(table.columns):
        yield from _long(table, reading, checkpoints)
    elif {"name", "value"} & set(table.columns):
        lacking = ({"name", "value"} - set(table.columns)).pop()
        raise BadImport(f"{table.path} lacks column {lacking}: a table with a row for each result has name and value.")
    else:
        yield from _wide(table, reading, checkpoints)


def _checkpoints(table: Table, naming: Naming, known: Known) -> list[Checkpoint]:
    """Whose each row is: by its columns, else by the options."""
    columns: dict[str, Any] = {
        key: table.counts(key).tolist() if key in ("seed", "step") else table.texts(key)
        for key in CHECKPOINT_KEYS
        if key in table.columns
    }
    found = []
    for row in range(table.n_rows):
        given = {key: values[row] for key, values in columns.items()}
        usual = {key: getattr(naming, key) for key in CHECKPOINT_KEYS if key not in given}
        full = Naming(**given, **usual, path=naming.path, repository=naming.repository, new_model=naming.new_model)
        found.append(full.checkpoint(table.path, None, None, known))
    return found


def _long(table: Table, reading: Reading, checkpoints: Sequence[Checkpoint]) -> Iterator[Result]:
    names, values = table.texts("name"), _finite(table, "value")
    errors = _optional(table, "standard_error")
    counts = _optional(table, "n")
    _refuse_part(table, counts)
    sources = table.texts("source") if "source" in table.columns else [table.path.name] * table.n_rows
    directions = _directions(table)
    for row, name in enumerate(names):
        said = directions[row] if directions[row] is not None else harness.direction(name.rpartition("/")[2])
        count = None if math.isnan(counts[row]) else int(counts[row])
        error = None if math.isnan(errors[row]) else float(errors[row])
        yield Result(
            checkpoints[row],
            name,
            sources[row] if reading.source is None else reading.source,
            float(values[row]),
            error,
            count,
            reading.direction(name, said),
            table.row(row),
        )


def _wide(table: Table, reading: Reading, checkpoints: Sequence[Checkpoint]) -> Iterator[Result]:
    metrics = [name for name in table.columns if name not in CHECKPOINT_KEYS]
    if not metrics or set(metrics) & set(_BESIDE):
        raise BadImport(
            f"{table.path} has neither columns name and value nor a column for each metric beside "
            f"{', '.join(CHECKPOINT_KEYS)}: name its columns so."
        )
    for name in metrics:
        values = table.numbers(name)
        improves = reading.direction(name, harness.direction(name.rpartition("/")[2]))
        for row in np.flatnonzero(~np.isnan(values)).tolist():
            value = float(values[row])
            if math.isinf(value):
                raise BadImport(f"Column {name} has no finite number in {table.row(row)}.")
            where, source = table.row(row), table.path.name if reading.source is None else reading.source
            yield Result(checkpoints[row], name, source, value, None, None, improves, where)


def _finite(table: Table, name: str) -> Floats:
    values = table.numbers(name)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise BadImport(f"Column {name} has no finite number in {table.row(int(wrong[0]))}.")
    return values


def _refuse_part(table: Table, counts: Floats) -> None:
    """Raise BadImport for a number of items that is not whole. counts: [n_rows], NaN where none is said."""
    wrong = np.flatnonzero(~np.isnan(counts) & ~(np.isfinite(counts) & (counts == np.round(counts))))
    if len(wrong):
        raise BadImport(f"Column n has no whole number in {table.row(int(wrong[0]))}.")


def _optional(table: Table, name: str) -> Floats:
    """[n_rows] a column that may be absent or have gaps: NaN there."""
    return table.numbers(name) if name in table.columns else np.full(table.n_rows, np.nan)


def _directions(table: Table) -> list[bool | None]:
    if "higher_is_better" not in table.columns:
        return [None] * table.n_rows
    return [_direction(table, row, word) for row, word in enumerate(table.optional_texts("higher_is_better"))]


def _direction(table: Table, row: int, word: str | None) -> bool | None:
    plain = (word or "").strip().lower()
    if plain and plain not in _TRUE | _FALSE:
        raise BadImport(f"Column higher_is_better has {word!r} in {table.row(row)}: write true, false or nothing.")
    return plain in _TRUE if plain else None
