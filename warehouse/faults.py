"""Rules for checkpoints that hold something else than their name says: doubles, and what does not fit its neighbours.

Pure functions on what was measured, docs/methods.md §9; this module may not know a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

#: A training run's checkpoint: (seed, step).
Cell = tuple[int, int]
#: Mean surprisal in nats, by checkpoint.
Curve = Mapping[Cell, float]

#: Steps at which equal weights may be genuine, learning rates being next to nothing.
FIRST_STEPS = (0, 1)
#: How far a mean surprisal may lie outside: nats, and a share of the gap between its neighbours.
MARGIN, MARGIN_OF_GAP = 0.05, 0.10


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that was read. weights: their hash; released: judged good by hand, so that no rule condemns it."""

    cell: Cell
    weights: str
    released: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a checkpoint that is not good. status: duplicate or suspect."""

    status: str
    reason: str


def judge(candidates: Sequence[Candidate], curves: Mapping[str, Curve]) -> dict[Cell, Verdict]:
    """The checkpoints of one model that are not what they are called, and why.

    curves: mean surprisals by what was measured on, such as a corpus. A checkpoint that is suspect on one of them is
    suspect. Of several with the same weights those that do not fit go first; of the rest the first step is kept.
    The order of the candidates does not matter.
    """
    spared = {candidate.cell for candidate in candidates if candidate.released}
    known = {candidate.cell for candidate in candidates}
    found: dict[Cell, Verdict] = {}
    for name in sorted(curves):
        curve = {cell: value for cell, value in curves[name].items() if cell in known}
        for cell, reason in suspects(curve, spared).items():
            found.setdefault(cell, Verdict("suspect", f"{reason}, on {name}"))
    doubles = duplicates([candidate for candidate in candidates if candidate.cell not in found], curves)
    return found | {cell: Verdict("duplicate", reason) for cell, reason in doubles.items()}


def duplicates(candidates: Iterable[Candidate], curves: Mapping[str, Curve] | None = None) -> dict[Cell, str]:
    """Checkpoints with the weights of another one of their run, each with the reason, which names the other.

    The one that keeps its name is one released by hand, else one that is at its step what other seeds are, else the
    first. Step 1 may equal step 0.
    """
    known = list((curves or {}).values())
    found: dict[Cell, str] = {}
    for group in _same_weights(candidates).values():
        keeper = min(group, key=lambda each: (not each.released, _strangeness(each.cell, known), each.cell))
        for other in group:
            early = {keeper.cell[1], other.cell[1]} <= {*FIRST_STEPS}
            if other is not keeper and not other.released and not early:
                found[other.cell] = f"the same weights as step {keeper.cell[1]} (sha256 {other.weights[:12]})"
    return found


def early_twins(candidates: Iterable[Candidate]) -> dict[Cell, str]:
    """Notes on checkpoints of the first two steps whose weights are equal."""
    notes: dict[Cell, str] = {}
    for group in _same_weights(candidates).values():
        early = [candidate.cell for candidate in group if candidate.cell[1] in FIRST_STEPS]
        if len(early) == len(FIRST_STEPS):
            notes |= dict.fromkeys(early, "steps 0 and 1 have the same weights, as may be where training warms up")
    return notes


def suspects(curve: Curve, spared: Iterable[Cell] = ()) -> dict[Cell, str]:
    """Checkpoints whose mean surprisal fits neither their neighbours in training nor the other seeds, with the reason.

    The most conspicuous one is judged first and left out of the curve, so that it does not make its neighbours look
    wrong. spared: those that are good whatever it looks like.
    """
    left, spared = dict(curve), {*spared}
    found: dict[Cell, str] = {}
    while conspicuous := {
        cell: misfit for cell, misfit in _misfits(left).items() if misfit.excess > 0 and cell not in spared
    }:
        worst = max(conspicuous, key=lambda cell: (conspicuous[cell].excess, cell))
        found[worst] = conspicuous[worst].reason
        del left[worst]
    return found


@dataclass(frozen=True)
class _Misfit:
    """How far beyond the margin a mean surprisal lies, in nats; negative within it."""

    excess: float
    reason: str


def _misfits(curve: Curve) -> dict[Cell, _Misfit]:
    """How each checkpoint lies between the steps before and after it; the first and last of a run are left out."""
    found: dict[Cell, _Misfit] = {}
    for _, run in groupby(sorted(curve), key=itemgetter(0)):
        cells = list(run)
        for around in zip(cells, cells[1:], cells[2:], strict=False):
            found[around[1]] = _misfit(curve, *around)
    return found


def _misfit(curve: Curve, before: Cell, cell: Cell, after: Cell) -> _Misfit:
    neighbours = (curve[before], curve[after])
    margin = MARGIN + MARGIN_OF_GAP * abs(neighbours[0] - neighbours[1])
    excess = _outside(curve[cell], neighbours) - margin
    reason = (
        f"mean surprisal {curve[cell]:.3f} nats lies outside {_range(neighbours)} of steps {before[1]} and {after[1]}"
    )
    others = [value for (seed, step), value in curve.items() if step == cell[1] and seed != cell[0]]
    if others and excess > 0:
        reason += f" and outside {_range(others)} of the other seeds"
        excess = min(excess, _outside(curve[cell], others) - margin)
    return _Misfit(excess, reason)


def _strangeness(cell: Cell, curves: Iterable[Curve]) -> float:
    """Nats by which a mean surprisal lies outside those of the other seeds at its step, beyond the margin."""
    found = [0.0]
    for curve in curves:
        others = [value for (seed, step), value in curve.items() if step == cell[1] and seed != cell[0]]
        if others and cell in curve:
            found.append(_outside(curve[cell], others) - MARGIN)
    return max(found)


def _outside(value: float, others: Sequence[float]) -> float:
    """Distance to the range of the others; negative within it."""
    return max(min(others) - value, value - max(others))


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def _same_weights(candidates: Iterable[Candidate]) -> dict[tuple[int, str], list[Candidate]]:
    """Checkpoints by run and weights, those alone left out."""
    groups: dict[tuple[int, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.cell[0], candidate.weights), []).append(candidate)
    return {key: sorted(group, key=lambda each: each.cell) for key, group in groups.items() if len(group) > 1}
