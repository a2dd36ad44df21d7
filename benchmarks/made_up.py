"""A planned study of made-up measurements: what a loader is given, without the models that it would come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from warehouse import dimensions, ledger, schema
from warehouse.annotations import load_layer
from warehouse.comparisons import derive
from warehouse.evaluations import Evaluation, load_evaluations
from warehouse.layer import TOTAL, Category, Layer
from warehouse.pairs import Pair, load_pairs
from warehouse.values import CorpusValues

#: Layers as an English text has them: name and number of values.
LAYERS = {
    TOTAL: 1,
    "pos": 40,
    "pos.context": 41,
    "word_class": 3,
    "frequency": 7,
    "word_start": 2,
    "word_end": 2,
    "final_surprisal": 5,
}
_TOKENS_IN_A_DOCUMENT = 250
_REALS = (*("surprisal", "entropy", "top_surprisal", "space_logmass", "punct_logmass", "eos_logmass", "pad_logmass"),)
_VOCABULARY = 50_277


@dataclass(frozen=True)
class Visit:
    """What a visit to one step hands to the loader: evaluations and all ordered pairs of its seeds."""

    evaluations: list[Evaluation]
    pairs: list[Pair]
    comparison_id: int
    mixture: NDArray[np.float32]

    @property
    def n_values(self) -> int:
        """Values that it loads: scores, references and KL."""
        scores = sum(len(column) for unit in self.evaluations for column in unit.scores.values() if column is not None)
        references = sum(len(kl) for unit in self.evaluations for kl in unit.references.values())
        return scores + references + sum(len(pair.kl) for pair in self.pairs)


@dataclass(frozen=True)
class Plan:
    """A corpus in the warehouse, and a visit for each step of a study, nothing of which is loaded yet."""

    corpus_id: int
    first_token_id: int
    seeds: tuple[int, ...]
    values: CorpusValues
    visits: list[Visit]


def plan(connection: Connection, *, name: str, n_tokens: int, n_seeds: int, n_steps: int, layers: bool) -> Plan:
    """Write a corpus, its layers if any, and the ledger of a study of one model; make up what was measured."""
    made, visit = _plan(connection, name, n_tokens, n_seeds, n_steps, LAYERS if layers else {})
    return replace(made, visits=[visit(step) for step in range(n_steps)])


def fill(engine: Engine, *, name: str, n_tokens: int, n_seeds: int, n_steps: int, layers: Collection[str]) -> Plan:
    """Write a study of one model with all that was measured, one visit after another; what is returned has none."""
    with engine.begin() as connection:
        sizes = {layer: LAYERS[layer] for layer in layers}
        made, visit_of = _plan(connection, name, n_tokens, n_seeds, n_steps, sizes)
    for step in range(n_steps):
        visit = visit_of(step)
        with engine.begin() as connection:
            load_evaluations(connection, visit.evaluations, made.values)
            ids = load_pairs(connection, visit.pairs, made.corpus_id, made.first_token_id, made.values)
            known = {key: pair.kl for key, pair in zip(ids, visit.pairs, strict=True) if key is not None}
            mixtures = {made.seeds: visit.mixture}
            derive(connection, visit.comparison_id, made.values, known=known, mixtures=mixtures)
    return made


def layer(name: str, size: int, n_tokens: int, random: np.random.Generator) -> Layer:
    """A layer whose values are as unevenly common as those of a text."""
    shares = 1 / np.arange(1, size + 1)
    codes = random.choice(size, n_tokens, p=shares / shares.sum()).astype(np.int32)
    categories = tuple(Category(f"value {number}") for number in range(size))
    return Layer(name, "categorical", categories, codes, None, "made up", "made up")


def _plan(
    connection: Connection, name: str, n_tokens: int, n_seeds: int, n_steps: int, layers: Mapping[str, int]
) -> tuple[Plan, Callable[[int], Visit]]:
    """A study without visits, and what makes up the visit to each step."""
    random = np.random.default_rng(n_tokens + n_seeds)
    corpus_id, first_token_id, reference_id = _corpus(connection, name, n_tokens, random)
    for layer_name, size in layers.items():
        load_layer(connection, corpus_id, layer(layer_name, size, n_tokens, random))
    model_id, checkpoints = _checkpoints(connection, name, n_seeds, n_steps)
    protocol_id = dimensions.find_or_make(
        connection,
        schema.protocol,
        {"name": "default"},
        windows="concatenated",
        window=2048,
        bos=True,
        vocabulary="tokenizer",
        dtype="float32",
        tf32=False,
    )
    environment_id = dimensions.save_environment(connection, {"device": "none"})
    entries = ledger.declare_evaluations(connection, corpus_id, protocol_id, list(checkpoints.values()))
    keys = [ledger.ComparisonKey("seed", model_id, step, model_id, step) for step in range(n_steps)]
    comparison_ids = ledger.declare_comparisons(connection, corpus_id, protocol_id, keys)

    def visit(step: int) -> Visit:
        units = [entries[checkpoints[seed, step]].evaluation_id for seed in range(n_seeds)]
        return _visit(units, comparison_ids[keys[step]], environment_id, reference_id, n_tokens, random)

    return Plan(corpus_id, first_token_id, tuple(range(n_seeds)), CorpusValues(corpus_id), []), visit


def _corpus(connection: Connection, name: str, n_tokens: int, random: np.random.Generator) -> tuple[int, int, int]:
    tokenizer_id = dimensions.save_tokenizer(
        connection,
        name="made up",
        sha256="t" * 64,
        length=1,
        bos_id=0,
        eos_id=0,
        pieces=[("a", b"a", False, False, False)],
    )
    place = np.arange(n_tokens, dtype=np.int32)
    corpus_id = dimensions.save_corpus(
        connection,
        name=name,
        tokenizer_id=tokenizer_id,
        text_sha256=name,
        token_sha256=name,
        eos_policy="none",
        source="made up",
        licence=None,
        n_characters=n_tokens,
        n_bytes=n_tokens,
        documents=[_document(start, n_tokens) for start in range(0, n_tokens, _TOKENS_IN_A_DOCUMENT)],
        tokens={
            "vocab_ids": random.integers(0, _VOCABULARY, n_tokens).astype(np.int32),
            "documents": place // _TOKENS_IN_A_DOCUMENT,
            "positions": place % _TOKENS_IN_A_DOCUMENT,
            "char_starts": place,
            "char_ends": place + 1,
            "byte_starts": place,
            "byte_ends": place + 1,
        },
    )
    reference_id = dimensions.save_reference(
        connection,
        name="unigram",
        tokenizer_id=tokenizer_id,
        counts=np.ones(1),
        entropy=0.0,
        smoothing="none",
        source="made up",
        sha256="r" * 64,
    )
    corpus = schema.corpus.c
    first = connection.execute(schema.corpus.select().where(corpus.corpus_id == corpus_id)).mappings().one()
    return corpus_id, int(first["first_token_id"]), reference_id


def _document(start: int, n_tokens: int) -> dict[str, Any]:
    end = min(start + _TOKENS_IN_A_DOCUMENT, n_tokens)
    bounds = {"char_start": start, "char_end": end, "byte_start": start, "byte_end": end}
    return {"name": f"from {start}", "first_token": start, "n_tokens": end - start, **bounds}


def _checkpoints(
    connection: Connection, name: str, n_seeds: int, n_steps: int
) -> tuple[int, dict[tuple[int, int], int]]:
    key = {"family": "made up", "name": name}
    model_id = dimensions.find_or_make(connection, schema.model, key, vocabulary_width=_VOCABULARY, objective="causal")
    checkpoints = {}
    for seed in range(n_seeds):
        run_id = dimensions.find_or_make(connection, schema.run, {"model_id": model_id, "seed": seed})
        for step in range(n_steps):
            checkpoints[seed, step] = dimensions.find_or_make(
                connection,
                schema.checkpoint,
                {"run_id": run_id, "step": step},
                source="made up",
                revision=f"step{step}",
                status="ok",
            )
    return model_id, checkpoints


def _visit(
    evaluation_ids: list[int],
    comparison_id: int,
    environment_id: int,
    reference_id: int,
    n_tokens: int,
    random: np.random.Generator,
) -> Visit:
    def reals() -> NDArray[np.float32]:
        return random.gamma(2.0, 1.5, n_tokens).astype(np.float32)

    def integers() -> NDArray[np.int32]:
        return random.integers(1, _VOCABULARY, n_tokens).astype(np.int32)

    units = [
        Evaluation(
            evaluation_id=evaluation_id,
            input_digest="made up",
            environment_id=environment_id,
            window=2048,
            seconds=1.0,
            anisotropy=0.5,
            scores={**{name: reals() for name in _REALS}, "rank": integers(), "top_vocab_id": integers()},
            references={reference_id: reals()},
        )
        for evaluation_id in evaluation_ids
    ]
    pairs = [_pair(p, q, environment_id, reals()) for p, q in permutations(evaluation_ids, 2)]
    return Visit(units, pairs, comparison_id, reals())


def _pair(p: int, q: int, environment_id: int, kl: NDArray[np.float32]) -> Pair:
    return Pair(p, q, environment_id, kl, float(kl.astype(np.float64).mean()), 0.9, 0.5)
