"""Checkpoints in folders: finding them, and filling one module per architecture with their weights.

Knows Hugging Face folders and PyTorch modules; corpora, windows, measurements and the database are unknown here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ingest.architecture import ArchitectureFacts, UnsupportedArchitecture, architecture_facts, quiet_transformers
from ingest.weights import MissingCheckpoint, Weights, read_weights
from warehouse.errors import WarehouseError

Attention = Literal["eager", "sdpa"]
Dtype = Literal["float32", "float64"]


class WeightsMismatch(WarehouseError):
    """The tensors in the files are not those of the architecture named in the config."""


@dataclass(frozen=True, order=True)
class CheckpointLocation:
    """One checkpoint of the layout `{root}/{model}/seed{n}/step{n}`."""

    model: str
    seed: int
    step: int
    path: Path


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A module holding a checkpoint's weights in the reader's dtype, in evaluation mode.

    The reader fills the same module with the next checkpoint of its architecture: copy what must outlive that.
    """

    model: torch.nn.Module
    sha256: str
    facts: ArchitectureFacts


def find_checkpoints(root: Path) -> list[CheckpointLocation]:
    """Every checkpoint below `root`, in order of model, seed and step. Raises MissingCheckpoint when there is none."""
    if not root.is_dir():
        raise MissingCheckpoint(f"There is no folder {root}; give the folder that holds {{model}}/seed{{n}}/step{{n}}.")
    found = sorted(filter(None, (_location(path) for path in root.glob("*/seed*/step*") if path.is_dir())))
    if not found:
        raise MissingCheckpoint(f"{root} holds no checkpoint; they are looked for as {{model}}/seed{{n}}/step{{n}}.")
    return found


def _location(path: Path) -> CheckpointLocation | None:
    seed = re.fullmatch(r"seed(\d+)", path.parent.name)
    step = re.fullmatch(r"step(\d+)", path.name)
    return CheckpointLocation(path.parents[1].name, int(seed[1]), int(step[1]), path) if seed and step else None


@dataclass(frozen=True)
class _Module:
    """A built module, the checkpoints it fits, and where their tensors go (None: not known for sure)."""

    model: torch.nn.Module
    architecture_key: str
    stored_names: frozenset[str]
    names: dict[str, str] | None

    def fits(self, weights: Weights) -> bool:
        """Whether a checkpoint has the config and the tensor names that the module was built for."""
        return self.architecture_key == weights.architecture_key and self.stored_names == weights.tensors.keys()


class CheckpointReader:
    """Loads checkpoints, upcast to one dtype; builds a module once per architecture and copies later weights into it.

    The names in the files may differ from those of the module (GPT-NeoX stores `embed_out` for `lm_head`). The first
    checkpoint of an architecture is loaded by transformers; a name is then trusted only where the contents agree, and
    where they leave doubt, or other names appear, the next checkpoint goes through transformers as well.
    """

    def __init__(self, device: str = "cpu", attention: Attention = "sdpa", dtype: Dtype = "float32") -> None:
        self._device, self._attention = torch.device(device), attention
        self._dtype = {"float32": torch.float32, "float64": torch.float64}[dtype]
        self._module: _Module | None = None

    def load(self, checkpoint: Path | Weights) -> LoadedCheckpoint:
        """The checkpoint in a folder, or one already read, as a module on the reader's device.

        The module of an earlier call is overwritten. Raises the errors of `read_weights`, WeightsMismatch where names
        or shapes are not the architecture's, UnsupportedArchitecture where it is no causal language model.
        """
        weights = read_weights(checkpoint) if isinstance(checkpoint, Path) else checkpoint
        module = self._module
        if module is not None and module.names is not None and module.fits(weights):
            fill(module.model, weights, module.names)
        else:
            # Forget the old module first: memory for two is not a given.
            self._module = module = None
            self._module = module = self._build(weights)
        return LoadedCheckpoint(module.model, weights.sha256, architecture_facts(module.model))

    def _build(self, weights: Weights) -> _Module:
        model = build(weights, self._attention, self._dtype).to(self._device)
        names = match_names(weights.tensors, model)
        return _Module(model, weights.architecture_key, frozenset(weights.tensors), names)


def build(weights: Weights, attention: Attention, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A new module of the weights' folder, through transformers, without running code from the folder."""
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                weights.path,
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # on a damaged config transformers raises whatever its parts raise
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedArchitecture(
            f"{weights.path} is no causal language model that transformers can build ({reason}); leave it out."
        ) from error
    model, report = loaded
    _check_report(report, weights.path)
    module: torch.nn.Module = model.eval().requires_grad_(False)
    return module


def _check_report(report: Mapping[str, Any], path: Path) -> None:
    problems = {
        "lacks": report["missing_keys"],
        "has unknown": report["unexpected_keys"],
        "has other shapes for": [key[0] for key in report["mismatched_keys"]],
    }
    for problem, keys in problems.items():
        if keys:
            _refuse(path, problem, keys)


def _refuse(path: Path, problem: str, names: Any) -> None:
    first, *rest = sorted(names)
    more = f" and {len(rest)} more" if rest else ""
    raise WeightsMismatch(
        f"The checkpoint in {path} {problem} {first}{more}; its weights and its config.json belong to different models."
    )


def match_names(stored: Mapping[str, Tensor], model: torch.nn.Module) -> dict[str, str] | None:
    """Which tensor of the module each stored one went to: {stored name: module name}, proven by content.

    A tensor goes to its namesake, or else to the only unnamed one of equal content; stored tensors that the module does
    not use are left out. None where some tensor of the module could come from several, or from none unchanged.
    """
    state = model.state_dict()
    names = {name: name for name in stored if name in state and _same(stored[name], state[name])}
    covered = {state[name].data_ptr() for name in names}
    for target in state:
        if state[target].data_ptr() in covered:
            continue
        sources = [name for name in stored if name not in names and _same(stored[name], state[target])]
        if len(sources) != 1:
            return None
        names[sources[0]] = target
        covered.add(state[target].data_ptr())
    return names


def _same(stored: Tensor, loaded: Tensor) -> bool:
    return stored.shape == loaded.shape and bool((stored.to(loaded.device, loaded.dtype) == loaded).all())


@torch.no_grad()
def fill(model: torch.nn.Module, weights: Weights, names: Mapping[str, str]) -> None:
    """Copy stored tensors into the module in place, upcast on its device.

    names: as from `match_names`. Tensors that share memory (tied embeddings) must be stored equal.
    Raises WeightsMismatch before anything changes.
    """
    state = model.state_dict()
    stored = weights.tensors
    if wrong := [name for name, target in names.items() if stored[name].shape != state[target].shape]:
        _refuse(weights.path, "has other shapes for", wrong)
    if untied := _untied(stored, state, names):
        _refuse(weights.path, "should tie but stores different tensors for", untied)
    for name, target in names.items():
        state[target].copy_(stored[name].to(state[target].device))


def _untied(stored: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    first: dict[int, str] = {}
    others = ((name, first.setdefault(state[target].data_ptr(), name)) for name, target in names.items())
    # A tensor with NaN is not even equal to itself; that is for whoever runs the model to say.
    return [name for name, other in others if name != other and not torch.equal(stored[other], stored[name])]
