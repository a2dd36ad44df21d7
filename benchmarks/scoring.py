"""Scoring a checkpoint: against the forward pass and the output head alone, and against other ways to surprisals."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.models import (
    PYTHIA_14M,
    PYTHIA_70M,
    SMALL,
    Shape,
    classes_of,
    random_ids,
    random_model,
    unigram,
    word_tokenizer,
    words,
)
from benchmarks.timing import Timing, interleave, ratio_of_rounds
from ingest.compiled import TILES
from ingest.measure import measure
from ingest.readout import read
from ingest.windows import Window, passes

#: Shape, and how many times the limit it may take.
_BOUNDS = ((PYTHIA_14M, 1.6), (PYTHIA_70M, 1.25))
_TOKENS, _SMALL_TOKENS = 20_000, 400
_ROUNDS = 5

_WHAT = "surprisal, entropy, rank, top entry, four masses, KL to a unigram reference"


def claims(*, small: bool = False) -> Iterator[Claim]:
    """Ours over the limit, a plain loop over ours and minicons over ours, at each shape."""
    for shape, bound in ((SMALL, 100.0),) if small else _BOUNDS:
        yield from _claims(shape, bound, _SMALL_TOKENS if small else _TOKENS, 2 if small else _ROUNDS)


def _claims(shape: Shape, bound: float, n_tokens: int, rounds: int) -> Iterator[Claim]:
    ways = _ways(shape, n_tokens)
    taken = interleave(ways, rounds=rounds)
    ours, limit = taken["ours"], min((taken["limit"], taken["limit, side by side"]), key=lambda timing: timing.median)
    speed = f"{n_tokens:,} tokens, window {shape.context}, {torch.get_num_threads()} threads, random weights"
    yield Claim.at_most(
        f"scoring, {shape.name}, over forward and head alone",
        ratio_of_rounds(ours, limit),
        bound,
        ours=_seconds(ours),
        other=_seconds(limit),
        note=f"{speed}; ours gives {_WHAT}; the limit is the faster of two ways, all threads on a window or one",
    )
    yield Claim.at_least(
        f"scoring, {shape.name}, over a plain transformers loop",
        ratio_of_rounds(taken["plain"], ours),
        1.0,
        ours=_seconds(ours),
        other=_seconds(taken["plain"]),
        note="the loop computes surprisal alone, from the same windows",
    )
    if "minicons" in taken:
        share = n_tokens / min(n_tokens, shape.context)
        alone = share * ratio_of_rounds(taken["minicons, surprisal"], ours)
        yield Claim.at_least(
            f"scoring, {shape.name}, over minicons",
            share * ratio_of_rounds(taken["minicons"], ours),
            3.0,
            ours=_seconds(ours),
            other=f"{taken['minicons'].median * share:.2f} s",
            note=f"minicons computes surprisal and rank of the first {shape.context:,} tokens, its time scaled to "
            "all; it reads a token once, ours most of them twice since windows overlap; asked for surprisal without "
            f"rank it takes {alone:.2g} times as long as ours",
        )


def _seconds(timing: Timing) -> str:
    return f"{timing.median:.2f} s"


def _ways(shape: Shape, n_tokens: int) -> dict[str, Callable[[], object]]:
    model, ids = random_model(shape), random_ids(shape, n_tokens)
    parts = passes("concatenated", n_tokens, [n_tokens], shape.context)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: _ours(shape, model, ids, parts),
        "limit": lambda: _limit(model, ids, parts),
        "limit, side by side": lambda: _limit_side_by_side(model, ids, parts),
        "plain": lambda: _plain(model, ids, parts),
    }
    if importlib.util.find_spec("minicons"):
        text = words(ids[: shape.context])
        scorer = _minicons(shape, model)
        ways["minicons"] = lambda: scorer.compute_stats(scorer.prepare_text(text), rank=True)
        ways["minicons, surprisal"] = lambda: scorer.compute_stats(scorer.prepare_text(text))
    return ways


def _ours(shape: Shape, model: Any, ids: Tensor, parts: list[Window]) -> None:
    readout = read(model, ids, parts)
    references = {"unigram": unigram(shape)}
    measure([readout], ids[1:], classes=classes_of(shape), scores=[0], references=references, path="compiled")


@torch.inference_mode()
def _limit(model: Any, ids: Tensor, parts: list[Window]) -> None:
    """The model's layers over each window, and its head over the rows that count."""
    for part in parts:
        _head(model, _states(model, ids, part))


def _limit_side_by_side(model: Any, ids: Tensor, parts: list[Window]) -> None:
    """The same on a window per thread, with the head over a few rows at a time, as ours does."""

    @torch.inference_mode()
    def run(part: Window) -> None:
        for rows in _states(model, ids, part).split(TILES["cpu"]):
            _head(model, rows)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(run, parts))
    torch.set_num_threads(threads)


def _states(model: Any, ids: Tensor, part: Window) -> Tensor:
    states: Tensor = model.gpt_neox(ids[part.input_start : part.input_end].unsqueeze(0)).last_hidden_state
    return states[0, part.kept_rows]


def _head(model: Any, states: Tensor) -> None:
    torch.nn.functional.linear(states, model.get_output_embeddings().weight)


@torch.inference_mode()
def _plain(model: Any, ids: Tensor, parts: list[Window]) -> None:
    """What one writes without a library: logits, log-softmax, gather."""
    for part in parts:
        logits = model(ids[part.input_start : part.input_end].unsqueeze(0)).logits[0, part.kept_rows]
        targets = ids[part.first_target + 1 : part.end_target + 1]
        logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).neg()


def _minicons(shape: Shape, model: Any) -> Any:
    from minicons import scorer

    return scorer.IncrementalLMScorer(model, "cpu", tokenizer=word_tokenizer(shape))
