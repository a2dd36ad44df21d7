"""Scaling laws of the loss: L = A / N^alpha + B / T^beta + E, N parameters, T training tokens (docs/methods.md §8).

Pure functions of arrays; models by name, files and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError

Floats = NDArray[np.float64]

#: B, beta and E of Hoffmann et al. 2022, as Godey et al. 2024 take them over.
B, BETA, E = 410.7, 0.28, 1.69
#: Beyond this log residual an error counts by its size and no longer by its square (Hoffmann et al. 2022).
HUBER = 1e-3
#: Sizes, and different numbers of tokens, without which A and alpha, and B and beta, cannot be told from E.
FREE_LEVELS = 3
#: A constant whose logarithm is larger is no float64.
LARGEST_LOG = 700
#: Most names in a message.
_NAMED = 5


class TooFewSizes(WarehouseError):
    """A scaling law needs models of two sizes."""


class NothingLeft(WarehouseError):
    """Some losses leave nothing for the size of the model."""


class NotDetermined(WarehouseError):
    """The losses do not determine the constants of the law."""


@dataclass(frozen=True)
class Losses:
    """Losses of checkpoints, [n] each: name as a message shows it, parameters, training tokens, loss in nats."""

    names: Sequence[str]
    parameters: Floats
    tokens: Floats
    loss: Floats

    @property
    def sizes(self) -> Floats:
        """[G] the different numbers of parameters, ascending."""
        return np.unique(self.parameters)


@dataclass(frozen=True)
class Law:
    """L = a / N^alpha + b / T^beta + e; a, b and e in nats."""

    a: float
    alpha: float
    b: float = B
    beta: float = BETA
    e: float = E

    def loss(self, parameters: Floats, tokens: Floats) -> Floats:
        """[n] the loss that the law expects, in nats."""
        expected: Floats = self.a * parameters**-self.alpha + self.b * tokens**-self.beta + self.e
        return expected


@dataclass(frozen=True)
class Fitted:
    """A law, the standard errors of log a and alpha (None where unknown), the root mean square of log L - log L-hat."""

    law: Law
    rms_residual: float
    se_log_a: float | None = None
    se_alpha: float | None = None


def fit_size(losses: Losses, b: float = B, beta: float = BETA, e: float = E) -> Fitted:
    """A and alpha by least squares of log(L - b / T^beta - e) on log N (Godey et al. 2024), the rest being given.

    Standard errors are those of the regression of the sizes' means: checkpoints of one model are not independent.
    Raises TooFewSizes below two sizes, NothingLeft where a loss is not above b / T^beta + e, NotDetermined where A is
    no number any more.
    """
    _require_levels(losses, 2)
    remainder = losses.loss - b * losses.tokens**-beta - e
    _refuse_spent(losses, remainder, f"B / T^beta + E, with B {b:g}, beta {beta:g} and E {e:g},")
    design = np.column_stack([np.ones_like(remainder), -np.log(losses.parameters)])
    (log_a, alpha), *_ = np.linalg.lstsq(design, np.log(remainder), rcond=None)
    if abs(log_a) > LARGEST_LOG:
        raise NotDetermined(f"The losses ask for an alpha of {alpha:g}: their models are too much alike in size.")
    law = Law(float(np.exp(log_a)), float(alpha), b, beta, e)
    return Fitted(law, _rms(losses, law), *_size_errors(losses, np.log(remainder), log_a, alpha))


def fit_all(losses: Losses) -> Fitted:
    """All five constants, by the Huber loss of log L-hat - log L from several starts (Hoffmann et al. 2022).

    Raises TooFewSizes below three sizes, NothingLeft where a loss is not above 0, NotDetermined below three numbers of
    tokens or six checkpoints, or where the best fit has lost a term. Needs scipy.
    """
    _require_levels(losses, FREE_LEVELS)
    _refuse_spent(losses, losses.loss, "Zero")
    if len(losses.loss) < 6 or len(np.unique(losses.tokens)) < FREE_LEVELS:
        raise NotDetermined(
            f"Five free constants need 6 checkpoints at {FREE_LEVELS} different numbers of training tokens; there are "
            f"{len(losses.loss)} at {len(np.unique(losses.tokens))}: fit more steps, or A and alpha alone."
        )
    terms = _Terms(losses)
    rough = min((terms.minimise(start, 1e-6) for start in terms.starts()), key=lambda fit: float(fit.cost))
    best = terms.minimise(rough.x, 1e-15)
    if best.active_mask.any():
        law = terms.law(best.x)
        raise NotDetermined(
            f"The best fit of all five constants is a limit (A {law.a:g}, alpha {law.alpha:g}, B {law.b:g}, beta "
            f"{law.beta:g}, E {law.e:g}): fit more sizes and steps, or A and alpha alone."
        )
    law = terms.law(best.x)
    return Fitted(law, _rms(losses, law))


class _Terms:
    """The law as a sum of three exponentials of (log size term, alpha, log token term, beta, log E).

    The first and third are taken at the geometric mean of N and of T, where they do not depend on the exponents.
    """

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self.log_loss = np.log(losses.loss)
        logs = np.log(losses.parameters), np.log(losses.tokens)
        self.centres = [float(log.mean()) for log in logs]
        self.x, self.y = (log - centre for log, centre in zip(logs, self.centres, strict=True))
        least = float(self.log_loss.min())
        term = (least - 14, float(self.log_loss.max()) + 14)
        self.bounds = tuple(zip(term, (1e-3, 5.0), term, (1e-3, 5.0), term, strict=True))

    def _parts(self, theta: Floats) -> Floats:
        """[3, n] the terms of the law."""
        return np.exp([theta[0] - theta[1] * self.x, theta[2] - theta[3] * self.y, theta[4] + 0 * self.x])

    def residuals(self, theta: Floats) -> Floats:
        """[n] log L-hat - log L."""
        difference: Floats = np.log(self._parts(theta).sum(0)) - self.log_loss
        return difference

    def jacobian(self, theta: Floats) -> Floats:
        """[n, 5] derivatives of the residuals: each term's share of L-hat."""
        parts = self._parts(theta)
        size, token, floor = parts / parts.sum(0)
        return np.column_stack([size, -self.x * size, token, -self.y * token, floor])

    def starts(self) -> Iterator[Floats]:
        """For a grid of exponents the three terms that fit best, which is a linear question."""
        from scipy.optimize import nnls

        for alpha, beta in product((0.1, 0.3, 0.6, 1.0), repeat=2):
            design = np.column_stack([np.exp(-alpha * self.x), np.exp(-beta * self.y), np.ones_like(self.x)])
            heights = np.maximum(nnls(design, self.losses.loss)[0], 1e-3 * self.losses.loss.min())
            size, token, floor = np.log(heights)
            yield np.array([size, alpha, token, beta, floor])

    def minimise(self, start: Floats, tolerance: float) -> Any:
        """scipy's result of the search from one start."""
        from scipy.optimize import least_squares

        return least_squares(
            self.residuals,
            start,
            self.jacobian,
            bounds=self.bounds,
            loss="huber",
            f_scale=HUBER,
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
            max_nfev=1000,
        )

    def law(self, theta: Floats) -> Law:
        """The constants of the law."""
        size, alpha, token, beta, floor = map(float, theta)
        log_a, log_b = size + alpha * self.centres[0], token + beta * self.centres[1]
        return Law(float(np.exp(log_a)), alpha, float(np.exp(log_b)), beta, float(np.exp(floor)))


def _require_levels(losses: Losses, least: int) -> None:
    """Raises TooFewSizes where there are fewer than `least` sizes."""
    if len(losses.sizes) < least:
        sizes = ", ".join(f"{size:,.0f}" for size in losses.sizes)
        found = f"those that qualify have {sizes} parameters" if sizes else "none qualifies"
        raise TooFewSizes(
            f"The law needs models of {least} sizes, and {found}: lower --min-parameters, or measure more models."
        )


def _refuse_spent(losses: Losses, remainder: Floats, floor: str) -> None:
    """Raises NothingLeft where a loss is not above what is called floor."""
    spent = [name for name, left in zip(losses.names, remainder, strict=True) if not left > 0]
    if spent:
        named = ", ".join(spent[:_NAMED]) + (f" and {len(spent) - _NAMED} more" if len(spent) > _NAMED else "")
        raise NothingLeft(f"{floor} is not below the loss of {named}: begin at a later step, or give other constants.")


def _size_errors(losses: Losses, y: Floats, log_a: float, alpha: float) -> tuple[float | None, float | None]:
    """Standard errors of log A and alpha from the means of y over each size; None below three sizes."""
    sizes, place = np.unique(losses.parameters, return_inverse=True)
    if len(sizes) < 3:
        return None, None
    n = np.bincount(place)
    design = np.column_stack([np.ones(len(sizes)), -np.log(sizes)])
    residual = np.bincount(place, y) / n - design @ [log_a, alpha]
    variance = (n * residual**2).sum() / (len(sizes) - 2)
    se_log_a, se_alpha = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ (n[:, None] * design))))
    return float(se_log_a), float(se_alpha)


def _rms(losses: Losses, law: Law) -> float:
    """Root mean square of log L - log L-hat."""
    return float(np.sqrt(np.mean(np.log(losses.loss / law.loss(losses.parameters, losses.tokens)) ** 2)))
