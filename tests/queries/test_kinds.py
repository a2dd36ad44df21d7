"""What the views say of comparisons across models and of listed pairs, of both run sets, and of top entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Outcome, _administer, database_at
from tests.contents import findings, frame
from tests.queries.crossed import Pair, compare, same_seeds
from tests.queries.measured import VOCABULARY, Measured, evaluation_ids, measure
from tests.queries.test_views import jackknife, se_clusters
from warehouse.database import Database
from warehouse.evaluations import Evaluation, Top, load_evaluation
from warehouse.standing import flag_run
from warehouse.values import CorpusValues

N = 700
P, Q = ("small", 16), ("large", 64)
LISTED: dict[int, list[Pair]] = {
    1: [(("small", seed, 16), ("large", seed, 64)) for seed in range(4)],
    2: [(("small", p, 16), ("small", q, 16)) for p in range(4) for q in range(4) if p != q],
}


@pytest.fixture(scope="module")
def crossed(request: pytest.FixtureRequest) -> Iterator[Measured]:
    """Two models of four seeds, compared in every way."""
    server, template = request.getfixturevalue("server_url"), request.getfixturevalue("template")
    _administer(server, "create database {} template {}", "crossed_kinds", template)
    held = measure(database_at(server, "crossed_kinds"), seeds=(0, 1, 2, 3), n_tokens=N, unmeasured=["kl"])
    with held.database.engine().begin() as connection:
        compare(connection, held, "size", P, Q)
        compare(connection, held, "matched", P, Q)
        compare(connection, held, "cross", ("large", 0), ("small", 64))
        compare(connection, held, "custom", P, Q, LISTED[1])
        compare(connection, held, "custom", P, P, LISTED[2])
    yield held
    _administer(server, "drop database {} with (force)", "crossed_kinds")


def pairs_of(held: Measured, row: Any) -> list[Pair]:
    if row.kind == "custom":
        return LISTED[1 if row.model_q == "large" else 2]
    return same_seeds(held, (row.model, row.step), (row.model_q, row.step_q))


def across(held: Measured, view: str) -> pd.DataFrame:
    kinds = "kind in ('size', 'matched', 'cross', 'custom')"
    return frame(held.database, f"select * from {view} where {kinds} order by kind, model_q")


def expected(held: Measured, row: Any, chosen: np.ndarray[Any, Any]) -> dict[str, float]:
    """Convergence and its errors from the pairs' arrays, as docs/methods.md §3 defines them."""
    pairs = pairs_of(held, row)
    mean = np.mean([held.kl[pair].astype(np.float64) for pair in pairs], 0).astype(np.float32).astype(np.float64)
    chosen = chosen & np.isfinite(mean)
    means = {(p[1], q[1]): float(held.kl[p, q][chosen].astype(np.float64).mean()) for p, q in pairs}
    seed = jackknife(means, 2 if len(means) == 12 else 1)
    document = se_clusters(mean[chosen], held.clusters[chosen])
    return {
        "n_tokens": chosen.sum(),
        "convergence": -mean[chosen].mean(),
        "se_seed": seed,
        "se_document": document,
        "se_total": float(np.hypot(seed, document)),
        "n_pairs": len(pairs),
    }


def test_expected_convergence_of_every_kind_equals_its_definition(crossed: Measured) -> None:
    shown = across(crossed, "expected_convergence")
    assert shown["kind"].tolist() == ["cross", "custom", "custom", "matched", "size"]
    for row in shown.itertuples():
        wanted = expected(crossed, row, np.ones(N, bool))
        actual = {name: float(getattr(row, name)) for name in wanted}
        assert actual == pytest.approx(wanted, rel=1e-6), row.kind
        assert row.complete
        assert (row.n_seeds, row.df_seed) == (4, 3)


def test_conditional_convergence_of_every_kind_equals_its_definition(crossed: Measured) -> None:
    shown = across(crossed, "conditional_convergence")
    assert len(shown) == 5 * (6 + 2)
    for row in shown.itertuples():
        code = int(str(row.value).split()[-1])
        wanted = expected(crossed, row, crossed.layers[str(row.layer)] == code)
        assert {name: float(getattr(row, name)) for name in wanted} == pytest.approx(wanted, rel=1e-6), row.kind


def test_relative_divergence_of_every_kind_is_a_ratio_of_means(crossed: Measured) -> None:
    shown = across(crossed, "relative_divergence")
    assert len(shown) == 5 * (6 + 2)
    for row in shown.itertuples():
        chosen = crossed.layers[str(row.layer)] == int(str(row.value).split()[-1])
        part, whole = expected(crossed, row, chosen), expected(crossed, row, np.ones(N, bool))
        assert row.sigma == pytest.approx(part["convergence"] / whole["convergence"], rel=1e-6)


def test_tokens_are_shown_of_every_kind_but_cross(crossed: Measured) -> None:
    names = ["kind", "model", "step", "model_q", "step_q"]
    tokens = across(crossed, "token_convergence").groupby(names)
    pairs = across(crossed, "pairwise_kl").groupby(names)
    assert {key[0] for key in tokens.groups} == {key[0] for key in pairs.groups} == {"size", "matched", "custom"}
    for key, group in pairs:
        row = pd.Series(dict(zip(names, key, strict=True)))
        wanted = pairs_of(crossed, row)
        assert sorted({*zip(group["seed_p"], group["seed_q"], strict=True)}) == sorted((p[1], q[1]) for p, q in wanted)
        mean = np.mean([crossed.kl[pair].astype(np.float64) for pair in wanted], 0)
        shown = tokens.get_group(key).sort_values("token_id")["convergence"].to_numpy(np.float64)
        np.testing.assert_allclose(-shown, mean, rtol=1e-6)


def test_a_warehouse_of_every_kind_is_sound(crossed: Measured) -> None:
    assert findings(crossed.database) == {}


def test_the_run_set_is_chosen_by_the_session_and_by_the_command(
    named_database: Database, command: Callable[..., Outcome]
) -> None:
    measure(named_database, models=("small",), steps=(0, 16), n_tokens=300)
    with named_database.engine().begin() as connection:
        flag_run(connection, None, "small", 2, "diverged")
    query = "select distinct run_set, n_pairs from expected_convergence where kind = 'seed'"
    for options, said in (([], "default,2"), (["--run-set", "all"], "all,6"), (["--run-set", "default"], "default,2")):
        outcome = command("sql", query, "--format", "csv", *options)
        assert (outcome.status, outcome.output.splitlines()[1:]) == (0, [said])
        assert outcome.errors == ""
    for view in ("token_convergence", "pairwise_kl", "conditional_convergence", "relative_divergence"):
        for chosen in ("default", "all"):
            outcome = command("sql", f"select distinct run_set from {view}", "--format", "csv", "--run-set", chosen)
            assert outcome.output.splitlines()[1:] == [chosen], view
    assert command("sql", query, "--run-set", "al").status == 2
    with named_database.read() as reader:
        reader.execute("set warehouse.run_set = ''")
        assert reader.execute(query.encode()).fetchall() == [("default", 2)]


def test_the_models_of_a_phase_are_those_of_its_run_set(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16, 64), n_tokens=300)
    with database.engine().begin() as connection:
        flag_run(connection, None, "small", 2, "diverged")
    query = "select mean_cross_entropy from phase_statistics where definition = 'slides' and phase = 'uniform'"

    def mean(seeds: tuple[int, ...]) -> float:
        return float(np.mean([held.scores["small", s, 0]["surprisal"].astype(np.float64).mean() for s in seeds]))

    with database.connect() as connection:
        assert connection.execute(query.encode()).fetchall() == [(pytest.approx(mean((0, 1)), rel=1e-6),)]
        connection.execute("set warehouse.run_set = 'all'")
        assert connection.execute(query.encode()).fetchall() == [(pytest.approx(mean((0, 1, 2)), rel=1e-6),)]


# --- the most probable entries ---------------------------------------------------------------------------------------


def top_of(n_tokens: int, k: int) -> Top:
    random = np.random.default_rng(k)
    ids = np.argsort(random.random((n_tokens, VOCABULARY)), 1)[:, :k].astype(np.int32)
    falling = np.sort(np.log(random.random((n_tokens, k))), 1)[:, ::-1]
    return Top(ids, falling.astype(np.float32))


def unit_with(held: Measured, evaluation_id: int, top: Top | None) -> Evaluation:
    member = ("small", 1, 16)
    return Evaluation(
        evaluation_id=evaluation_id,
        input_digest=f"digest of {member}",
        environment_id=held.environment_id,
        window=64,
        seconds=0.5,
        anisotropy=0.1,
        scores={**held.scores[member], "pad_logmass": None},
        top=top,
    )


@pytest.mark.parametrize("n_tokens", [256, 600])
def test_top_entries_are_shown_in_order_and_more_take_the_place_of_fewer(database: Database, n_tokens: int) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=n_tokens)
    values = CorpusValues(held.corpus_id)
    assert frame(database, "select * from token_top").empty
    for k, kept in ((3, 3), (2, 3), (5, 5)):
        with database.engine().begin() as connection:
            key = evaluation_ids(connection, held)["small", 1, 16]
            assert load_evaluation(connection, unit_with(held, key, top_of(n_tokens, k)), values) is False
        shown = frame(database, "select * from token_top order by token_id, place")
        top = top_of(n_tokens, kept)
        assert shown[["model", "seed", "step"]].drop_duplicates().to_numpy().tolist() == [["small", 1, 16]]
        assert shown["place"].tolist() == list(range(1, kept + 1)) * n_tokens
        assert (shown["token_id"] == held.first_token_id + np.repeat(np.arange(n_tokens), kept)).all()
        np.testing.assert_array_equal(shown["vocab_id"].to_numpy(int), top.vocab_ids.reshape(-1))
        np.testing.assert_array_equal(shown["log_probability"].to_numpy(np.float32), top.log_probabilities.reshape(-1))
        assert frame(database, "select distinct top_k from evaluations order by 1")["top_k"].tolist() == [0, kept]
        assert findings(database) == {}


def test_the_context_of_a_document_starts_with_it(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=300)
    query = "select context_length from token_score where seed = 1 and step = 16 order by token_id"
    starts = np.flatnonzero(np.diff(held.documents, prepend=-1))
    place = np.arange(300) - starts[held.documents]
    with database.connect() as connection:
        connection.execute("update warehouse.protocol set windows = 'documents', \"window\" = 2048")
        connection.execute('update warehouse.evaluation set "window" = 2048')
    np.testing.assert_array_equal(frame(database, query)["context_length"], place + 1)
    with database.connect() as connection:
        connection.execute("update warehouse.protocol set windows = 'truncated'")
        connection.execute('update warehouse.evaluation set "window" = 9')
    np.testing.assert_array_equal(frame(database, query)["context_length"], np.minimum(np.arange(300) + 1, 9))
