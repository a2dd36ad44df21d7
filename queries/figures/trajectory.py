"""Figure `trajectory`: one token over training: its surprisal under every model, and how alike seeds predict it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from queries.figures import captions, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Scored, UnknownChoice, choose_scored
from queries.figures.comparisons import MOST_VALUES
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Tokens before and after the one that is followed, as its caption quotes them.
_BEFORE, _AFTER = 14, 8


def draw(connection: Connection, choice: Choice, token_id: int) -> Drawing:
    """Surprisal of a token and convergence of seeds at it, by step: two panels, a line per model.

    Raises UnknownChoice for a token that no corpus has.
    """
    source = Source(connection)
    context = _context(source, token_id)
    subject = choose_scored(source, replace(choice, corpus=str(context["corpus"].iloc[0])))
    surprisal, convergence = read_surprisal(source, subject, token_id), read_convergence(source, subject, token_id)
    caption = captions.of_token(subject, token_id, quoted(context, token_id), compared=_compared(convergence))
    return Drawing(caption, source.statements, partial(paint, surprisal, convergence))


def read_surprisal(source: Source, subject: Scored, token_id: int) -> pd.DataFrame:
    """Surprisal of the token: model, seed, step, surprisal in nats; models from the smallest to the largest."""
    rows = source.read(
        """
        select model, seed, step, surprisal
        from analysis.token_score
        where chunk_id = %(token_id)s / 256 and token_id = %(token_id)s and corpus = %(corpus)s
            and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s) and not outlier
        order by model, seed, step
        """,
        **subject.names(),
        token_id=token_id,
    )
    return _by_size(rows, subject)


def read_convergence(source: Source, subject: Scored, token_id: int) -> pd.DataFrame:
    """Convergence of seeds at the token: model, step, convergence in nats."""
    rows = source.read(
        """
        select model, step, convergence
        from analysis.token_trajectory(%(token_id)s)
        where kind = 'seed' and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
            and model = any(%(models)s) and complete
        order by model, step
        """,
        **subject.names(),
        token_id=token_id,
    )
    return _by_size(rows, subject)


def quoted(context: pd.DataFrame, token_id: int) -> str:
    """The token in brackets amid the text of its document. context: token_id, piece."""
    pieces = [
        f"[{piece}]" if number == token_id else piece
        for number, piece in zip(context["token_id"], context["piece"].fillna("\ufffd"), strict=True)
    ]
    return " ".join("".join(pieces).split())


def _compared(convergence: pd.DataFrame) -> bool:
    return bool(convergence["convergence"].notna().any())


def _context(source: Source, token_id: int) -> pd.DataFrame:
    rows = source.look_up(
        """
        select corpus, token_id, document, position, piece
        from analysis.tokens
        where chunk_id between (%(token_id)s - %(before)s) / 256 and (%(token_id)s + %(after)s) / 256
            and token_id between %(token_id)s - %(before)s and %(token_id)s + %(after)s
        order by token_id
        """,
        token_id=token_id,
        before=_BEFORE,
        after=_AFTER,
    )
    own = rows[rows["token_id"] == token_id]
    if own.empty:
        raise UnknownChoice(
            f'There is no token {token_id}; `warehouse sql "select corpus, min(token_id), max(token_id) from tokens '
            'group by corpus"` says which there are.'
        )
    document = own[["corpus", "document"]].drop_duplicates()
    return rows.merge(document, on=["corpus", "document"])


def _by_size(rows: pd.DataFrame, subject: Scored) -> pd.DataFrame:
    place = {model: number for number, model in enumerate(subject.models[-MOST_VALUES:])}
    rows = rows[rows["model"].isin(place)]
    return rows.sort_values("model", key=lambda models: models.map(place), kind="stable", ignore_index=True)


def paint(surprisal: pd.DataFrame, convergence: pd.DataFrame, caption: Caption | None) -> Figure:
    """Surprisal against step, means over seeds with each seed faint; beside it convergence, where seeds are compared.

    surprisal, convergence: as read, of the same models in the same order.
    """
    models = list(surprisal["model"].unique())
    steps = surprisal["step"]
    compared = _compared(convergence)
    with styled():
        look = dict(zip(models, looks(len(models)), strict=True))
        figure, panels = layout.grid(2 if compared else 1, caption, n_labels=len(models), shared=False)
        for model in models:
            own = surprisal[surprisal["model"] == model]
            for _, seed in own.groupby("seed"):
                panels[0].plot(seed["step"] + 1, seed["surprisal"], color=look[model].colour, linewidth=0.7, alpha=0.45)
            mean = own.groupby("step", as_index=False)["surprisal"].mean()
            panels[0].plot(mean["step"] + 1, mean["surprisal"], label=model, **look[model].line(len(mean)))
            if compared:
                curve = convergence[convergence["model"] == model]
                panels[1].plot(curve["step"] + 1, curve["convergence"], **look[model].line(len(curve)))
        for axes, title in zip(panels, ("surprisal", "convergence of seeds"), strict=False):
            layout.dress(axes, steps, title)
        layout.legend(figure, panels[:1])
        layout.finish(figure, panels, ["surprisal (nats)", layout.CONVERGENCE][: len(panels)])
    return figure
