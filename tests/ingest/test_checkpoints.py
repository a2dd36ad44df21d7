"""Reading checkpoints: the same numbers as transformers, one module per architecture, and clear refusals."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ingest.architecture import UnsupportedArchitecture, VocabularyTooSmall, check_vocabulary, quiet_transformers
from ingest.checkpoints import CheckpointReader, WeightsMismatch, match_names
from ingest.locations import MissingCheckpoint
from ingest.source import FolderSource
from ingest.weight_files import CorruptCheckpoint, UnsafeWeights
from ingest.weights import read_weights
from tests import models


def plain(path: Path) -> dict[str, torch.Tensor]:
    """What transformers makes of a folder, without the reader."""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return dict(model.state_dict())


def assert_holds(model: torch.nn.Module, path: Path) -> None:
    expected = plain(path)
    actual = model.state_dict()
    assert actual.keys() == expected.keys()
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def change_config(path: Path, **entries: Any) -> Path:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | entries))
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return models.save_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_checkpoints_of_one_architecture_fill_one_module_with_what_transformers_loads(
    architecture: str, tied: bool, tmp_path: Path
) -> None:
    shape = models.Shape(tied=tied)
    paths = [models.save_checkpoint(tmp_path / str(seed), architecture, seed=seed, shape=shape) for seed in range(3)]
    reader = CheckpointReader()
    loaded = [reader.load(paths[0])]
    assert_holds(loaded[0].model, paths[0])
    for path in paths[1:]:
        loaded.append(reader.load(path))
        assert_holds(loaded[-1].model, path)
    assert len({id(checkpoint.model) for checkpoint in loaded}) == 1
    assert len({checkpoint.sha256 for checkpoint in loaded}) == 3
    assert not loaded[0].model.training


def test_another_architecture_gets_another_module(tmp_path: Path) -> None:
    reader = CheckpointReader()
    for name, architecture, hidden in (("a", "gpt_neox", 16), ("b", "gpt_neox", 24), ("c", "llama", 24)):
        path = models.save_checkpoint(tmp_path / name, architecture, shape=models.Shape(hidden=hidden))
        assert_holds(reader.load(path).model, path)


def test_half_precision_files_are_loaded_as_float32_the_first_and_every_later_time(tmp_path: Path) -> None:
    reader = CheckpointReader()
    for seed in range(2):
        path = models.save_model(models.make_model(seed=seed).to(torch.bfloat16), tmp_path / str(seed))
        assert read_weights(path).tensors["embed_out.weight"].dtype == torch.bfloat16
        model = reader.load(path).model
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert_holds(model, path)


def test_shards_load_and_hash_like_one_file(tmp_path: Path) -> None:
    model = models.make_model()
    whole = models.save_model(model, tmp_path / "whole")
    shards = models.save_model(model, tmp_path / "shards", max_shard_size="20KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert read_weights(shards).sha256 == read_weights(whole).sha256
    assert_holds(CheckpointReader().load(shards).model, whole)


def test_the_hash_sees_a_value_a_name_a_shape_and_a_type_and_nothing_else(saved: Path) -> None:
    original = read_weights(saved).sha256
    name = "embed_out.weight"

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        tensors["renamed"] = tensors.pop(name)

    changes: list[Callable[[dict[str, torch.Tensor]], Any]] = [
        lambda tensors: tensors[name][0, 0].add_(1e-3),
        rename,
        lambda tensors: tensors.update({name: tensors[name].reshape(-1)}),
        lambda tensors: tensors.update({name: tensors[name].view(torch.int32)}),
    ]
    content = (saved / "model.safetensors").read_bytes()
    hashes = {original}
    for change in changes:
        (saved / "model.safetensors").write_bytes(content)
        hashes.add(read_weights(change_tensors(saved, change)).sha256)
    assert len(hashes) == 1 + len(changes)
    (saved / "model.safetensors").write_bytes(content)
    save_file(load_file(saved / "model.safetensors"), saved / "model.safetensors", metadata={"note": "saved again"})
    assert read_weights(saved).sha256 == original


def test_weights_read_ahead_load_like_their_folder(saved: Path) -> None:
    weights = read_weights(saved)
    loaded = CheckpointReader().load(weights)
    assert loaded.sha256 == weights.sha256
    assert_holds(loaded.model, saved)


def test_an_identical_pair_of_tensors_under_foreign_names_is_not_guessed_at(tmp_path: Path) -> None:
    def foreign(path: Path) -> Path:
        # GPT-2 on the hub has no `transformer.` prefix, and untrained biases are all zero.
        def rename(tensors: dict[str, torch.Tensor]) -> None:
            for name in list(tensors):
                tensor = tensors.pop(name)
                tensors[name.removeprefix("transformer.")] = tensor.zero_() if name.endswith("bias") else tensor

        return change_tensors(path, rename)

    shape = models.Shape(tied=True)
    paths = [foreign(models.save_checkpoint(tmp_path / str(seed), "gpt2", seed=seed, shape=shape)) for seed in range(2)]
    reader = CheckpointReader()
    for path in paths:
        loaded = reader.load(path)
        assert match_names(read_weights(path).tensors, loaded.model) is None
        assert_holds(loaded.model, path)


def test_facts_are_those_of_the_architecture(tmp_path: Path) -> None:
    shape = models.Shape(hidden=8, layers=3, context=48, width=400)
    path = models.save_checkpoint(tmp_path, "llama", shape=shape)
    facts = CheckpointReader().load(path).facts
    attention, mlp, norms = 4 * 8 * 8, 3 * 8 * 32, 2 * 8
    inner = 3 * (attention + mlp + norms) + 8
    assert facts.parameters_without_embeddings == inner
    assert facts.parameters == inner + 2 * 400 * 8
    assert (facts.architecture, facts.hidden_size, facts.layers) == ("LlamaForCausalLM", 8, 3)
    assert (facts.width, facts.context_length) == (400, 48)


def test_tied_embeddings_are_counted_once_and_position_embeddings_left_out(tmp_path: Path) -> None:
    path = models.save_checkpoint(tmp_path, "gpt2", shape=models.Shape(hidden=8, context=48, tied=True))
    facts = CheckpointReader().load(path).facts
    assert facts.parameters - facts.parameters_without_embeddings == (320 + 48) * 8


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(saved: Path) -> None:
    facts = CheckpointReader().load(saved).facts
    check_vocabulary(facts, 320, saved)
    with pytest.raises(VocabularyTooSmall, match=r"321 ids .* only 320; use the tokenizer"):
        check_vocabulary(facts, 321, saved)


# Refusals


@pytest.mark.parametrize("loads_before", [0, 1])
def test_a_missing_tensor_is_refused(loads_before: int, saved: Path, tmp_path: Path) -> None:
    reader = CheckpointReader()
    for i in range(loads_before):
        reader.load(models.save_checkpoint(tmp_path / str(i)))
    change_tensors(saved, lambda tensors: tensors.pop("gpt_neox.final_layer_norm.weight"))
    with pytest.raises(WeightsMismatch, match=r"lacks gpt_neox.final_layer_norm.weight"):
        reader.load(saved)


@pytest.mark.parametrize("loads_before", [0, 1])
def test_a_tensor_of_another_shape_is_refused(loads_before: int, saved: Path, tmp_path: Path) -> None:
    reader = CheckpointReader()
    for i in range(loads_before):
        reader.load(models.save_checkpoint(tmp_path / str(i)))
    change_tensors(saved, lambda tensors: tensors.update({"gpt_neox.final_layer_norm.weight": torch.ones(17)}))
    with pytest.raises(WeightsMismatch, match=r"has other shapes for gpt_neox.final_layer_norm.weight"):
        reader.load(saved)


@pytest.mark.parametrize("loads_before", [0, 1])
def test_an_unknown_tensor_is_refused(loads_before: int, saved: Path, tmp_path: Path) -> None:
    reader = CheckpointReader()
    for i in range(loads_before):
        reader.load(models.save_checkpoint(tmp_path / str(i)))
    change_tensors(saved, lambda tensors: tensors.update({"gpt_neox.layers.2.extra.weight": torch.ones(2)}))
    with pytest.raises(WeightsMismatch, match=r"has unknown gpt_neox.layers.2.extra.weight"):
        reader.load(saved)


def test_a_refused_checkpoint_does_not_spoil_the_next(saved: Path, tmp_path: Path) -> None:
    reader = CheckpointReader()
    good = models.save_checkpoint(tmp_path / "good", seed=1)
    reader.load(good)
    change_tensors(saved, lambda tensors: tensors.pop("gpt_neox.final_layer_norm.weight"))
    with pytest.raises(WeightsMismatch):
        reader.load(saved)
    assert_holds(reader.load(good).model, good)


def test_embeddings_stored_apart_in_a_tied_model_are_refused(tmp_path: Path) -> None:
    shape = models.Shape(tied=True)
    first, second = (models.save_checkpoint(tmp_path / str(i), "gpt2", seed=i, shape=shape) for i in range(2))
    for path, scale in ((first, 1.0), (second, 2.0)):
        change_tensors(path, lambda t, scale=scale: t.update({"lm_head.weight": t["transformer.wte.weight"] * scale}))
    reader = CheckpointReader()
    reader.load(first)
    with pytest.raises(WeightsMismatch, match="should tie but stores different tensors for"):
        reader.load(second)


@pytest.mark.parametrize("kept", [0, 4, 200, 20_000])
def test_a_truncated_file_is_refused(kept: int, saved: Path) -> None:
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(
        CorruptCheckpoint, match=r"model.safetensors is truncated or damaged .*; fetch or save it again"
    ):
        CheckpointReader().load(saved)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    path = models.save_checkpoint(tmp_path, max_shard_size="20KB")
    min(path.glob("model-*.safetensors")).unlink()
    with pytest.raises(
        CorruptCheckpoint, match=r"model-00001-of-.*is named in the index of its checkpoint and missing"
    ):
        CheckpointReader().load(path)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_config_is_refused(content: str, saved: Path) -> None:
    (saved / "config.json").write_text(content)
    with pytest.raises(CorruptCheckpoint, match=r"config.json"):
        CheckpointReader().load(saved)


def test_pickled_weights_are_refused_with_what_to_do(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match="save the model again as safetensors"):
        CheckpointReader().load(saved)


class RunsWhenRead:
    """What a hostile pickle holds: reading it in the usual way makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def pickle_weights(saved: Path, content: Any) -> Path:
    (saved / "model.safetensors").unlink()
    torch.save(content, saved / "pytorch_model.bin")
    return saved


def test_pickles_that_are_allowed_hold_the_same_weights_and_fill_the_same_module(saved: Path, tmp_path: Path) -> None:
    other = models.save_checkpoint(tmp_path / "other", seed=1)
    sha256, tensors = read_weights(saved).sha256, load_file(saved / "model.safetensors")
    expected = CheckpointReader().load(saved).model.state_dict()
    weights = read_weights(pickle_weights(saved, tensors), allow_pickle=True)
    assert weights.sha256 == sha256
    for readers_first in (saved, other):  # built anew, and filled into a module that is there
        reader = CheckpointReader()
        reader.load(read_weights(readers_first, allow_pickle=True))
        actual = reader.load(weights).model.state_dict()
        assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_pickle_with_code_is_refused_and_its_code_not_run(saved: Path, tmp_path: Path) -> None:
    pickle_weights(saved, {"weight": RunsWhenRead(tmp_path / "made")})
    with pytest.raises(
        UnsafeWeights, match=r"pytorch_model.bin holds more than tensors .*save the model as safetensors"
    ):
        read_weights(saved, allow_pickle=True)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], {"weight": 3}, torch.ones(2), {"weight": torch.eye(2).to_sparse()}]
)
def test_a_pickle_of_anything_but_named_tensors_is_refused(saved: Path, content: Any) -> None:
    with pytest.raises(CorruptCheckpoint, match="holds no named tensors"):
        read_weights(pickle_weights(saved, content), allow_pickle=True)


@pytest.mark.parametrize("kept", [0, 100, 20_000])
def test_a_truncated_pickle_is_refused(saved: Path, kept: int) -> None:
    file = pickle_weights(saved, load_file(saved / "model.safetensors")) / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises((CorruptCheckpoint, UnsafeWeights), match=r"damaged"):
        read_weights(saved, allow_pickle=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_of_flipped_bytes_is_refused_whatever_it_makes_the_unpickler_raise(saved: Path, legacy: bool) -> None:
    file = pickle_weights(saved, load_file(saved / "model.safetensors")) / "pytorch_model.bin"
    if legacy:
        torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)
    whole, draw = file.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for place in draw.choices(range(3000), k=3):
            damaged[place] = draw.randrange(256)
        file.write_bytes(damaged)
        try:
            read_weights(saved, allow_pickle=True)
        except (CorruptCheckpoint, UnsafeWeights):
            refused += 1
    assert refused > 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who must not read")
def test_a_folder_that_must_not_be_read_is_one_damaged_checkpoint(reachable_directory: Path) -> None:
    root = models.save_suite(reachable_directory / "closed", ["tiny"], seeds=(0,), steps=(0, 1))
    closed, open_one = root / "tiny" / "seed0" / "step0", root / "tiny" / "seed0" / "step1"
    closed.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(CorruptCheckpoint, match=r"step0 cannot be read \(Permission denied\)"):
            read_weights(closed)
        source = FolderSource(root)
        assert source.tokenizer(source.locate()) == open_one
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("place", ["../model.safetensors", "model.bin", "/etc/passwd"])
def test_an_index_leads_to_no_file_but_safetensors_beside_it(saved: Path, place: str) -> None:
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": place}}))
    with pytest.raises(CorruptCheckpoint, match=r"which is no .safetensors file beside it"):
        read_weights(saved)


def test_a_folder_without_weights_or_without_config_or_no_folder_is_a_missing_checkpoint(
    saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingCheckpoint, match="no checkpoint folder"):
        CheckpointReader().load(tmp_path / "step7")
    (saved / "model.safetensors").unlink()
    with pytest.raises(MissingCheckpoint, match=r"holds no model.safetensors"):
        CheckpointReader().load(saved)
    models.save_checkpoint(saved)
    (saved / "config.json").unlink()
    with pytest.raises(MissingCheckpoint, match=r"config.json does not exist"):
        CheckpointReader().load(saved)


@pytest.mark.parametrize(
    "entries",
    [
        {"model_type": "no-such-model"},
        {"model_type": "t5"},
        {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Model", "AutoConfig": "mine.Config"}},
    ],
)
def test_what_is_no_causal_language_model_of_transformers_is_refused(entries: dict[str, Any], saved: Path) -> None:
    (saved / "mine.py").write_text("raise SystemExit('code from a checkpoint was run')")
    change_config(saved, **entries)
    with pytest.raises(UnsupportedArchitecture, match="no causal language model that transformers can build"):
        CheckpointReader().load(saved)
