"""Where checkpoints are: folders on this machine and revisions on the hub, by model, seed and step.

Names and paths only; what lies there is not opened.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from warehouse.errors import WarehouseError


class MissingCheckpoint(WarehouseError):
    """A folder that should hold a checkpoint is not there, or holds none."""


class SameCheckpoint(WarehouseError):
    """Two folders have names of the same checkpoint."""


class MissingRevision(WarehouseError):
    """The study names a model, seed or step that does not exist."""


@dataclass(frozen=True, order=True)
class CheckpointLocation:
    """One checkpoint.

    source: the root folder or the repository on the hub. revision: the folder below the root, or the revision of the
    repository. path: of a local folder; None for the hub, which is asked when the checkpoint is fetched.
    """

    model: str
    seed: int
    step: int
    source: str
    revision: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed} step {self.step}"


def find_checkpoints(root: Path) -> list[CheckpointLocation]:
    """Every checkpoint below `root`, in order of model, seed and step.

    Raises MissingCheckpoint when there is none, SameCheckpoint where two folders stand for one.
    """
    if not root.is_dir():
        raise MissingCheckpoint(f"There is no folder {root}; give the folder that holds {{model}}/seed{{n}}/step{{n}}.")
    found = sorted(filter(None, (_in_folder(root, path) for path in root.glob("*/seed*/step*") if path.is_dir())))
    if not found:
        raise MissingCheckpoint(f"{root} holds no checkpoint; they are looked for as {{model}}/seed{{n}}/step{{n}}.")
    for one, other in pairwise(found):
        if (one.model, one.seed, one.step) == (other.model, other.seed, other.step):
            raise SameCheckpoint(
                f"Below {root} both {one.revision} and {other.revision} are {one}: keep one of the two folders there."
            )
    return found


def _in_folder(root: Path, path: Path) -> CheckpointLocation | None:
    seed = re.fullmatch(r"seed(\d+)", path.parent.name)
    step = re.fullmatch(r"step(\d+)", path.name)
    if not (seed and step):
        return None
    revision = path.relative_to(root).as_posix()
    return CheckpointLocation(path.parents[1].name, int(seed[1]), int(step[1]), str(root), revision, path)


def nearest(value: object, known: Collection[object]) -> str:
    """What could have been meant: the nearest numbers, or the names most alike, as the end of a sentence."""
    if not known:
        return "none are known"
    if isinstance(value, int):
        near: list[object] = sorted(known, key=lambda other: (abs(int(str(other)) - value), str(other)))[:3]
    else:
        near = [*difflib.get_close_matches(str(value), [str(other) for other in known])] or sorted(known, key=str)[:5]
    return f"nearest are {', '.join(str(other) for other in near)}"
