"""The weights of a checkpoint: config, tensors and their hash.

Reads safetensors, and pickles of tensors where that is allowed; what the tensors are for is unknown here.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ingest.weight_files import PICKLE, CorruptCheckpoint, LostWeights, UnsafeWeights, read_json, weight_files

#: Entries of a config that say nothing about the shape or arithmetic of the module.
_INCIDENTAL = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"})


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
        return architecture_key(self.config)


def architecture_key(config: Mapping[str, Any]) -> str:
    """What a config says of the shape and arithmetic of its module, as one string."""
    return json.dumps({k: v for k, v in config.items() if k not in _INCIDENTAL}, sort_keys=True)


def read_weights(path: Path, *, allow_pickle: bool = False) -> Weights:
    """Config, tensors and hash of the checkpoint in folder `path`; touches no module, so it may run ahead in a thread.

    allow_pickle: read `.bin` files where there is no safetensors file; only tensors are taken from them, and no code
    in them runs. Raises MissingCheckpoint, UnsafeWeights or CorruptCheckpoint; LostWeights for a file that is named and
    not there.
    """
    files = weight_files(path, allow_pickle=allow_pickle)
    config = read_json(path / "config.json")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read_pickle(file) if file.suffix == PICKLE else _read_tensors(file))
    return Weights(path, config, tensors, hash_tensors(tensors))


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise LostWeights(f"{file} is named in the index of its checkpoint and missing; fetch it again.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptCheckpoint(f"{file} is truncated or damaged ({error}); fetch or save it again.") from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    """Tensors of a pickle, by torch's own unpickler, which knows tensors and containers and calls nothing else."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LostWeights(f"{file} is named in the index of its checkpoint and missing; fetch it again.") from None
    except pickle.UnpicklingError as error:
        raise UnsafeWeights(
            f"{file} holds more than tensors ({_first_line(error)}), or is damaged, and is not read: "
            "save the model as safetensors."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # what a damaged pickle makes an unpickler raise is anything
        raise CorruptCheckpoint(
            f"{file} is truncated or damaged ({_first_line(error)}); fetch or save it again."
        ) from error
    if not isinstance(content, dict) or not all(_is_dense(value) for value in content.values()):
        raise CorruptCheckpoint(f"{file} holds no named tensors; save the model again as safetensors.")
    return content


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()[:160].rstrip(".")


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal sha256 over name, dtype, shape and bytes of each tensor, in order of names."""
    digest = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        bytes_of_tensor: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
        digest.update(bytes_of_tensor)
    return digest.hexdigest()
