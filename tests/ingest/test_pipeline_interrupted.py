"""An ingestion that is broken off at a chosen moment ends where a single run would; see tests/faults for real kills."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.study import Study
from tests.contents import findings
from tests.ingested import SilentMeter, ingest, reads_counted, rows
from warehouse.database import Database
from warehouse.writer import Writer


class Interrupted(SilentMeter):
    """A meter that stops the work after some tiles, as Ctrl-C may."""

    patience = 0

    def tokens(self, count: int) -> None:
        super().tokens(count)
        if self.done_tokens > self.patience * self.total_tokens // 100:
            raise KeyboardInterrupt


@pytest.mark.parametrize("percent", [5, 55, 90])
def test_ctrl_c_keeps_what_was_finished_and_the_next_run_goes_on(
    database: Database, study: Study, expect: Any, percent: int
) -> None:
    Interrupted.patience = percent
    with pytest.raises(KeyboardInterrupt):
        ingest(database, study, meter=Interrupted)
    assert findings(database) == {}
    [(done,)] = rows(database, "select count(*) from warehouse.evaluation where status = 'complete'")
    # Steps are finished one after another, the last one first.
    assert done == 3 * (percent * 3 // 100)
    with reads_counted() as read:
        ingest(database, study)
    assert len(read) <= 9
    expect(study)


@pytest.mark.parametrize("nth", [2, 4, 6, 7])
def test_a_failure_inside_a_transaction_leaves_nothing_half_written(
    database: Database, study: Study, expect: Any, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    commit, calls = Writer.commit, 0

    def failing(self: Writer, work: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < nth:
            return commit(self, work)

        def broken(connection: Any) -> None:
            work(connection)
            raise RuntimeError("the power went")

        return commit(self, broken)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", failing)
        with pytest.raises(RuntimeError, match="the power went"):
            ingest(database, study)
    assert findings(database) == {}
    ingest(database, study)
    expect(study)
