"""`warehouse import scores`: evaluations with whatever measures a file has, beside KL or alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from queries.refresh import refresh
from tests.conftest import Outcome
from tests.contents import findings
from tests.warehouse.importing.conftest import N_TOKENS, SAID, Bare, kl_of, long_table, write

Command = Callable[..., Outcome]
SIDES = (("small", 0, 0), ("small", 0, 8), ("small", 1, 0))


def surprisal_of(side: tuple[str, int, int]) -> np.ndarray:
    """[T] made-up surprisal of a checkpoint."""
    return np.random.default_rng([7, side[1], side[2]]).gamma(2.0, 1.5, N_TOKENS)


def table_of(*sides: tuple[str, int, int], **columns: object) -> pd.DataFrame:
    """A row for each checkpoint and position."""
    frames = [
        pd.DataFrame(
            {
                **dict(zip(("model", "seed", "step"), side, strict=True)),
                "position": np.arange(N_TOKENS),
                "surprisal": surprisal_of(side),
                **columns,
            }
        )
        for side in sides
    ]
    return pd.concat(frames, ignore_index=True)


def run(command: Command, *arguments: str) -> str:
    """Import, which must work; returns what it said."""
    done = command("import", "scores", *arguments, *SAID)
    assert done.status == 0, done.errors
    return done.output


def unchanged_by_refresh(bare: Bare) -> bool:
    """Whether summaries are those that SQL computes from the facts."""
    with bare.database.connect() as connection:
        return not any(change.changed or change.added or change.removed for change in refresh(connection))


def test_a_file_of_surprisal_alone_is_served_by_the_views(bare: Bare, command: Command, tmp_path: Path) -> None:
    said = run(command, str(write(tmp_path / "scores.csv", table_of(*SIDES))))
    assert said.startswith("Imported 3 evaluations (1,800 tokens scored)")
    found = bare.frame("select * from analysis.expected_surprisal order by seed, step")
    assert found["protocol"].unique().tolist() == ["imported-lab"]
    for row, side in zip(found.itertuples(), SIDES, strict=True):
        assert row.surprisal == pytest.approx(surprisal_of(side).mean(), rel=1e-6)
        assert row.se_document > 0
    assert found["entropy"].isna().all()
    assert found["accuracy"].isna().all()
    by_value = bare.frame(
        "select value, surprisal from analysis.conditional_surprisal where layer = 'pos' and step = 8"
    )
    codes = bare.held.layers["pos"]
    for row in by_value.itertuples():
        expected = surprisal_of(SIDES[1])[codes == int(row.value.split()[1])].mean()
        assert row.surprisal == pytest.approx(expected, rel=1e-6)
    assert len(by_value) == 6
    assert findings(bare.database) == {}
    assert unchanged_by_refresh(bare)


def test_further_measures_are_taken_where_a_file_has_them(bare: Bare, command: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    entropy, rank = random.uniform(0.5, 3.0, N_TOKENS), random.integers(1, 9, N_TOKENS)
    top, mass = random.integers(0, 40, N_TOKENS), np.log(random.uniform(0.1, 0.2, N_TOKENS))
    columns = {"entropy": entropy, "rank": rank, "top_vocab_id": top, "space_logmass": mass}
    run(command, str(write(tmp_path / "scores.parquet", table_of(SIDES[0], **columns))))
    found = bare.frame("select * from analysis.token_score order by token_id")
    np.testing.assert_allclose(found["surprisal"], surprisal_of(SIDES[0]), rtol=1e-7)
    np.testing.assert_allclose(found["entropy"], entropy, rtol=1e-7)
    assert found["rank"].tolist() == rank.tolist()
    assert found["top_vocab_id"].tolist() == top.tolist()
    np.testing.assert_allclose(found["space_logmass"], mass, rtol=1e-6)
    assert found["punct_logmass"].isna().all()
    total = bare.frame("select * from analysis.expected_surprisal").iloc[0]
    assert total["entropy"] == pytest.approx(entropy.mean(), rel=1e-6)
    assert total["accuracy"] == pytest.approx((rank == 1).mean())
    assert findings(bare.database) == {}
    assert unchanged_by_refresh(bare)


def test_no_context_is_made_up_for_what_was_read_elsewhere(bare: Bare, command: Command, tmp_path: Path) -> None:
    path, manifest = write(tmp_path / "scores.csv", table_of(SIDES[0])), tmp_path / "lab.toml"
    manifest.write_text("window = 64\nbos = true")
    run(command, str(path), "--manifest", str(manifest))
    found = bare.frame("select context_length from analysis.token_score")
    assert len(found) == N_TOKENS
    assert found["context_length"].isna().all()
    protocol = bare.frame('select bos, "window" from analysis.protocols where origin is not null').iloc[0]
    assert (protocol["bos"], protocol["window"]) == (True, 64)


def test_part_of_a_corpus_may_be_scored(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = str(write(tmp_path / "scores.csv", table_of(SIDES[0])))
    run(command, path, "--positions", "10:500")
    total = bare.frame("select * from analysis.expected_surprisal").iloc[0]
    assert total["n_tokens"] == 490
    assert total["surprisal"] == pytest.approx(surprisal_of(SIDES[0])[10:500].mean(), rel=1e-6)
    mean = bare.frame("select mean_surprisal from analysis.evaluations")["mean_surprisal"][0]
    assert mean == pytest.approx(surprisal_of(SIDES[0])[10:500].mean(), rel=1e-6)
    assert findings(bare.database) == {}
    assert unchanged_by_refresh(bare)


def test_a_matrix_has_a_row_for_each_checkpoint_and_a_file_for_each_measure(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    steps = (0, 8)
    rows = [surprisal_of(("small", 0, step)) for step in steps]
    np.save(tmp_path / "surprisal.npy", rows)
    np.save(tmp_path / "entropy.npy", [row / 2 for row in rows])
    manifest = tmp_path / "scores.toml"
    manifest.write_text(
        'path = "{measure}.npy"\nmeasures = ["surprisal", "entropy"]\n[rows]\nmodels = ["small"]\nsteps = [0, 8]\n'
    )
    run(command, str(manifest))
    found = bare.frame("select * from analysis.expected_surprisal order by step")
    assert found["surprisal"].tolist() == pytest.approx([row.mean() for row in rows], rel=1e-6)
    assert found["entropy"].tolist() == pytest.approx([row.mean() / 2 for row in rows], rel=1e-6)


def test_scores_that_follow_kl_give_its_comparisons_their_difference(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    p, q = SIDES[:2]
    done = command("import", "kl", str(write(tmp_path / "kl.csv", long_table({(p, q): kl_of(p, q)}))), *SAID)
    assert done.status == 0, done.errors
    difference = "select surprisal_difference from analysis.comparisons where kind = 'step'"
    assert bare.frame(difference)["surprisal_difference"].isna().all()
    run(command, str(write(tmp_path / "scores.csv", table_of(p, q))))
    expected = surprisal_of(p).mean() - surprisal_of(q).mean()
    assert bare.frame(difference)["surprisal_difference"][0] == pytest.approx(expected, rel=1e-5)
    kl = bare.frame("select convergence from analysis.expected_convergence where kind = 'step'")
    assert kl["convergence"][0] == pytest.approx(-kl_of(p, q).mean(), rel=1e-6)
    assert findings(bare.database) == {}
    # What the two sides say of each other is for a refresh to find.
    with bare.database.connect() as connection:
        changed = {change.table for change in refresh(connection) if change.changed or change.added or change.removed}
    assert changed == {"comparison_pair"}
    agreed = bare.frame("select pearson, spearman from warehouse.comparison_pair")
    expected_pearson = np.corrcoef(surprisal_of(p), surprisal_of(q))[0, 1]
    assert agreed["pearson"][0] == pytest.approx(expected_pearson, rel=1e-6)
    assert agreed["spearman"][0] == pytest.approx(stats.spearmanr(surprisal_of(p), surprisal_of(q))[0], rel=1e-6)
    assert unchanged_by_refresh(bare)


def test_kl_that_follows_scores_leaves_them(bare: Bare, command: Command, tmp_path: Path) -> None:
    p, q = SIDES[:2]
    run(command, str(write(tmp_path / "scores.csv", table_of(p, q))))
    done = command("import", "kl", str(write(tmp_path / "kl.csv", long_table({(p, q): kl_of(p, q)}))), *SAID)
    assert done.status == 0, done.errors
    found = bare.frame("select surprisal_difference from analysis.comparisons where kind = 'step'")
    assert found["surprisal_difference"][0] == pytest.approx(surprisal_of(p).mean() - surprisal_of(q).mean(), rel=1e-5)
    assert set(bare.frame("select status from warehouse.evaluation")["status"]) == {"complete"}


def test_the_same_scores_again_write_nothing_and_others_are_refused(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    path = str(write(tmp_path / "first.csv", table_of(*SIDES)))
    run(command, path)
    before = bare.counts()
    assert "All 3 evaluations" in run(command, path)
    other = table_of(*SIDES)
    other.loc[9, "surprisal"] += 1
    done = command("import", "scores", str(write(tmp_path / "second.csv", other)), *SAID)
    assert done.status == 2
    assert "first.csv" in done.errors
    assert "second.csv" in done.errors
    assert bare.counts() == before


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("surprisal", -0.5, "which surprisal never is"),
        ("surprisal", np.inf, "infinite"),
        ("rank", 0, "too small"),
        ("rank", 1.5, "no whole numbers"),
        ("rank", 3e9, "too great"),
        ("top_vocab_id", 40, "no id of the tokenizer, which has 40"),
        ("space_logmass", 0.1, "above 0"),
        ("top_surprisal", 99.0, "above the token's own surprisal"),
    ],
)
def test_a_score_that_cannot_be_is_refused(
    bare: Bare, command: Command, tmp_path: Path, column: str, value: float, said: str
) -> None:
    table = table_of(SIDES[0], rank=1.0, top_vocab_id=3, space_logmass=-1.0, top_surprisal=0.0)
    table[column] = table[column].astype(float)
    table.loc[17, column] = value
    before = bare.counts()
    done = command("import", "scores", str(write(tmp_path / "scores.csv", table)), *SAID)
    assert done.status == 2
    assert said in done.errors
    assert bare.counts() == before


def test_a_file_without_surprisal_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = table_of(SIDES[0], entropy=1.0).drop(columns="surprisal")
    done = command("import", "scores", str(write(tmp_path / "scores.csv", table)), *SAID)
    assert done.status == 2
    assert "has no column surprisal" in done.errors
