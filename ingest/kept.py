"""Where readouts are kept for later runs, by the digest of what they were made from.

Names of files only; what is in them is unknown here.
"""

from __future__ import annotations

from pathlib import Path

from warehouse.home import home


def kept_readouts() -> Path:
    """The folder of kept readouts."""
    return home() / "readouts"


def kept_file(folder: Path, key: str) -> Path:
    """The file of a readout in such a folder."""
    return folder / f"{key}.safetensors"


def is_kept(folder: Path, key: str) -> bool:
    """Whether an earlier run kept a readout; whether it is intact shows when it is wanted."""
    return kept_file(folder, key).is_file()
