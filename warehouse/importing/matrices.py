"""Matrices: npy files with a row for each checkpoint or pair and a column for each position.

The manifest says what the rows and the files are about; what a value means is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from warehouse.importing.manifest import CHECKPOINT_KEYS, PAIR_KEYS, BadManifest, Checkpoint, Manifest
from warehouse.importing.units import BadImport, Floats, Placement, Unit


@dataclass(frozen=True)
class _File:
    """A file, or one for each measure, and the checkpoint that it is about, if there is one."""

    paths: dict[str, Path]
    about: Checkpoint | None


def kl_units(manifest: Manifest, place: Placement, folder: Path, given: Path | None) -> Iterator[Unit]:
    """The KL of every row of every file. folder: where the manifest's paths start. given: instead of its path.

    Raises BadManifest where it does not say what p and q are, and BadImport for a file that is not as it says.
    """
    for file in _files(manifest, ("kl",), folder, given):
        rows = _pairs(manifest, file.about)
        yield from _units(manifest, place, file, rows)


def score_units(manifest: Manifest, place: Placement, folder: Path, given: Path | None) -> Iterator[Unit]:
    """The scores of every row of every file. Raises BadManifest and BadImport."""
    for file in _files(manifest, manifest.measures, folder, given):
        yield from _units(manifest, place, file, _single(manifest, file.about))


def _files(manifest: Manifest, measures: Sequence[str], folder: Path, given: Path | None) -> list[_File]:
    pattern = str(given) if given is not None else manifest.path
    if pattern is None:
        raise BadManifest("The manifest names no path: add it, or give the file of measurements and --manifest.")
    base = Path() if given is not None else folder
    about = [None] if manifest.files is None else list(manifest.files.checkpoints(_family(manifest), manifest.seed))
    files = [_File({measure: base / _filled(pattern, each, measure) for measure in measures}, each) for each in about]
    paths = [path for file in files for path in file.paths.values()]
    if len(set(paths)) < len(paths):
        raise BadManifest(
            f"Path {pattern} is the same for {len(paths)} files: write {{model}}, {{seed}}, {{step}} or {{measure}} in "
            "it where they differ."
        )
    return files


def _filled(pattern: str, about: Checkpoint | None, measure: str) -> str:
    words = {"measure": measure} | ({} if about is None else about._asdict())
    for word, value in words.items():
        pattern = pattern.replace(f"{{{word}}}", str(value))
    return pattern


def _family(manifest: Manifest) -> str:
    if manifest.family is None:
        raise BadManifest("Nothing says family (what the models are a family of): add it, or pass --family.")
    return manifest.family


# --- what rows are about ------------------------------------------------------------------------------------------


def _pairs(manifest: Manifest, file: Checkpoint | None) -> list[tuple[Checkpoint, ...]]:
    """(p, q) of each row."""
    if file is None:
        if manifest.rows is not None or not manifest.row:
            raise BadManifest(
                "The manifest does not say what p and q are: name the checkpoint of each file in [files] and that of "
                "each row in [rows] or [[row]], or both of each row in [[row]]."
            )
        return [_named_pair(entry, manifest) for entry in manifest.row]
    others = _listed(manifest, file)
    return [(file, other) if manifest.p == "files" else (other, file) for other in others]


def _single(manifest: Manifest, file: Checkpoint | None) -> list[tuple[Checkpoint, ...]]:
    """The checkpoint of each row."""
    if (file is None) == (manifest.rows is None and not manifest.row):
        raise BadManifest(
            "The manifest must say what the scores are of: the checkpoint of each file in [files], or of each row in "
            "[rows] or [[row]], and not both."
        )
    return [(file,)] if file is not None else [(each,) for each in _listed(manifest, None)]


def _listed(manifest: Manifest, file: Checkpoint | None) -> list[Checkpoint]:
    if manifest.rows is None:
        if not manifest.row:
            raise BadManifest("The manifest names no checkpoint for the rows: add [rows] or [[row]].")
        return [_named(entry, manifest, "") for entry in manifest.row]
    grid = manifest.rows
    return [
        each for each in grid.checkpoints(_family(manifest), manifest.seed) if not (grid.skip_file and each == file)
    ]


def _named_pair(entry: Any, manifest: Manifest) -> tuple[Checkpoint, Checkpoint]:
    return _named(entry, manifest, "p_"), _named(entry, manifest, "q_")


def _named(entry: Any, manifest: Manifest, side: str) -> Checkpoint:
    """The checkpoint that a [[row]] names. side: p_, q_ or nothing."""
    usual = {"family": manifest.family, "seed": manifest.seed}
    known = {key: entry.get(side + key, usual.get(key)) for key in CHECKPOINT_KEYS}
    foreign = set(entry) - set(PAIR_KEYS if side else CHECKPOINT_KEYS)
    lacking = [side + key for key, value in known.items() if value is None]
    if foreign or lacking:
        wrong = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(sorted(foreign))}, which is not wanted"
        raise BadManifest(f"A [[row]] of the manifest {wrong}: {dict(entry)}.")
    return Checkpoint(**known)


# --- reading ------------------------------------------------------------------------------------------------------


def _units(manifest: Manifest, place: Placement, file: _File, rows: Sequence[tuple[Checkpoint, ...]]) -> Iterator[Unit]:
    matrices = {measure: _read(path, len(rows)) for measure, path in file.paths.items()}
    path = next(iter(file.paths.values()))
    columns = {name: place.columns(matrix.shape[1], str(file.paths[name])) for name, matrix in matrices.items()}
    for number, about in enumerate(rows):
        values = {
            name: place.row(matrix[number].astype(np.float64), columns[name]) for name, matrix in matrices.items()
        }
        if not manifest.allow_nan:
            for name, matrix in matrices.items():
                _refuse_nan(matrix[number, columns[name]], number, file.paths[name])
        yield Unit(about, values, path, f"Row {number} of {path}")


def _read(path: Path, n_rows: int) -> Floats:
    """[rows, positions]. Raises BadImport."""
    try:
        # Reads npy and nothing else: no pickle, and no archive.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise BadImport(f"{path} cannot be read ({error.strerror or error}): mend path in the manifest.") from None
    except (ValueError, OverflowError, TokenError) as error:
        raise BadImport(f"{path} is no npy file of numbers, or not all of one ({error}): save it anew.") from None
    if mapped.dtype.kind not in "fiu" or mapped.ndim not in (1, 2):
        raise BadImport(f"{path} holds no matrix of numbers: save one with a row for each checkpoint or pair.")
    after = path.stat().st_size - mapped.offset - mapped.nbytes
    if after:
        raise BadImport(f"{path} has {after:,} bytes after its matrix, such as a second one: save each by itself.")
    matrix: Floats = np.atleast_2d(mapped)
    if len(matrix) != n_rows:
        raise BadImport(
            f"{path} has {len(matrix)} rows, but the manifest names {n_rows} checkpoints for them: mend rows."
        )
    return matrix


def _refuse_nan(values: Floats, row: int, path: Path) -> None:
    missing = np.isnan(values)
    if missing.any():
        raise BadImport(
            f"Row {row} of {path} has {int(missing.sum())} NaN among the positions to import: narrow --positions, or "
            "set allow_nan = true if they were not measured."
        )
