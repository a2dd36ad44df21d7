"""Several ingesters at once share the work, whether they claim blocks from each other or are dealt them by rank."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import Workplace
from tests.faults.processes import Command
from tests.faults.studies import N_CHECKPOINTS
from tests.ingested import rows
from warehouse.database import Database

#: Rests long enough for a second ingester to join in before the first is done.
REST = 0.1


def evaluations_in(said: str) -> int:
    """The evaluations that an ingester says it made."""
    found = re.search(r"(\d+) evaluations", said)
    return int(found[1]) if found else 0


def assert_shared(ingesters: list[Command], database: Database) -> None:
    """Each did some of the work; together they did every unit once."""
    shares = [evaluations_in(each.succeed()) for each in ingesters]
    assert all(shares), [(each.output, each.errors) for each in ingesters]
    assert sum(shares) == N_CHECKPOINTS
    writers = "select count(distinct xmin::text) from warehouse.score_chunk group by evaluation_id"
    assert {row[0] for row in rows(database, writers)} == {1}


def test_two_ingesters_at_once_share_the_blocks_and_do_each_unit_once(
    workplace: Workplace, study_file: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    assert_shared([workplace.ingest(study_file, rest=REST) for _ in range(2)], workplace.database)
    expect_undisturbed(workplace.database)


def test_each_rank_does_its_share_and_all_ranks_together_everything_once(
    workplace: Workplace, study_file: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    first = workplace.ingest(study_file, "--rank", "0", "--world-size", "2")
    share = evaluations_in(first.succeed())
    assert 0 < share < N_CHECKPOINTS
    assert workplace.n_evaluations() == share
    assert_shared([first, workplace.ingest(study_file, "--rank", "1", "--world-size", "2")], workplace.database)
    # Pairs across the border of two ranks' blocks, too.
    expect_undisturbed(workplace.database)
