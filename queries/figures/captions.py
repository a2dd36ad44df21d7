"""The words above a figure: what is shown, of what, in which unit. This module may not know how a figure looks.

definition: whose phases are shaded, None where none are. banded: whether some interval is known and drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from queries.figures.choice import CONFIDENCE, Compared, Scored

#: Kind of comparison: what converges, and what p and q are.
KINDS = {
    "seed": ("seeds", "p and q two seeds of a model at the same step"),
    "step": ("successive steps", "p a step and q the next step of the same run"),
    "step_reverse": ("successive steps", "q a step and p the next step of the same run"),
    "final": ("each step with the last", "p a step and q the last step of the same run"),
    "final_reverse": ("each step with the last", "q a step and p the last step of the same run"),
    "size": ("models at the same step", "p and q the two models named, at the same step and seed"),
    "matched": (
        "models at equal surprisal",
        "p a model at a step and q the other at its step of nearest mean surprisal",
    ),
    "cross": ("models at all steps", "p and q the two models named, of the same seed"),
    "custom": ("listed checkpoints", "p and q as studies list them"),
}


@dataclass(frozen=True)
class Caption:
    """What stands above a figure: a title, and a few sentences that say what is shown."""

    title: str
    subtitle: str


#: Words for values of a layer: subject, definition, layer, values shown, values there are, banded.
OfValues = Callable[..., Caption]


def of_convergence(subject: Compared, definition: str | None, *, banded: bool = True) -> Caption:
    """Caption of expected convergence against step."""
    faint = " Faint: the other models." if len(subject.models) > 1 else ""
    text = f"over the {subject.n_tokens:,} tokens of {subject.corpus}"
    return Caption(
        f"Expected convergence of {KINDS[subject.kind][0]}",
        f"{_quantity(subject)}, in nats, {text}. {_marks(definition, banded)}{faint}{_missing(subject)}",
    )


def of_steps_of_q(
    subject: Compared, definition: str | None, n_shown: int, n_values: int, *, banded: bool = True
) -> Caption:
    """Caption of expected convergence against the step of p, a line for each of n_shown of n_values steps of q."""
    plain = of_convergence(subject, definition, banded=banded)
    cut = f" Shown are {n_shown} of {n_values} steps of q." if n_shown < n_values else ""
    return Caption(plain.title, plain.subtitle.replace(" Faint: the other models.", "") + cut)


def of_values(
    subject: Compared, definition: str | None, layer: str, n_shown: int, n_values: int, *, banded: bool = True
) -> Caption:
    """Caption of conditional convergence against step, of n_shown of the n_values values of a layer."""
    cut = f" Shown are the {n_shown} most frequent of {n_values} values." if n_shown < n_values else ""
    return Caption(
        f"Convergence of {KINDS[subject.kind][0]} by {layer.replace('_', ' ')}",
        f"{_quantity(subject)}, in nats, over the tokens of {subject.corpus} with each value.{cut} "
        f"{_marks(definition, banded)}{_missing(subject)}",
    )


def of_frequency(
    subject: Compared, definition: str | None, layer: str, n_shown: int, n_values: int, *, banded: bool = True
) -> Caption:
    """Caption of conditional convergence by decade of the token's count."""
    plain = of_values(subject, definition, layer, n_shown, n_values, banded=banded)
    _, _, reference = layer.partition(".")
    counted = f"reference {reference}" if reference else "the layer's reference"
    return Caption(
        f"Convergence of {KINDS[subject.kind][0]} by frequency of the token",
        plain.subtitle.replace(" with each value.", f" in each decade of the token's count in {counted}."),
    )


def of_phases(subject: Compared, definition: str | None, *, banded: bool = True) -> Caption:
    """Caption of convergence above what the checkpoints are like."""
    return Caption(
        "Phases of training",
        f"Above: {_quantity(subject, opening='minus')}. Below: mean KL of the model to the uniform and the unigram "
        f"distribution, and its cross-entropy, means over seeds. All in nats, over the {subject.n_tokens:,} tokens of "
        f"{subject.corpus}. {_marks(definition, banded)}{_missing(subject)}",
    )


def of_references(subject: Scored, n_seeds: int) -> Caption:
    """Caption of KL to reference distributions against step."""
    band = f" Band: {CONFIDENCE:.0%} interval over seeds." if n_seeds > 1 else ""
    return Caption(
        "KL to reference distributions",
        f"Mean KL(model || reference), in nats, over the {subject.n_tokens:,} tokens of {subject.corpus}, means over "
        f"{_counted(n_seeds, 'seed')}.{band} Ring: the step where a model is nearest to the reference.",
    )


def of_relative_divergence(
    subject: Compared, layer: str, n_shown: int, n_values: int, rule: str, *, outliers: bool
) -> Caption:
    """Caption of relative divergence against step. rule: what makes an outlier."""
    chosen = "most often outliers" if outliers else "the most frequent"
    cut = f" Named are {n_shown} of {n_values} values, {chosen}; grey: the others." if n_shown < n_values else ""
    return Caption(
        f"Relative divergence of {KINDS[subject.kind][0]} by {layer.replace('_', ' ')}",
        f"Mean KL(p || q) over the tokens with a value, over that of all {subject.n_tokens:,} tokens of "
        f"{subject.corpus}: {KINDS[subject.kind][1]}. Above 1 the predictions of such tokens move more than others'. "
        f"Filled: outliers ({rule}); hollow: not. Bars: {CONFIDENCE:.0%} interval over text."
        f"{cut}{_missing(subject)}",
    )


def of_token(subject: Scored, token_id: int, quoted: str, *, compared: bool) -> Caption:
    """Caption of one token over training. quoted: the token in brackets amid its text. compared: seeds are."""
    surprisal = "its surprisal, means over seeds, each seed faint"
    convergence = "its convergence, minus the mean KL(p || q) over ordered pairs of seeds (higher: more alike)"
    shown = f"Left: {surprisal}. Right: {convergence}." if compared else f"Shown: {surprisal}."
    return Caption(f"Token {token_id} over training", f"… {quoted} … ({subject.corpus}). {shown} In nats.")


def of_cross_entropy_fit(
    subject: Compared, layer: str, predictor: str, last_step: int, n_shown: int, n: int
) -> Caption:
    """Caption of KL against cross-entropy, with n_shown of the slopes of n values."""
    cut = f" The {n_shown} steepest of {n} values." if n_shown < n else ""
    ratio = "ratio of p's cross-entropy to q's" if predictor == "ratio" else "difference of p's and q's cross-entropy"
    return Caption(
        f"KL of {KINDS[subject.kind][0]} against the fall of cross-entropy",
        f"Left: mean KL(p || q) over all tokens of {subject.corpus} against the {ratio}, a point per model and step to "
        f"{last_step:,}; {KINDS[subject.kind][1]}; least squares over all points. Right: its slope by "
        f"{layer.replace('_', ' ')}, dashed for all tokens. Bars: {CONFIDENCE:.0%} interval, points taken as "
        f"independent.{cut}{_missing(subject)}",
    )


def of_trend_shares(subject: Scored, start: float, predictor: str, variant: str, autocorrelation: float) -> Caption:
    """Caption of the shares of tokens with each trend."""
    axis = {"step": "step", "log_step": "log step", "index": "number of the checkpoint"}[predictor]
    code = "" if variant == "paper" else ", as the published code does"
    return Caption(
        "Shares of tokens by trend",
        f"Trend of each token's perplexity in a run, by least squares on {axis} from {start:.0%} of training{code}, "
        f"over the {subject.n_tokens:,} tokens of {subject.corpus}. Crosses: shares when each token's values are "
        f"shuffled in time. Residuals have a mean lag-1 autocorrelation of {autocorrelation:.2f}; well above 0, "
        "noise alone makes trends.",
    )


def of_saturation(
    family: str, corpus: str | None, sources: Sequence[str], n_shown: int, n_metrics: int, *, several: bool
) -> Caption:
    """Caption of metrics over training with their best checkpoints. several: a model has several runs."""
    own = [f"measured on {corpus}"] if corpus else []
    imported = [f"from {', '.join(sources)}"] if sources else []
    means = " Means over seeds, each seed faint." if several else ""
    ratio = "last value over best" + (", mean over runs" if several else "")
    cut = f" Shown are {n_shown} of {n_metrics} metrics." if n_shown < n_metrics else ""
    return Caption(
        "Saturation",
        f"Metrics of family {family} over training, {' and '.join([*own, *imported])}.{means} Ring: the best "
        f"checkpoint of {'each' if several else 'the'} run. Number at the right: {ratio}.{cut}",
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _quantity(subject: Compared, opening: str = "Minus") -> str:
    return f"{opening} the mean KL(p || q), {KINDS[subject.kind][1]} (higher: more alike)"


def _marks(definition: str | None, banded: bool) -> str:
    band = f"Band: {CONFIDENCE:.0%} interval over seeds and text." if banded else "No band: too few seeds or documents."
    if definition is None:
        return band
    phases = "estimated phases" if definition == "estimated" else f"phases as published ({definition})"
    return f"{band} Shaded: {phases}."


def _missing(subject: Compared) -> str:
    return f" Comparisons left out as incomplete: {subject.n_incomplete}." if subject.n_incomplete else ""
