"""Readouts of tiny real models against the models' own logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from ingest.architecture import UnsupportedArchitecture, VocabularyTooSmall, quiet_transformers
from ingest.checkpoints import CheckpointReader
from ingest.logits import NonFiniteLogits, Readout
from ingest.measure import measure
from ingest.readout import _batches
from ingest.readout import read as read_passes
from ingest.scores import VocabularyClasses
from ingest.windows import InvalidWindow, WindowPolicy, context_lengths, measured, passes, windows
from tests import models

WINDOW = 32


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.tensor(models.token_ids())


def read(model: Any, ids: torch.Tensor, *, window: int, stride: int | None = None, **options: Any) -> Readout:
    """The readout under policy `concatenated`."""
    return read_passes(model, ids, windows(len(ids) - 1, window, stride), **options)


def plain_logits(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(inputs.unsqueeze(0)).logits[0]
    return logits


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_readout_of_one_window_gives_the_logits_of_a_plain_forward_pass(
    architecture: str, tied: bool, ids: torch.Tensor
) -> None:
    model = models.make_model(architecture, shape=models.Shape(tied=tied))
    readout = read(model, ids[:50], window=64)
    assert readout.hidden.shape == (49, 16)
    torch.testing.assert_close(readout.logits(), plain_logits(model, ids[:49]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_target_is_predicted_from_its_own_window(architecture: str, ids: torch.Tensor) -> None:
    model = models.make_model(architecture)
    readout = read(model, ids, window=WINDOW, stride=16, batch_size=3)
    assert len(readout.hidden) == len(ids) - 1
    for target in [0, 1, 31, 32, 47, 48, 100, len(ids) - 2]:
        start = 0 if target < WINDOW else (target - WINDOW) // 16 * 16 + 16
        expected = plain_logits(model, ids[start : target + 1])[-1]
        torch.testing.assert_close(readout.logits()[target], expected, rtol=0, atol=1e-5)


POLICIES: tuple[WindowPolicy, ...] = ("concatenated", "documents", "truncated")


def lengths_of_documents(ids: torch.Tensor) -> list[int]:
    """Some documents, several of one length, that together hold the tokens."""
    lengths = [7, 7, 31, 33, 40, 7, 1, 40, 1]
    return [*lengths, len(ids) - 1 - sum(lengths)]


def surprisals(readout: Readout, ids: torch.Tensor) -> NDArray[np.float32]:
    classes = VocabularyClasses(320, torch.arange(10, 90), torch.arange(90, 99), 0)
    return measure([readout], ids[1:], classes=classes, scores=[0]).scores[0].surprisal


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("window", [13, WINDOW])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_surprisal_depends_on_its_window_alone_and_not_on_its_batch_to_the_last_bit(
    architecture: str, policy: WindowPolicy, window: int, ids: torch.Tensor
) -> None:
    model = models.make_model(architecture)
    parts = passes(policy, len(ids) - 1, lengths_of_documents(ids), window)
    with torch_threads(2):
        one, three, eight = (surprisals(read_passes(model, ids, parts, batch_size=size), ids) for size in (1, 3, 8))
        usual = surprisals(read_passes(model, ids, parts), ids)
    assert np.array_equal(one, three)
    assert np.array_equal(one, eight)
    assert np.array_equal(one, usual)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_value_does_not_depend_on_the_number_of_threads(policy: WindowPolicy, ids: torch.Tensor) -> None:
    model = models.make_model()
    parts = passes(policy, len(ids) - 1, lengths_of_documents(ids), 13)
    hidden = []
    for threads in (1, 2, 3):
        with torch_threads(threads):
            hidden.append(read_passes(model, ids, parts).hidden[:])
            assert torch.get_num_threads() == threads
    assert torch.equal(hidden[0], hidden[1])
    assert torch.equal(hidden[0], hidden[2])


@pytest.mark.parametrize("batch_size", [1, 8])
def test_fewer_windows_than_threads_are_run_alone(batch_size: int, ids: torch.Tensor) -> None:
    model = models.make_model()
    parts = passes("concatenated", 39, [39], 13, 13)
    with torch_threads(8):
        shared = read_passes(model, ids[:40], parts, batch_size=batch_size).hidden[:]
        usual = read_passes(model, ids[:40], parts).hidden[:]
    assert torch.equal(shared, usual)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_target_is_predicted_from_the_context_of_its_policy(
    architecture: str, policy: WindowPolicy, bos: bool, ids: torch.Tensor
) -> None:
    model, window = models.make_model(architecture), 12
    ids = torch.cat([torch.tensor([5]), ids[1:]])  # a BOS that no document ends with
    lengths = lengths_of_documents(ids)
    known = measured(policy, len(ids) - 1, lengths, bos=bos)
    readout = read_passes(model, ids, passes(policy, len(ids) - 1, lengths, window, bos=bos), measured=known)
    assert len(readout.hidden) == known.sum()
    contexts = context_lengths(policy, len(ids) - 1, lengths, window, bos=bos)
    begins = {0, *np.cumsum(lengths).tolist()} if policy == "documents" else {0}
    for target in [0, 1, 6, 7, 13, 14, 44, 45, 57, 60, 77, 78, 79, 200, len(ids) - 2]:
        begin = max(start for start in begins if start <= target)
        seen = [5] * (bos or policy == "truncated") + ids[begin + 1 : target + 1].tolist()
        assert known[target] == bool(seen)
        if not seen:
            continue
        if len(seen) > contexts[target]:
            seen = seen[-contexts[target] :] if policy != "truncated" or not bos else [5, *seen[1 - window :]]
        expected = plain_logits(model, torch.tensor(seen))[-1]
        row = int(known[:target].sum())
        torch.testing.assert_close(readout.logits(slice(row, row + 1))[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_kinds_of_attention_read_the_same(attention: Any, ids: torch.Tensor, tmp_path: Path) -> None:
    model = CheckpointReader(attention=attention).load(models.save_checkpoint(tmp_path)).model
    assert model.config._attn_implementation == attention
    alone = read(model, ids, window=WINDOW, batch_size=1)
    together = read(model, ids, window=WINDOW, batch_size=7)
    assert torch.equal(together.hidden[:], alone.hidden[:])
    plain = plain_logits(models.make_model(), ids[:WINDOW])
    torch.testing.assert_close(alone.logits(slice(0, WINDOW)), plain, rtol=0, atol=1e-5)


def test_weights_in_float64_give_states_in_float32(ids: torch.Tensor) -> None:
    model = models.make_model().double()
    readout = read(model, ids[:40], window=64)
    assert readout.hidden[:].dtype == torch.float32
    expected = plain_logits(model, ids[:39]).float()
    torch.testing.assert_close(readout.logits(), expected, rtol=0, atol=1e-5)


def test_windows_shorter_than_what_proves_the_head_are_read(ids: torch.Tensor) -> None:
    readout = read(models.make_model(), ids, window=4)
    assert len(readout.hidden) == len(ids) - 1


def test_windows_that_leave_tokens_out_are_refused(ids: torch.Tensor) -> None:
    with pytest.raises(InvalidWindow, match=f"do not cover the {len(ids) - 1} tokens"):
        read_passes(models.make_model(), ids, windows(20, 8))


def test_on_a_gpu_batches_of_one_length_have_one_shape() -> None:
    parts = passes("documents", 120, [7] * 10 + [50], 40)
    batches = list(_batches(parts, torch.device("cuda"), 4))
    shapes = {(len(batch.filled), part.n_inputs) for batch in batches for part in batch.filled}
    assert shapes == {(1, 40), (1, 30), (4, 7)}
    assert sorted((part for batch in batches for part in batch.parts), key=lambda part: part.first_target) == parts


def test_a_readout_outlives_the_weights_it_was_read_from(ids: torch.Tensor, tmp_path: Path) -> None:
    paths = [models.save_checkpoint(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    reader = CheckpointReader()
    readout = read(reader.load(paths[0]).model, ids, window=WINDOW)
    before = readout.logits()
    reader.load(paths[1])
    assert torch.equal(readout.logits(), before)


def test_reading_leaves_the_model_as_it_was(ids: torch.Tensor) -> None:
    model = models.make_model()
    before = plain_logits(model, ids[:20])
    read(model, ids, window=WINDOW)
    assert torch.equal(plain_logits(model, ids[:20]), before)
    assert before.shape == (20, 320)


def test_progress_counts_every_target_once(ids: torch.Tensor) -> None:
    done: list[int] = []
    read(models.make_model(), ids, window=WINDOW, batch_size=4, progress=done.append)
    assert sum(done) == len(ids) - 1
    assert len(done) > 1


SMALL = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        (CohereForCausalLM, CohereConfig(**SMALL, logit_scale=0.0625)),
        (GraniteForCausalLM, GraniteConfig(**SMALL, logits_scaling=4.0)),
        (
            Gemma2ForCausalLM,
            Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=3.0, attn_implementation="eager"),
        ),
    ],
)
def test_scaled_and_capped_logits_are_reproduced(family: Any, config: Any, ids: torch.Tensor) -> None:
    torch.manual_seed(0)
    with quiet_transformers():
        model = family(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40)
    logits = plain_logits(model, ids[:40])
    assert logits.abs().max() > 1
    readout = read(model, ids[:41], window=64)
    assert readout.scale != 1 or readout.softcap == 3
    torch.testing.assert_close(readout.logits(), logits, rtol=1e-5, atol=1e-5)


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused(ids: torch.Tensor) -> None:
    model = models.make_model()
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: logits * 1.01)
    with pytest.raises(UnsupportedArchitecture, match="GPTNeoXForCausalLM changes its logits"):
        read(model, ids, window=WINDOW)


def test_a_model_without_an_output_head_is_refused(ids: torch.Tensor) -> None:
    model = models.make_model().base_model
    with pytest.raises(UnsupportedArchitecture, match="no linear output head"):
        read(model, ids, window=WINDOW)


def test_weights_with_nan_are_refused_alone(ids: torch.Tensor) -> None:
    model = models.make_model()
    with torch.no_grad():
        model.base_model.layers[1].mlp.dense_h_to_4h.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteLogits, match="The checkpoint gives NaN or infinite logits"):
        read(model, ids, window=WINDOW)


def test_ids_the_model_does_not_know_are_refused(ids: torch.Tensor) -> None:
    model = models.make_model(shape=models.Shape(width=300))
    with pytest.raises(VocabularyTooSmall, match="and the model embeds 300; use the model's own tokenizer"):
        read(model, ids, window=WINDOW)


def test_a_window_beyond_the_context_of_the_model_is_refused(ids: torch.Tensor) -> None:
    with pytest.raises(InvalidWindow, match="65 inputs exceeds the model's context of 64"):
        read(models.make_model("gpt2"), ids, window=65)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_measured_values_are_those_of_the_same_model_in_float64(architecture: str, ids: torch.Tensor) -> None:
    both = [models.make_model(architecture, seed=seed, step=8) for seed in (0, 1)]
    readouts = [read(model, ids[:61], window=64) for model in both]
    classes = VocabularyClasses(320, torch.arange(10, 90), torch.arange(90, 99), 0)
    result = measure(readouts, ids[1:61], classes=classes, scores=[0], pairs=[(0, 1)])
    log_p, log_q = (log_softmax(plain_logits(model.double(), ids[:60]).numpy(), axis=-1) for model in both)
    np.testing.assert_allclose(result.kl[0, 1], (np.exp(log_p) * (log_p - log_q)).sum(-1), rtol=1e-5, atol=1e-9)
    surprisal = -log_p[np.arange(60), ids[1:61]]
    np.testing.assert_allclose(result.scores[0].surprisal, surprisal, rtol=1e-5, atol=1e-9)


def test_a_trained_llama_continues_as_published(shared_data: Path) -> None:
    golden = np.load(shared_data / "stories260K" / "golden_greedy_ids.npy").ravel()
    model = CheckpointReader().load(shared_data / "stories260K" / "hf_llama").model
    readout = read(model, golden, window=512)
    assert readout.logits().argmax(-1).tolist() == golden[1:].tolist()
