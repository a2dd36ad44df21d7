"""Result files of lm-evaluation-harness, of its first layout and of the present one.

The first: results by task and metric, the model in config. The present one: metrics by name and filter, with
directions, numbers of samples and of shots beside them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from warehouse.importing.manifest import MOST_DIGITS

#: What metrics of the first layout are called now.
_PRESENT_NAMES = {"ppl": "perplexity"}
_HIGHER = frozenset(("acc", "acc_norm", "acc_mutual_info", "exact_match", "em", "f1", "mcc", "bleu", "chrf", "rouge1"))
_LOWER = frozenset(
    ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter", "wer", "loss")
)
_STANDARD_ERROR = "_stderr"
#: What stands among the metrics of a task and is none.
_BESIDE = frozenset(("alias", "name", "sample_len", "sample_count", "samples"))
NAME = "lm-evaluation-harness"


@dataclass(frozen=True)
class Score:
    """A task's metric in one file. value: NaN for what is no number. shots: in the prompt; None where not known."""

    task: str
    metric: str
    value: float
    standard_error: float | None
    n: int | None
    shots: int | None
    higher_is_better: bool | None

    @property
    def name(self) -> str:
        """What it is called in the warehouse."""
        return f"{self.task}/{self.metric}"

    @property
    def source(self) -> str:
        """Where it comes from, so that numbers of shots do not mix."""
        return NAME if self.shots is None else f"{NAME}, {self.shots}-shot"


@dataclass(frozen=True)
class ResultFile:
    """What a file says: of which model and revision, if it does; its scores; results that are no number, by name."""

    repository: str | None
    revision: str | None
    scores: tuple[Score, ...]
    without_number: tuple[str, ...]


def is_result_file(document: Any) -> bool:
    """Whether a JSON document is a result file."""
    return (
        isinstance(document, Mapping)
        and isinstance(document.get("results"), Mapping)
        and all(isinstance(entry, Mapping) for entry in document["results"].values())
    )


def parse_results(document: Mapping[str, Any]) -> ResultFile:
    """What a result file says. document: one that `is_result_file`."""
    repository, revision = _model(document)
    entries = {**_table(document, "groups"), **document["results"]}
    scores, without = [], []
    for task, entry in entries.items():
        for score in _scores(document, task, entry):
            if math.isfinite(score.value):
                scores.append(score)
            else:
                without.append(score.name)
    return ResultFile(repository, revision, tuple(scores), tuple(without))


def direction(metric: str) -> bool | None:
    """Whether a metric is better when higher; None where its name does not tell."""
    plain = metric.partition(",")[0]
    return True if plain in _HIGHER else False if plain in _LOWER else None


def _model(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Repository and revision of the model."""
    config = _table(document, "config")
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    given = arguments if isinstance(arguments, Mapping) else {}
    repository = given.get("pretrained") or document.get("model_name")
    revision = given.get("revision") or config.get("model_revision")
    return _text(repository), _text(revision)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _scores(document: Mapping[str, Any], task: str, entry: Mapping[str, Any]) -> Iterator[Score]:
    for key, value in entry.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith(_STANDARD_ERROR) or metric in _BESIDE or not metric.strip():
            continue
        error = entry.get(f"{metric}{_STANDARD_ERROR},{filtered}" if filtered else f"{metric}{_STANDARD_ERROR}")
        yield Score(
            task,
            _name(metric, filtered),
            _float(value) if _is_number(value) else math.nan,
            _finite(error),
            _n_items(document, task, entry),
            _shots(document, task),
            _direction(document, task, metric),
        )


def _name(metric: str, filtered: str) -> str:
    metric = _PRESENT_NAMES.get(metric, metric)
    return metric if filtered in ("", "none") else f"{metric},{filtered}"


def _direction(document: Mapping[str, Any], task: str, metric: str) -> bool | None:
    """As the file says, else as the metric's name tells."""
    said = _table(document, "higher_is_better").get(task)
    if isinstance(said, Mapping) and isinstance(said.get(metric), bool):
        return bool(said[metric])
    return direction(_PRESENT_NAMES.get(metric, metric))


def _n_items(document: Mapping[str, Any], task: str, entry: Mapping[str, Any]) -> int | None:
    counted = _whole(_table(document, "n-samples").get(task), "effective")
    return _whole(entry, "sample_len") if counted is None else counted


def _shots(document: Mapping[str, Any], task: str) -> int | None:
    shots = _whole(_table(document, "n-shot"), task)
    return _whole(_table(document, "config"), "num_fewshot") if shots is None else shots


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _whole(table: Any, key: str) -> int | None:
    value = table.get(key) if isinstance(table, Mapping) else None
    return value if type(value) is int else None


def _finite(value: Any) -> float | None:
    number = _float(value) if _is_number(value) else math.nan
    return number if math.isfinite(number) else None


def _float(value: int | float) -> float:
    """A number of JSON, whose whole numbers may have any number of digits: infinite beyond those of float64."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def step_of(revision: str) -> int | None:
    """The step that a revision or the name of a file names, such as step53000 or 70m_step512; None where none."""
    found = {int(number) for number in re.findall(rf"step[-_]?(\d{{1,{MOST_DIGITS}}})(?!\d)", revision)}
    return found.pop() if len(found) == 1 else None
