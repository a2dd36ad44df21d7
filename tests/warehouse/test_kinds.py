"""Comparisons across models and of listed pairs: which pairs answer them, and what is kept of pairs without tokens."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Connection

from queries.refresh import refresh
from tests.contents import findings, frame
from tests.queries.crossed import Pair, compare, declare, load, same_seeds
from tests.queries.measured import Measured, add_seed, evaluation_ids, load_layer, measure, model_key
from warehouse.comparisons import derive
from warehouse.database import Database
from warehouse.ledger import known_pairs
from warehouse.pairs import outdated
from warehouse.values import CorpusValues

SMALL, LARGE = ("small", 16), ("large", 16)


@pytest.fixture
def measured(database: Database) -> Measured:
    """Two models of three seeds and two steps, with comparisons of kinds seed, step and final."""
    return measure(database, steps=(0, 16), n_tokens=600)


def members(measured: Measured, comparison_id: int) -> list[tuple[int, int]]:
    query = """
    select run_p.seed, run_q.seed
    from warehouse.comparison_member
    inner join warehouse.comparison_pair as pair using (pair_id)
    inner join warehouse.evaluation as p on p.evaluation_id = pair.evaluation_p
    inner join warehouse.checkpoint as checkpoint_p on checkpoint_p.checkpoint_id = p.checkpoint_id
    inner join warehouse.run as run_p on run_p.run_id = checkpoint_p.run_id
    inner join warehouse.evaluation as q on q.evaluation_id = pair.evaluation_q
    inner join warehouse.checkpoint as checkpoint_q on checkpoint_q.checkpoint_id = q.checkpoint_id
    inner join warehouse.run as run_q on run_q.run_id = checkpoint_q.run_id
    where comparison_id = %s
    order by 1, 2
    """
    return [(int(p), int(q)) for p, q in frame(measured.database, query, comparison_id).to_numpy()]


def counts(measured: Measured, comparison_id: int) -> tuple[int, int, int]:
    """Pairs, pairs expected, and chunks of mean KL of a comparison."""
    query = """
    select n_pairs, n_pairs_expected,
        (select count(*) from warehouse.convergence_chunk as chunk where chunk.comparison_id = c.comparison_id)
    from warehouse.comparison as c where comparison_id = %s
    """
    return tuple(int(x) for x in frame(measured.database, query, comparison_id).iloc[0])  # type: ignore[return-value]


def assert_sound(measured: Measured) -> None:
    """No check finds anything, and refreshing changes nothing."""
    assert findings(measured.database) == {}
    with measured.database.connect() as connection:
        changes = refresh(connection)
    assert not [change for change in changes if change.changed or change.added or change.removed]


def total(measured: Measured, comparison_id: int) -> tuple[float, float]:
    """Convergence over all tokens, and its standard error over seeds."""
    query = "select convergence, se_seed from analysis.expected_convergence where comparison_id = %s"
    convergence, error = frame(measured.database, query, comparison_id).iloc[0]
    return float(convergence), np.nan if error is None else float(error)


def mean_of(measured: Measured, pairs: list[Pair]) -> float:
    return float(np.mean([measured.kl[pair].astype(np.float64).mean() for pair in pairs]))


@pytest.mark.parametrize("kind", ["size", "matched"])
def test_a_comparison_of_two_models_has_the_pairs_of_one_seed_label(measured: Measured, kind: str) -> None:
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, kind, SMALL, ("large", 16 if kind == "size" else 0))
    assert members(measured, key) == [(0, 0), (1, 1), (2, 2)]
    assert counts(measured, key) == (3, 3, 3)
    pairs = same_seeds(measured, SMALL, ("large", 16 if kind == "size" else 0))
    assert total(measured, key)[0] == pytest.approx(-mean_of(measured, pairs), rel=1e-6)
    assert_sound(measured)


def test_a_cross_comparison_keeps_sums_and_no_tokens(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, "cross", SMALL, ("large", 0))
    assert members(measured, key) == [(0, 0), (1, 1), (2, 2)]
    assert counts(measured, key) == (3, 3, 0)
    pairs = same_seeds(measured, SMALL, ("large", 0))
    assert total(measured, key)[0] == pytest.approx(-mean_of(measured, pairs), rel=1e-6)
    facts = """
    select count(*) from warehouse.divergence_chunk inner join warehouse.comparison_pair using (pair_id)
    where not token_facts
    """
    assert frame(measured.database, facts).iloc[0, 0] == 0
    by_value = "select layer, value, n_tokens, convergence from conditional_convergence where comparison_id = %s"
    for layer, value, n_tokens, convergence in frame(measured.database, by_value, key).to_numpy():
        chosen = measured.layers[layer] == int(value.split()[-1])
        kl = np.mean([measured.kl[pair].astype(np.float64)[chosen] for pair in pairs])
        assert (n_tokens, -convergence) == (chosen.sum(), pytest.approx(kl, rel=1e-6))
    assert_sound(measured)


def test_pairs_of_sums_alone_are_forgotten_together_when_one_comes_late(measured: Measured) -> None:
    p, q = SMALL, ("large", 0)
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, "cross", p, q)
    for model in measured.models:
        with measured.database.engine().begin() as connection:
            add_seed(connection, measured, model, 3)
    with measured.database.engine().begin() as connection:
        declare(connection, measured, "cross", p, q)
        late = load(connection, measured, same_seeds(measured, p, q, [3]), token_facts=False)
        assert key in outdated(connection, measured.corpus_id, measured.protocol_id, [model_key(connection, "large")])
        derive(connection, key, CorpusValues(measured.corpus_id), known=late)
    assert counts(measured, key) == (0, 4, 0)
    assert_sound(measured)
    with measured.database.engine().begin() as connection:
        again = load(connection, measured, same_seeds(measured, p, q, [0, 1, 2, 3]), token_facts=False)
        assert len(again) == 4
        derive(connection, key, CorpusValues(measured.corpus_id), known=again)
    assert counts(measured, key) == (4, 4, 0)
    assert total(measured, key)[0] == pytest.approx(-mean_of(measured, same_seeds(measured, p, q, range(4))), rel=1e-6)
    assert_sound(measured)


def test_a_pair_of_sums_alone_answers_no_other_kind_until_its_tokens_are_loaded(measured: Measured) -> None:
    pairs = same_seeds(measured, SMALL, LARGE)
    with measured.database.engine().begin() as connection:
        cross = compare(connection, measured, "cross", SMALL, LARGE)
        size = declare(connection, measured, "size", SMALL, LARGE)
        ids = list(evaluation_ids(connection, measured).values())
        wanted = {(e[p], e[q]) for e in [evaluation_ids(connection, measured)] for p, q in pairs}
        assert wanted <= known_pairs(connection, ids)
        assert not wanted & known_pairs(connection, ids, token_facts=True)
        models = [model_key(connection, model) for model in measured.models]
        assert outdated(connection, measured.corpus_id, measured.protocol_id, models) == []
    before = total(measured, cross)
    with measured.database.engine().begin() as connection:
        assert len(load(connection, measured, pairs)) == 3  # with other values, which take the place of the old
        assert wanted <= known_pairs(connection, ids, token_facts=True)
        assert outdated(connection, measured.corpus_id, measured.protocol_id, models) == [cross, size]
        for comparison_id in (cross, size):
            derive(connection, comparison_id, CorpusValues(measured.corpus_id))
    assert total(measured, size) == total(measured, cross) != before
    assert (counts(measured, size), counts(measured, cross)) == ((3, 3, 3), (3, 3, 0))
    assert_sound(measured)


def test_a_pair_with_tokens_is_not_written_again_without(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        compare(connection, measured, "size", SMALL, LARGE)
        assert load(connection, measured, same_seeds(measured, SMALL, LARGE), token_facts=False) == {}
    assert_sound(measured)


def test_a_custom_comparison_has_the_pairs_that_were_listed(measured: Measured) -> None:
    first: list[Pair] = [(("small", 0, 16), ("large", 2, 0)), (("small", 1, 16), ("large", 1, 0))]
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, "custom", SMALL, ("large", 0), first)
        load(connection, measured, same_seeds(measured, SMALL, ("large", 0), [2]))  # there, and not listed
        models = [model_key(connection, model) for model in measured.models]
        assert outdated(connection, measured.corpus_id, measured.protocol_id, models) == []
    assert members(measured, key) == [(0, 2), (1, 1)]
    assert counts(measured, key) == (2, 2, 3)
    assert np.isnan(total(measured, key)[1])  # pairs of one seed and of two know no common jackknife
    assert_sound(measured)
    second: list[Pair] = [(("small", 2, 16), ("large", 2, 0))]
    with measured.database.engine().begin() as connection:
        assert compare(connection, measured, "custom", SMALL, ("large", 0), second) == key
    assert members(measured, key) == [(0, 2), (1, 1), (2, 2)]
    assert counts(measured, key) == (3, 3, 3)
    assert_sound(measured)


def test_the_difference_of_surprisal_is_that_of_the_pairs(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, "cross", SMALL, ("large", 0))
        steps = compare(connection, measured, "custom", SMALL, ("small", 0), [(("small", 1, 16), ("small", 0, 0))])
    query = "select comparison_id, kind, surprisal_difference from comparisons where n_pairs > 0"
    stored = frame(measured.database, query).set_index("comparison_id")

    def mean(model: str, seed: int, step: int) -> float:
        return float(measured.scores[model, seed, step]["surprisal"].astype(np.float64).mean())

    expected = np.mean([mean("small", seed, 16) - mean("large", seed, 0) for seed in measured.seeds])
    assert stored.loc[key, "surprisal_difference"] == pytest.approx(expected, rel=1e-12)
    alone = mean("small", 1, 16) - mean("small", 0, 0)
    assert stored.loc[steps, "surprisal_difference"] == pytest.approx(alone, rel=1e-12)
    assert (stored[stored["kind"] == "seed"]["surprisal_difference"].isna()).all()
    assert (stored[stored["kind"] != "seed"]["surprisal_difference"].notna()).all()


def test_a_comparison_across_models_has_the_layers_of_p(measured: Measured) -> None:
    measured.layers["own"] = (np.arange(600) % 3).astype(np.int32)
    with measured.database.engine().begin() as connection:
        load_layer(connection, measured, "own", model_id=model_key(connection, "small"))
        forth = compare(connection, measured, "size", SMALL, LARGE)
        back = compare(connection, measured, "cross", LARGE, SMALL)
    query = "select distinct comparison_id from conditional_convergence where layer = 'own'"
    found = set(frame(measured.database, query)["comparison_id"])
    assert forth in found
    assert back not in found
    assert_sound(measured)


def test_a_layer_loaded_after_a_cross_comparison_has_no_sums_of_it(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        cross = compare(connection, measured, "cross", SMALL, ("large", 0))
        measured.layers["late"] = (np.arange(600) % 2).astype(np.int32)
        load_layer(connection, measured, "late")
    query = "select distinct comparison_id from conditional_convergence where layer = %s"
    assert cross in set(frame(measured.database, query, "pos")["comparison_id"])
    assert cross not in set(frame(measured.database, query, "late")["comparison_id"])
    assert_sound(measured)


def test_sums_of_a_cross_comparison_that_are_gone_are_found(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        key = compare(connection, measured, "cross", SMALL, ("large", 0))
    with measured.database.connect() as connection:
        connection.execute("delete from warehouse.convergence_summary where comparison_id = %s", [key])
    assert findings(measured.database) == {"convergence_summary_missing": 1}


def test_both_directions_are_comparisons_of_their_own(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        forth, back = (
            compare(connection, measured, "size", SMALL, LARGE),
            compare(connection, measured, "size", LARGE, SMALL),
        )
    assert forth != back
    query = "select model, model_q, seed_p, seed_q, avg(kl) from pairwise_kl where kind = 'size' group by 1, 2, 3, 4"
    for model, model_q, seed_p, seed_q, kl in frame(measured.database, query).to_numpy():
        pair = ((model, seed_p, 16), (model_q, seed_q, 16))
        assert kl == pytest.approx(measured.kl[pair].astype(np.float64).mean(), rel=1e-6)


def declared(connection: Connection, measured: Measured, kind: str) -> int:
    return declare(connection, measured, kind, SMALL, ("large", 0))


@pytest.mark.parametrize("kind", ["size", "cross"])
def test_a_pair_without_its_other_side_is_expected_only_where_both_models_have_the_seed(
    measured: Measured, kind: str
) -> None:
    with measured.database.engine().begin() as connection:
        add_seed(connection, measured, "small", 5)
        key = declared(connection, measured, kind)
    assert counts(measured, key) == (0, 3, 0)
    query = "select complete from comparisons where comparison_id = %s"
    assert not frame(measured.database, query, key).iloc[0, 0]
