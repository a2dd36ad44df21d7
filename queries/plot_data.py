"""What the figures show, read from the views into frames. This module may not know how a figure looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import pandas as pd

Connection = psycopg.Connection[Any]

#: Level of the bands: an interval of Student's t with the degrees of freedom of the seeds.
CONFIDENCE = 0.95
#: Most values of a layer, or steps of q, in one figure; more colours cannot be told apart.
MOST_VALUES = 8
#: Kinds drawn at the step of q, where q is the earlier one.
_REVERSED = ("step_reverse", "final_reverse")


class NothingToDraw(WarehouseError):
    """The warehouse holds nothing that the figure could show."""


class AmbiguousChoice(WarehouseError):
    """What was asked for exists more than once, and does not mix in one figure."""


class UnknownChoice(WarehouseError):
    """What was asked for is not in the warehouse."""


@dataclass(frozen=True)
class Choice:
    """What to draw, as asked for; None and no models mean whatever there is. models: those that give p."""

    kind: str = "seed"
    corpus: str | None = None
    protocol: str | None = None
    family: str | None = None
    models: tuple[str, ...] = ()
    step_q: int | None = None


@dataclass(frozen=True)
class Subject:
    """What is drawn: complete comparisons of one kind, within one family, on one corpus by one protocol."""

    kind: str
    corpus: str
    protocol: str
    family: str
    n_tokens: int
    #: Names to look up, from the smallest model to the largest.
    models: tuple[str, ...]
    #: Comparisons of which some pairs are not measured yet.
    n_incomplete: int
    #: Step of q, None for any.
    step_q: int | None = None


def choose(connection: Connection, choice: Choice) -> Subject:
    """Settle what to draw.

    Raises NothingToDraw, AmbiguousChoice where corpora, protocols or families would mix, UnknownChoice.
    """
    found = _frame(
        connection,
        """
        select corpus, protocol, family, model, n_tokens, count(*) filter (where not complete) as n_incomplete,
            count(*) filter (where complete) as n_complete
        from analysis.expected_convergence
        where kind = %(kind)s
        group by corpus, protocol, family, model, n_tokens
        """,
        {"kind": choice.kind},
    )
    if found.empty:
        raise NothingToDraw(
            f"No comparison of kind {choice.kind} has been measured; `warehouse ingest` measures what a study names."
        )
    settled: dict[str, str] = {}
    for noun, plural in (("corpus", "corpora"), ("protocol", "protocols"), ("family", "families")):
        wanted: str | None = getattr(choice, noun)
        if noun == "protocol" and wanted is None:
            found = _measured_here(found)
        settled[noun] = _settle(noun, plural, wanted, found[noun])
        found = found[found[noun] == settled[noun]]
    for model in choice.models:
        _require_known("model", model, found["model"])
    if choice.models:
        found = found[found["model"].isin(choice.models)]
    if not found["n_complete"].sum():
        raise NothingToDraw(
            f"No comparison of kind {choice.kind} on {settled['corpus']} is complete yet; "
            "run the same `warehouse ingest` again."
        )
    return Subject(
        kind=choice.kind,
        **settled,
        n_tokens=int(found["n_tokens"].iloc[0]),
        models=_by_size(connection, settled["family"], found.loc[found["n_complete"] > 0, "model"].tolist()),
        n_incomplete=int(found["n_incomplete"].sum()),
        step_q=choice.step_q,
    )


def convergence(connection: Connection, subject: Subject) -> pd.DataFrame:
    """Expected convergence: model, step, convergence (nats), half_width of its interval (nats, NaN where unknown).

    model: a panel's, which for kinds between models is a pair of them; giving: the model that gives p. other: the step
    of the other side, of which a model and step have several where kinds `cross` and `custom` do.
    """
    return _compared(connection, subject, "expected_convergence")


def convergence_by_step_q(curves: pd.DataFrame) -> pd.DataFrame | None:
    """Curves of several steps of the other side, with that step as value; None where each point has one.

    Of more than MOST_VALUES the first, the last and some between; value_order, n_values as in convergence_by_value.
    """
    if not curves.duplicated(["model", "step"]).any():
        return None
    others = sorted(curves["other"].unique())
    last = len(others) - 1
    kept = {others[round(place * last / (MOST_VALUES - 1))] for place in range(MOST_VALUES)}
    shown = curves[curves["other"].isin(kept)].sort_values("other", kind="stable")
    return shown.assign(
        value=[f"q at step {step:,}" for step in shown["other"]], value_order=shown["other"], n_values=len(others)
    )


def convergence_by_value(connection: Connection, subject: Subject, layer: str) -> pd.DataFrame:
    """Conditional convergence, of the most frequent values where there are more than MOST_VALUES.

    Columns: model, value, step, convergence (nats), half_width (nats), value_order (of a numeric value, else NaN),
    n_values of the layer. Values come in the order to show them in. Raises UnknownChoice.
    """
    layers = _frame(
        connection,
        "select distinct layer from analysis.annotation_layers where corpus = %(corpus)s and summarised",
        _parameters(subject),
    )
    _require_known("layer", layer, layers["layer"])
    rows = _compared(connection, subject, "conditional_convergence", layer)
    if rows.empty:
        raise NothingToDraw(f"Layer {layer} has no convergence on {subject.corpus}; `warehouse refresh` computes it.")
    if rows.duplicated(["model", "step", "value"]).any():
        raise AmbiguousChoice(
            f"Comparisons of kind {subject.kind} hold a step against several steps of q: choose one with --step-q."
        )
    return _most_frequent(rows)


def readings(connection: Connection, subject: Subject) -> pd.DataFrame:
    """Means over seeds, in nats: model, step, kl_uniform, kl_unigram, cross_entropy.

    kl_unigram is NaN where no reference is called unigram.
    """
    return _frame(
        connection,
        """
        select model, step, avg(kl_uniform) as kl_uniform, avg(kl_unigram) as kl_unigram,
            avg(cross_entropy) as cross_entropy
        from (
            select evaluation_id, model, step, max(kl_uniform) as kl_uniform, max(cross_entropy) as cross_entropy,
                max(kl_reference) filter (where reference = 'unigram') as kl_unigram
            from analysis.reference_divergence
            where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
                and model = any(%(models)s) and not outlier
            group by evaluation_id, model, step
        ) as checkpoint
        group by model, step
        order by array_position(%(models)s, model), step
        """,
        _parameters(subject),
    )


def phases(connection: Connection, subject: Subject, definition: str) -> pd.DataFrame:
    """Phases of each model: model, position, phase, first_step, last_step; published steps where there are such.

    Raises UnknownChoice for a definition that does not exist.
    """
    known = _frame(connection, "select distinct definition from warehouse.phase_definition", {})
    _require_known("definition", definition, ["estimated", *known["definition"]])
    return _frame(
        connection,
        """
        select model, position, phase, coalesce(published_first_step, first_step) as first_step,
            coalesce(published_last_step, last_step) as last_step
        from analysis.phase_boundaries
        where definition = %(definition)s and corpus = %(corpus)s and protocol = %(protocol)s
            and family = %(family)s and model = any(%(models)s)
        order by array_position(%(models)s, model), position
        """,
        _parameters(subject) | {"definition": definition},
    )


def phases_of(phases: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The phases of the model that gives p, for each panel."""
    panels = curves[["model", "giving"]].drop_duplicates()
    return phases.rename(columns={"model": "giving"}).merge(panels, on="giving")


def _compared(connection: Connection, subject: Subject, view: str, layer: str | None = None) -> pd.DataFrame:
    """Complete comparisons of a view, in the order of models; with a layer, by its values."""
    step, other = ("step_q", "step") if subject.kind in _REVERSED else ("step", "step_q")
    by_value = "" if layer is None else "value, n_tokens, coalesce(lower, value_number) as value_order,"
    rows = _frame(
        connection,
        f"""
        select model as giving, case when model = model_q then model else model || ' and ' || model_q end as model,
            {step} as step, {other} as other, convergence, {by_value}
            se_total * analysis.student_t_quantile(%(confidence)s, df_seed) as half_width
        from analysis.{view} as compared
        where kind = %(kind)s and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
            and model = any(%(models)s) and complete
            and (%(step_q)s::bigint is null or step_q = %(step_q)s) {"" if layer is None else "and layer = %(layer)s"}
        order by array_position(%(models)s, compared.model), array_position(%(models)s, model_q), model_q, {step}
        """,
        _parameters(subject) | {"layer": layer, "step_q": subject.step_q},
    )
    if rows.empty and subject.step_q is not None:
        raise UnknownChoice(f"No complete comparison of kind {subject.kind} has a q at step {subject.step_q}.")
    return _of_latest_study(rows, subject.kind)


def _of_latest_study(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Where studies of several lists of steps meet: the nearest next step, and the latest last one."""
    if kind.startswith("step"):
        return rows[rows["other"] == rows.groupby(["model", "step"])["other"].transform("min")]
    if kind.startswith("final"):
        return rows[rows["other"] == rows.groupby("model")["other"].transform("max")]
    return rows


def _frame(connection: Connection, query: str, parameters: Mapping[str, object]) -> pd.DataFrame:
    import pandas as pd

    with connection.cursor() as cursor:
        cursor.execute(query.encode(), parameters)
        columns = [column.name for column in cursor.description or ()]
        frame = pd.DataFrame(cursor.fetchall(), columns=columns)
    numbers = ["convergence", "half_width", "value_order", "kl_uniform", "kl_unigram", "cross_entropy"]
    # What is NULL throughout would otherwise be a column of None.
    return frame.astype({name: "float64" for name in numbers if name in frame})


def _parameters(subject: Subject) -> dict[str, object]:
    return {
        "kind": subject.kind,
        "corpus": subject.corpus,
        "protocol": subject.protocol,
        "family": subject.family,
        "models": list(subject.models),
        "confidence": CONFIDENCE,
    }


def _by_size(connection: Connection, family: str, models: Sequence[str]) -> tuple[str, ...]:
    rows = connection.execute(
        "select name from warehouse.model where family = %s and name = any(%s) order by parameters, name",
        [family, list(models)],
    )
    return tuple(name for (name,) in rows)


def _most_frequent(rows: pd.DataFrame) -> pd.DataFrame:
    tokens = rows.groupby("value")["n_tokens"].max()
    kept = tokens.sort_values(ascending=False, kind="stable").index[:MOST_VALUES]
    order = rows.groupby("value")["value_order"].min()
    if order.loc[kept].notna().all():
        kept = order.loc[kept].sort_values().index
    rank = {value: number for number, value in enumerate(kept)}
    rows = rows[rows["value"].isin(rank)].assign(n_values=len(tokens))
    return rows.sort_values("value", key=lambda values: values.map(rank), kind="stable")


def _measured_here(found: pd.DataFrame) -> pd.DataFrame:
    """Without what was imported, unless there is nothing else."""
    own = found[~found["protocol"].str.startswith("imported-")]
    return found if own.empty else own


def _settle(noun: str, plural: str, wanted: str | None, found: pd.Series[str]) -> str:
    names = sorted(found.unique())
    if wanted is not None:
        _require_known(noun, wanted, names)
        return wanted
    if len(names) > 1:
        raise AmbiguousChoice(f"There are several {plural}: {', '.join(names)}. Choose one with --{noun}.")
    return str(names[0])


def _require_known(noun: str, name: str, known: Sequence[str] | pd.Series[str]) -> None:
    if name not in set(known):
        raise UnknownChoice(f"There is no {noun} {name}; there are {', '.join(sorted(set(known)))}.")
