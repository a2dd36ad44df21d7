"""What a study would take: checkpoints, gigabytes to read, comparisons, values and rows to write.

Arithmetic on a plan, before anything is read: it knows no database, and counts as if that were empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest.plan import Cell, Contrast, Grid, Pair, cohorts, contrasts, home
from ingest.source import Source
from ingest.study import Study

CHUNK_TOKENS = 256
#: Values of a token in score_chunk (docs/methods.md §1).
SCORES = 9
#: Stored bytes of one value, its share of keys, pages and indexes included.
BYTES_PER_VALUE = 6


@dataclass(frozen=True)
class ModelEstimate:
    """One model. here: checkpoints that need no network; absent: wanted, but not below the folder; n_bytes: to read."""

    model: str
    n_seeds: int
    n_steps: int
    here: int
    absent: int
    n_bytes: int | None

    @property
    def n_checkpoints(self) -> int:
        """Checkpoints wanted, absent ones included."""
        return self.n_seeds * self.n_steps


@dataclass(frozen=True)
class KindEstimate:
    """One kind of comparison. at_most: which pairs it has is known only when surprisals are."""

    kind: str
    n_comparisons: int
    n_pairs: int
    at_most: bool = False

    @property
    def token_means(self) -> int:
        """Comparisons that keep their mean for each token."""
        return 0 if self.kind == "cross" else self.n_comparisons


@dataclass(frozen=True)
class Estimate:
    """A study in numbers. n_tokens: None where neither the text nor the study says. n_evaluations: checkpoints to read.

    n_references, top_k: as the study says. n_pairs: ordered pairs, each counted once whatever kinds have it;
    n_token_pairs: those of which the KL of every token is kept. readout_bytes: of all readouts; shelf_bytes: of those
    that are wanted at a time, at most; both None where tokens or sizes of models are unknown.
    """

    models: tuple[ModelEstimate, ...]
    kinds: tuple[KindEstimate, ...]
    n_tokens: int | None
    n_evaluations: int
    n_references: int
    n_pairs: int
    n_token_pairs: int
    top_k: int
    readout_bytes: int | None
    shelf_bytes: int | None

    @property
    def values_per_token(self) -> int:
        """Values that each token adds, over all facts."""
        per_evaluation = SCORES + self.n_references + 2 * self.top_k
        # Of the seeds of a step the entropy of their mean prediction is kept too.
        means = sum(kind.token_means * (2 if kind.kind == "seed" else 1) for kind in self.kinds)
        return self.n_evaluations * per_evaluation + self.n_token_pairs + means

    @property
    def n_values(self) -> int:
        """Values to write; 0 where the tokens are unknown."""
        return self.values_per_token * (self.n_tokens or 0)

    @property
    def n_rows(self) -> int:
        """Rows of facts to write: each holds 256 tokens of one evaluation, pair or comparison."""
        per_evaluation = 1 + self.n_references + bool(self.top_k)
        means = sum(kind.token_means for kind in self.kinds)
        units = self.n_evaluations * per_evaluation + self.n_token_pairs + means
        return units * -(-(self.n_tokens or 0) // CHUNK_TOKENS)

    @property
    def n_bytes(self) -> int:
        """Bytes that these rows take on disk, about."""
        return self.n_values * BYTES_PER_VALUE


def estimate(study: Study, source: Source, grids: Sequence[Grid], n_tokens: int | None) -> Estimate:
    """The study in numbers. grids: what it wants of the source's checkpoints, one a model."""
    wanted = list(contrasts(study.kinds, grids, study.custom))
    kept = {pair for contrast in wanted if contrast.kind != "cross" for pair in contrast.pairs}
    every = {pair for contrast in wanted for pair in contrast.pairs}
    models = tuple(_model(grid, source) for grid in grids)
    kinds = [*_kinds(wanted), *_matched(study, grids)]
    unplanned = sum(kind.n_pairs for kind in kinds if kind.at_most)
    sizes = _readout_sizes(source, grids, n_tokens)
    return Estimate(
        models=models,
        kinds=tuple(kinds),
        n_tokens=n_tokens,
        n_evaluations=sum(model.n_checkpoints - model.absent for model in models),
        n_references=len(study.references),
        n_pairs=len(every) + unplanned,
        n_token_pairs=len(kept) + unplanned,
        top_k=study.top_k,
        readout_bytes=None if sizes is None else _bytes_of(_present(grids), sizes),
        shelf_bytes=None if sizes is None else max(_bytes_of(held, sizes) for held in _shelves(study, grids, wanted)),
    )


def _model(grid: Grid, source: Source) -> ModelEstimate:
    wanted = [grid.locations[cell] for cell in grid.cells() if cell in grid.locations]
    sizes = [source.n_bytes(location) for location in wanted]
    return ModelEstimate(
        model=grid.model,
        n_seeds=len(grid.seeds),
        n_steps=len(grid.steps),
        here=sum(source.is_here(location) for location in wanted),
        absent=len(grid.seeds) * len(grid.steps) - len(wanted),
        n_bytes=None if None in sizes else sum(size for size in sizes if size is not None),
    )


def readout_bytes(n_tokens: int, width: int, hidden_size: int) -> int:
    """Bytes of a checkpoint's readout: final hidden states [T, d] and output head [V, d], in float32."""
    return 4 * hidden_size * (n_tokens + width)


def _readout_sizes(source: Source, grids: Sequence[Grid], n_tokens: int | None) -> dict[str, int] | None:
    """Bytes of a readout by model; None where tokens, or sizes of some model, are unknown."""
    sizes = {}
    for grid in grids:
        shape = next(filter(None, map(source.head_shape, grid.locations.values())), None)
        if n_tokens is None or shape is None:
            return None
        sizes[grid.model] = readout_bytes(n_tokens, *shape)
    return sizes


def _bytes_of(cells: Iterable[Cell], sizes: Mapping[str, int]) -> int:
    return sum(sizes[cell.model] for cell in cells)


def _present(grids: Iterable[Grid]) -> set[Cell]:
    return {cell for grid in grids for cell in grid.cells() if cell in grid.locations}


def _shelves(study: Study, grids: Sequence[Grid], wanted: Sequence[Contrast]) -> Iterator[set[Cell]]:
    """The checkpoints of each cohort whose readouts are wanted at a time, where these are most.

    Of a model those of a step, of the step before and of the last one; besides, those of all pairs that no visit to a
    step has in common, which kind `matched` may have anywhere.
    """
    for members in cohorts(study.kinds, grids):
        by_model = {grid.model: grid for grid in members}
        here = [contrast for contrast in wanted if contrast.model in by_model]
        apart = [c for c in here if c.kind == "cross" or any(home(pair, by_model) is None for pair in c.pairs)]
        kept = {cell for contrast in apart for pair in contrast.pairs for cell in pair}
        everywhere = "matched" in study.kinds and len(members) > 1
        yield {
            cell
            for cell in _present(members)
            if everywhere or cell in kept or cell.step in by_model[cell.model].steps[-3:]
        }


def _kinds(wanted: Iterable[Contrast]) -> list[KindEstimate]:
    comparisons: Counter[str] = Counter()
    pairs: dict[str, set[Pair]] = {}
    for contrast in wanted:
        comparisons[contrast.kind] += 1
        pairs.setdefault(contrast.kind, set()).update(contrast.pairs)
    return [KindEstimate(kind, count, len(pairs[kind])) for kind, count in comparisons.items()]


def _matched(study: Study, grids: Sequence[Grid]) -> list[KindEstimate]:
    """Kind matched, which the plan cannot know: each step of a model has one partner in every other model."""
    if "matched" not in study.kinds or len(grids) < 2:
        return []
    comparisons = sum(len(grid.steps) * (len(grids) - 1) for grid in grids)
    pairs = sum(
        len(grid.steps) * len({*grid.seeds} & {*other.seeds}) for grid in grids for other in grids if other is not grid
    )
    return [KindEstimate("matched", comparisons, pairs, at_most=True)]
