"""Where and with what a value was computed: device, kernels, library versions, tile, threads."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from ingest.compiled import TILES, Path
from warehouse.errors import WarehouseError


class NoDevice(WarehouseError):
    """The device is not on this machine."""


def choose_device(name: str) -> str:
    """The torch device for a name: auto is a GPU where there is one. Raises NoDevice."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise NoDevice(f"There is no device {name}: use cpu, cuda or auto.") from None
    if device.type not in TILES:
        raise NoDevice(f"Nothing is measured on device {name}: use cpu, cuda or auto.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NoDevice(
            f"This machine has no GPU that torch can use, so --device {name} cannot be had: use --device cpu."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NoDevice(f"This machine has {torch.cuda.device_count()} GPUs, numbered from 0, and so no {name}.")
    return name


def describe_environment(device: str, attention: str, kernels: Path = "eager") -> dict[str, str | int]:
    """The description that is kept with every evaluation and pair. kernels: which way tiles are reduced."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "kernels": kernels,
        "attention": attention,
        "tile": TILES["cuda" if on_gpu else "cpu"],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "token-warehouse": version("token-warehouse"),
    }
