"""What the views promise, recomputed in numpy and pandas from one row per token, on an ingested study.

Every promise is looked at again after a layer, a second corpus and a seed were added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ingest.study import CorpusSpec
from queries.refresh import refresh
from tests.contents import findings
from tests.ingested import STEPS, Ingested, documents, ingest, save_cell, write_documents
from warehouse.annotations import load_layer
from warehouse.database import Database
from warehouse.layer import Category, Layer

Floats = NDArray[np.float64]
NAMES = ["kind", "corpus", "protocol", "run_set", "family", "model", "step", "model_q", "step_q"]
#: What tells comparisons apart, and what annotations and errors depend on; fewer keys than all names.
COMPARISON = ["comparison_id", "kind", "corpus", "model"]
EVALUATION = ["evaluation_id", "corpus", "model"]


class Facts:
    """The tall views of a database, which hold one row per token."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tokens = self.ask("select corpus, token_id, document, chunk_id from tokens")
        clusters = dict(self.ask("select distinct corpus, cluster from comparisons").to_numpy())
        by_chunk = self.tokens["corpus"].map(clusters) == "chunk"
        self.tokens["cluster"] = self.tokens["document"].where(~by_chunk, self.tokens["chunk_id"])
        self.convergence = self.ask(f"select {', '.join(COMPARISON)}, token_id, convergence from token_convergence")
        self.pairs = self.ask("select comparison_id, seed_p, seed_q, token_id, kl from pairwise_kl")
        self.scores = self.ask(f"select {', '.join(EVALUATION)}, token_id, surprisal, entropy, rank from token_score")
        self.names = self.ask(f"select comparison_id, {', '.join(NAMES)} from expected_convergence")
        self.annotations = self.ask("select corpus, layer, model as owner, token_id, value from token_annotation")

    def ask(self, query: str) -> pd.DataFrame:
        """Rows of a query, as the reader."""
        with self.database.read() as connection:
            cursor = connection.execute(query.encode())
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])

    def annotated(self, facts: pd.DataFrame) -> pd.DataFrame:
        """One row per fact, layer and value: layers of every model, and those of the fact's own."""
        joined = facts.merge(self.annotations, on=["corpus", "token_id"])
        return joined[joined["owner"].isna() | (joined["owner"] == joined["model"])]


def ratio_error(x: Floats, cluster: NDArray[Any]) -> float:
    """docs/methods.md §3: the ratio estimator over D clusters; NaN below five."""
    totals, sizes = (np.array([f(x[cluster == d]) for d in np.unique(cluster)]) for f in (np.sum, len))
    d, n, m = len(totals), len(x), x.mean()
    squares = (totals**2).sum() - 2 * m * (totals * sizes).sum() + m**2 * (sizes**2).sum()
    return float(np.sqrt(d / (d - 1) * squares / n**2)) if d >= 5 else np.nan


def seed_error(means: dict[tuple[int, int], float], kind: str) -> float:
    """docs/methods.md §3: jackknife over seeds of the mean over ordered pairs; NaN for too few seeds."""
    seeds = sorted({seed for pair in means for seed in pair})
    n, total, count = len(seeds), sum(means.values()), len(means)
    if n < (3 if kind == "seed" else 2):
        return np.nan
    touching = {g: [mean for pair, mean in means.items() if g in pair] for g in seeds}
    theta = np.array([(total - sum(own)) / (count - len(own)) for own in touching.values()])
    variance = (n - 1) / n * ((theta - theta.mean()) ** 2).sum()
    if kind == "seed" and n >= 4 and count == n * (n - 1):
        y = {pair: (means[pair] + means[pair[::-1]]) / 2 for pair in combinations(seeds, 2)}
        mean = np.mean(list(y.values()))
        a = [(n - 1) * (np.mean(touching[g]) - mean) / (n - 2) for g in seeds]
        b = (sum((v - mean) ** 2 for v in y.values()) - (n - 2) * sum(v * v for v in a)) / (n * (n - 3) / 2)
        variance -= 2 * b / ((n - 1) * (n - 2))
    return float(np.sqrt(max(variance, 0)))


def sigma_error(x: Floats, cluster: NDArray[Any], has_value: NDArray[np.bool_]) -> float:
    """docs/methods.md §4: standard error of the log ratio of a value's mean to the mean of all."""
    m_v, m = x[has_value].mean(), x.mean()
    residual = np.array(
        [
            (x[own & has_value] - m_v).sum() / x[has_value].sum() - (x[own] - m).sum() / x.sum()
            for own in (cluster == d for d in np.unique(cluster))
        ]
    )
    d = len(np.unique(cluster[has_value]))
    # A cluster without the value has a residual too, of the overall mean alone.
    return float(np.sqrt(d / (d - 1) * (residual**2).sum())) if d >= 5 else np.nan


def assert_equal(actual: pd.DataFrame, expected: pd.DataFrame, keys: list[str], rtol: float = 1e-9) -> None:
    """The rows of both, by their keys, are the same but for rounding."""
    assert len(expected) > 0
    expected, actual = (table.set_index(keys).sort_index() for table in (expected, actual))
    pd.testing.assert_frame_equal(
        actual[expected.columns], expected, rtol=rtol, atol=1e-13, check_dtype=False, check_index_type=False
    )


def conditional_convergence(facts: Facts) -> None:
    group = facts.annotated(facts.convergence).groupby([*COMPARISON, "layer", "value"])["convergence"]
    spread = group.std(ddof=1).rename("sd_tokens")
    expected = pd.concat([group.size().rename("n_tokens"), group.mean(), spread], axis=1).reset_index()
    assert_equal(facts.ask("select * from conditional_convergence"), expected, [*COMPARISON, "layer", "value"], 1e-8)


def expected_convergence(facts: Facts) -> None:
    group = facts.convergence.groupby("comparison_id")["convergence"]
    means = facts.pairs.groupby(["comparison_id", "seed_p", "seed_q"])["kl"].mean().groupby("comparison_id")
    columns = {
        "n_tokens": group.size(),
        "convergence": group.mean(),
        "sd_tokens": group.std(ddof=1),
        "n_pairs": means.size(),
        "sd_pairs": means.std(ddof=1),
    }
    stored = facts.ask("select * from expected_convergence")
    # Mean KL of a pair is a mean of what was measured, in float64.
    assert_equal(stored, pd.DataFrame(columns).reset_index(), ["comparison_id"], 1e-8)
    assert (stored["convergence"] <= 0).all()
    assert not stored.duplicated(NAMES).any()


def expected_convergence_is_the_weighted_mean_of_layers(facts: Facts) -> None:
    n_tokens = facts.tokens.groupby("corpus").size()
    parts = facts.ask("select * from conditional_convergence")
    whole = facts.ask("select * from expected_convergence").set_index("comparison_id")["convergence"]
    complete = 0
    for (layer, corpus), rows in parts.groupby(["layer", "corpus"]):
        weighted = (rows["convergence"] * rows["n_tokens"]).groupby(rows["comparison_id"]).sum()
        sizes = rows.groupby("comparison_id")["n_tokens"].sum()
        if (sizes == n_tokens[corpus]).all():
            complete += 1
            np.testing.assert_allclose(weighted / sizes, whole[weighted.index], rtol=1e-9, err_msg=str(layer))
    assert complete >= 6 * len(n_tokens)


def standard_errors(facts: Facts) -> None:
    everything = facts.convergence.assign(layer="all", value="all")
    chosen = pd.concat([facts.annotated(facts.convergence), everything]).merge(facts.tokens, on=["corpus", "token_id"])
    by_comparison = {
        comparison: pairs.pivot(index="token_id", columns=["seed_p", "seed_q"], values="kl")
        for comparison, pairs in facts.pairs.groupby("comparison_id")
    }
    rows = []
    for key, tokens in chosen.groupby([*COMPARISON, "layer", "value"]):
        kl = by_comparison[key[0]].loc[tokens["token_id"]]
        seed = seed_error({(int(p), int(q)): mean for (p, q), mean in kl.mean().items()}, key[1])
        text = ratio_error(-tokens["convergence"].to_numpy(), tokens["cluster"].to_numpy())
        rows.append((*key, seed, text, np.hypot(seed, text)))
    names = [*COMPARISON, "layer", "value", "se_seed", "se_document", "se_total"]
    expected = pd.DataFrame(rows, columns=names)
    total = expected["layer"] == "all"
    assert expected[total]["se_seed"].notna().all()
    assert expected["se_document"].notna().mean() > 0.5
    # A variance is a difference of sums, so that its root has half their digits where little is left.
    tolerance = 1e-6
    part = facts.ask("select * from conditional_convergence")
    assert_equal(part, expected[~total], [*COMPARISON, "layer", "value"], tolerance)
    whole = facts.ask("select * from expected_convergence")
    assert_equal(whole, expected[total].drop(columns=["layer", "value"]), COMPARISON, tolerance)


def relative_divergence(facts: Facts) -> None:
    whole = facts.convergence.merge(facts.tokens, on=["corpus", "token_id"])
    by_comparison = dict(list(whole.groupby("comparison_id")))
    rows = []
    for key, tokens in facts.annotated(facts.convergence).groupby([*COMPARISON, "layer", "value"]):
        everything = by_comparison[key[0]]
        x, has_value = -everything["convergence"].to_numpy(), everything["token_id"].isin(tokens["token_id"]).to_numpy()
        sigma = x[has_value].mean() / x.mean()
        error = sigma_error(x, everything["cluster"].to_numpy(), has_value)
        rows.append((*key, sigma, np.log(sigma), error, np.log(sigma) / error))
    columns = [*COMPARISON, "layer", "value", "sigma", "log_sigma", "se_log_sigma", "z"]
    expected = pd.DataFrame(rows, columns=columns).merge(facts.names, on=COMPARISON).drop(columns="comparison_id")
    stored = facts.ask("select * from relative_divergence")
    assert_equal(stored, expected, [*NAMES, "layer", "value"], 1e-6)


def cross_entropy(facts: Facts) -> None:
    """Points by pandas, and lines through them by numpy."""
    evaluations = facts.ask("select evaluation_id, corpus, model, seed, step from evaluations")
    scores = facts.scores.assign(layer="all", value="all")
    scores = pd.concat([scores, facts.annotated(facts.scores)]).groupby(["evaluation_id", "layer", "value"])
    scores = scores["surprisal"].mean().reset_index().merge(evaluations, on="evaluation_id")
    kl = facts.convergence.assign(layer="all", value="all")
    kl = (
        -pd.concat([kl, facts.annotated(facts.convergence)])
        .groupby(["comparison_id", "layer", "value"])["convergence"]
        .mean()
    )
    pairs = facts.pairs[["comparison_id", "seed_p", "seed_q"]].drop_duplicates().merge(facts.names, on="comparison_id")
    joined = pairs[pairs["kind"] != "seed"]
    for side, end in (("p", ""), ("q", "_q")):
        renamed = {
            "model": f"model{end}",
            "seed": f"seed_{side}",
            "step": f"step{end}",
            "surprisal": f"cross_entropy{end}",
        }
        own = scores.drop(columns="evaluation_id").rename(columns=renamed)
        joined = joined.merge(own, on=list({*joined.columns} & {*own.columns}))
    keys = ["comparison_id", *NAMES, "layer", "value"]
    points = joined.groupby(keys)[["cross_entropy", "cross_entropy_q"]].mean().reset_index()
    points = points.merge(kl.rename("mean_kl").reset_index(), on=["comparison_id", "layer", "value"])
    points["ratio"] = points["cross_entropy"] / points["cross_entropy_q"]
    points["difference"] = points["cross_entropy"] - points["cross_entropy_q"]
    assert_equal(facts.ask("select * from cross_entropy_points"), points, keys, 1e-6)
    rows = []
    for key, part in points[points["kind"] == "step"].groupby(["corpus", "family", "layer", "value"]):
        for predictor in ("ratio", "difference"):
            # A line through two points, or one that hardly varies, says nothing of how well it was computed.
            if len(part) > 2 and part[predictor].std() > 1e-4:
                alpha, intercept = np.polyfit(part[predictor], part["mean_kl"], 1)
                rows.append((*key, predictor, len(part), alpha, intercept))
    expected = pd.DataFrame(
        rows, columns=["corpus", "family", "layer", "value", "predictor", "n", "alpha", "intercept"]
    )
    stored = facts.ask("select * from cross_entropy_fit").merge(expected[["corpus", "layer", "value", "predictor"]])
    assert_equal(stored, expected, ["corpus", "family", "layer", "value", "predictor"], 1e-4)


def conditional_surprisal(facts: Facts) -> None:
    chosen = facts.annotated(facts.scores).merge(facts.tokens, on=["corpus", "token_id"])
    group = chosen.assign(accuracy=chosen["rank"] == 1).groupby([*EVALUATION, "layer", "value"])
    expected = group[["surprisal", "entropy", "accuracy"]].mean()
    expected["n_tokens"] = group.size()
    expected["se_document"] = [
        ratio_error(rows["surprisal"].to_numpy(), rows["cluster"].to_numpy()) for _, rows in group
    ]
    stored = facts.ask("select * from conditional_surprisal")
    assert_equal(stored, expected.reset_index(), [*EVALUATION, "layer", "value"], 1e-7)


def reference_divergence(facts: Facts) -> None:
    [(length,)] = facts.ask("select length from warehouse.tokenizer").to_numpy()
    group = facts.scores.groupby(EVALUATION)
    expected = pd.DataFrame(
        {"kl_uniform": np.log(length) - group["entropy"].mean(), "cross_entropy": group["surprisal"].mean()}
    )
    stored = facts.ask("select * from reference_divergence")
    assert_equal(stored, expected.reset_index(), EVALUATION, 1e-7)
    assert (stored["kl_reference"] > 0).all()


def pairwise_kl_is_every_pair_once(facts: Facts) -> None:
    assert not facts.pairs.duplicated(["comparison_id", "seed_p", "seed_q", "token_id"]).any()
    mean = -facts.pairs.groupby(["comparison_id", "token_id"])["kl"].mean()
    # Kept in single precision.
    assert_equal(facts.convergence, mean.rename("convergence").reset_index(), ["comparison_id", "token_id"], 1e-7)


def refresh_changes_nothing(facts: Facts) -> None:
    with facts.database.connect() as connection:
        changes = refresh(connection)
    # A corpus without items has no results by paradigm.
    assert all(change.rows > 0 for change in changes if not change.table.startswith("paradigm_"))
    # Sums over documents are kept in single precision.
    assert all(change.largest <= (1e-6 if change.table.startswith("document_") else 1e-9) for change in changes)
    assert not any(change.changed or change.added or change.removed for change in changes)
    assert findings(facts.database) == {}


PROMISES: list[Callable[[Facts], None]] = [
    *(pairwise_kl_is_every_pair_once, expected_convergence, conditional_convergence),
    *(expected_convergence_is_the_weighted_mean_of_layers, standard_errors, relative_divergence),
    *(conditional_surprisal, reference_divergence, cross_entropy),
]


@pytest.fixture(scope="module")
def facts(ingested: Ingested) -> Facts:
    return Facts(ingested.database)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_promise_holds_after_an_ingestion(facts: Facts, promise: Callable[[Facts], None]) -> None:
    promise(facts)


def test_refresh_changes_nothing_after_an_ingestion(ingested_copy: Ingested) -> None:
    refresh_changes_nothing(Facts(ingested_copy.database))


def layer_with_gaps(name: str, n_tokens: int, seed: int) -> Layer:
    """Three values at random; a third of the tokens have none."""
    codes = np.random.default_rng(seed).choice([-1, -1, 0, 1, 1, 2], n_tokens).astype(np.int32)
    return Layer(name, "categorical", tuple(map(Category, "abc")), codes, None, "chance", "drawn at random")


def test_every_promise_holds_after_a_corpus_of_few_documents_layers_and_a_seed_were_added(
    ingested_copy: Ingested,
) -> None:
    database, study = ingested_copy.database, replace(ingested_copy.study, models=("flat-14m",))
    text = write_documents(ingested_copy.root / "few.jsonl", documents(count=3, words=110))
    few = replace(study, seeds=(0, 1, 2), steps=(0, 16), corpus=CorpusSpec(path=text, name="few"))
    assert ingest(database, few).n_tokens > 5 * 256
    with database.engine().begin() as connection:
        for corpus_id, n_tokens in Facts(database).ask("select corpus_id, n_tokens from warehouse.corpus").to_numpy():
            load_layer(connection, int(corpus_id), layer_with_gaps("gaps", n_tokens, 1))
            [model_id] = Facts(database).ask("select model_id from warehouse.model where name like 'flat%'").to_numpy()
            own = layer_with_gaps("own", n_tokens, 2)
            load_layer(connection, int(corpus_id), own, model_id=int(model_id[0]))
    with_layers = Facts(database)
    assert {"gaps", "own"} <= set(with_layers.annotations["layer"])
    for promise in (*PROMISES, refresh_changes_nothing):
        promise(with_layers)

    for step in STEPS:
        save_cell(ingested_copy.root, "flat-14m", 4, step)
    assert ingest(database, study).outcome.evaluations == len(STEPS)
    with_seed = Facts(database)
    assert with_seed.ask("select max(n_seeds) from expected_convergence").iloc[0, 0] == 5
    for promise in (*PROMISES, refresh_changes_nothing):
        promise(with_seed)


def test_ordered_pairs_of_five_seeds_are_twenty() -> None:
    """The oracle's own arithmetic, by hand: with equal pairs there is nothing to be uncertain of."""
    means = dict.fromkeys(permutations(range(5), 2), 0.25)
    assert len(means) == 20
    assert seed_error(means, "seed") == pytest.approx(0, abs=1e-12)
    # Three seeds, pair means 1, 2, 3 each way: left-out means are 3, 2, 1, so se^2 = 2/3 * 2.
    y = {(0, 1): 1.0, (0, 2): 2.0, (1, 2): 3.0}
    both = {**y, **{(q, p): mean for (p, q), mean in y.items()}}
    assert seed_error(both, "seed") == pytest.approx(np.sqrt(4 / 3))
