"""`warehouse runs` and `warehouse checkpoints`, as a user types them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Outcome
from tests.contents import findings, frame
from tests.queries.crossed import compare
from tests.queries.measured import Measured, measure
from warehouse.database import Database

Command = Callable[..., Outcome]


@pytest.fixture
def measured(named_database: Database) -> Measured:
    """One model of three seeds and two steps, which commands open."""
    return measure(named_database, models=("small",), steps=(0, 16), n_tokens=300)


def shown_seeds(measured: Measured) -> list[object]:
    query = "select distinct seeds from comparisons where kind = 'seed' and step = 16 and run_set = 'default'"
    return list(frame(measured.database, query)["seeds"])


def test_a_run_is_flagged_listed_and_unflagged(measured: Measured, command: Command) -> None:
    flagged = command("runs", "flag", "small", "2", "--note", "diverged, see the paper")
    assert (flagged.status, flagged.errors) == (0, "")
    assert flagged.output == "Flagged: small seed 2 is left out of run set default, and part of run set all.\n"
    assert shown_seeds(measured) == [[0, 1]]
    listed = command("runs", "list", "--format", "csv").output.splitlines()
    assert listed == [
        "family,model,seed,flagged,note,checkpoints",
        'toy,small,2,true,"diverged, see the paper",2',
    ]
    assert len(command("runs", "list", "--all", "--format", "csv").output.splitlines()) == 4
    assert findings(measured.database) == {}
    ended = command("runs", "unflag", "small", "2", "--family", "toy")
    assert (ended.status, ended.output) == (0, "Unflagged: small seed 2 is part of run set default.\n")
    assert shown_seeds(measured) == [[0, 1, 2]]
    assert command("runs", "list", "--format", "csv").output.splitlines() == listed[:1]


def test_sums_that_a_changed_standing_forgets_are_said_to_wait(named_database: Database, command: Command) -> None:
    measured = measure(named_database, models=("small", "large"), steps=(0, 16), n_tokens=300)
    with named_database.engine().begin() as connection:
        for p, q in (("small", "large"), ("large", "small")):
            compare(connection, measured, "cross", (p, 0), (q, 16))
    wait = "Of kind cross, which keeps sums and no tokens, {} comparisons wait to be measured again: run the ingestion "
    flagged = command("runs", "flag", "small", "2", "--note", "diverged")
    assert flagged.output.splitlines()[1:] == [wait.format(2) + "of their study."]
    assert findings(named_database) == {}
    for arguments in (
        ["runs", "unflag", "small", "2"],
        ["checkpoints", "quarantine", "large", "1", "16", "--reason", "a spike"],
        ["checkpoints", "release", "large", "1", "16"],
    ):
        assert wait.format(2) in command(*arguments).output


def test_a_checkpoint_is_quarantined_listed_and_released(measured: Measured, command: Command) -> None:
    done = command("checkpoints", "quarantine", "small", "1", "16", "--reason", "the loss has a spike")
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith("Quarantined: small seed 1 step 16.")
    assert shown_seeds(measured) == [[0, 2]]
    listed = command("checkpoints", "list", "--format", "csv").output.splitlines()
    assert listed == [
        "family,model,seed,step,status,reason,note",
        "toy,small,1,16,quarantined,the loss has a spike,",
    ]
    assert len(command("checkpoints", "list", "--all", "--format", "csv").output.splitlines()) == 7
    assert command("checkpoints", "release", "small", "1", "16").output.startswith("Released: small seed 1 step 16.")
    assert command("checkpoints", "list", "--format", "csv").output.splitlines() != listed
    assert findings(measured.database) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "flag", "smal", "2", "--note", "x"], "There is no model smal; nearest is small."),
        (["runs", "flag", "small", "5", "--note", "x"], "Model small has no seed 5; nearest are 2, 1, 0."),
        (["runs", "unflag", "small", "1"], "Run 1 of small is not flagged"),
        (["runs", "flag", "small", "2"], "Missing option '--note'"),
        (["runs", "flag", "small", "two", "--note", "x"], "'two' is not a valid integer"),
        (["checkpoints", "quarantine", "small", "1", "17", "--reason", "x"], "nearest are 16, 0."),
        (["checkpoints", "quarantine", "small", "1", "16"], "Missing option '--reason'"),
        (["checkpoints", "release", "small", "1", "16"], "is not left out; there is nothing to release."),
        (["checkpoints", "release", "small", "1", "16", "--family", "toi"], "There is no family toi; nearest is toy."),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    measured: Measured, command: Command, arguments: list[str], said: str
) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert said in outcome.errors
    assert "Traceback" not in outcome.errors
    assert outcome.output == ""
    assert shown_seeds(measured) == [[0, 1, 2]]
