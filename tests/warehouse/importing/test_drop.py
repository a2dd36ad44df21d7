"""`warehouse import drop`: an imported protocol goes whole, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome
from tests.contents import findings
from tests.queries.measured import measure
from tests.warehouse.importing.conftest import SAID, Bare, long_table, pairs_of_steps, write
from warehouse.database import Database
from warehouse.fits import Fit, store_fit

Command = Callable[..., Outcome]


def import_both(command: Command, folder: Path, **renamed: str) -> None:
    """Import KL, and scores of the same checkpoints."""
    table = long_table(pairs_of_steps()).assign(p_model=renamed.get("p", "small"), q_model=renamed.get("q", "small"))
    scores = table[["p_model", "p_seed", "p_step", "position", "kl"]].set_axis(
        ["model", "seed", "step", "position", "surprisal"], axis=1
    )
    for what, each in (("kl", table), ("scores", scores)):
        done = command("import", what, str(write(folder / f"{what}.csv", each)), *SAID)
        assert done.status == 0, done.errors


def test_an_imported_protocol_leaves_nothing_behind(bare: Bare, command: Command, tmp_path: Path) -> None:
    before = bare.counts()
    import_both(command, tmp_path)
    assert bare.counts() != before
    done = command("import", "drop", "lab")
    assert done.output == "Dropped protocol lab: 9 evaluations and all that was made of them.\n"
    # Where files came from is kept: it is nobody's, and takes no room.
    assert {**bare.counts(), "environment": 0} == {**before, "environment": 0}
    assert findings(bare.database) == {}
    import_both(command, tmp_path)
    assert findings(bare.database) == {}


def test_what_was_fitted_to_an_imported_protocol_goes_with_it(bare: Bare, command: Command, tmp_path: Path) -> None:
    import_both(command, tmp_path)
    for protocol in ("imported-lab", None):
        store_fit(bare.database, Fit("scaling", "law", {}, "digest", corpus="prose", protocol=protocol), [])
    assert command("import", "drop", "lab").status == 0
    assert bare.frame("select protocol from fits")["protocol"].tolist() == [None]


def test_what_was_measured_here_and_results_of_benchmarks_stay(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    bare = Bare(named_database, measure(named_database, n_tokens=600, n_documents=10, steps=(0, 8, 64)))
    ours = bare.counts()
    import_both(command, tmp_path, p="small", q="other")
    (tmp_path / "results.csv").write_text("model,seed,step,acc\nother,0,8,0.5\n")
    assert command("import", "metrics", str(tmp_path / "results.csv"), "--family", "toy").status == 0
    assert command("import", "drop", "imported-lab").status == 0
    kept = {"model": 1, "run": 1, "checkpoint": 1, "checkpoint_metric": 1}
    now = bare.counts()
    assert {
        table: now[table] - ours[table] for table in ours if table != "environment" and now[table] != ours[table]
    } == kept
    assert findings(named_database) == {}


def test_a_protocol_of_ours_or_of_nobody_is_refused(named_database: Database, command: Command, tmp_path: Path) -> None:
    measure(named_database, n_tokens=300, n_documents=8)
    for name in ("default", "lab"):
        done = command("import", "drop", name)
        assert done.status == 2
        assert f"no imported protocol {name} (it has none)" in done.errors
