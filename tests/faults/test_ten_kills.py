"""Ten kills at random moments of an ingestion, of the ingester and of its server in turn, leave no trace."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.contents import findings
from tests.faults.conftest import Workplace
from tests.faults.processes import Command
from tests.faults.servers import kill_backend, kill_postmaster
from tests.faults.studies import N_CHECKPOINTS, traces
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer

SEED = 20
KILLS = 10
#: Seconds that a victim rests at each checkpoint, two a step; and that it may go on after the unit waited for.
REST, LONGEST_STAY = 0.15, 0.2


def test_ten_kills_and_one_clean_run_end_where_an_undisturbed_run_does(
    mortal: Workplace,
    mortal_server: EmbeddedServer,
    study_file: Path,
    expect_undisturbed: Callable[[Database], None],
) -> None:
    draw = random.Random(SEED)
    ingester = mortal.ingest(study_file, rest=REST)
    finished: set[tuple[object, ...]] = set()
    landed = set[int]()
    for kill in range(KILLS):
        wanted = mortal.n_evaluations() + draw.choice([0, 2])
        ingester.wait_until(lambda wanted=wanted: mortal.n_evaluations() >= wanted)  # type: ignore[misc]
        time.sleep(draw.uniform(0, LONGEST_STAY))
        if kill % 2 == 0:
            assert ingester.running, "the ingestion was over before the last kill"
            ingester.send(signal.SIGKILL)
            assert ingester.wait() == -signal.SIGKILL
            ingester = mortal.ingest(study_file, rest=REST)
        else:
            draw.choice([lambda: kill_backend(mortal.database), lambda: kill_postmaster(mortal_server)])()
            mortal.database.revive()
        now = traces(mortal.database)
        assert finished <= now
        finished = now
        landed.add(mortal.n_evaluations())
    ingester.send(signal.SIGKILL)
    ingester.wait()
    # Kills that hit nothing would show nothing.
    assert len(landed) >= KILLS // 2
    left = N_CHECKPOINTS - mortal.n_evaluations()
    assert left > 0
    assert findings(mortal.database) == {}

    said = mortal.ingest(study_file).succeed()

    assert f"{left} evaluations" in said
    assert finished <= traces(mortal.database)
    expect_undisturbed(mortal.database)
    assert_nothing_to_do(mortal.ingest(study_file))


def assert_nothing_to_do(again: Command) -> None:
    """The same command once more measures nothing."""
    assert f"All {N_CHECKPOINTS} checkpoints and their pairs are in the warehouse already" in again.succeed()
