"""Reference distributions: token or n-gram counts of some large text, against which checkpoints are held.

Counts come from a file or from a corpus' ids. Knows nothing of models or the database.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingest.ngrams import NgramModel
from warehouse.errors import WarehouseError

Ids = NDArray[np.integer]
Smoothing = Literal["add-one", "none"]
ID_COLUMNS = ("vocab_id", "id", "token_id")
COUNT_COLUMN = "count"
#: What views call the KL to it is kl_uniform, and the KL to a reference kl_ and its name.
UNIFORM = "uniform"


class UnreadableCounts(WarehouseError):
    """A file of token counts cannot be read."""


class WrongVocabularyLength(WarehouseError):
    """Counts are for another vocabulary."""


class BrokenCounts(WarehouseError):
    """Token counts are negative, not finite or not whole numbers."""


class ReservedName(WarehouseError):
    """A reference has a name that stands for something else."""


class InfiniteDivergence(WarehouseError):
    """An unsmoothed reference gives some tokens no probability, so that KL to it is infinite."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A named distribution over V ids, or of an order above 1 one for each context.

    counts: [V] float64, whole numbers, of the ids alone. smoothing: `add-one` or `none`, or `interpolated` with the
    order below, which stands for `weight` counts. source: where the counts are from. sha256: of the counts as
    little-endian float64, or of the text's ids and the starts of its documents. ngrams: of an order above 1.
    Raises ReservedName.
    """

    name: str
    counts: NDArray[np.float64] = field(repr=False)
    smoothing: Literal[Smoothing, "interpolated"]
    source: str
    sha256: str
    order: int = 1
    ngrams: NgramModel | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.name == UNIFORM:
            raise ReservedName(
                f"A reference cannot be called {UNIFORM!r}: every checkpoint is held against the uniform distribution "
                "already. Choose another name."
            )

    @property
    def weight(self) -> float | None:
        """What the next lower order stands for, in counts; None for unigrams."""
        return None if self.ngrams is None else self.ngrams.weight

    def probabilities(self) -> NDArray[np.float64]:
        """[V] float64 of the ids alone, smoothed and summing to one; zero only where there is no smoothing."""
        weights = self.counts + (0.0 if self.smoothing == "none" else 1.0)
        probabilities: NDArray[np.float64] = weights / weights.sum()
        return probabilities

    def log_probabilities(self) -> NDArray[np.float64]:
        """[V] float64 of the ids alone, nats, finite. Raises InfiniteDivergence where an id has no probability."""
        probabilities = self.probabilities()
        unseen = int(np.count_nonzero(probabilities == 0))
        if unseen:
            raise InfiniteDivergence(
                f"Reference {self.name!r} has no count for {unseen:,} ids, so KL to it is infinite; "
                "use smoothing 'add-one'."
            )
        return np.log(probabilities)

    def entropy(self) -> float:
        """Entropy in nats, an id without probability adding nothing; of n-grams the mean over the text's contexts."""
        if self.ngrams is not None:
            return self.ngrams.entropies[self.order - 1]
        probabilities = self.probabilities()
        seen = probabilities[probabilities > 0]
        return float(-(seen * np.log(seen)).sum())

    def kl_to_uniform(self) -> float:
        """KL(reference || uniform) in nats: log V minus the entropy."""
        return float(np.log(len(self.counts))) - self.entropy()


def make_reference(
    name: str,
    counts: ArrayLike,
    vocabulary_length: int,
    *,
    source: str,
    smoothing: Smoothing = "add-one",
    repair: bool = False,
) -> Reference:
    """A reference from [V] counts.

    repair sets negative, infinite, NaN and fractional counts to zero, which are otherwise refused; the source then says
    how many. Raises WrongVocabularyLength, BrokenCounts.
    """
    if smoothing not in get_args(Smoothing):
        raise BrokenCounts(
            f"Reference {name!r} has smoothing {smoothing!r}; choose one of {', '.join(get_args(Smoothing))}."
        )
    checked, repaired = checked_counts(counts, vocabulary_length, source=source, repair=repair)
    said = f"{source}, {repaired:,} broken counts set to 0" if repaired else source
    return Reference(name, checked, smoothing, said, _digest(checked.astype("<f8")))


def reference_from_ids(
    name: str, ids: Ids, vocabulary_length: int, *, source: str, smoothing: Smoothing = "add-one"
) -> Reference:
    """A reference that counts the ids of a text. ids: [T] integers below vocabulary_length."""
    counts = np.bincount(ids, minlength=vocabulary_length)
    return make_reference(name, counts, vocabulary_length, source=source, smoothing=smoothing)


def ngram_reference(name: str, ids: Ids, positions: Ids, order: int, ngrams: NgramModel, *, source: str) -> Reference:
    """A reference of an order above 1, at most that of `ngrams`, which counted these ids and positions, [N] each."""
    documents = np.flatnonzero(np.asarray(positions) == 0).astype("<i8")
    digest = _digest(ids.astype("<i4"), documents)
    return Reference(name, ngrams.counts, "interpolated", source, digest, order, ngrams)


def _digest(*arrays: NDArray[np.generic]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def load_reference(
    path: str | Path,
    vocabulary_length: int,
    *,
    name: str | None = None,
    smoothing: Smoothing = "add-one",
    repair: bool = False,
) -> Reference:
    """A reference from a file of counts.

    A `.npy` holds [V] counts, a `.csv` or `.parquet` a table with columns `vocab_id` (or `id`) and `count`, where an
    absent id has count zero. Raises UnreadableCounts, and what make_reference raises.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableCounts(f"There is no file of token counts at {path}.")
    readers = {".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise UnreadableCounts(f"{path} is no file of token counts; it should end in {', '.join(readers)}.")
    counts = readers[path.suffix](path, vocabulary_length)
    return make_reference(
        name or path.stem, counts, vocabulary_length, source=str(path), smoothing=smoothing, repair=repair
    )


def checked_counts(
    counts: ArrayLike, vocabulary_length: int, *, source: str, repair: bool = False
) -> tuple[NDArray[np.float64], int]:
    """[V] float64 copy of whole counts that are not negative, and how many were set to 0; see make_reference."""
    values = _as_floats(counts, source)
    if values.ndim != 1 or len(values) != vocabulary_length:
        shape = " x ".join(f"{n:,}" for n in values.shape)
        raise WrongVocabularyLength(
            f"{source} holds {shape or 1} counts, but the vocabulary has {vocabulary_length:,} ids; "
            "count with this tokenizer."
        )
    broken = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values == np.floor(values))))
    if len(broken) and not repair:
        examples = ", ".join(f"id {i}: {values[i]:.4g}" for i in broken[:3])
        raise BrokenCounts(
            f"{source} has {len(broken):,} ids whose count is negative, not finite or not a whole number ({examples}); "
            "correct the file, or set them to zero with repair = true."
        )
    values[broken] = 0
    if not values.any():
        raise BrokenCounts(f"{source} counts no token at all.")
    return values, len(broken)


def _as_floats(counts: ArrayLike, source: str) -> NDArray[np.float64]:
    array = np.asarray(counts)
    if array.dtype.kind not in "uif":
        raise BrokenCounts(f"{source} holds something other than numbers.")
    return array.astype(np.float64)


def _read_npy(path: Path, vocabulary_length: int) -> NDArray[np.generic]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableCounts(f"{path} is not an array saved by numpy: {error}.") from error
    return np.asarray(loaded)


def _read_csv(path: Path, vocabulary_length: int) -> NDArray[np.float64]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            id_column = _id_column(path, rows.fieldnames or ())
            pairs = [(int(row[id_column]), float(row[COUNT_COLUMN])) for row in rows if _whole(row)]
    except (ValueError, TypeError, OSError, csv.Error) as error:
        raise UnreadableCounts(f"{path} has a row that is not an id and a count: {error}.") from error
    return _scatter(path, [i for i, _ in pairs], [count for _, count in pairs], vocabulary_length)


def _read_parquet(path: Path, vocabulary_length: int) -> NDArray[np.float64]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        id_column = _id_column(path, table.column_names)
        ids, counts = table[id_column].to_pylist(), table[COUNT_COLUMN].to_pylist()
        return _scatter(path, [index(i) for i in ids], [float(count) for count in counts], vocabulary_length)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UnreadableCounts(f"{path} is not a Parquet table of ids and counts: {error}.") from error


def _whole(row: Mapping[str | None, object]) -> bool:
    """True, unless a row has more fields than there are columns, as with a decimal comma. Raises ValueError."""
    if None in row:
        raise ValueError(f"it has {row[None]} beyond its columns")
    return True


def _id_column(path: Path, columns: Sequence[str]) -> str:
    found = [column for column in ID_COLUMNS if column in columns]
    if len(found) != 1 or any(list(columns).count(column) != 1 for column in (*found, COUNT_COLUMN)):
        raise UnreadableCounts(f"{path} needs columns vocab_id and count; it has {', '.join(columns) or 'none'}.")
    return found[0]


def _scatter(path: Path, ids: list[int], counts: list[float], vocabulary_length: int) -> NDArray[np.float64]:
    """[V] counts from (id, count) rows; each id once, all below V."""
    outside = [i for i in ids if not 0 <= i < vocabulary_length]
    if outside:
        raise WrongVocabularyLength(
            f"{path} counts id {outside[0]}, but the vocabulary has {vocabulary_length:,} ids; "
            "count with this tokenizer."
        )
    twice = [i for i, rows in Counter(ids).items() if rows > 1]
    if twice:
        raise UnreadableCounts(f"{path} counts id {twice[0]} more than once; add its rows up.")
    scattered = np.zeros(vocabulary_length, np.float64)
    scattered[ids] = counts
    return scattered
