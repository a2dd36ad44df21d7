"""Ctrl-C during commands that are one transaction: they say whether anything was changed, and it is so."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import Engine

from tests.conftest import Outcome
from tests.warehouse.importing.conftest import SAID, Bare, bare, long_table, pairs_of_steps
from warehouse import writer
from warehouse.interrupts import stop_if_interrupted

__all__ = ["bare"]  # a fixture

Command = Callable[..., Outcome]
UNCHANGED = "Interrupted; nothing was changed.\n"
COMPLETE = "Interrupted; but everything had been written: the command is done.\n"


def files(folder: Path, held: Bare) -> dict[str, list[str]]:
    """A command of each kind, with its file."""
    ids = held.held.first_token_id + np.arange(600)
    pd.DataFrame({"token_id": ids, "value": "a"}).to_csv(folder / "v.csv", index=False)
    long_table(pairs_of_steps()).to_csv(folder / "kl.csv", index=False)
    (folder / "results.csv").write_text("model,seed,step,acc\nother,0,8,0.5\n")
    return {
        "annotate": ["annotate", "v", str(folder / "v.csv")],
        "kl": ["import", "kl", str(folder / "kl.csv"), *SAID],
        "metrics": ["import", "metrics", str(folder / "results.csv"), "--family", "toy"],
    }


def contents(held: Bare) -> tuple[dict[str, int], list[str]]:
    return held.counts(), list(held.frame("select layer from analysis.annotation_layers order by 1")["layer"])


@pytest.mark.parametrize("what", ["annotate", "kl", "metrics"])
def test_before_the_end_nothing_is_changed_and_that_is_said(
    bare: Bare, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    arguments = files(tmp_path, bare)[what]
    before = contents(bare)

    def cancelled(connection: Connection, work: Callable[[Connection], object]) -> object:
        work(connection)
        signal.raise_signal(signal.SIGINT)  # held until the transaction looks for it
        stop_if_interrupted()
        pytest.fail("went on")

    plain = writer.Writer.commit
    monkeypatch.setattr(
        writer.Writer, "commit", lambda self, work: plain(self, lambda connection: cancelled(connection, work))
    )
    ended = command(*arguments)
    assert (ended.status, ended.output, ended.errors.lstrip()) == (130, "", UNCHANGED)
    assert contents(bare) == before


@pytest.mark.parametrize("what", ["annotate", "kl", "metrics"])
def test_after_the_commit_all_is_there_and_that_is_said(
    bare: Bare, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    arguments = files(tmp_path, bare)[what]
    before = contents(bare)
    begin = Engine.begin

    @contextmanager
    def interrupted_at_the_end(engine: Engine) -> Iterator[Connection]:
        with begin(engine) as connection:
            yield connection
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Engine, "begin", interrupted_at_the_end)
    ended = command(*arguments)
    monkeypatch.undo()
    assert (ended.status, ended.output) == (130, "")
    assert ended.errors.endswith(COMPLETE)
    assert contents(bare) != before
