"""Regresses KL on properties of tokens and stores the result: which comparisons and layers, under which name.

The mathematics is in ``queries.fitting.regression``. This module may not know how a fit is asked for or shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from queries.figures.choice import Choice, Compared, choose
from queries.figures.reading import Source
from queries.fitting import MissingScipy
from queries.fitting.regression import INTERCEPT, LOG10_COUNT, Factor, Observations, Regression, regress
from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.facts import driver, read_groups, read_tokens
from warehouse.fits import Fit, digest_of, store_fit

#: The level that part-of-speech coefficients are differences from (Fehlauer et al. 2025).
_REFERENCE_TAG = "NN"
#: Name of the predictor that tells models apart.
_MODEL = "model"
#: Libraries whose versions a fit keeps.
_LIBRARIES = ("numpy", "scipy")


class UnknownLayer(WarehouseError):
    """The corpus has no such annotation layer, or none that a regression can take in."""


class AmbiguousPredictor(WarehouseError):
    """Two predictors would have the same name."""


class UnknownReference(WarehouseError):
    """The corpus' tokenizer has no such reference of counts."""


class NothingToFit(WarehouseError):
    """No complete comparison is left to fit."""


@dataclass(frozen=True)
class Question:
    """What to regress, as asked for; None and no steps mean whatever there is.

    reference: whose counts to take; None for `unigram`, or where there is none the corpus' own.
    """

    kind: str = "seed"
    corpus: str | None = None
    protocol: str | None = None
    family: str | None = None
    layer: str = "pos"
    context_layer: str = "pos.context"
    reference: str | None = None
    steps: Sequence[int] = ()


@dataclass(frozen=True)
class Fitted:
    """What was fitted and stored. counts: whose they are. replaced: there was a fit of that name."""

    subject: Compared
    steps: Sequence[int]
    n: int
    n_clusters: int
    counts: str
    replaced: bool


@dataclass(frozen=True)
class _Layer:
    """A layer of a corpus. codes: [T] place in values, -1 where it says nothing."""

    name: str
    values: Sequence[str]
    codes: NDArray[np.int32]


@dataclass(frozen=True)
class _Corpus:
    """What is said of the tokens of a corpus, [T] each. counts: of each token's vocabulary id; whose: of which text."""

    vocab_ids: NDArray[np.int32]
    counts: NDArray[np.float64]
    whose: str
    layers: Sequence[_Layer]


def fit_regressions(
    database: Database, question: Question, name: str, progress: Callable[[int, int], None] | None = None
) -> Fitted:
    """Regress KL at every step and store the coefficients under a name.

    progress: called with the steps done and the steps in all. Raises NothingToFit, UnknownLayer, AmbiguousPredictor,
    UnknownReference, MissingScipy, and what choose raises.
    """
    _require_scipy()
    _require_distinct(question)
    results: dict[int, Regression] = {}
    digests: list[str] = []
    with _snapshot(database) as connection:
        subject = choose(Source(driver(connection)), _choice(question))
        comparisons = _comparisons(connection, subject, question.steps)
        corpus = _read_corpus(connection, subject, question)
        constants = text("select min_clusters, analysis.chosen_run_set() from warehouse.settings")
        min_clusters, run_set = connection.execute(constants).one()
        for number, (step, of_models) in enumerate(comparisons.items(), 1):
            observations = _observations(connection, of_models, subject.models, corpus)
            if len(observations.kl):
                results[step] = regress(observations, min_clusters)
                digests.append(_digest(step, observations))
            if progress:
                progress(number, len(comparisons))
    if not results:
        raise NothingToFit(
            f"No token with a KL has values of both {question.layer} and {question.context_layer}: name other layers."
        )
    settings = {
        "kind": question.kind,
        "run_set": run_set,
        "layer": question.layer,
        "context_layer": question.context_layer,
        "counts": corpus.whose,
        "steps": list(results),
        "models": list(subject.models),
        "min_clusters": min_clusters,
    }
    scope = {"family": subject.family, "corpus": subject.corpus, "protocol": subject.protocol}
    fit = Fit("regression", name, settings, digest_of(digests), _LIBRARIES, **scope)
    replaced = store_fit(database, fit, list(_rows(results)))
    largest = max(results.values(), key=lambda result: result.n)
    return Fitted(subject, list(results), largest.n, largest.n_clusters, corpus.whose, replaced)


def _require_scipy() -> None:
    try:
        import pandas  # noqa: F401
        import scipy  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingScipy from error


def _require_distinct(question: Question) -> None:
    """Raise AmbiguousPredictor for a layer that is named twice, or as another predictor is."""
    taken = [INTERCEPT, LOG10_COUNT, _MODEL]
    for layer in (question.layer, question.context_layer):
        if layer in taken:
            raise AmbiguousPredictor(
                f"There would be two predictors called {layer}; name another layer with --layer or --context-layer."
            )
        taken.append(layer)


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """A transaction that reads all it reads at one time."""
    with database.engine().connect() as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _choice(question: Question) -> Choice:
    return Choice(question.kind, question.corpus, question.protocol, question.family)


def _comparisons(connection: Connection, subject: Compared, steps: Sequence[int]) -> dict[int, dict[int, str]]:
    """Complete and preferred comparisons by step of p: comparison id to model."""
    query = text(
        """
        select step, comparison_id, model
        from analysis.comparisons
        where kind = :kind and corpus = :corpus and protocol = :protocol and family = :family and model = any(:models)
            and complete and preferred and run_set = analysis.chosen_run_set()
        order by step, model
        """
    )
    found: dict[int, dict[int, str]] = {}
    names = {noun: getattr(subject, noun) for noun in ("kind", "corpus", "protocol", "family")}
    for step, comparison_id, model in connection.execute(query, {**names, "models": list(subject.models)}):
        found.setdefault(step, {})[comparison_id] = model
    missing = sorted(set(steps) - set(found))
    if missing:
        raise NothingToFit(
            f"No complete comparison of kind {subject.kind} is at step {missing[0]}; "
            f"there are steps {', '.join(map(str, found))}."
        )
    return {step: found[step] for step in found if not steps or step in steps}


# --- what is said of tokens ---------------------------------------------------------------------------------------


def _read_corpus(connection: Connection, subject: Compared, question: Question) -> _Corpus:
    row = connection.execute(
        text("select corpus_id, tokenizer_id from warehouse.corpus where name = :name"), {"name": subject.corpus}
    ).one()
    layers = [
        _read_layer(connection, row.corpus_id, subject.corpus, name)
        for name in (question.layer, question.context_layer)
    ]
    (vocab_ids,) = read_tokens(
        connection,
        "select vocab_ids from warehouse.token_chunk where corpus_id = %(corpus)s order by chunk_id",
        {"corpus": row.corpus_id},
        1,
    )
    counts, whose = _counts(connection, row.tokenizer_id, question.reference, vocab_ids)
    return _Corpus(vocab_ids, counts[vocab_ids], whose, layers)


def _read_layer(connection: Connection, corpus_id: int, corpus: str, name: str) -> _Layer:
    query = text(
        """
        select name, layer_id, model_id is null and summarised as usable, kind
        from warehouse.annotation_layer where corpus_id = :corpus and not is_total order by name
        """
    )
    known = {row.name: row for row in connection.execute(query, {"corpus": corpus_id}) if row.usable}
    if name not in known:
        own = "`pos` and `pos.context` are made by `warehouse ingest` and `warehouse corpus add` where NLTK's data are"
        raise UnknownLayer(
            f"Corpus {corpus} has no layer {name} of all models and at most 1,000 values; {own}, others by `warehouse "
            f"annotate`; name another with --layer or --context-layer: {', '.join(known) or 'there is none yet'}."
        )
    layer_id = known[name].layer_id
    categories = text("select value from warehouse.annotation_category where layer_id = :layer order by category_id")
    values = connection.execute(categories, {"layer": layer_id}).scalars().all()
    (codes,) = read_tokens(
        connection,
        "select category_ids from warehouse.annotation_chunk where layer_id = %(layer)s order by chunk_id",
        {"layer": layer_id},
        1,
    )
    return _Layer(name, values, codes)


def _counts(
    connection: Connection, tokenizer_id: int, reference: str | None, vocab_ids: NDArray[np.int32]
) -> tuple[NDArray[np.float64], str]:
    """[V] counts of vocabulary ids, and whose they are."""
    query = text(
        """
        select name, counts from warehouse.reference_distribution
        where tokenizer_id = :tokenizer and ngram_order = 1 order by name
        """
    )
    known = {row.name: row.counts for row in connection.execute(query, {"tokenizer": tokenizer_id})}
    wanted = reference or "unigram"
    if wanted in known:
        return np.array(known[wanted], np.float64), f"reference {wanted}"
    if reference is not None:
        raise UnknownReference(
            f"There is no reference {reference} of single tokens; there {'are' if known else 'is'} "
            f"{', '.join(known) or 'none, and without --reference the text itself is counted'}."
        )
    return np.bincount(vocab_ids).astype(np.float64), "the corpus itself"


# --- one step -----------------------------------------------------------------------------------------------------


def _observations(
    connection: Connection, comparisons: dict[int, str], models: Sequence[str], corpus: _Corpus
) -> Observations:
    """Tokens that have a KL and a value of both layers, model after model, the smallest first."""
    kl = read_groups(
        connection,
        """
        select comparison_id, kl from warehouse.convergence_chunk
        where comparison_id = any(%(comparisons)s) order by comparison_id, chunk_id
        """,
        {"comparisons": list(comparisons)},
    )
    annotated = np.all([layer.codes >= 0 for layer in corpus.layers], axis=0)
    of_model = {comparisons[comparison_id]: values for comparison_id, values in kl.items()}
    present = [model for model in models if model in of_model]
    places = {model: np.flatnonzero(annotated & np.isfinite(of_model[model])) for model in present}
    tokens = np.concatenate([places[model] for model in present])
    which = np.repeat([models.index(model) for model in present], [len(places[model]) for model in present])
    factors = [Factor(each.name, each.values, each.codes[tokens], _reference_value(each)) for each in corpus.layers]
    return Observations(
        kl=np.concatenate([of_model[model][places[model]] for model in present]).astype(np.float64),
        log10_count=np.log10(corpus.counts[tokens] + 1),
        factors=[Factor(_MODEL, models, which, models[0]), *factors],
        clusters=corpus.vocab_ids[tokens],
    )


def _reference_value(layer: _Layer) -> str:
    """NN, or the most frequent value of a layer that has no such tag."""
    frequencies = np.bincount(layer.codes[layer.codes >= 0], minlength=len(layer.values))
    return _REFERENCE_TAG if _REFERENCE_TAG in layer.values else layer.values[int(frequencies.argmax())]


def _digest(step: int, observations: Observations) -> str:
    factors = [part for f in observations.factors for part in ([f.name, f.reference], list(f.values), f.codes)]
    return digest_of([step], observations.kl, observations.log10_count, observations.clusters, *factors)


def _rows(results: dict[int, Regression]) -> Iterator[dict[str, Any]]:
    """Rows of warehouse.regression_coefficient; what cannot be told is NULL."""
    for step, result in results.items():
        whole = {"step": step, "n": result.n, "n_clusters": result.n_clusters, "r2": result.r2}
        for coefficient in result.coefficients:
            row = {**whole, **asdict(coefficient)}
            yield {name: None if isinstance(x, float) and math.isnan(x) else x for name, x in row.items()}
