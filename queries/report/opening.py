"""The first and the last words of the report: what was measured on what, in numbers, and when."""

from __future__ import annotations

from importlib.metadata import version

from queries.figures.choice import Scored
from queries.figures.reading import Source


def lead(source: Source, subject: Scored) -> str:
    """One sentence: which models, at which steps, on which text, under which protocol."""
    row = source.look_up(
        """
        select min(step) as first_step, max(step) as last_step
        from analysis.checkpoints
        where family = %(family)s and model = any(%(models)s) and status = 'ok'
        """,
        **subject.names(),
    ).iloc[0]
    models = ", ".join(subject.models)
    steps = "" if row["last_step"] is None else f", steps {row['first_step']:,} to {row['last_step']:,}"
    return (
        f"{models} of family {subject.family}{steps}, on the {subject.n_tokens:,} tokens of {subject.corpus} under "
        f"protocol {subject.protocol}. All quantities are natural logarithms, in nats."
    )


def facts(source: Source, subject: Scored) -> list[tuple[str, str]]:
    """What there is, in numbers: (number, what of)."""
    row = source.look_up(
        """
        select
            (
                select count(*) from analysis.evaluations
                where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
                    and model = any(%(models)s)
            ) as evaluations,
            (
                select count(distinct (model, seed)) from analysis.evaluations
                where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
                    and model = any(%(models)s)
            ) as runs,
            (
                select count(*) from analysis.comparisons
                where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
                    and model = any(%(models)s) and complete
            ) as comparisons,
            (select n_documents from warehouse.corpus where name = %(corpus)s) as documents
        """,
        **subject.names(),
    ).iloc[0]
    numbers = {
        "models": len(subject.models),
        "training runs": row["runs"],
        "checkpoints scored": row["evaluations"],
        "complete comparisons": row["comparisons"],
        "documents": row["documents"],
        "tokens": subject.n_tokens,
    }
    return [(f"{number:,}", what) for what, number in numbers.items()]


def footer(source: Source, subject: Scored) -> str:
    """By what, and of when: the page of equal data is the same page."""
    row = source.look_up(
        """
        select to_char(max(measured_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as latest
        from analysis.evaluations
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
        """,
        **subject.names(),
    ).iloc[0]
    latest = f" The latest measurement is of {row['latest']} UTC." if row["latest"] else ""
    return (
        f"Written by token-warehouse {version('token-warehouse')}.{latest} This page needs no network. The SQL below a "
        "figure or a table is what it was made from; warehouse sql, or any PostgreSQL client, runs it again."
    )
