"""A planned study of made-up measurements: what a loader is given, without the models that it would come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, insert, select

from ingest.divergence import mean_ranks, pair_statistics
from warehouse import dimensions, ledger, schema
from warehouse.annotations import load_layer
from warehouse.comparisons import derive
from warehouse.evaluations import Evaluation, load_evaluations
from warehouse.items import Paradigm, ParadigmKind, Role
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
_MASSES = ("space_logmass", "punct_logmass", "eos_logmass", "pad_logmass")
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
    random = np.random.default_rng(n_tokens + n_seeds)
    corpus = _corpus(connection, name, n_tokens, random, LAYERS if layers else {})
    model = _model(connection, corpus, name, range(n_seeds), n_steps, ("seed",))
    return replace(corpus.plan(n_seeds), visits=[_visit(corpus, model, step, random) for step in range(n_steps)])


def fill(
    engine: Engine,
    *,
    name: str,
    n_tokens: int,
    n_seeds: int,
    n_steps: int,
    layers: Collection[str],
    models: Collection[str] = ("model",),
    kinds: Collection[str] = ("seed",),
    with_items: bool = False,
) -> Plan:
    """Write a study with all that was measured, one visit after another; what is returned has none.

    kinds: of comparisons: seed, and perhaps step and final. with_items: documents play roles in items.
    """
    random = np.random.default_rng(n_tokens + n_seeds)
    with engine.begin() as connection:
        sizes = {layer: LAYERS[layer] for layer in layers}
        corpus = _corpus(connection, name, n_tokens, random, sizes, with_items)
        made = corpus.plan(n_seeds)
    for model_name in models:
        with engine.begin() as connection:
            model = _model(connection, corpus, model_name, made.seeds, n_steps, kinds)
        for step in range(n_steps):
            visit = _visit(corpus, model, step, random)
            with engine.begin() as connection:
                load_evaluations(connection, visit.evaluations, made.values)
                _compare(connection, made, visit.pairs, visit.comparison_id, {made.seeds: visit.mixture})
        for key, comparison_id in model.comparison_ids.items():
            if key.kind != "seed":
                units = [(model.evaluation_ids[s, key.step], model.evaluation_ids[s, key.step_q]) for s in made.seeds]
                with engine.begin() as connection:
                    _compare(connection, made, _pairs(corpus, units, random), comparison_id, {})
    return made


def _compare(
    connection: Connection,
    made: Plan,
    pairs: list[Pair],
    comparison_id: int,
    mixtures: Mapping[tuple[int, ...], NDArray[np.float32]],
) -> None:
    """Load pairs and derive their comparison."""
    ids = load_pairs(connection, pairs, made.corpus_id, made.first_token_id, made.values)
    known = {key: pair.kl for key, pair in zip(ids, pairs, strict=True) if key is not None}
    derive(connection, comparison_id, made.values, known=known, mixtures=mixtures)


def layer(name: str, size: int, n_tokens: int, random: np.random.Generator) -> Layer:
    """A layer whose values are as unevenly common as those of a text."""
    shares = 1 / np.arange(1, size + 1)
    codes = random.choice(size, n_tokens, p=shares / shares.sum()).astype(np.int32)
    categories = tuple(Category(f"value {number}") for number in range(size))
    return Layer(name, "categorical", categories, codes, None, "made up", "made up")


@dataclass(frozen=True)
class _Corpus:
    """A corpus as it was written, and where and against what checkpoints are measured."""

    corpus_id: int
    first_token_id: int
    n_tokens: int
    protocol_id: int
    environment_id: int
    reference_id: int

    def plan(self, n_seeds: int) -> Plan:
        """A study of it without visits."""
        return Plan(self.corpus_id, self.first_token_id, tuple(range(n_seeds)), CorpusValues(self.corpus_id), [])


@dataclass(frozen=True)
class _Model:
    """What the ledger has of a model. evaluation_ids: by (seed, step)."""

    evaluation_ids: dict[tuple[int, int], int]
    comparison_ids: dict[ledger.ComparisonKey, int]


def _corpus(
    connection: Connection,
    name: str,
    n_tokens: int,
    random: np.random.Generator,
    layers: Mapping[str, int],
    with_items: bool = False,
) -> _Corpus:
    """Write a corpus with its layers."""
    tokenizer_id = dimensions.save_tokenizer(
        connection,
        name="made up",
        sha256="t" * 64,
        length=_VOCABULARY,
        bos_id=0,
        eos_id=0,
        pieces=[_piece(number) for number in range(_VOCABULARY)],
    )
    size = _TOKENS_IN_A_DOCUMENT
    place = np.arange(n_tokens, dtype=np.int32)
    documents = [_document(start, min(start + size, n_tokens)) for start in range(0, n_tokens, size)]
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
        documents=documents,
        paradigms=_paradigms(len(documents)) if with_items else (),
        tokens={
            "vocab_ids": random.integers(0, _VOCABULARY, n_tokens).astype(np.int32),
            "documents": place // size,
            "positions": place % size,
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
    for layer_name, n_values in layers.items():
        load_layer(connection, corpus_id, layer(layer_name, n_values, n_tokens, random))
    protocol_id = dimensions.find_or_make(
        connection,
        schema.protocol,
        {"name": "concatenated-2048"},
        windows="concatenated",
        window=2048,
        bos=True,
        vocabulary="tokenizer",
        dtype="float32",
        tf32=False,
    )
    environment_id = dimensions.save_environment(connection, {"device": "none"})
    first = select(schema.corpus.c.first_token_id).where(schema.corpus.c.corpus_id == corpus_id)
    first_token_id = int(connection.execute(first).scalar_one())
    return _Corpus(corpus_id, first_token_id, n_tokens, protocol_id, environment_id, reference_id)


def _piece(number: int) -> tuple[str, bytes, bool, bool, bool]:
    """Text and bytes of an entry of the vocabulary; whether it begins with a space, is punctuation, is special."""
    spaced = number % 2 == 1
    text = f"{' ' * spaced}piece{number}"
    return text, text.encode(), spaced, False, False


def _document(start: int, end: int) -> dict[str, Any]:
    bounds = {"char_start": start, "char_end": end, "byte_start": start, "byte_end": end}
    return {"name": f"from {start}", "first_token": start, "n_tokens": end - start, **bounds}


def _paradigms(n_documents: int) -> list[Paradigm]:
    """Minimal pairs, options and spans of a third of the documents each, two of them an item."""
    forms: list[tuple[ParadigmKind, tuple[str, str]]] = [
        ("minimal_pairs", ("good", "bad")),
        ("options", ("correct", "incorrect-1")),
        ("spans", ("short", "long")),
    ]
    third = n_documents // 3
    return [
        Paradigm(
            kind, kind, "made up", tuple(Role(n // 2, roles[n % 2], part * third + n) for n in range(third // 2 * 2))
        )
        for part, (kind, roles) in enumerate(forms)
    ]


def _model(
    connection: Connection, corpus: _Corpus, name: str, seeds: Collection[int], n_steps: int, kinds: Collection[str]
) -> _Model:
    """Write a model's runs, checkpoints and benchmark results, and what is wanted of them."""
    key = {"family": "made up", "name": name}
    model_id = dimensions.find_or_make(connection, schema.model, key, vocabulary_width=_VOCABULARY, objective="causal")
    checkpoints = {}
    for seed in seeds:
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
    _measure(connection, checkpoints)
    entries = ledger.declare_evaluations(connection, corpus.corpus_id, corpus.protocol_id, list(checkpoints.values()))
    later = {"seed": lambda step: step, "step": lambda step: step + 1, "final": lambda _: n_steps - 1}
    keys = [
        ledger.ComparisonKey(kind, model_id, step, model_id, later[kind](step))
        for kind in kinds
        for step in range(n_steps - (kind != "seed"))
    ]
    comparison_ids = ledger.declare_comparisons(connection, corpus.corpus_id, corpus.protocol_id, keys)
    evaluation_ids = {cell: entries[checkpoint].evaluation_id for cell, checkpoint in checkpoints.items()}
    return _Model(evaluation_ids, {key: comparison_ids[key] for key in keys})


def _measure(connection: Connection, checkpoints: Mapping[tuple[int, int], int]) -> None:
    """Benchmark results, which no checkpoint has the better the longer it was trained."""
    rows = [
        {
            "checkpoint_id": key,
            "name": name,
            "source": "made up",
            "value": abs(step - 7.5) + seed,
            "higher_is_better": up,
        }
        for (seed, step), key in checkpoints.items()
        for name, up in (("perplexity", False), ("accuracy", True))
    ]
    connection.execute(insert(schema.checkpoint_metric), rows)


def _visit(corpus: _Corpus, model: _Model, step: int, random: np.random.Generator) -> Visit:
    def reals() -> NDArray[np.float32]:
        return _reals(corpus, random)

    def integers() -> NDArray[np.int32]:
        return random.integers(1, _VOCABULARY, corpus.n_tokens).astype(np.int32)

    def scores() -> dict[str, NDArray[Any] | None]:
        """Such as a checkpoint may have: no entry is more probable than the first, and no mass above 1."""
        surprisal = reals()
        masses = {name: -reals() for name in _MASSES}
        ranks = {"rank": integers(), "top_vocab_id": integers()}
        return {"surprisal": surprisal, "entropy": reals(), "top_surprisal": surprisal / 2, **masses, **ranks}

    evaluation_ids = [key for (_, its_step), key in model.evaluation_ids.items() if its_step == step]
    units = [
        Evaluation(
            evaluation_id=evaluation_id,
            input_digest="made up",
            environment_id=corpus.environment_id,
            window=2048,
            seconds=1.0,
            anisotropy=0.5,
            scores=scores(),
            references={corpus.reference_id: reals()},
        )
        for evaluation_id in evaluation_ids
    ]
    sides = [_Side.of(unit) for unit in units]
    (comparison_id,) = (key for of, key in model.comparison_ids.items() if (of.kind, of.step) == ("seed", step))
    pairs = [_pair(p, q, corpus.environment_id, reals()) for p, q in permutations(sides, 2)]
    return Visit(units, pairs, comparison_id, reals())


@dataclass(frozen=True)
class _Side:
    """What a pair needs of an evaluation."""

    evaluation_id: int
    surprisal: NDArray[np.float32]
    ranks: NDArray[np.float64]
    top_vocab_ids: NDArray[np.int32]

    @classmethod
    def of(cls, unit: Evaluation) -> _Side:
        surprisal, top_vocab_ids = unit.scores["surprisal"], unit.scores["top_vocab_id"]
        assert surprisal is not None
        assert top_vocab_ids is not None
        return cls(unit.evaluation_id, surprisal, mean_ranks(surprisal), top_vocab_ids)


def _pair(p: _Side, q: _Side, environment_id: int, kl: NDArray[np.float32]) -> Pair:
    """A pair whose statistics are those of its scores, as `warehouse refresh` wants them."""
    found = pair_statistics(kl, (p.surprisal, q.surprisal), (p.ranks, q.ranks), (p.top_vocab_ids, q.top_vocab_ids))
    return Pair(
        p.evaluation_id,
        q.evaluation_id,
        environment_id,
        kl,
        found.mean_kl,
        found.surprisal_correlation,
        found.surprisal_rank_correlation,
        found.top1_agreement,
    )


def _pairs(corpus: _Corpus, units: Iterable[tuple[int, int]], random: np.random.Generator) -> list[Pair]:
    """Pairs whose scores are not at hand; their statistics are made up as well."""
    made = []
    for p, q in units:
        kl = _reals(corpus, random)
        made.append(Pair(p, q, corpus.environment_id, kl, float(kl.mean(dtype=np.float64)), 0.9, 0.9, 0.5))
    return made


def _reals(corpus: _Corpus, random: np.random.Generator) -> NDArray[np.float32]:
    return random.gamma(2.0, 1.5, corpus.n_tokens).astype(np.float32)
