"""Rows of tables as units: which checkpoints and which tokens they are about, one token a row or one position a column.

Knows the columns by the names that the manifest gives them, and nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warehouse.fact_tables import SCORES
from warehouse.importing.manifest import (
    CHECKPOINT_KEYS,
    MOST_DIGITS,
    PAIR_KEYS,
    TOKEN_KEYS,
    Checkpoint,
    Manifest,
    suggestion,
)
from warehouse.importing.tables import Table
from warehouse.importing.units import BadImport, Floats, Placement, Unit


def table_units(
    table: Table, manifest: Manifest, place: Placement, documents: Sequence[tuple[int, int]], measures: Sequence[str]
) -> Iterator[Unit]:
    """The values of a table by checkpoint, or by pair for measure kl.

    documents: first token of the corpus (from 0) and tokens of each document. measures: what to look for.
    Raises BadImport for a table that is not as the manifest says, a token given twice, or a value that is missing.
    """
    table = _renamed(table, manifest)
    keys = PAIR_KEYS if tuple(measures) == ("kl",) else CHECKPOINT_KEYS
    about, groups = _groups(table, manifest, keys)
    positions = sorted((name for name in table.columns if name.isdecimal() and len(name) <= MOST_DIGITS), key=int)
    if positions and not set(TOKEN_KEYS) & set(table.columns):
        yield from _wide(table, manifest, place, about, groups, positions, measures)
    else:
        yield from _long(table, manifest, place, about, groups, documents, measures)


def _renamed(table: Table, manifest: Manifest) -> Table:
    """The columns by our names."""
    theirs = {name: ours for ours, name in manifest.columns.items()}
    for name in theirs:
        if name not in table.columns:
            raise BadImport(
                f"{table.path} has no column {name}, which the manifest names: {suggestion(name, tuple(table.columns))}"
            )
    columns = {theirs.get(name, name): column for name, column in table.columns.items()}
    return Table(table.path, columns, table.n_rows)


def _groups(
    table: Table, manifest: Manifest, keys: Sequence[str]
) -> tuple[list[tuple[Checkpoint, ...]], NDArray[np.int64]]:
    """What the rows are about, and [n_rows] which of it each is."""
    codes, labels = np.zeros(table.n_rows, np.int64), []
    for key in keys:
        values, code = _key_values(table, manifest, key)
        labels.append((values, code))
        if len(values) > 1:
            # Numbered anew each time, so that no product of sizes overflows.
            codes = np.unique(codes * len(values) + code, return_inverse=True)[1].reshape(-1)
    first = np.unique(codes, return_index=True)[1]
    named = [[values[code[row]] for values, code in labels] for row in first.tolist()]
    size = len(CHECKPOINT_KEYS)
    about = [tuple(_checkpoint(row[at : at + size]) for at in range(0, len(keys), size)) for row in named]
    return about, codes


def _key_values(table: Table, manifest: Manifest, key: str) -> tuple[Sequence[Any], NDArray[np.int64]]:
    """The values of a column that names checkpoints, or what the manifest says; [n_rows] which of them each row has."""
    if key in table.columns:
        if not key.endswith(("seed", "step")):
            return table.words(key)
        present, code = np.unique(table.counts(key), return_inverse=True)
        return present.tolist(), code.reshape(-1)
    plain = key.removeprefix("p_").removeprefix("q_")
    usual = {"family": manifest.family, "seed": manifest.seed}.get(plain)
    value = manifest.constants.get(key, manifest.constants.get(plain, usual))
    if value is None:
        raise BadImport(
            f"{table.path} has no column {key} (it has {', '.join(sorted(table.columns))[:200]}): name it under "
            "[columns] of a manifest, or say what it is under [constants]."
        )
    return [value], np.zeros(table.n_rows, np.int64)


def _checkpoint(values: Sequence[Any]) -> Checkpoint:
    family, model, seed, step = values
    return Checkpoint(str(family), str(model), int(seed), int(step))


# --- a row for each token -----------------------------------------------------------------------------------------


def _long(
    table: Table,
    manifest: Manifest,
    place: Placement,
    about: Sequence[tuple[Checkpoint, ...]],
    groups: NDArray[np.int64],
    documents: Sequence[tuple[int, int]],
    measures: Sequence[str],
) -> Iterator[Unit]:
    found = [name for name in measures if name in table.columns]
    if not found or found[0] != measures[0]:
        raise BadImport(f"{table.path} has no column {measures[0]}: name it under [columns] of a manifest.")
    tokens, taken = _tokens(table, place, documents)
    values = {name: table.numbers(name) for name in found}
    if not manifest.allow_nan:
        _refuse_empty(table, values, taken)
    for rows, checkpoints in _by_group(groups, taken, about):
        where = tokens[rows]
        _refuse_twice(table, rows, where, checkpoints)
        placed = {name: np.full(place.target.n_tokens, np.nan) for name in found}
        for name in found:
            placed[name][where] = values[name][rows]
        yield Unit(checkpoints, placed, table.path, str(table.path))


def _by_group(
    groups: NDArray[np.int64], taken: NDArray[np.bool_], about: Sequence[tuple[Checkpoint, ...]]
) -> Iterator[tuple[NDArray[np.intp], tuple[Checkpoint, ...]]]:
    """The rows to take of each unit, in their order."""
    order = np.argsort(groups, kind="stable")
    order = order[taken[order]]
    bounds = np.searchsorted(groups[order], np.arange(len(about) + 1))
    for number, checkpoints in enumerate(about):
        yield order[bounds[number] : bounds[number + 1]], checkpoints


def _tokens(
    table: Table, place: Placement, documents: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """[n_rows] the token of each row, counted from the first of the corpus; and whether it is to be taken."""
    if "token_id" in table.columns:
        if place.positions is not None or place.offset:
            raise BadImport(
                f"{table.path} has token_id, which says itself which token is meant: leave out positions and offset, "
                "or the column."
            )
        tokens = table.whole("token_id") - place.target.first_token_id
        taken = np.ones(table.n_rows, bool)
    else:
        tokens, taken = _at_positions(table, place, documents)
    outside = taken & ~((tokens >= 0) & (tokens < place.target.n_tokens))
    if outside.any():
        number = int(np.flatnonzero(outside)[0])
        raise BadImport(
            f"{int(outside.sum())} rows of {table.path} are about tokens that corpus {place.target.name} does not "
            f"have, the first in {table.row(number)}: it has {place.target.n_tokens} from token_id "
            f"{place.target.first_token_id} on."
        )
    return tokens, taken


def _at_positions(
    table: Table, place: Placement, documents: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if "position" not in table.columns:
        raise BadImport(
            f"{table.path} has neither a column token_id nor a column position: name one under [columns] of a manifest."
        )
    position = table.whole("position")
    taken = np.ones(table.n_rows, bool)
    if place.positions is not None:
        taken = position >= place.positions.first
        taken &= True if place.positions.end is None else position < place.positions.end
    if "document" not in table.columns:
        return position + place.offset, taken
    return _in_documents(table, position + place.offset, documents, taken), taken


def _in_documents(
    table: Table, position: NDArray[np.int64], documents: Sequence[tuple[int, int]], taken: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """[n_rows] the token at a position of a document."""
    document = table.whole("document")
    starts, lengths = np.array(documents, np.int64).T
    known = (document >= 0) & (document < len(documents))
    inside = np.where(known, document, 0)
    wrong = taken & ~(known & (position >= 0) & (position < lengths[inside]))
    if wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        raise BadImport(
            f"{int(wrong.sum())} rows of {table.path} are about no token of their document, the first in "
            f"{table.row(number)}: both are counted from 0."
        )
    tokens: NDArray[np.int64] = starts[inside] + position
    return tokens


def _refuse_empty(table: Table, values: Mapping[str, Floats], taken: NDArray[np.bool_]) -> None:
    for name, column in values.items():
        missing = taken & np.isnan(column)
        if missing.any():
            number = int(np.flatnonzero(missing)[0])
            raise BadImport(
                f"Column {name} has no value in {int(missing.sum())} rows, the first {table.row(number)}: leave the "
                "rows out, or set allow_nan = true if they were not measured."
            )


def _refuse_twice(
    table: Table, rows: NDArray[np.intp], tokens: NDArray[np.int64], about: tuple[Checkpoint, ...]
) -> None:
    order = np.argsort(tokens, kind="stable")
    twice = np.flatnonzero(np.diff(tokens[order]) == 0)
    if len(twice):
        first, second = sorted(rows[order[twice[0] : twice[0] + 2]].tolist())
        raise BadImport(
            f"{_start(table.row(first))} and {table.row(second)} are about the same token of "
            f"{' against '.join(map(str, about))}."
        )


# --- a column for each position -----------------------------------------------------------------------------------


def _wide(
    table: Table,
    manifest: Manifest,
    place: Placement,
    about: Sequence[tuple[Checkpoint, ...]],
    groups: NDArray[np.int64],
    positions: Sequence[str],
    measures: Sequence[str],
) -> Iterator[Unit]:
    if [int(name) for name in positions] != list(range(len(positions))):
        raise BadImport(f"{table.path} has columns of positions that are not 0, 1, 2 and so on: number them from 0.")
    foreign = sorted(set(table.columns) - set(positions) - set(PAIR_KEYS) - set(CHECKPOINT_KEYS))
    if foreign and set(foreign) & {"kl", *SCORES}:
        raise BadImport(f"{table.path} has columns of positions and a column {foreign[0]}: drop one or the other.")
    numbers, counts = np.unique(groups, return_counts=True)
    if (counts > 1).any():
        twice = int(numbers[counts > 1][0])
        raise BadImport(f"{table.path} has two rows about {' against '.join(map(str, about[twice]))}.")
    columns = place.columns(len(positions), str(table.path))
    matrix = np.column_stack([table.numbers(name) for name in positions])
    for row, group in enumerate(groups.tolist()):
        if not manifest.allow_nan and np.isnan(matrix[row, columns]).any():
            raise BadImport(f"{_start(table.row(row))} has no value at some positions: set allow_nan, or narrow them.")
        yield Unit(about[group], {measures[0]: place.row(matrix[row], columns)}, table.path, _start(table.row(row)))


def _start(words: str) -> str:
    """Words as the start of a sentence."""
    return words[:1].upper() + words[1:]
