"""What references that a study names later cost: checkpoints that were measured without them and are read again.

Sets of checkpoints and one sentence about them; files and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from ingest.plan import Cell

#: Steps that are listed one by one.
_LISTED = 8


@dataclass(frozen=True)
class Rereading:
    """references: names that some measured checkpoints were not held against yet. again: those checkpoints that must be
    read for it; kept: those whose readouts an earlier run kept, so that they need not be.
    """

    references: tuple[str, ...]
    again: tuple[Cell, ...]
    kept: tuple[Cell, ...]

    def __bool__(self) -> bool:
        """Whether any measured checkpoint lacks a reference."""
        return bool(self.references)

    def __str__(self) -> str:
        named = " and ".join(filter(None, [", ".join(self.references[:-1]), self.references[-1]]))
        new = f"Reference {named} is new" if len(self.references) == 1 else f"References {named} are new"
        total = len(self.again) + len(self.kept)
        to = f"{new} to {total} measured checkpoint{'s' if total > 1 else ''}"
        if not self.again:
            return f"{to}: none is read again, since all their readouts were kept."
        kept = f", and not {len(self.kept)} more, whose readouts were kept" if self.kept else ""
        return f"{to}: {_listed(self.again)} {'is' if len(self.again) == 1 else 'are'} read again{kept}."


def rereading(lacking: Mapping[Cell, Collection[str]], is_kept: Callable[[Cell], bool]) -> Rereading:
    """lacking: names of references that a measured checkpoint was not held against. is_kept: is its readout kept."""
    cells = sorted(cell for cell, names in lacking.items() if names)
    kept = [cell for cell in cells if is_kept(cell)]
    names = dict.fromkeys(name for cell in cells for name in sorted(lacking[cell]))
    return Rereading(tuple(names), tuple(cell for cell in cells if cell not in set(kept)), tuple(kept))


def _listed(cells: Iterable[Cell]) -> str:
    """Cells in words, seeds with the same steps together."""
    parts = []
    for model, of_model in groupby(sorted(cells), lambda cell: cell.model):
        steps: dict[int, list[int]] = {}
        for cell in of_model:
            steps.setdefault(cell.seed, []).append(cell.step)
        seeds: dict[tuple[int, ...], list[int]] = {}
        for seed, own in steps.items():
            seeds.setdefault(tuple(own), []).append(seed)
        parts += [f"{model} {_numbers('seed', same)} {_numbers('step', own)}" for own, same in seeds.items()]
    return "; ".join(parts)


def _numbers(what: str, numbers: Collection[int]) -> str:
    """`step 4`, `steps 0, 1, 4`, or of many `154 steps from 0 to 143000`."""
    if len(numbers) > _LISTED:
        return f"{len(numbers)} {what}s from {min(numbers)} to {max(numbers)}"
    return f"{what}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
