"""An ingester that is killed, at any time, needs no repair but the same command again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.contents import findings
from tests.faults.conftest import Workplace
from tests.faults.studies import N_CHECKPOINTS, SEEDS, traces
from warehouse.database import Database


def test_an_ingester_killed_at_work_goes_on_where_it_stopped(
    workplace: Workplace, study_file: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    first = workplace.ingest(study_file, rest=0.05)
    first.wait_until(lambda: workplace.n_evaluations() >= N_CHECKPOINTS // 2)
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert findings(workplace.database) == {}
    finished, left = traces(workplace.database), N_CHECKPOINTS - workplace.n_evaluations()
    assert left > 0

    said = workplace.ingest(study_file).succeed()

    # At most the step before and the last are read again, of each seed.
    assert left <= int(said.split()[1]) <= left + 2 * len(SEEDS)
    assert f"{left} evaluations" in said
    assert finished <= traces(workplace.database)
    expect_undisturbed(workplace.database)
