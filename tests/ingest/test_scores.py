"""Per-token scores against float64 numpy, from the same logits, computed either way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from ingest.compiled import Path
from ingest.logits import Readout
from ingest.measure import Measurement, measure
from ingest.scores import TopEntries, VocabularyClasses

LENGTH, WIDTH = 700, 720
SPACE, PUNCTUATION, EOS_ID = torch.arange(100, 500), torch.arange(500, 530), 0
CLASSES = VocabularyClasses(LENGTH, SPACE, PUNCTUATION, EOS_ID)


@pytest.fixture(params=["eager", "compiled"])
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


def measured(logits: Tensor, targets: Tensor, path: Path, **options: Any) -> Measurement:
    """A readout of unit vectors has the logits that its head is made of, to the bit."""
    readout = Readout(torch.eye(len(logits)), logits.T.contiguous())
    return measure([readout], targets, classes=options.pop("classes", CLASSES), scores=[0], path=path, **options)


def scored(logits: Tensor, targets: Tensor, path: Path, **options: Any) -> dict[str, np.ndarray[Any, Any]]:
    scores = vars(measured(logits, targets, path, **options).scores[0])
    return {name: values for name, values in scores.items() if values is not None}


@pytest.fixture
def logits() -> Tensor:
    """[64, 960] float32; the rows range from nearly uniform to nearly certain."""
    sharpness = torch.linspace(0.1, 8, 64).unsqueeze(-1)
    return sharpness * torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(0, LENGTH, (64,), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("width", [LENGTH, WIDTH])
def test_scores_agree_with_float64_under_either_vocabulary_policy(
    logits: Tensor, targets: Tensor, width: int, path: Path
) -> None:
    actual = scored(logits, targets, path, policy="tokenizer" if width == LENGTH else "model")
    full = logits.double().numpy()
    x, rows = full[:, :width], np.arange(64)
    log_p = x - logsumexp(x, axis=-1, keepdims=True)
    expected = {
        "surprisal": -log_p[rows, targets],
        "entropy": -(np.exp(log_p) * log_p).sum(-1),
        "top_surprisal": -log_p.max(-1),
        "space_logmass": logsumexp(log_p[:, 100:500], axis=-1),
        "punct_logmass": logsumexp(log_p[:, 500:530], axis=-1),
        "eos_logmass": log_p[:, EOS_ID],
        "pad_logmass": logsumexp(full[:, LENGTH:], axis=-1) - logsumexp(full, axis=-1),
    }
    assert actual.keys() == {*expected, "rank", "top_vocab_id"}
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=2e-6, err_msg=name)
        assert actual[name].dtype == np.float32
    order = np.argsort(-x, axis=-1, kind="stable")
    assert actual["rank"].tolist() == [list(order[t]).index(int(targets[t])) + 1 for t in rows]
    assert actual["top_vocab_id"].tolist() == order[:, 0].tolist()
    assert actual["rank"].dtype == actual["top_vocab_id"].dtype == np.int32


@pytest.mark.parametrize("rest", [1e-1, 1e-3, 1e-6, 1e-9])
def test_a_nearly_certain_target_keeps_its_surprisal_to_six_digits(rest: float, path: Path) -> None:
    logits = torch.full((1, LENGTH), float(np.log(rest / (LENGTH - 1))))
    logits[0, 7] = 0.0
    logits[0, 650] += 0.3
    exact = logits.double().numpy()[0]
    surprisal = np.log1p(np.exp(np.delete(exact, 7)).sum())
    actual = scored(logits, torch.tensor([7]), path)
    assert actual["surprisal"].item() == pytest.approx(surprisal, rel=1e-6)
    assert actual["top_surprisal"].item() == pytest.approx(surprisal, rel=1e-6)
    entropy = surprisal + (np.exp(np.delete(exact, 7)) * -np.delete(exact, 7)).sum() / np.exp(surprisal)
    assert actual["entropy"].item() == pytest.approx(entropy, rel=1e-6)


@pytest.mark.parametrize("outside", [1e-2, 1e-4, 1e-7])
def test_a_class_with_nearly_all_the_mass_keeps_what_it_lacks_to_five_digits(outside: float, path: Path) -> None:
    logits = torch.full((1, LENGTH), float(np.log(outside / (LENGTH - len(SPACE)))))
    logits[0, SPACE] = torch.linspace(-2, 2, len(SPACE))
    x = logits.double().numpy()[0]
    inside = np.exp(x[100:500]).sum()
    expected = -np.log1p((np.exp(x[:100]).sum() + np.exp(x[500:]).sum()) / inside)
    assert scored(logits, torch.tensor([7]), path)["space_logmass"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("depth", [50.0, 80.0, 100.0, 300.0])
def test_a_class_far_below_float32_keeps_its_log_mass(depth: float, path: Path) -> None:
    logits = torch.zeros(3, WIDTH)
    logits[1, PUNCTUATION] = -depth
    logits[1, EOS_ID] = -depth
    logits[1, LENGTH:] = -depth
    x = logits.double().numpy()[1]
    known = logsumexp(x[:LENGTH])
    actual = scored(logits, torch.tensor([7, 7, 7]), path)
    assert actual["punct_logmass"][1].item() == pytest.approx(logsumexp(x[500:530]) - known, rel=1e-6)
    assert actual["eos_logmass"][1].item() == pytest.approx(-depth - known, rel=1e-6)
    assert actual["pad_logmass"][1].item() == pytest.approx(logsumexp(x[LENGTH:]) - logsumexp(x), rel=1e-6)
    assert actual["punct_logmass"][0].item() == pytest.approx(np.log(30 / LENGTH), rel=1e-6)


def test_pad_mass_that_is_nearly_everything_keeps_what_it_lacks(path: Path) -> None:
    logits = torch.zeros(1, WIDTH)
    logits[0, LENGTH:] = 30.0
    expected = -np.log1p(LENGTH / (WIDTH - LENGTH) * np.exp(-30.0))
    assert scored(logits, torch.tensor([0]), path)["pad_logmass"].item() == pytest.approx(expected, rel=1e-5)


def test_rank_counts_only_strictly_greater_logits_and_the_top_is_the_lowest_id_of_a_tie(path: Path) -> None:
    logits = torch.full((2, LENGTH), -1.0)
    logits[:, 40:45] = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    for target, ranks in ((40, [5, 1]), (42, [1, 1]), (43, [4, 1])):
        actual = scored(logits, torch.tensor([target, target]), path)
        assert actual["rank"].tolist() == ranks
        assert actual["top_vocab_id"].tolist() == [41, 40]


@pytest.mark.parametrize("k", [1, 10, LENGTH])
def test_the_top_entries_are_those_of_a_stable_sort_with_their_log_probabilities(
    logits: Tensor, targets: Tensor, k: int, path: Path
) -> None:
    top = measured(logits, targets, path, top_k=k).top[0]
    x = logits.double().numpy()[:, :LENGTH]
    order = np.argsort(-x, axis=-1, kind="stable")[:, :k]
    assert top.ids.tolist() == order.tolist()
    log_p = x - logsumexp(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(top.log_probabilities, np.take_along_axis(log_p, order, -1), rtol=1e-6)
    assert (top.ids.dtype, top.log_probabilities.dtype) == (np.int32, np.float32)


def test_equal_top_entries_come_in_order_of_ids_also_where_the_list_ends(path: Path) -> None:
    logits = torch.zeros(2, LENGTH)
    logits[0, [9, 500, 3, 77]] = torch.tensor([2.0, 1.0, 1.0, 1.0])
    top: TopEntries = measured(logits, torch.tensor([0, 0]), path, top_k=3).top[0]
    assert top.ids.tolist() == [[9, 3, 77], [0, 1, 2]]


def test_no_top_entries_are_listed_unless_asked_for(logits: Tensor, targets: Tensor, path: Path) -> None:
    assert measured(logits, targets, path).top == {}


def test_a_class_without_ids_and_padding_that_is_not_there_are_not_measured(path: Path) -> None:
    none = torch.tensor([], dtype=torch.int64)
    classes = VocabularyClasses(LENGTH, none, none, None)
    names = scored(torch.zeros(2, LENGTH), torch.tensor([0, 1]), path, classes=classes).keys()
    assert names == {"surprisal", "entropy", "rank", "top_vocab_id", "top_surprisal"}


def test_classes_may_be_given_as_masks() -> None:
    space, punctuation = torch.zeros(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    space[[1, 4]] = True
    punctuation[5] = True
    classes = VocabularyClasses.from_masks(space, punctuation, eos_id=0)
    assert (classes.length, classes.space_ids.tolist(), classes.punctuation_ids.tolist()) == (6, [1, 4], [5])


@pytest.mark.parametrize(
    ("space", "punctuation", "eos", "message"),
    [
        ([1, 2], [2, 3], 0, "disjoint"),
        ([0, 1], [2], 0, "disjoint"),
        ([10], [2], 0, "class ids"),
        ([-1], [2], 0, "class ids"),
    ],
)
def test_classes_that_overlap_or_leave_the_vocabulary_are_refused(
    space: list[int], punctuation: list[int], eos: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VocabularyClasses(10, torch.tensor(space), torch.tensor(punctuation), eos)
