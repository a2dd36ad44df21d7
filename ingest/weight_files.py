"""Which files of a Hugging Face folder hold its weights, and its JSON files.

Looks at names and reads JSON; opens no weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ingest.locations import MissingCheckpoint
from warehouse.errors import WarehouseError

PICKLE = ".bin"
#: The files that transformers writes: all weights in one, or an index of several; in order of preference.
_NAMES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


class CorruptCheckpoint(WarehouseError):
    """A file of a checkpoint is truncated or cannot be read."""


class LostWeights(CorruptCheckpoint):
    """A file of a checkpoint's weights is named and not there, or was there a moment ago."""


class UnsafeWeights(WarehouseError):
    """The weights are stored as pickles, which run code when they are read."""


def weight_files(path: Path, *, allow_pickle: bool = False) -> list[Path]:
    """The files of a checkpoint's weights: one, or the shards named in its index; safetensors before pickles.

    Raises MissingCheckpoint where there is none, UnsafeWeights where there are pickles only and these are not allowed,
    CorruptCheckpoint for an index that cannot be used, or a folder that must not be read.
    """
    try:
        return _weight_files(path, allow_pickle=allow_pickle)
    except OSError as error:
        raise CorruptCheckpoint(f"{path} cannot be read ({error.strerror}); open it to you, or drop it.") from error


def _weight_files(path: Path, *, allow_pickle: bool) -> list[Path]:
    if not path.is_dir():
        raise MissingCheckpoint(f"There is no checkpoint folder {path}; drop this step from the study or create it.")
    for single, index in _NAMES if allow_pickle else _NAMES[:1]:
        if (path / single).is_file():
            return [path / single]
        if (path / index).is_file():
            return _shards(path / index)
    if any(path.glob("*.bin")):
        raise UnsafeWeights(
            f"{path} holds pickled weights (.bin) only, which could run code: pass --allow-pickle to read tensors from "
            "them and nothing else, or save the model again as safetensors."
        )
    raise MissingCheckpoint(f"{path} holds no model.safetensors; save the model there in Hugging Face format.")


def _shards(index: Path) -> list[Path]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CorruptCheckpoint(f"{index} names no files of weights; fetch or save it again.")
    # A name alone, so that an index leads nowhere else; and a pickle's index leads to no other kind of file.
    suffix = PICKLE if index.name.startswith("pytorch") else ".safetensors"
    if wrong := [name for name in places.values() if Path(name).name != name or Path(name).suffix != suffix]:
        raise CorruptCheckpoint(f"{index} names {min(wrong)}, which is no {suffix} file beside it; fetch it again.")
    return [index.parent / name for name in sorted(set(places.values()))]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from `file`. Raises MissingCheckpoint or CorruptCheckpoint."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingCheckpoint(f"{file} does not exist; {file.parent} is no Hugging Face checkpoint.") from None
    except OSError as error:
        raise CorruptCheckpoint(f"{file} cannot be read ({error.strerror}); fetch or save it again.") from error
    except ValueError as error:
        raise CorruptCheckpoint(f"{file} is not valid JSON ({error}); fetch or save it again.") from error
    if not isinstance(content, dict):
        raise CorruptCheckpoint(f"{file} holds no JSON object; fetch or save it again.")
    return content
