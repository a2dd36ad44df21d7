"""`warehouse fit regression`: what it stores equals statsmodels on the arrays that were loaded; what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf

from tests.conftest import Outcome
from tests.contents import frame
from tests.queries import crossed
from tests.queries.measured import Measured, load_layer, measure, model_key
from warehouse.database import Database
from warehouse.standing import flag_run

Command = Callable[..., Outcome]
N_TOKENS = 900
FIT = ("fit", "regression", "--layer", "pos", "--context-layer", "pos.context")
#: Value of each code of layer pos.
TAGS = ("DT", "IN", "NN", "VB", "JJ", "CC")
COUNTS = np.arange(40.0) ** 3


@pytest.fixture
def held(named_database: Database) -> Measured:
    """Two models, `tiny` the smaller, some tokens without KL; parts of speech, the first token without context."""
    held = measure(named_database, n_tokens=N_TOKENS, models=("big", "tiny"), unmeasured=("kl",))
    with named_database.engine().begin() as connection:
        held.layers["pos.context"] = np.concatenate([[-1], held.layers["pos"][:-1]]).astype(np.int32)
        load_layer(connection, held, "pos.context")
        for name, parameters in (("big", 2000), ("tiny", 1000)):
            connection.exec_driver_sql("update warehouse.model set parameters = %s where name = %s", (parameters, name))
        for code, tag in enumerate(TAGS):
            connection.exec_driver_sql(
                "update warehouse.annotation_category set value = %s where value in (%s, %s)",
                (tag, f"pos {code}", f"pos.context {code}"),
            )
        connection.exec_driver_sql("update warehouse.reference_distribution set counts = %s", (COUNTS.tolist(),))
    return held


def observations(held: Measured, kind: str, step: int, models: Sequence[str] = ("tiny", "big")) -> pd.DataFrame:
    """Tokens of each model that have a KL and a context, from the arrays."""
    names = np.array(TAGS)
    context = held.layers["pos.context"]
    tokens = pd.DataFrame(
        {
            "vocab_id": held.vocab_ids,
            "log10_count": np.log10(COUNTS[held.vocab_ids] + 1),
            "pos": names[held.layers["pos"]],
            "context": np.where(context < 0, None, names[context]),
        }
    )
    parts = [tokens.assign(model=model, kl=held.mean(kind, model, step)) for model in models]
    return pd.concat(parts, ignore_index=True).dropna()


def oracle(rows: pd.DataFrame) -> pd.DataFrame:
    """Coefficients by (predictor, value) from a formula of statsmodels, with intervals."""
    terms = ["log10_count", "C(pos, Treatment('NN'))", "C(context, Treatment('NN'))"]
    terms += ["C(model, Treatment('tiny'))"] * (rows["model"].nunique() > 1)
    fit = smf.ols(f"kl ~ {' + '.join(terms)}", rows).fit(
        cov_type="cluster", cov_kwds={"groups": rows["vocab_id"]}, use_t=True
    )
    interval = fit.conf_int()
    columns = {"coefficient": fit.params, "standard_error": fit.bse, "p_value": fit.pvalues}
    found = pd.DataFrame(columns | {"lower": interval[0], "upper": interval[1], "r2": fit.rsquared})
    found["n"], found["n_clusters"] = len(rows), rows["vocab_id"].nunique()
    found.index = pd.MultiIndex.from_tuples([_label(name) for name in found.index], names=["predictor", "value"])
    return found.sort_index()


def _label(name: str) -> tuple[str, str]:
    """(predictor, value) of a coefficient of statsmodels: Intercept, log10_count, C(pos, Treatment('NN'))[T.DT]."""
    if "[T." not in name:
        return name.lower(), ""
    predictor = name[2 : name.index(",")]
    return {"context": "pos.context"}.get(predictor, predictor), name[name.index("[T.") + 3 : -1]


def stored(database: Database, step: int, name: str = "regression") -> pd.DataFrame:
    """Rows of the view of one fit and step, by (predictor, value)."""
    query = "select * from analysis.regression_coefficients where name = %s and step = %s"
    return frame(database, query, name, step).set_index(["predictor", "value"]).sort_index()


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["seed", "step", "final"])
def test_what_is_stored_is_the_regression_of_statsmodels_at_every_step(
    held: Measured, command: Command, kind: str
) -> None:
    done = command(*FIT, "--kind", kind)
    assert done.status == 0, done.errors
    steps = held.steps if kind == "seed" else held.steps[:-1]
    for step in steps:
        expected = oracle(observations(held, kind, step))
        found = stored(held.database, step)
        assert len(found) == 1 + 1 + 5 + 5 + 1
        assert_same(found, expected)
        assert set(found["kind"]) == {kind}
    largest = max(len(observations(held, kind, step)) for step in steps)
    assert f"Stored fit regression: {len(steps)} steps of tiny, big on prose, up to {largest:,} obs" in done.output
    assert "counts of reference unigram" in done.output
    assert set(frame(held.database, "select step from warehouse.regression_coefficient")["step"]) == set(steps)


def test_the_interval_is_that_of_students_t(held: Measured, command: Command) -> None:
    assert command(*FIT, "--step", "16").status == 0
    found = stored(held.database, 16)
    half = scipy.stats.t.ppf(0.975, found["n_clusters"] - 1) * found["standard_error"]
    np.testing.assert_allclose(found["upper"] - found["coefficient"], half, rtol=1e-9)
    np.testing.assert_allclose(found["coefficient"] - found["lower"], half, rtol=1e-9)


def test_a_fit_keeps_what_it_was_made_from_and_another_of_its_name_replaces_it(
    held: Measured, command: Command
) -> None:
    for arguments in (("--step", "16"), ("--step", "16"), ("--step", "0", "--step", "64")):
        done = command(*FIT, "--name", "tags", *arguments)
        assert done.status == 0, done.errors
        row = frame(held.database, "select * from analysis.fits").to_dict("records")
        assert len(row) == 1
    assert done.output.startswith("Replaced fit tags: 2 steps")
    assert row[0]["settings"] == {
        "kind": "seed",
        "run_set": "default",
        "layer": "pos",
        "context_layer": "pos.context",
        "counts": "reference unigram",
        "steps": [0, 64],
        "models": ["tiny", "big"],
        "min_clusters": 5,
    }
    assert {"token-warehouse", "numpy", "scipy"} == set(row[0]["versions"])
    assert [row[0][noun] for noun in ("family", "corpus", "protocol")] == ["toy", "prose", "default"]


def test_the_digest_changes_with_the_numbers_and_with_nothing_else(held: Measured, command: Command) -> None:
    def digest() -> str:
        assert command(*FIT).status == 0
        return str(frame(held.database, "select input_digest from analysis.fits")["input_digest"][0])

    first = digest()
    assert digest() == first
    with held.database.connect() as connection:
        connection.execute(
            "update warehouse.convergence_chunk set kl[5] = kl[5] + 0.001 "
            "where comparison_id = (select min(comparison_id) from warehouse.comparison where kind = 'seed')"
        )
    assert digest() != first


def test_incomplete_comparisons_and_flagged_runs_are_left_out(held: Measured, command: Command) -> None:
    with held.database.engine().begin() as connection:
        flag_run(connection, None, "big", 2, "an outlier")
        connection.exec_driver_sql(
            "update warehouse.comparison set n_pairs_expected = 9 where kind = 'seed' and step = 16 and model_id = %s",
            (model_key(connection, "tiny"),),
        )
    done = command(*FIT)
    assert done.status == 0, done.errors
    assert "Left out: 1 comparison that lacks pairs." in done.errors
    kl = np.array([held.kl[("big", a, 64), ("big", b, 64)] for a, b in ((0, 1), (1, 0))], np.float64).mean(0)
    rows = observations(held, "seed", 64)
    own = (rows["model"] == "big").to_numpy()
    tokens = np.flatnonzero(np.isfinite(kl) & (held.layers["pos.context"] >= 0))
    rows.loc[own, "kl"] = kl.astype(np.float32).astype(float)[tokens]
    assert_same(stored(held.database, 64), oracle(rows))
    # The model that others are held against has no comparison there.
    alone = stored(held.database, 16)
    assert alone.loc[("model", "big"), "n_with_value"] == len(tokens)
    assert np.isnan(alone.loc[("model", "big"), "coefficient"])
    assert np.isnan(alone.loc[("intercept", ""), "coefficient"])


def test_without_a_reference_the_text_itself_is_counted(held: Measured, command: Command) -> None:
    with held.database.connect() as connection:
        connection.execute("update warehouse.reference_distribution set name = 'other'")
    done = command(*FIT, "--step", "16")
    assert "counts of the corpus itself" in done.output
    rows = observations(held, "seed", 16)
    own = np.bincount(held.vocab_ids)
    assert_same(stored(held.database, 16), oracle(rows.assign(log10_count=np.log10(own[rows["vocab_id"]] + 1))))
    done = command(*FIT, "--step", "16", "--reference", "other")
    assert "counts of reference other" in done.output
    assert_same(stored(held.database, 16), oracle(rows))
    refused = command(*FIT, "--reference", "unigram")
    assert refused.status == 2
    assert "There is no reference unigram of single tokens; there are other." in refused.errors


def test_a_layer_without_nn_has_its_most_frequent_value_as_reference(held: Measured, command: Command) -> None:
    assert command("fit", "regression", "--context-layer", "word_class", "--step", "0").status == 0
    codes = held.layers["word_class"]
    frequent = f"word_class {np.bincount(codes[codes >= 0]).argmax()}"
    assert set(stored(held.database, 0).loc["word_class"]["reference"]) == {frequent}


@pytest.mark.parametrize(("kind", "step_q"), [("step", 64), ("final", 16)])
def test_a_step_is_held_against_the_nearest_next_and_the_latest_last_one(
    held: Measured, command: Command, kind: str, step_q: int
) -> None:
    with held.database.engine().begin() as connection:
        crossed.compare(connection, held, kind, ("tiny", 0), ("tiny", step_q))
        query = f"select n_pairs from analysis.comparisons where kind = '{kind}' and model = 'tiny' and step = 0"
        assert connection.exec_driver_sql(query).all() == [(3,), (3,)]
    assert command(*FIT, "--kind", kind, "--step", "0").status == 0
    assert_same(stored(held.database, 0), oracle(observations(held, kind, 0)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--layer", "tag"), "Corpus prose has no layer tag of all models and at most 1,000 values; `pos` and"),
        (("--layer", "own"), "Corpus prose has no layer own of all models"),
        (("--step", "7"), "No complete comparison of kind seed is at step 7; there are steps 0, 16, 64."),
        (("--layer", "pos", "--context-layer", "pos"), "There would be two predictors called pos; name another layer"),
        (("--layer", "model"), "There would be two predictors called model"),
        (("--context-layer", "log10_count"), "There would be two predictors called log10_count"),
        (("--corpus", "verse"), "There is no corpus verse; there are prose."),
        (
            ("--layer", "word_class", "--context-layer", "rest"),
            "No token with a KL has values of both word_class and rest",
        ),
    ],
)
def test_what_cannot_be_fitted_is_said_in_a_sentence_and_nothing_is_stored(
    held: Measured, command: Command, arguments: Sequence[str], said: str
) -> None:
    with held.database.engine().begin() as connection:
        held.layers["own"] = held.layers["pos"]
        load_layer(connection, held, "own", model_id=model_key(connection, "big"))
        held.layers["rest"] = np.where(held.layers["word_class"] < 0, 0, -1).astype(np.int32)
        load_layer(connection, held, "rest")
    done = command("fit", "regression", *arguments)
    assert done.status == 2
    assert said in done.errors
    assert len(done.errors.strip().splitlines()) == 1
    assert frame(held.database, "select * from analysis.fits").empty


def test_a_warehouse_without_comparisons_has_nothing_to_fit(named_database: Database, command: Command) -> None:
    measure(named_database, n_tokens=300, n_documents=8, models=())
    done = command("fit", "regression")
    assert done.status == 2
    assert "No comparison of kind seed has been measured" in done.errors


def test_without_scipy_the_command_says_what_to_install(
    named_database: Database, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    done = command("fit", "regression")
    assert done.status == 2
    assert "pip install 'token-warehouse[fits]'" in done.errors
