"""What most checkpoints of a model say of themselves, so that an odd one among them is known before it is read.

Reads the config.json of folders and nothing else of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ingest.architecture import ArchitectureFacts, UnsupportedArchitecture
from ingest.checkpoints import stated_facts
from ingest.weight_files import read_json
from ingest.weights import architecture_key
from warehouse.errors import WarehouseError


def usual_facts(folders: Iterable[Path]) -> ArchitectureFacts | None:
    """The sizes that most of some checkpoints state; of sizes equally often stated, those of the first checkpoint.

    None where all configs agree, so that whichever is read first will tell, or where none can be used.
    """
    alike: dict[str, list[Path]] = {}
    for folder, config in _configs(folders):
        alike.setdefault(architecture_key(config), []).append(folder)
    if len(alike) < 2:
        return None
    stated: Counter[ArchitectureFacts] = Counter()
    for members in alike.values():
        try:
            # Configs that differ in what has no effect on sizes are counted together.
            stated[stated_facts(members[0])] += len(members)
        except UnsupportedArchitecture:
            continue
    return max(stated, key=lambda facts: stated[facts], default=None)


def usual_width(folders: Iterable[Path]) -> int | None:
    """The number of logits that most of some checkpoints state, None where none does."""
    widths = Counter(config.get("vocab_size") for _, config in _configs(folders))
    return max((width for width in widths if isinstance(width, int)), key=lambda width: widths[width], default=None)


def _configs(folders: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The readable configs of some folders; a damaged one is recorded when its checkpoint's turn comes."""
    for folder in folders:
        try:
            yield folder, read_json(folder / "config.json")
        except WarehouseError:
            continue
