"""A warehouse of made-up measurements, loaded as an ingest loads them: numpy arrays through the package's own loaders.

The arrays stay at hand, so that a test can compute what a view should say from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import sqlalchemy
from numpy.typing import NDArray
from scipy.stats import spearmanr

from warehouse import annotations, comparisons, dimensions, evaluations, ledger, pairs, schema
from warehouse.database import Database
from warehouse.items import Paradigm, ParadigmKind, Role, save_items
from warehouse.layer import TOTAL, Category, Layer
from warehouse.values import CorpusValues

Floats = NDArray[np.float32]
Member = tuple[str, int, int]  # model, seed, step

VOCABULARY = 40
PIECES = [f" word{number}" if number % 2 else f"part{number}" for number in range(VOCABULARY)]


@dataclass
class Measured:
    """What was loaded. scores and references: by (model, seed, step). kl: by (p, q), each (model, seed, step).

    items: by paradigm the documents of each item, the good, correct or short one first. scales: by the step of p, what
    KL is multiplied by.
    """

    database: Database
    models: Sequence[str]
    seeds: Sequence[int]
    steps: Sequence[int]
    documents: NDArray[np.int32]
    vocab_ids: NDArray[np.int32]
    layers: dict[str, NDArray[Any]]
    scores: dict[Member, dict[str, NDArray[Any]]] = field(default_factory=dict)
    references: dict[Member, Floats] = field(default_factory=dict)
    kl: dict[tuple[Member, Member], Floats] = field(default_factory=dict)
    more_seeds: dict[str, list[int]] = field(default_factory=dict)
    items: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    scales: Mapping[int, float] = field(default_factory=dict)
    corpus_id: int = 0
    first_token_id: int = 0
    protocol_id: int = 0
    environment_id: int = 0
    reference_id: int = 0

    @property
    def clusters(self) -> NDArray[np.int64]:
        """[T] what standard errors take as independent."""
        if len(np.unique(self.documents)) >= 8:
            return self.documents.astype(np.int64)
        return np.arange(len(self.documents)) // 256

    def members(self, kind: str, model: str, step: int) -> list[tuple[Member, Member]]:
        """The ordered pairs that a comparison averages."""
        following = [later for later in self.steps if later > step]
        other = {"seed": step, "step": following[0] if following else None, "final": self.steps[-1]}[kind]
        seeds = [*self.seeds, *self.more_seeds.get(model, [])]
        if kind == "seed":
            return [((model, p, step), (model, q, step)) for p, q in permutations(seeds, 2)]
        return [((model, seed, step), (model, seed, int(other or 0))) for seed in seeds]

    def mean(self, kind: str, model: str, step: int) -> NDArray[np.float64]:
        """[T] mean KL of a comparison, as stored: rounded to single precision."""
        pairs = np.array([self.kl[pair] for pair in self.members(kind, model, step)], np.float64)
        return pairs.mean(0).astype(np.float32).astype(np.float64)


def measure(
    database: Database,
    *,
    n_tokens: int = 1000,
    n_documents: int = 12,
    models: Sequence[str] = ("small", "large"),
    seeds: Sequence[int] = (0, 1, 2),
    steps: Sequence[int] = (0, 16, 64),
    unmeasured: Collection[str] = (),
    eos: bool = False,
    scales: Mapping[int, float] | None = None,
) -> Measured:
    """Fill a database with a corpus, items, layers, evaluations and comparisons of kinds seed, step and final.

    unmeasured: what some tokens lack, of "scores" and "kl". eos: documents, but for the last, end in one. scales: what
    KL is multiplied by, by the step of p.
    """
    random = np.random.default_rng(7)
    documents = np.sort(random.integers(0, n_documents, n_tokens)).astype(np.int32)
    documents = np.unique(documents, return_inverse=True)[1].astype(np.int32)
    held = Measured(
        database,
        models,
        seeds,
        steps,
        documents,
        random.integers(0, VOCABULARY, n_tokens).astype(np.int32),
        {},
        scales=scales or {},
    )
    if eos:
        last = np.flatnonzero(np.diff(documents, append=-1))
        held.vocab_ids[last] = np.where(documents[last] == documents[-1], 1, 0)
    with database.engine().begin() as connection:
        _load_corpus(connection, held, "after-document" if eos else "none")
        _load_items(connection, held)
        _load_layers(connection, held, random)
        _load_dimensions(connection, held)
        values = CorpusValues(held.corpus_id)
        _load_evaluations(connection, held, values, random, "scores" in unmeasured)
        _load_comparisons(connection, held, values, random, "kl" in unmeasured)
    return held


def _load_corpus(connection: sqlalchemy.Connection, held: Measured, eos_policy: str) -> None:
    tokenizer = dimensions.save_tokenizer(
        connection,
        name="tokenizer",
        sha256="t" * 64,
        length=VOCABULARY,
        bos_id=0,
        eos_id=0,
        pieces=[(piece, piece.encode(), piece.startswith(" "), False, False) for piece in PIECES],
    )
    n = len(held.documents)
    starts = np.flatnonzero(np.diff(held.documents, prepend=-1))
    ends = np.append(starts[1:], n)
    place = np.arange(n, dtype=np.int32)
    held.corpus_id = dimensions.save_corpus(
        connection,
        name="prose",
        tokenizer_id=tokenizer,
        text_sha256="x" * 64,
        token_sha256="y" * 64,
        eos_policy=eos_policy,
        source="made up",
        licence=None,
        n_characters=4 * n,
        n_bytes=4 * n,
        documents=[
            {
                "name": f"document {number}",
                "first_token": int(start),
                "n_tokens": int(end - start),
                "char_start": int(4 * start),
                "char_end": int(4 * end),
                "byte_start": int(4 * start),
                "byte_end": int(4 * end),
            }
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ],
        tokens={
            "vocab_ids": held.vocab_ids,
            "documents": held.documents,
            "positions": (place - starts[held.documents]).astype(np.int32),
            "char_starts": 4 * place,
            "char_ends": 4 * place + 4,
            "byte_starts": 4 * place,
            "byte_ends": 4 * place + 4,
        },
    )
    row = connection.execute(sqlalchemy.select(schema.corpus.c.first_token_id)).scalar_one()
    held.first_token_id = int(row)
    held.reference_id = dimensions.save_reference(
        connection,
        name="unigram",
        tokenizer_id=tokenizer,
        counts=np.ones(VOCABULARY),
        entropy=float(np.log(VOCABULARY)),
        smoothing="none",
        source="made up",
        sha256="r" * 64,
    )


#: Kind of each paradigm, and the roles of its items in the order of their documents.
ITEMS: dict[str, tuple[ParadigmKind, tuple[str, ...]]] = {
    "agreement": ("minimal_pairs", ("good", "bad")),
    "binding": ("minimal_pairs", ("good", "bad")),
    "quiz": ("options", ("correct", "incorrect-1", "incorrect-2")),
    "in-context-learning": ("spans", ("short", "long")),
}


def _load_items(connection: sqlalchemy.Connection, held: Measured) -> None:
    """Documents stand in several items, which they would not in earnest."""
    n = int(held.documents[-1]) + 1
    held.items = {
        "agreement": [(first, first + 1) for first in range(0, n - 1, 2)],
        "binding": [(first + 1, first) for first in range(n - 1)],
        "quiz": [(first, first + 1, first + 2) for first in range(0, n - 3, 3)],
        "in-context-learning": [(first + 1, first) for first in range(0, n - 1, 2)],
    }
    save_items(
        connection,
        held.corpus_id,
        [
            Paradigm(
                name,
                kind,
                "made up",
                tuple(
                    Role(number, role, document)
                    for number, item in enumerate(held.items[name])
                    for role, document in zip(roles, item, strict=True)
                ),
            )
            for name, (kind, roles) in ITEMS.items()
        ],
    )


def _load_layers(connection: sqlalchemy.Connection, held: Measured, random: np.random.Generator) -> None:
    n = len(held.documents)
    held.layers = {
        TOTAL: np.zeros(n, np.int32),
        "pos": random.integers(0, 6, n).astype(np.int32),
        "word_class": random.integers(-1, 2, n).astype(np.int32),
    }
    for name in held.layers:
        load_layer(connection, held, name)


def load_layer(
    connection: sqlalchemy.Connection,
    held: Measured,
    name: str,
    *,
    model_id: int | None = None,
    numbers: Floats | None = None,
) -> int:
    """Load the layer of held.layers with this name; its values are called after it."""
    codes = held.layers[name]
    values = [TOTAL] if name == TOTAL else [f"{name} {code}" for code in range(int(codes.max()) + 1)]
    layer = Layer(
        name=name,
        kind="categorical" if numbers is None else "numeric",
        categories=tuple(Category(value, number=float(number)) for number, value in enumerate(values)),
        codes=codes,
        numbers=numbers,
        source="made up",
        description="made up",
    )
    return annotations.load_layer(connection, held.corpus_id, layer, model_id=model_id)


def _load_dimensions(connection: sqlalchemy.Connection, held: Measured) -> None:
    held.environment_id = dimensions.save_environment(connection, {"device": "none"})
    held.protocol_id = dimensions.find_or_make(
        connection,
        schema.protocol,
        {"name": "default"},
        windows="concatenated",
        window=64,
        bos=True,
        vocabulary="tokenizer",
        dtype="float32",
        tf32=False,
    )
    for model in held.models:
        key = {"family": "toy", "name": model}
        model_id = dimensions.find_or_make(
            connection, schema.model, key, vocabulary_width=VOCABULARY + 8, objective="causal"
        )
        for seed in held.seeds:
            add_run(connection, held, model_id, seed)


def add_run(connection: sqlalchemy.Connection, held: Measured, model_id: int, seed: int) -> None:
    """A training run with a good checkpoint at every step."""
    run_id = dimensions.find_or_make(connection, schema.run, {"model_id": model_id, "seed": seed})
    for step in held.steps:
        dimensions.find_or_make(
            connection,
            schema.checkpoint,
            {"run_id": run_id, "step": step},
            source="made up",
            revision=f"step{step}",
            status="ok",
        )


def evaluation_ids(connection: sqlalchemy.Connection, held: Measured) -> dict[Member, int]:
    """The evaluation of each (model, seed, step), planned where it is new."""
    c, r, m = schema.checkpoint.c, schema.run.c, schema.model.c
    joined = schema.checkpoint.join(schema.run, r.run_id == c.run_id).join(schema.model, m.model_id == r.model_id)
    rows = connection.execute(sqlalchemy.select(m.name, r.seed, c.step, c.checkpoint_id).select_from(joined)).all()
    entries = ledger.declare_evaluations(connection, held.corpus_id, held.protocol_id, [row[3] for row in rows])
    return {(name, seed, step): entries[checkpoint].evaluation_id for name, seed, step, checkpoint in rows}


def _load_evaluations(
    connection: sqlalchemy.Connection,
    held: Measured,
    values: CorpusValues,
    random: np.random.Generator,
    unmeasured: bool,
) -> None:
    for member, evaluation_id in evaluation_ids(connection, held).items():
        load_evaluation(connection, held, values, member, evaluation_id, random, unmeasured)


def load_evaluation(
    connection: sqlalchemy.Connection,
    held: Measured,
    values: CorpusValues,
    member: Member,
    evaluation_id: int,
    random: np.random.Generator,
    unmeasured: bool = False,
) -> None:
    """Make up the scores of a checkpoint and load them."""
    n = len(held.documents)
    surprisal = random.gamma(2.0, 1.5, n).astype(np.float32)
    if unmeasured:
        surprisal[::97] = np.nan
    measured = np.isfinite(surprisal)

    def blank(x: NDArray[Any]) -> Floats:
        return np.where(measured, x, np.nan).astype(np.float32)

    masses = random.uniform(0.05, 0.2, (3, n))
    held.scores[member] = {
        "surprisal": surprisal,
        "entropy": blank(random.uniform(0.5, 3.5, n)),
        "rank": np.where(measured, random.integers(1, 6, n), -1).astype(np.int32),
        "top_vocab_id": random.integers(0, VOCABULARY, n).astype(np.int32),
        "top_surprisal": blank(surprisal * 0.5),
        "space_logmass": blank(np.log(masses[0])),
        "punct_logmass": blank(np.log(masses[1])),
        "eos_logmass": blank(np.log(masses[2])),
    }
    held.references[member] = random.gamma(1.0, 1.0, n).astype(np.float32)
    unit = evaluations.Evaluation(
        evaluation_id=evaluation_id,
        input_digest=f"digest of {member}",
        environment_id=held.environment_id,
        window=64,
        seconds=0.5,
        anisotropy=0.1,
        scores={**held.scores[member], "pad_logmass": None},
        references={held.reference_id: held.references[member]},
    )
    evaluations.load_evaluation(connection, unit, values)


def _load_comparisons(
    connection: sqlalchemy.Connection,
    held: Measured,
    values: CorpusValues,
    random: np.random.Generator,
    unmeasured: bool,
) -> None:
    """Load the pairs that are wanted and not there, and derive every comparison."""
    ids = evaluation_ids(connection, held)
    wanted = [
        (kind, model, step)
        for model in held.models
        for step in held.steps
        for kind in ("seed", "step", "final")
        if kind == "seed" or step != held.steps[-1]
    ]
    keys = {what: _key(connection, held, *what) for what in wanted}
    comparison_ids = ledger.declare_comparisons(connection, held.corpus_id, held.protocol_id, keys.values())
    for pair in sorted({pair for what in wanted for pair in held.members(*what)} - set(held.kl)):
        load_pair(connection, held, ids, pair, random, unmeasured)
    for what in wanted:
        seeds = tuple(sorted({p[1] for p, _ in held.members(*what)}))
        entropy = random.uniform(1.0, 3.0, len(held.documents)).astype(np.float32)
        comparisons.derive(connection, comparison_ids[keys[what]], values, mixtures={seeds: entropy})


def _key(connection: sqlalchemy.Connection, held: Measured, kind: str, model: str, step: int) -> ledger.ComparisonKey:
    model_id = model_key(connection, model)
    return ledger.ComparisonKey(kind, model_id, step, model_id, held.members(kind, model, step)[0][1][2])


def model_key(connection: sqlalchemy.Connection, model: str) -> int:
    """The id of a model."""
    m = schema.model.c
    return int(connection.execute(sqlalchemy.select(m.model_id).where(m.name == model)).scalar_one())


def add_seed(connection: sqlalchemy.Connection, held: Measured, model: str, seed: int) -> None:
    """Measure one more seed of one model, as a later ingest would."""
    random = np.random.default_rng(seed)
    held.more_seeds[model] = [*held.more_seeds.get(model, []), seed]
    add_run(connection, held, model_key(connection, model), seed)
    values = CorpusValues(held.corpus_id)
    for member, evaluation_id in evaluation_ids(connection, held).items():
        if member not in held.scores:
            load_evaluation(connection, held, values, member, evaluation_id, random)
    _load_comparisons(connection, held, values, random, unmeasured=False)


def load_pair(
    connection: sqlalchemy.Connection,
    held: Measured,
    ids: dict[Member, int],
    pair: tuple[Member, Member],
    random: np.random.Generator,
    unmeasured: bool = False,
    token_facts: bool = True,
) -> int | None:
    """Make up the KL of an ordered pair and load it; returns what loading says."""
    # Seeds and documents differ, so that each standard error has something to see.
    level = 0.3 + 0.05 * pair[0][1] + 0.1 * np.sin(held.documents + 3.0 * pair[1][1])
    kl = (held.scales.get(pair[0][2], 1.0) * random.gamma(2.0, level / 2)).astype(np.float32)
    if unmeasured:
        kl[::97] = np.nan
    held.kl[pair] = kl
    unit = pairs.Pair(
        ids[pair[0]],
        ids[pair[1]],
        held.environment_id,
        kl,
        float(np.nanmean(kl, dtype=np.float64)),
        *_agreement(held, pair),
        token_facts,
    )
    return pairs.load_pair(connection, unit, held.corpus_id, held.first_token_id)


def _agreement(held: Measured, pair: tuple[Member, Member]) -> tuple[float | None, float | None, float | None]:
    """Pearson and Spearman correlation of the surprisals of two checkpoints, and the share of equal top entries; None
    where one of them was not scored.
    """
    if not set(pair) <= held.scores.keys():
        return None, None, None
    x, y = (held.scores[member]["surprisal"].astype(np.float64) for member in pair)
    both = np.isfinite(x) & np.isfinite(y)
    top_x, top_y = (held.scores[member]["top_vocab_id"][both] for member in pair)
    pearson = float(np.corrcoef(x[both], y[both])[0, 1])
    return pearson, float(spearmanr(x[both], y[both]).statistic), float((top_x == top_y).mean())
