"""Checkpoints as modules: filling one module per architecture with the weights of one after another.

Knows Hugging Face folders and PyTorch modules; corpora, windows, measurements and the database are unknown here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ingest.architecture import ArchitectureFacts, UnsupportedArchitecture, architecture_facts, quiet_transformers
from ingest.upload import use_on_current_stream
from ingest.weights import Weights, read_weights
from warehouse.errors import WarehouseError

Attention = Literal["eager", "sdpa"]
Dtype = Literal["float32", "float64"]


#: Modules of several architectures stay built while they take no more than this.
MODULES_BYTES = 4 * 2**30


class WeightsMismatch(WarehouseError):
    """The tensors in the files are not those of the architecture named in the config."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A module holding a checkpoint's weights in the reader's dtype, in evaluation mode.

    The reader fills the same module with the next checkpoint of its architecture: copy what must outlive that.
    """

    model: torch.nn.Module
    sha256: str
    facts: ArchitectureFacts


@dataclass(frozen=True)
class _Module:
    """A built module, the checkpoints it fits, and where their tensors go (None: not known for sure)."""

    model: torch.nn.Module
    architecture_key: str
    stored_names: frozenset[str]
    names: dict[str, str] | None

    @property
    def n_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

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
        self._modules: OrderedDict[str, _Module] = OrderedDict()

    def load(self, checkpoint: Path | Weights) -> LoadedCheckpoint:
        """The checkpoint in a folder, or one already read, as a module on the reader's device.

        A module of an earlier call may be overwritten. Raises the errors of `read_weights`, WeightsMismatch where names
        or shapes are not the architecture's, UnsupportedArchitecture where it is no causal language model.
        """
        weights = read_weights(checkpoint) if isinstance(checkpoint, Path) else checkpoint
        module = self._modules.pop(weights.architecture_key, None)
        if module is not None and module.names is not None and module.fits(weights):
            fill(module.model, weights, module.names)
        else:
            module = None
            self._make_room(self._dtype.itemsize * sum(tensor.numel() for tensor in weights.tensors.values()))
            module = self._build(weights)
        self._modules[weights.architecture_key] = module
        return LoadedCheckpoint(module.model, weights.sha256, architecture_facts(module.model))

    def _make_room(self, n_bytes: int) -> None:
        """Forget the modules used longest ago until those that stay, and one more, are few enough for memory."""
        while self._modules and sum(module.n_bytes for module in self._modules.values()) + n_bytes > MODULES_BYTES:
            self._modules.popitem(last=False)

    def _build(self, weights: Weights) -> _Module:
        model = build(weights, self._attention, self._dtype).to(self._device)
        names = match_names(weights.tensors, model)
        return _Module(model, weights.architecture_key, frozenset(weights.tensors), names)


def stated_facts(folder: Path) -> ArchitectureFacts:
    """What the config in a folder says of its model, whose weights are not opened. Raises UnsupportedArchitecture."""
    with _refusing(folder), quiet_transformers():
        return architecture_facts(_described(folder)[1])


def _described(folder: Path) -> tuple[Any, Any]:
    """The config in a folder and the module that it describes, without memory for its tensors."""
    from transformers import AutoConfig, AutoModelForCausalLM

    auto_model: Any = AutoModelForCausalLM  # its methods have no types
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return config, auto_model.from_config(config, trust_remote_code=False)


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Raise UnsupportedArchitecture for whatever is raised inside: on a damaged config transformers raises anything."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, WarehouseError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedArchitecture(
            f"{folder} is no causal language model that transformers can build ({reason}); leave it out."
        ) from error


def build(weights: Weights, attention: Attention, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A new module holding some weights, through transformers, without running code from their folder."""
    with _refusing(weights.path), quiet_transformers():
        config, empty = _described(weights.path)
        # The tensors that were hashed, not the files once more.
        loaded: Any = type(empty).from_pretrained(
            None,
            config=config,
            state_dict={name: tensor.cpu() for name, tensor in weights.tensors.items()},
            dtype=dtype,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
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

    weights: in memory, or on the device already. names: as from `match_names`. Tensors that share memory (tied
    embeddings) must be stored equal. Raises WeightsMismatch before anything changes.
    """
    state = model.state_dict()
    stored = weights.tensors
    if wrong := [name for name, target in names.items() if stored[name].shape != state[target].shape]:
        _refuse(weights.path, "has other shapes for", wrong)
    if untied := _untied(stored, state, names):
        _refuse(weights.path, "should tie but stores different tensors for", untied)
    use_on_current_stream(stored)
    for name, target in names.items():
        # In the stored format to the device, which upcasts faster than the way there is wide.
        state[target].copy_(stored[name].to(state[target].device))


def _untied(stored: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    first: dict[int, str] = {}
    others = ((name, first.setdefault(state[target].data_ptr(), name)) for name, target in names.items())
    # A tensor with NaN is not even equal to itself; that is for whoever runs the model to say.
    return [name for name, other in others if name != other and not torch.equal(stored[other], stored[name])]
