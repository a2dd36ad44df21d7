"""`warehouse views`: what there is to ask, in the words of the comments."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from queries.files import definitions
from tests.conftest import Outcome
from tests.queries.measured import Measured
from warehouse.database import Database

Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def named(named_measured: Measured) -> Measured:
    return named_measured


def rows(outcome: Outcome) -> list[dict[str, str]]:
    assert outcome.status == 0
    return list(csv.DictReader(io.StringIO(outcome.output)))


def test_every_view_is_listed_with_what_it_shows(command: Command) -> None:
    listed = rows(command("views", "--format", "csv"))
    assert [row["view"] for row in listed] == sorted(file.name for file in definitions() if file.kind == "view")
    shows = {row["view"]: row["shows"] for row in listed}
    assert "minus the mean KL" in shows["expected_convergence"]
    assert all(shows.values())


def test_the_columns_of_a_view_have_type_and_unit(command: Command) -> None:
    columns = rows(command("views", "pairwise_kl", "--format", "csv"))
    assert [column["column"] for column in columns[-4:]] == ["kl", "chunk_id", "pair_id", "comparison_id"]
    kl = next(column for column in columns if column["column"] == "kl")
    assert (kl["type"], kl["meaning"]) == ("double precision", "KL(p || q), in nats; never negative")
    assert rows(command("views", "analysis.pairwise_kl", "--format", "csv")) == columns


def test_an_unknown_view_is_named_with_the_nearest(command: Command) -> None:
    outcome = command("views", "expected_convergance")
    assert outcome.status == 2
    assert outcome.errors == "Error: There is no view expected_convergance; did you mean expected_convergence?\n"


def test_views_of_users_are_listed_too(named_database: Database, command: Command) -> None:
    with named_database.connect() as connection:
        connection.execute("create view analysis.mine as select 1 as x")
        connection.execute("comment on view analysis.mine is 'my own'")
    assert {"view": "mine", "shows": "my own"} in rows(command("views", "--format", "csv"))
