"""Scaling laws as pure functions: generated losses, published values, statsmodels, and another minimiser of scipy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from queries.fitting.scaling import Law, Losses, NotDetermined, NothingLeft, TooFewSizes, fit_all, fit_size

#: A and alpha that Godey et al. 2024 found for Pythia.
PUBLISHED = Law(119.09, 0.246)
SIZES = [405334016, 1011781632, 1414647808, 2775208960, 6857302016]
STEPS = [1000, 2000, 8000, 32000, 64000, 143000]


def losses(law: Law, sizes: list[int] = SIZES, steps: list[int] = STEPS, noise: float = 0.0, seed: int = 0) -> Losses:
    """Losses by a law, a checkpoint for each size and step, off by a factor of about exp(noise)."""
    pairs = np.array(list(product(sizes, steps)), np.float64)
    parameters, tokens = pairs[:, 0], pairs[:, 1] * 2097152
    factor = np.exp(noise * np.random.default_rng(seed).standard_normal(len(pairs)))
    exact = law.a / parameters**law.alpha + law.b / tokens**law.beta + law.e
    return Losses([f"{size:.0f} at {step:.0f}" for size, step in pairs], parameters, tokens, exact * factor)


def part(whole: Losses, keep: NDArray[np.bool_]) -> Losses:
    names = [name for name, kept in zip(whole.names, keep, strict=True) if kept]
    return Losses(names, whole.parameters[keep], whole.tokens[keep], whole.loss[keep])


# --- A and alpha --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:2]])
def test_a_and_alpha_are_recovered_from_losses_by_the_law(sizes: list[int]) -> None:
    found = fit_size(losses(PUBLISHED, sizes))
    assert found.law.a == pytest.approx(119.09, rel=1e-9)
    assert found.law.alpha == pytest.approx(0.246, rel=1e-9)
    assert (found.law.b, found.law.beta, found.law.e) == (410.7, 0.28, 1.69)
    assert found.rms_residual < 1e-12


def test_the_published_law_expects_the_published_losses() -> None:
    """At 3e11 tokens, for the sizes that the models are named after."""
    expected = PUBLISHED.loss(np.array([14e6, 70e6, 160e6, 410e6, 1.4e9]), np.full(5, 3e11))
    assert np.round(expected, 3).tolist() == [4.020, 3.341, 3.083, 2.847, 2.611]


def test_two_sizes_by_hand() -> None:
    # Without the other terms the losses are 8 and 4: a sixteenth of the size doubles the loss, so alpha is 1/4.
    two = Losses(["small", "large"], np.array([1e8, 1.6e9]), np.array([1e9, 1e9]), np.array([8.0, 4.0]))
    found = fit_size(two, b=0, e=0)
    assert found.law.alpha == pytest.approx(0.25)
    assert found.law.a == pytest.approx(800)
    assert (found.se_log_a, found.se_alpha) == (None, None), "two means leave nothing to scatter"


def test_an_uneven_noisy_fit_is_that_of_statsmodels() -> None:
    whole = losses(PUBLISHED, noise=0.02)
    some = part(whole, np.random.default_rng(1).random(len(whole.loss)) < 0.6)
    y = np.log(some.loss - 410.7 / some.tokens**0.28 - 1.69)
    plain = sm.OLS(y, sm.add_constant(np.log(some.parameters))).fit()
    found = fit_size(some)
    assert np.log(found.law.a) == pytest.approx(plain.params[0], rel=1e-9)
    assert found.law.alpha == pytest.approx(-plain.params[1], rel=1e-9)
    # Errors are those of the means of the sizes, weighted by their numbers.
    means = pd.DataFrame({"x": np.log(some.parameters), "y": y, "n": 1}).groupby("x", as_index=False)
    means = means.agg(y=("y", "mean"), n=("n", "sum"))
    assert means["n"].nunique() > 1
    of_means = sm.WLS(means["y"], sm.add_constant(means["x"]), weights=means["n"]).fit()
    assert [found.se_log_a, found.se_alpha] == pytest.approx(of_means.bse.tolist(), rel=1e-6)
    predicted = found.law.a / some.parameters**found.law.alpha + 410.7 / some.tokens**0.28 + 1.69
    assert found.rms_residual == pytest.approx(rms(some, predicted))


def rms(some: Losses, predicted: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.log(some.loss) - np.log(predicted)) / np.sqrt(len(predicted)))


@pytest.mark.parametrize(
    ("sizes", "said"), [([], "none qualifies"), (SIZES[:1], "qualify have 405,334,016 parameters")]
)
def test_fewer_than_two_sizes_are_refused(sizes: list[int], said: str) -> None:
    few = losses(PUBLISHED, SIZES)
    with pytest.raises(TooFewSizes) as refused:
        fit_size(part(few, np.isin(few.parameters, sizes)))
    assert said in str(refused.value)
    assert "lower --min-parameters" in str(refused.value)


def test_losses_that_leave_nothing_for_the_size_are_refused_by_name() -> None:
    spent = losses(PUBLISHED)
    spent.loss[[3, 4, 7, 8, 9, 11, 20]] = 1.7
    with pytest.raises(NothingLeft) as refused:
        fit_size(spent)
    first = ", ".join(spent.names[place] for place in (3, 4, 7, 8, 9))
    assert f"is not below the loss of {first} and 2 more: begin at a later step" in str(refused.value)


def test_sizes_that_hardly_differ_are_refused() -> None:
    twins = Losses(["a", "b"], np.array([1e9, 1e9 + 1]), np.array([1e10, 1e10]), np.array([3.0, 4.0]))
    with pytest.raises(NotDetermined, match="too much alike in size"):
        fit_size(twins, b=0, e=0)


# --- all five -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [PUBLISHED, Law(406.4, 0.34), Law(20.0, 0.1, 2000.0, 0.4, 0.8)])
def test_all_constants_are_recovered_from_losses_by_a_law(law: Law) -> None:
    found = fit_all(losses(law)).law
    for constant in ("a", "alpha", "b", "beta", "e"):
        assert getattr(found, constant) == pytest.approx(getattr(law, constant), rel=1e-6), constant


def huber_objective(theta: NDArray[np.float64], some: Losses) -> float:
    """Hoffmann et al. 2022, eq. 3: Huber loss, delta 1e-3, of the log-sum-exp of (a, alpha, b, beta, e) less log L."""
    a, alpha, b, beta, e = theta
    terms = [a - alpha * np.log(some.parameters), b - beta * np.log(some.tokens), np.full(len(some.loss), e)]
    error = np.abs(logsumexp(terms, axis=0) - np.log(some.loss)) / 1e-3
    return float(np.where(error <= 1, error**2 / 2, error - 0.5).sum())


def test_a_noisy_free_fit_is_the_least_of_another_minimiser() -> None:
    some = losses(PUBLISHED, noise=0.002, seed=3)
    found = fit_all(some)
    theta = np.array([np.log(found.law.a), found.law.alpha, np.log(found.law.b), found.law.beta, np.log(found.law.e)])
    ours = huber_objective(theta, some)
    options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-12, "fatol": 1e-12}
    true = np.array([np.log(119.09), 0.246, np.log(410.7), 0.28, np.log(1.69)])
    for start in (theta, true):
        other = minimize(huber_objective, start, args=(some,), method="Nelder-Mead", options=options)
        assert ours <= other.fun * (1 + 1e-6)
    assert ours < huber_objective(true, some)


def test_one_wild_loss_does_not_move_a_free_fit() -> None:
    wild = losses(PUBLISHED)
    wild.loss[7] *= 1.5
    found = fit_all(wild).law
    assert found.alpha == pytest.approx(0.246, abs=2e-3)
    assert found.e == pytest.approx(1.69, abs=2e-2)


def test_a_free_fit_needs_three_sizes_three_steps_and_six_checkpoints() -> None:
    with pytest.raises(
        TooFewSizes, match="models of 3 sizes, and those that qualify have 405,334,016, 1,011,781,632 parameters"
    ):
        fit_all(losses(PUBLISHED, SIZES[:2]))
    with pytest.raises(NotDetermined, match="there are 10 at 2"):
        fit_all(losses(PUBLISHED, steps=STEPS[:2]))
    whole = losses(PUBLISHED, SIZES[:3], STEPS[:3])
    diagonal = part(whole, np.isin(np.arange(9), [0, 1, 4, 5, 8]))
    with pytest.raises(NotDetermined, match="there are 5 at 3"):
        fit_all(diagonal)


@pytest.mark.parametrize("law", [Law(1e-12, 0.246), Law(119.09, 0.246, 1e-12), Law(119.09, 0.246, e=0.0)])
def test_a_free_fit_that_loses_a_term_is_refused(law: Law) -> None:
    with pytest.raises(NotDetermined, match="The best fit of all five constants is a limit"):
        fit_all(losses(law))


def test_a_loss_of_nothing_has_no_logarithm() -> None:
    some = losses(PUBLISHED)
    some.loss[2] = 0
    with pytest.raises(NothingLeft, match="Zero is not below the loss of 405334016 at 8000"):
        fit_all(some)
