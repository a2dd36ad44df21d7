"""What a study wants: which checkpoints, and which ordered pairs of them.

Arithmetic on names and steps; the ledger and the models are unknown here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, groupby, pairwise, permutations
from typing import NamedTuple

from ingest.locations import CheckpointLocation, MissingRevision, nearest
from ingest.study import BadStudy, CustomSpec, Study

#: Kinds that hold models against each other, so that their checkpoints are visited together.
ACROSS_MODELS = ("size", "matched", "cross", "custom")


class Cell(NamedTuple):
    """One checkpoint of a study."""

    model: str
    seed: int
    step: int

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed} step {self.step}"


Pair = tuple[Cell, Cell]


@dataclass(frozen=True)
class Grid:
    """The checkpoints of one model that a study wants. locations: of those that exist; a wanted one may be missing."""

    model: str
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    locations: Mapping[Cell, CheckpointLocation]

    @property
    def last(self) -> int:
        """The last step of the study's list."""
        return self.steps[-1]

    @cached_property
    def place(self) -> dict[int, int]:
        """Position of each step in the list."""
        return {step: number for number, step in enumerate(self.steps)}

    def cells(self) -> Iterator[Cell]:
        """Every cell, in order of steps."""
        return (Cell(self.model, seed, step) for step in self.steps for seed in self.seeds)


@dataclass(frozen=True)
class Contrast:
    """What one comparison compares: ordered pairs of cells, p of (model, step), q of (model_q, step_q)."""

    kind: str
    model: str
    step: int
    model_q: str
    step_q: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Work:
    """What one pass computes. groups: for each step at which two seeds are paired, all seeds there, to be mixed."""

    scored: Sequence[Cell]
    pairs: Sequence[Pair]
    groups: Sequence[tuple[Cell, ...]] = ()

    @cached_property
    def index(self) -> dict[Cell, int]:
        """The cells that take part, numbered."""
        cells = {*self.scored, *chain.from_iterable(self.pairs), *chain.from_iterable(self.groups)}
        return {cell: number for number, cell in enumerate(sorted(cells))}


# --- which checkpoints --------------------------------------------------------------------------------------------


def survey(study: Study, found: Sequence[CheckpointLocation]) -> list[Grid]:
    """What the study wants of the checkpoints that were found, one grid a model, small models first.

    A seed whose folder is not there is missing like any checkpoint, if the others are. Raises MissingRevision for a
    model or step that no checkpoint has, and for seeds none of which exists, or which a suite on the hub does not name.
    """
    by_model: dict[str, list[CheckpointLocation]] = {}
    for location in found:
        by_model.setdefault(location.model, []).append(location)
    _refuse_unknown("model {}", study.models, by_model.keys(), study, found)
    wanted = [model for model in by_model if model in study.models or not study.models]
    return [_grid(study, model, by_model[model]) for model in sorted(wanted, key=natural)]


def _grid(study: Study, model: str, found: Sequence[CheckpointLocation]) -> Grid:
    locations = {Cell(model, location.seed, location.step): location for location in found}
    seeds, steps = {cell.seed for cell in locations}, {cell.step for cell in locations}
    if found[0].path is None or seeds.isdisjoint(study.seeds):
        _refuse_unknown(f"seed {{}} of {model}", study.seeds, seeds, study, found)
    _refuse_unknown(f"step {{}} of {model}", study.steps, steps, study, found)
    return Grid(model, study.seeds or tuple(sorted(seeds)), study.steps or tuple(sorted(steps)), locations)


def models_compared(study: Study, grids: Sequence[Grid]) -> dict[str, set[tuple[str, str]]]:
    """The pairs of models, each once, that a study's kinds hold against each other; of `matched`, those it may."""
    found: dict[str, set[tuple[str, str]]] = {kind: set() for kind in ACROSS_MODELS if kind in study.kinds}
    for one, other in combinations(grids, 2):
        if not {*one.seeds}.isdisjoint(other.seeds):
            for kind in found.keys() - {"custom"}:
                if kind != "size" or not {*one.steps}.isdisjoint(other.steps):
                    found[kind].add((one.model, other.model))
    if "custom" in found:
        found["custom"] = {(spec.model, spec.model_q) for spec in study.custom if spec.model != spec.model_q}
    return found


def require_partners(study: Study, grids: Sequence[Grid]) -> None:
    """Raise BadStudy for a kind between models that no two of them could answer."""
    for kind, models in models_compared(study, grids).items():
        if not models and kind != "custom":
            common = "a seed and a step" if kind == "size" else "a seed"
            raise BadStudy(
                f"Kind {kind} of study {study.name} compares models with {common} in common, and of "
                f"{', '.join(grid.model for grid in grids)} there are no two: add such a model, or drop the kind."
            )


_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def natural(name: str) -> tuple[float, str]:
    """Order of model names: by the first size in them, so that 9m comes before 14m, and 410m before 1.4b."""
    number = r"(\d+(?:\.\d+)?)"
    size = re.search(number + r"([kmbt])(?![a-z])", name.lower()) or re.search(number + "()", name)
    return (float(size[1]) * _UNITS[size[2]] if size else 0.0, name)


def _refuse_unknown(
    what: str,
    wanted: Collection[object],
    known: Collection[object],
    study: Study,
    found: Sequence[CheckpointLocation],
) -> None:
    for value in wanted:
        if value not in known:
            local = bool(found) and found[0].path is not None
            where = f"below {study.root}" if local else f"in suite {study.suite}"
            mend = ", or add its checkpoints" if local else ""
            raise MissingRevision(
                f"Study {study.name} names {what.format(value)}, which is not {where}; "
                f"{nearest(value, known)}. Drop it from the study{mend}."
            )


# --- which pairs (docs/methods.md §2) -----------------------------------------------------------------------------


def contrasts(kinds: Collection[str], grids: Sequence[Grid], custom: Sequence[CustomSpec] = ()) -> Iterator[Contrast]:
    """The comparisons of each kind over these grids, with their ordered pairs; `matched` is not known before scoring.

    custom: the comparisons that a study lists, for kind `custom`. Raises MissingRevision for one it does not measure.
    """
    return (contrast for contrast in _contrasts(kinds, grids, custom) if contrast.pairs)


def _contrasts(kinds: Collection[str], grids: Sequence[Grid], custom: Sequence[CustomSpec]) -> Iterator[Contrast]:
    for grid in grids:
        yield from _within(kinds, grid)
    for one, other in permutations(grids, 2):
        if "size" in kinds:
            yield from (_same_seeds("size", one, step, other, step) for step in one.steps if step in other.place)
        if "cross" in kinds:
            yield from (_same_seeds("cross", one, s, other, t) for s in one.steps for t in other.steps)
    if "custom" in kinds:
        yield from _custom({grid.model: grid for grid in grids}, custom)


def _within(kinds: Collection[str], grid: Grid) -> Iterator[Contrast]:
    """Comparisons of a model with itself."""
    if "seed" in kinds and len(grid.seeds) > 1:
        for step in grid.steps:
            cells = [Cell(grid.model, seed, step) for seed in grid.seeds]
            yield Contrast("seed", grid.model, step, grid.model, step, tuple(permutations(cells, 2)))
    spans = {"step": list(pairwise(grid.steps)), "final": [(step, grid.last) for step in grid.steps[:-1]]}
    for kind, pairs in spans.items():
        for earlier, later in pairs:
            if kind in kinds:
                yield _same_seeds(kind, grid, earlier, grid, later)
            if f"{kind}_reverse" in kinds:
                yield _same_seeds(f"{kind}_reverse", grid, later, grid, earlier)


def _same_seeds(kind: str, one: Grid, step: int, other: Grid, step_q: int) -> Contrast:
    """Each seed of one model at a step held against the same seed of another, or of itself, at another step."""
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    pairs = tuple((Cell(one.model, seed, step), Cell(other.model, seed, step_q)) for seed in seeds)
    return Contrast(kind, one.model, step, other.model, step_q, pairs)


def _custom(grids: Mapping[str, Grid], listed: Sequence[CustomSpec]) -> Iterator[Contrast]:
    """What a study lists, the entries of one comparison put together. Raises MissingRevision."""

    def key(spec: CustomSpec) -> tuple[str, int, str, int]:
        return (spec.model, spec.step, spec.model_q, spec.step_q)

    for (model, step, model_q, step_q), entries in groupby(sorted(listed, key=key), key):
        one, other = _known(grids, model, step), _known(grids, model_q, step_q)
        pairs: dict[Pair, None] = {}
        for entry in entries:
            for seed, seed_q in _listed_seeds(entry, one, other):
                pairs[Cell(model, seed, step), Cell(model_q, seed_q, step_q)] = None
        yield Contrast("custom", model, step, model_q, step_q, tuple(pairs))


def _listed_seeds(entry: CustomSpec, one: Grid, other: Grid) -> list[tuple[int, int]]:
    """The seeds of p and q that an entry means: those it names, or each that both have with its like."""
    if entry.seed is not None:
        seeds = (entry.seed, entry.seed if entry.seed_q is None else entry.seed_q)
        for grid, seed in zip((one, other), seeds, strict=True):
            _require_listed(f"seed {{}} of {grid.model}", seed, grid.seeds, {cell.seed for cell in grid.locations})
        return [seeds]
    if common := [(seed, seed) for seed in one.seeds if seed in other.seeds]:
        return common
    raise MissingRevision(
        f"A custom comparison of {one.model} and {other.model} names no seeds, and they have none in common: "
        "give seed and seed_q."
    )


def _known(grids: Mapping[str, Grid], model: str, step: int) -> Grid:
    _require_listed("model {}", model, grids, {model})
    grid = grids[model]
    _require_listed(f"step {{}} of {model}", step, grid.place, {cell.step for cell in grid.locations})
    return grid


def _require_listed(what: str, value: object, measured: Collection[object], known: Collection[object]) -> None:
    """Raise MissingRevision for what a custom comparison names and the study leaves out, or nobody has."""
    if value not in measured:
        mend = "add it there, or mend the [[custom]] table" if value in known else "mend the [[custom]] table"
        raise MissingRevision(
            f"A custom comparison names {what.format(value)}, which the study does not measure; "
            f"{nearest(value, measured)}: {mend}."
        )


def matched_contrasts(grids: Sequence[Grid], mean_surprisal: Mapping[tuple[str, int], float]) -> Iterator[Contrast]:
    """Kind `matched`: each model at each step against another one at its step of nearest mean surprisal.

    mean_surprisal: nats, by model and step, over its seeds, of all that was measured. Of two steps equally near, the
    earlier; one that the study leaves out is another study's matter.
    """
    for one, other in permutations(grids, 2):
        candidates = [step for model, step in mean_surprisal if model == other.model]
        for step in one.steps:
            mine = mean_surprisal.get((one.model, step))
            if mine is not None and candidates:
                nearest = min(candidates, key=lambda t: (abs(mean_surprisal[other.model, t] - mine), t))
                if nearest in other.place:
                    yield _same_seeds("matched", one, step, other, nearest)


# --- where a pair is measured -------------------------------------------------------------------------------------


def home(pair: Pair, grids: Mapping[str, Grid]) -> Cell | None:
    """The cell at whose visit a pair is measured: None where steps of no common visit are compared.

    A pair at one step is measured there; a pair with the last step, whose readouts stay, at the other one; a pair of
    neighbouring steps at the later one.
    """
    p, q = pair
    if p.step == q.step:
        # Of two models' cells the one whose step is not its last, so that the pair waits for the block of that step.
        return min(pair, key=lambda cell: (cell.step == grids[cell.model].last, cell))
    if p[:2] != q[:2]:
        return None
    grid = grids[p.model]
    earlier, later = sorted(pair)
    if later.step == grid.last:
        return earlier
    return later if grid.place[later.step] - grid.place[earlier.step] == 1 else None


def cohorts(kinds: Iterable[str], grids: Sequence[Grid]) -> list[tuple[Grid, ...]]:
    """Models that are visited together: all, where some kind holds models against each other, else each alone."""
    if set(kinds).intersection(ACROSS_MODELS):
        return [tuple(grids)]
    return [(grid,) for grid in grids]
