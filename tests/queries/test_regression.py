"""Regressions of KL, as pure functions: against statsmodels' formulas, and cases worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from queries.fitting.regression import Factor, Observations, Regression, regress

VALUES = {
    "model": ["14m", "70m", "160m"],
    "pos": ["DT", "NN", "VB", "JJ", "UNK"],
    "pos.context": ["NN", "IN", "DT", ","],
}
REFERENCES = {"model": "14m", "pos": "NN", "pos.context": "NN"}


def table(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Observations in unequal clusters that share an effect of their own: kl, log10_count, cluster and the factors."""
    random = np.random.default_rng(seed)
    cluster = random.zipf(1.4, n) % 300
    rows = pd.DataFrame({"cluster": cluster, "log10_count": np.log10(cluster**2 + 1.0)})
    rows["kl"] = random.gamma(2.0, 0.2, n) + random.normal(0, 0.1, 300)[cluster] + 0.05 * rows["log10_count"]
    for name, values in VALUES.items():
        rows[name] = random.choice(values, n)
        rows["kl"] += rows[name].map({value: 0.03 * place for place, value in enumerate(values)})
    return rows


def observations(rows: pd.DataFrame) -> Observations:
    """The same as the code under test takes them."""
    factors = [
        Factor(name, values, rows[name].map(values.index).to_numpy(), REFERENCES[name])
        for name, values in VALUES.items()
    ]
    log10_count, clusters = rows["log10_count"].to_numpy(), rows["cluster"].to_numpy()
    return Observations(rows["kl"].to_numpy(), log10_count, factors, clusters)


def coefficients(result: Regression) -> pd.DataFrame:
    """Coefficients by (predictor, value)."""
    return pd.DataFrame(result.coefficients).set_index(["predictor", "value"])


def oracle(rows: pd.DataFrame, leave_out: str = "") -> pd.DataFrame:
    """statsmodels by formula, with errors clustered and Student's t, by (predictor, value)."""
    terms = [f"C(Q('{name}'), Treatment('{REFERENCES[name]}'))" for name in VALUES if name != leave_out]
    model = smf.ols(f"kl ~ log10_count + {' + '.join(terms)}", rows)
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": rows["cluster"]}, use_t=True)
    labels = {"Intercept": ("intercept", ""), "log10_count": ("log10_count", "")}
    for name, values in VALUES.items():
        labels |= {f"C(Q('{name}'), Treatment('{REFERENCES[name]}'))[T.{value}]": (name, value) for value in values}
    columns = {"coefficient": fit.params, "standard_error": fit.bse, "p_value": fit.pvalues}
    found = pd.DataFrame(columns).rename(index=labels)
    found.index = pd.MultiIndex.from_tuples(found.index, names=["predictor", "value"])
    found.attrs["r2"] = fit.rsquared
    return found


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.loc[expected.index, expected.columns], expected, check_dtype=False, rtol=1e-8, atol=1e-12
    )


def test_coefficients_errors_and_p_values_are_those_of_statsmodels() -> None:
    rows = table()
    result = regress(observations(rows), min_clusters=1)
    found, expected = coefficients(result), oracle(rows)
    assert set(found.index) == set(expected.index)
    assert_same(found, expected)
    assert result.r2 == pytest.approx(expected.attrs["r2"], rel=1e-12)
    assert (result.n, result.n_clusters) == (3000, rows["cluster"].nunique())


def test_each_coefficient_says_its_reference_and_on_how_much_it_rests() -> None:
    rows = table()
    found = coefficients(regress(observations(rows), min_clusters=1))
    for name, values in VALUES.items():
        assert set(found.loc[name].index) == set(values) - {REFERENCES[name]}
        assert set(found.loc[name]["reference"]) == {REFERENCES[name]}
        for value, row in found.loc[name].iterrows():
            own = rows[rows[name] == value]
            assert (row["n_with_value"], row["n_clusters_with_value"]) == (len(own), own["cluster"].nunique())
    assert found.loc[[("intercept", ""), ("log10_count", "")], "reference"].isna().all()


def test_an_exact_relation_is_recovered() -> None:
    rows = table(400)
    effect = rows["pos"].map({"DT": 0.2, "NN": 0.0, "VB": -0.1, "JJ": 0.05, "UNK": 0.0})
    rows["kl"] = 0.5 - 0.1 * rows["log10_count"] + effect + 0.3 * (rows["model"] == "70m")
    result = regress(observations(rows), min_clusters=1)
    found = coefficients(result)["coefficient"]
    expected = {("intercept", ""): 0.5, ("log10_count", ""): -0.1, ("pos", "DT"): 0.2, ("pos", "VB"): -0.1}
    expected |= {("pos", "JJ"): 0.05, ("pos", "UNK"): 0, ("model", "70m"): 0.3, ("model", "160m"): 0}
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-12)
    assert result.r2 == pytest.approx(1)


def test_the_order_of_observations_does_not_matter() -> None:
    rows = table()
    mixed = rows.sample(frac=1, random_state=3)
    one, other = (coefficients(regress(observations(each), min_clusters=5)) for each in (rows, mixed))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_what_cannot_be_told_apart_is_null_and_leaves_the_rest_as_it_is() -> None:
    """Every token of one part of speech follows one value, which nothing else does: two names for the same tokens."""
    rows = table()
    rows["pos.context"] = np.where(rows["pos"] == "DT", ",", rows["pos.context"].replace(",", "NN"))
    found = coefficients(regress(observations(rows), min_clusters=1))
    twins = [("pos", "DT"), ("pos.context", ",")]
    assert found.loc[twins, ["coefficient", "standard_error", "p_value"]].isna().all(axis=None)
    # An indicator of these tokens takes up all that they have in common, whatever it is called.
    whole = oracle(rows.assign(**{"pos.context": rows["pos.context"].replace(",", "NN")}))
    kept = [key for key in found.index if key not in twins]
    assert_same(found, whole.loc[kept])


def test_a_reference_that_no_observation_has_leaves_the_effects_of_other_predictors() -> None:
    rows = table()
    rows = rows[rows["model"] != "14m"]
    found = coefficients(regress(observations(rows), min_clusters=1))
    assert found.loc[[("intercept", ""), ("model", "70m"), ("model", "160m")], "coefficient"].isna().all()
    renamed = rows.assign(model=rows["model"].replace("70m", "14m"))
    expected = oracle(renamed)
    kept = [key for key in expected.index if key[0] not in ("intercept", "model")]
    assert_same(found, expected.loc[kept])


def test_a_value_in_few_vocabulary_ids_has_a_coefficient_and_no_error() -> None:
    rows = table()
    rows["pos"] = np.where(rows["cluster"] < 4, "DT", rows["pos"].replace("DT", "VB"))
    expected = oracle(rows)
    for least, trusted in ((4, True), (5, False)):
        found = coefficients(regress(observations(rows), min_clusters=least))
        assert found.loc[("pos", "DT"), "coefficient"] == pytest.approx(expected.loc[("pos", "DT"), "coefficient"])
        assert found.loc[("pos", "DT"), ["standard_error", "p_value"]].notna().all() == trusted
        assert_same(found.drop(index=[("pos", "DT")]), expected.drop(index=[("pos", "DT")]))


def test_a_value_that_no_observation_has_has_no_row() -> None:
    rows = table()
    rows = rows[rows["pos"] != "UNK"]
    found = coefficients(regress(observations(rows), min_clusters=1))
    assert ("pos", "UNK") not in found.index
    assert_same(found, oracle(rows))


def test_models_that_never_differ_have_no_variance_to_explain() -> None:
    rows = table(200).assign(kl=0.0)
    result = regress(observations(rows), min_clusters=1)
    found = coefficients(result)
    assert np.isnan(result.r2)
    assert (found["coefficient"] == 0).all()
    assert found[["standard_error", "p_value"]].isna().all(axis=None)


def test_one_vocabulary_id_has_no_error() -> None:
    rows = observations(table(200))
    alone = replace(rows, clusters=np.zeros(200, int))
    found, usual = (coefficients(regress(each, min_clusters=1)) for each in (alone, rows))
    pd.testing.assert_series_equal(found["coefficient"], usual["coefficient"])
    assert found["standard_error"].isna().all()
