"""Addresses of databases: read, written, and shown without their password."""

from __future__ import annotations

import pytest

from tests.scratch_server import PASSWORD
from warehouse.conninfo import describe, parse_url, to_url, without_password


@pytest.mark.parametrize(
    "parameters",
    [
        {"user": "u", "password": PASSWORD, "host": "db.example.org", "port": "6543", "dbname": "d/b"},
        {"user": "u", "dbname": "d", "host": "/run/post gresql", "port": "5432"},
        {"dbname": "d", "host": "a,b", "port": "1,2", "target_session_attrs": "read-write"},
        {"dbname": "d", "host": "::1", "options": "-c work_mem=1MB"},
        {"user": "u@v", "password": "", "host": "h", "dbname": "d"},
        {},
    ],
)
def test_a_url_says_the_same_as_its_parameters(parameters: dict[str, str]) -> None:
    assert parse_url(to_url(parameters)) == {name: value for name, value in parameters.items() if value}


def test_the_usual_forms_of_an_address_are_understood() -> None:
    expected = {"user": "u", "password": "p@", "host": "h", "port": "5", "dbname": "d"}
    assert parse_url("postgresql+psycopg://u:p%40@h:5/d") == expected
    assert parse_url("postgres://u:p%40@h:5/d\n") == expected
    assert parse_url("host=h port=5 user=u password=p@ dbname=d") == expected


def test_a_message_is_one_line_without_the_password_in_any_spelling() -> None:
    message = f"cannot reach\n  {PASSWORD} or cor%2Frect%27horse%40%2541%3Ab%25staple"
    assert without_password(message, {"password": PASSWORD}) == "cannot reach *** or ***"
    assert describe({"host": "h", "dbname": "d", "password": "secret"}) == "database d at h"
