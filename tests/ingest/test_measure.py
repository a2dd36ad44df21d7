"""The tiled driver: complete, independent of the tile, and clear about what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from ingest.compiled import Path
from ingest.logits import NonFiniteLogits, Readout, exact_float32
from ingest.measure import IncompatibleVocabulary, Measurement, VocabularyPolicy, measure, scored_width
from ingest.scores import VocabularyClasses

TOKENS, HIDDEN, LENGTH, WIDTH = 150, 24, 700, 720
PATHS = pytest.mark.parametrize("path", ["eager", "compiled"])
CLASSES = VocabularyClasses(LENGTH, torch.arange(100, 500), torch.arange(500, 530), 0)


def make_readout(seed: int, width: int = WIDTH, **options: Any) -> Readout:
    common, own = torch.Generator().manual_seed(1), torch.Generator().manual_seed(100 + seed)
    shapes = (TOKENS, HIDDEN), (width, HIDDEN)
    hidden, head = (torch.randn(shape, generator=common) + 0.3 * torch.randn(shape, generator=own) for shape in shapes)
    return Readout(hidden, 0.25 * head, **options)


@pytest.fixture
def readouts() -> list[Readout]:
    return [make_readout(seed) for seed in range(3)]


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(0, LENGTH, (TOKENS,), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def references() -> dict[str, Tensor]:
    counts = torch.arange(1, LENGTH + 1, dtype=torch.float64)
    return {"rising": (counts / counts.sum()).log().float(), "uniform": torch.full((LENGTH,), -np.log(LENGTH))}


def everything(readouts: list[Readout], targets: Tensor, references: dict[str, Tensor], **options: Any) -> Measurement:
    return measure(
        readouts,
        targets,
        classes=CLASSES,
        scores=[0, 2],
        pairs=[(0, 1), (1, 0), (2, 1)],
        mixtures=[(0, 1, 2)],
        references=references,
        **options,
    )


def flat(measurement: Measurement) -> dict[Any, Any]:
    columns: dict[Any, Any] = {**measurement.kl, **measurement.mixture_entropy, **measurement.reference_kl}
    for i, scores in measurement.scores.items():
        columns |= {(i, name): values for name, values in vars(scores).items()}
    return columns


def float64_log_p(readout: Readout, width: int = LENGTH) -> np.ndarray[Any, np.dtype[np.float64]]:
    return log_softmax(readout.logits()[:, :width].double().numpy(), axis=-1)


@PATHS
def test_everything_asked_for_agrees_with_float64_and_nothing_else_is_there(
    readouts: list[Readout], targets: Tensor, references: dict[str, Tensor], path: Path
) -> None:
    result = everything(readouts, targets, references, tile=64, path=path)
    log_p = [float64_log_p(readout) for readout in readouts]
    p = [np.exp(x) for x in log_p]

    assert result.kl.keys() == {(0, 1), (1, 0), (2, 1)}
    for (i, j), kl in result.kl.items():
        assert kl.dtype == np.float32
        np.testing.assert_allclose(kl, (p[i] * (log_p[i] - log_p[j])).sum(-1), rtol=1e-5)

    assert result.reference_kl.keys() == {(i, name) for i in (0, 2) for name in references}
    for (i, name), kl in result.reference_kl.items():
        np.testing.assert_allclose(kl, (p[i] * (log_p[i] - references[name].double().numpy())).sum(-1), rtol=1e-5)

    assert result.mixture_entropy.keys() == {(0, 1, 2)}
    mean = sum(p) / 3
    np.testing.assert_allclose(result.mixture_entropy[0, 1, 2], -(mean * np.log(mean)).sum(-1), rtol=1e-5)

    assert result.scores.keys() == {0, 2}
    rows = np.arange(TOKENS)
    for i, scores in result.scores.items():
        np.testing.assert_allclose(scores.surprisal, -log_p[i][rows, targets], rtol=1e-5)
        np.testing.assert_allclose(scores.entropy, -(p[i] * log_p[i]).sum(-1), rtol=1e-5)
        np.testing.assert_allclose(scores.space_logmass, logsumexp(log_p[i][:, 100:500], axis=-1), rtol=1e-5)
        assert scores.top_vocab_id.tolist() == log_p[i].argmax(-1).tolist()
        assert scores.rank.dtype == np.int32


@PATHS
def test_the_uniform_reference_is_log_v_minus_the_entropy(
    readouts: list[Readout], targets: Tensor, references: dict[str, Tensor], path: Path
) -> None:
    result = everything(readouts, targets, references, path=path)
    np.testing.assert_allclose(
        result.reference_kl[0, "uniform"], np.log(LENGTH) - result.scores[0].entropy, rtol=1e-4, atol=2e-6
    )


@pytest.mark.parametrize(
    ("tile", "path"), [(1, "eager"), (7, "eager"), (149, "eager"), (150, "eager"), (4096, "eager"), (13, "compiled")]
)
def test_the_tile_changes_nothing_but_the_last_bits(
    readouts: list[Readout], targets: Tensor, references: dict[str, Tensor], tile: int, path: Path
) -> None:
    usual, other = (flat(everything(readouts, targets, references, tile=size, path=path)) for size in (64, tile))
    assert usual.keys() == other.keys()
    for key in usual:
        np.testing.assert_allclose(other[key], usual[key], rtol=1e-6, atol=1e-6, err_msg=str(key))


def test_a_vocabulary_wider_than_a_block_is_measured_row_by_row() -> None:
    wide = [Readout(torch.randn(3, 2), torch.randn(140_000, 2)) for _ in range(2)]
    classes = VocabularyClasses(140_000, torch.arange(10, 20), torch.arange(20, 30), 0)
    result = measure(wide, torch.tensor([5, 6, 139_999]), classes=classes, scores=[0], pairs=[(0, 1)])
    log_p = [float64_log_p(readout, 140_000) for readout in wide]
    np.testing.assert_allclose(result.kl[0, 1], (np.exp(log_p[0]) * (log_p[0] - log_p[1])).sum(-1), rtol=1e-5)
    assert result.scores[0].surprisal[2] == pytest.approx(-log_p[0][2, 139_999], rel=1e-5)


@PATHS
@pytest.mark.parametrize(("policy", "width"), [("model", WIDTH), ("tokenizer", LENGTH)])
def test_policy_model_measures_over_the_full_width_and_policy_tokenizer_renormalises(
    readouts: list[Readout], targets: Tensor, policy: VocabularyPolicy, width: int, path: Path
) -> None:
    result = measure(readouts, targets, classes=CLASSES, policy=policy, scores=[0], pairs=[(0, 1)], path=path)
    log_p, log_q = (float64_log_p(readout, width) for readout in readouts[:2])
    np.testing.assert_allclose(result.kl[0, 1], (np.exp(log_p) * (log_p - log_q)).sum(-1), rtol=1e-5)
    full = float64_log_p(readouts[0], WIDTH)
    np.testing.assert_allclose(result.scores[0].pad_logmass, logsumexp(full[:, LENGTH:], axis=-1), rtol=1e-5)


def test_pad_mass_turns_surprisals_of_one_policy_into_those_of_the_other(
    readouts: list[Readout], targets: Tensor
) -> None:
    of_model, of_tokenizer = (
        measure(readouts, targets, classes=CLASSES, policy=policy, scores=[0]).scores[0]
        for policy in ("model", "tokenizer")
    )
    assert of_tokenizer.pad_logmass is not None
    kept = -np.log1p(-np.exp(of_tokenizer.pad_logmass))
    np.testing.assert_allclose(of_model.surprisal, of_tokenizer.surprisal + kept, rtol=1e-5)


@PATHS
def test_models_of_different_padding_are_compared_over_the_tokenizer_and_refused_over_the_model(
    targets: Tensor, path: Path
) -> None:
    padded = [make_readout(0, 720), make_readout(1, 800)]
    kl = measure(padded, targets, classes=CLASSES, pairs=[(0, 1)], path=path).kl[0, 1]
    log_p, log_q = (float64_log_p(readout) for readout in padded)
    np.testing.assert_allclose(kl, (np.exp(log_p) * (log_p - log_q)).sum(-1), rtol=1e-5)
    with pytest.raises(IncompatibleVocabulary, match=r"widths \[720, 800\].*use 'tokenizer'"):
        measure(padded, targets, classes=CLASSES, policy="model", pairs=[(0, 1)])


def test_a_bias_a_scale_and_a_softcap_enter_the_logits_in_that_order() -> None:
    bias = torch.linspace(-1, 1, WIDTH)
    readout = make_readout(0, bias=bias, scale=0.25, softcap=2.0)
    product = readout.hidden.double() @ readout.head.double().T
    expected = 2 * ((product + bias) * 0.25 / 2).tanh()
    torch.testing.assert_close(readout.logits().double(), expected, rtol=1e-5, atol=1e-5)
    written = torch.empty(TOKENS, LENGTH)
    readout.write_logits(readout.hidden[:], written)
    torch.testing.assert_close(written.double(), expected[:, :LENGTH], rtol=1e-5, atol=1e-5)


def test_progress_counts_every_token_once(readouts: list[Readout], targets: Tensor) -> None:
    done: list[int] = []
    measure(readouts, targets, classes=CLASSES, scores=[1], tile=64, progress=done.append)
    assert done == [64, 64, 22]


@PATHS
def test_seeds_may_be_permuted(readouts: list[Readout], targets: Tensor, path: Path) -> None:
    straight = measure(readouts, targets, classes=CLASSES, pairs=[(0, 1)], mixtures=[(0, 1, 2)], path=path)
    turned = measure(readouts[::-1], targets, classes=CLASSES, pairs=[(2, 1)], mixtures=[(2, 1, 0)], path=path)
    np.testing.assert_array_equal(straight.kl[0, 1], turned.kl[2, 1])
    np.testing.assert_allclose(straight.mixture_entropy[0, 1, 2], turned.mixture_entropy[2, 1, 0], rtol=1e-6)


@PATHS
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", [{"scores": [1]}, {"pairs": [(0, 1)]}, {"mixtures": [(0, 1)]}])
def test_a_bad_logit_is_refused_with_its_readout_and_first_token(
    readouts: list[Readout], targets: Tensor, bad: float, options: dict[str, Any], path: Path
) -> None:
    assert isinstance(readouts[1].hidden, Tensor)
    readouts[1].hidden[[70, 90], 0] = bad
    with pytest.raises(NonFiniteLogits, match=r"Readout 1 .* at token 70 .*leave it out") as caught:
        measure(readouts, targets, classes=CLASSES, path=path, **options)
    assert (caught.value.readout, caught.value.token) == (1, 70)


def test_a_readout_is_checked_alone_before_it_spoils_the_others(readouts: list[Readout]) -> None:
    readouts[0].check_finite()
    readouts[0].hidden[12, 3] = float("nan")
    with pytest.raises(NonFiniteLogits, match="at token 12") as caught:
        readouts[0].check_finite()
    assert caught.value.token == 12
    readouts[1].head[5, 5] = float("inf")
    readouts[2].hidden.mul_(1e20)
    readouts[2].head.mul_(1e20)
    for readout in readouts[1:]:
        with pytest.raises(NonFiniteLogits, match="NaN or infinite"):
            readout.check_finite()
    with pytest.raises(NonFiniteLogits):
        make_readout(0, bias=torch.full((WIDTH,), float("nan"))).check_finite()


def test_a_tokenizer_larger_than_the_model_is_refused(readouts: list[Readout]) -> None:
    with pytest.raises(IncompatibleVocabulary, match="721 ids and the model only 720"):
        scored_width(readouts, 721, "tokenizer")


@pytest.mark.parametrize("bad_id", [LENGTH, -1])
def test_targets_outside_the_vocabulary_are_refused(readouts: list[Readout], targets: Tensor, bad_id: int) -> None:
    targets[3] = bad_id
    with pytest.raises(IncompatibleVocabulary, match="use the model's own tokenizer"):
        measure(readouts, targets, classes=CLASSES, scores=[0])


def test_references_over_another_vocabulary_or_without_smoothing_are_refused(
    readouts: list[Readout], targets: Tensor
) -> None:
    short, hollow = torch.zeros(LENGTH - 1), torch.zeros(LENGTH)
    hollow[9] = float("-inf")
    for log_q, message in ((short, "count with the same tokenizer"), (hollow, "smooth its counts")):
        with pytest.raises(IncompatibleVocabulary, match=message):
            measure(readouts, targets, classes=CLASSES, scores=[0], references={"unigram": log_q})


def test_readouts_and_targets_of_different_lengths_are_refused(readouts: list[Readout], targets: Tensor) -> None:
    with pytest.raises(ValueError, match="150 rows for 149 targets"):
        measure(readouts, targets[1:], classes=CLASSES, scores=[0])


def test_reduced_precision_is_off_inside_and_as_it_was_after() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
