"""Imports that hold a few units at a time in memory write what they would write at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Outcome
from tests.contents import findings
from tests.warehouse.importing.conftest import N_TOKENS, SAID, Bare, long_table, pairs_of_steps, write
from warehouse.importing import rows, units
from warehouse.importing.units import Unit

Command = Callable[..., Outcome]


def test_units_are_turned_into_arrays_and_written_a_few_at_a_time(
    bare: Bare, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write(tmp_path / "kl.parquet", long_table(pairs_of_steps()))
    told = command("import", "kl", str(table), *SAID)
    assert told.status == 0, told.errors
    query = """
    select p.step as p, q.step as q, p.seed, chunk_id, kl::text as kl from warehouse.divergence_chunk
    inner join warehouse.comparison_pair using (pair_id) inner join side as p on p.evaluation_id = evaluation_p
    inner join side as q on q.evaluation_id = evaluation_q order by 1, 2, 3, 4
    """
    side = "select evaluation_id, step, seed from warehouse.evaluation join warehouse.checkpoint using (checkpoint_id)"
    facts = f"with side as ({side} join warehouse.run using (run_id)) {query}"
    summaries = "select * from analysis.conditional_convergence order by kind, step, step_q, layer, value"
    whole = (bare.frame(facts), bare.frame(summaries).drop(columns="comparison_id"))
    assert command("import", "drop", "lab").status == 0
    seen = list[weakref.ref[Unit]]()
    most = 0

    class Counted(Unit):
        def __init__(self, *arguments: Any) -> None:
            nonlocal most
            super().__init__(*arguments)
            seen.append(weakref.ref(self))
            most = max(most, sum(each() is not None for each in seen))

    monkeypatch.setattr(rows, "Unit", Counted)
    monkeypatch.setattr(units, "BLOCK_VALUES", 2 * N_TOKENS)
    again = command("import", "kl", str(table), *SAID)
    assert again.output == told.output
    assert 2 <= most <= 4 < len(pairs_of_steps())  # two, and what the former two and the next leave for a moment
    for before, now in zip(
        whole, (bare.frame(facts), bare.frame(summaries).drop(columns="comparison_id")), strict=True
    ):
        pd.testing.assert_frame_equal(before, now)
    assert findings(bare.database) == {}


def test_a_pair_that_comes_twice_is_found_across_what_is_written_together(
    bare: Bare, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "BLOCK_VALUES", 1)
    np.save(tmp_path / "kl.npy", np.ones((2, N_TOKENS)))
    pair = "[[row]]\np_model = 'small'\np_step = 0\nq_model = 'small'\nq_step = 8\n"
    manifest = tmp_path / "m.toml"
    manifest.write_text(f"corpus = 'prose'\nprotocol = 'lab'\norigin = 'x'\nfamily = 'toy'\n{pair}{pair}", "utf-8")
    before = bare.counts()
    refused = command("import", "kl", str(tmp_path / "kl.npy"), "--manifest", str(manifest))
    assert refused.status == 2
    assert "are about the same pair" in refused.errors
    assert bare.counts() == before
