"""A checkpoint's readout with what is known of it, in memory or in a file that is read slice by slice.

The file is safetensors, whose metadata say the rest. Which readouts exist, and where they lie, is unknown here.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.architecture import ArchitectureFacts
from ingest.logits import Readout, Rows
from ingest.weights import hash_tensors
from warehouse.errors import WarehouseError

#: Where tensors begin in the file, as they do in memory, so that products take the same path through either.
_ALIGNMENT = 64
#: Raised when files of before must not be read any more.
_VERSION = 1


class DamagedReadout(WarehouseError):
    """A file of a readout is truncated, altered, or of another version."""


@dataclass(frozen=True)
class Shelved:
    """All that later work needs of a checkpoint once its weights are gone.

    window: inputs a forward pass saw at most. seconds: what reading it took. anisotropy: of the final hidden states.
    head_singular_values: [d] float32, largest first.
    """

    readout: Readout
    weights_sha256: str
    facts: ArchitectureFacts
    window: int
    seconds: float
    anisotropy: float | None
    head_singular_values: NDArray[np.float32]

    @property
    def n_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in _tensors(self).values())


class OpenFile:
    """A file that stays open as long as somebody may read it, also after it was deleted or replaced."""

    def __init__(self, descriptor: int) -> None:
        """Takes over an open descriptor."""
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def read(self, offset: int, into: memoryview) -> None:
        """Fill a buffer with bytes from `offset` on; threads may read at once. Raises DamagedReadout at its end."""
        rest = into.cast("B")
        while rest:
            count = os.preadv(self.descriptor, [rest], offset)
            if count == 0:
                raise DamagedReadout("A file of a readout ended early: start the ingestion again.")
            rest, offset = rest[count:], offset + count

    def map(self, offset: int, n_bytes: int) -> memoryview:
        """Bytes of the file as memory that the system reads on demand, and may take back."""
        before = offset % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self.descriptor, before + n_bytes, access=mmap.ACCESS_COPY, offset=offset - before)
        return memoryview(mapped)[before:]


class StoredRows:
    """Rows of a [T, d] float32 tensor in a file: `rows[a:b]` reads those and gives them on the device."""

    def __init__(self, file: OpenFile, offset: int, shape: tuple[int, int], device: torch.device) -> None:
        self._file, self._offset, self._shape, self._device = file, offset, shape, device

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("rows of a file are read in order, without gaps")
        block = torch.empty(max(stop - start, 0), self._shape[1])
        if block.numel():
            self._file.read(self._offset + start * self._shape[1] * block.itemsize, block.numpy().data)
        return block.to(self._device)


def write_shelved(file: IO[bytes], held: Shelved, *, sealed: bool) -> None:
    """Write a readout; sealed: with a digest of its tensors, for a file that outlives the process."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(held).items()}
    metadata = {"readout": json.dumps(_description(held))}
    if sealed:
        metadata["sha256"] = hash_tensors(tensors)
    file.write(_header(tensors, metadata))
    for tensor in tensors.values():
        file.write(tensor.numpy().data.cast("B"))


def read_shelved(file: OpenFile, device: torch.device, *, sealed: bool) -> Shelved:
    """The readout of a file. Its hidden states stay there, the head is mapped, or copied to a device that is no CPU.

    sealed: compare the tensors with the digest in the file first. Raises DamagedReadout.
    """
    try:
        places, metadata, data = _read_header(file)
        description = json.loads(metadata["readout"])
        tensors = {name: _mapped(file, data, place) for name, place in places.items()}
        intact = description["version"] == _VERSION and (not sealed or metadata["sha256"] == hash_tensors(tensors))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DamagedReadout(f"It cannot be read ({error}).") from error
    if not intact:
        raise DamagedReadout("Its content is not what was written.")
    place = places["hidden"]
    rows = StoredRows(file, data + place["data_offsets"][0], tuple(place["shape"]), device)
    return _shelved(description, rows, tensors, device)


def _tensors(held: Shelved) -> dict[str, Tensor]:
    readout = held.readout
    bias = {} if readout.bias is None else {"bias": readout.bias}
    # The matrices first: each row of theirs is a multiple of the alignment, so the second begins aligned too.
    values = torch.from_numpy(held.head_singular_values)
    return {"head": readout.head, "hidden": readout.hidden[:], **bias, "head_singular_values": values}


def _description(held: Shelved) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "scale": held.readout.scale,
        "softcap": held.readout.softcap,
        "weights_sha256": held.weights_sha256,
        "facts": asdict(held.facts),
        "window": held.window,
        "seconds": held.seconds,
        "anisotropy": held.anisotropy,
    }


def _shelved(
    description: Mapping[str, Any], hidden: Rows, tensors: Mapping[str, Tensor], device: torch.device
) -> Shelved:
    bias = tensors.get("bias")
    return Shelved(
        Readout(
            hidden,
            tensors["head"].to(device),
            None if bias is None else bias.to(device),
            description["scale"],
            description["softcap"],
        ),
        description["weights_sha256"],
        ArchitectureFacts(**description["facts"]),
        description["window"],
        description["seconds"],
        description["anisotropy"],
        tensors["head_singular_values"].numpy().copy(),
    )


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON of the safetensors format, filled up with spaces to the alignment."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _read_header(file: OpenFile) -> tuple[dict[str, Any], dict[str, str], int]:
    """Places of the tensors, metadata, and where the data begin. Raises ValueError where the file has another size."""
    size = os.fstat(file.descriptor).st_size
    length = bytearray(8)
    file.read(0, memoryview(length))
    data = 8 + int.from_bytes(length, "little")
    if data > size:
        raise ValueError("it ends within its header")
    text = bytearray(data - 8)
    file.read(8, memoryview(text))
    places = json.loads(text)
    metadata = places.pop("__metadata__")
    if data + max(place["data_offsets"][1] for place in places.values()) != size:
        raise ValueError("it is truncated")
    return places, metadata, data


def _mapped(file: OpenFile, data: int, place: Mapping[str, Any]) -> Tensor:
    start, end = place["data_offsets"]
    if place["dtype"] != "F32" or 4 * prod(place["shape"]) != end - start:
        raise ValueError("it holds something else than readouts")
    values = np.frombuffer(file.map(data + start, end - start), dtype=np.float32)
    return torch.from_numpy(values).reshape(place["shape"])
