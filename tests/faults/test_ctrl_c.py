"""Ctrl-C, and a scheduler whose time is up, end an ingestion in order: what was finished is kept."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.contents import findings
from tests.faults.conftest import Workplace
from tests.faults.studies import N_CHECKPOINTS


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_ingestion_ends_in_order_and_says_so(
    workplace: Workplace, study_file: Path, how: signal.Signals, status: int
) -> None:
    ingester = workplace.ingest(study_file, rest=0.05)
    ingester.wait_until(lambda: workplace.n_evaluations() >= N_CHECKPOINTS // 3)
    ingester.send(how)

    assert ingester.wait() == status, ingester.errors
    assert ingester.errors.splitlines()[-1] == (
        "Interrupted; what was finished is kept, and the same command goes on from there."
    )
    assert findings(workplace.database) == {}
    assert 0 < workplace.n_evaluations() < N_CHECKPOINTS
