"""The weights of a checkpoint as they lie in a Hugging Face folder: config, tensors and their hash.

Reads JSON and safetensors and nothing else; what the tensors are for is unknown here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from warehouse.errors import WarehouseError

#: Entries of a config that say nothing about the shape or arithmetic of the module.
_INCIDENTAL = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"})


class MissingCheckpoint(WarehouseError):
    """A folder that should hold a checkpoint is not there, or holds none."""


class CorruptCheckpoint(WarehouseError):
    """A file of a checkpoint is truncated or cannot be read."""


class UnsafeWeights(WarehouseError):
    """The weights are stored as pickles, which run code when they are read."""


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint as stored, by the names in its files.

    sha256: over name, dtype, shape and bytes of each tensor in order of names, so neither sharding nor file metadata
    count, and equal hashes mean equal weights.
    """

    path: Path
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    sha256: str

    @property
    def architecture_key(self) -> str:
        """Equal for checkpoints that fit one module: their configs agree in everything that matters."""
        return json.dumps({k: v for k, v in self.config.items() if k not in _INCIDENTAL}, sort_keys=True)


def read_weights(path: Path) -> Weights:
    """Config, tensors and hash of the checkpoint in folder `path`; touches no module, so it may run ahead in a thread.

    Raises MissingCheckpoint, UnsafeWeights or CorruptCheckpoint.
    """
    files = weight_files(path)
    config = read_json(path / "config.json")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read_tensors(file))
    return Weights(path, config, tensors, hash_tensors(tensors))


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint, one or the shards named in its index."""
    if not path.is_dir():
        raise MissingCheckpoint(f"There is no checkpoint folder {path}; drop this step from the study or create it.")
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
            raise CorruptCheckpoint(f"{index} names no files of weights; fetch or save it again.")
        return [path / name for name in sorted(set(places.values()))]
    if any(path.glob("*.bin")):
        raise UnsafeWeights(
            f"{path} holds pickled weights (.bin), which are not read; save the model again as safetensors."
        )
    raise MissingCheckpoint(f"{path} holds no model.safetensors; save the model there in Hugging Face format.")


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


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise CorruptCheckpoint(
            f"{file} is named in the index of its checkpoint and missing; fetch it again."
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptCheckpoint(f"{file} is truncated or damaged ({error}); fetch or save it again.") from error


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal sha256 over name, dtype, shape and bytes of each tensor, in order of names."""
    digest = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        bytes_of_tensor: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
        digest.update(bytes_of_tensor)
    return digest.hexdigest()
