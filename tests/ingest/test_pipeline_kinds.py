"""Kinds that hold models against each other, on one reading of each checkpoint; run sets; readouts that are kept."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from ingest.cli.ingest import summary
from ingest.study import KINDS, BadStudy, CustomSpec, ReferenceSpec, Study
from tests import float64
from tests.contents import assert_same, contents, findings
from tests.ingested import (
    RECIPES,
    SEEDS,
    Ingested,
    SilentMeter,
    documents,
    ingest,
    reads_counted,
    rows,
    save_models,
    study_of,
    write_documents,
)
from tests.oracle import Oracle, assert_close
from warehouse.database import Database
from warehouse.standing import flag_run, unflag_run

SMALL, LARGE = "sharp-9m", "flat-14m"
STEPS = (0, 1, 4)
CUSTOM = (CustomSpec(SMALL, 0, LARGE, 4, 0, 2), CustomSpec(SMALL, 0, LARGE, 4, 1, 1), CustomSpec(LARGE, 4, LARGE, 0))


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two models of four seeds and three steps, with every kind of comparison."""
    folder = tmp_path_factory.mktemp("kinds")
    text = write_documents(folder / "letters.jsonl", documents(words=8))
    return study_of(save_models(folder / "models", steps=STEPS), text, kinds=KINDS, custom=CUSTOM)


@pytest.fixture(scope="module")
def read() -> list[tuple[str, int, int]]:
    """The checkpoints that were read, one entry a reading."""
    return []


@pytest.fixture(scope="module")
def measured(every_kind: Study, module_database: Database, read: list[tuple[str, int, int]]) -> Ingested:
    with reads_counted() as counted:
        report = ingest(module_database, every_kind)
    read += counted
    return Ingested(module_database, every_kind, report)


@pytest.fixture(scope="module")
def oracle(measured: Ingested) -> Oracle:
    return Oracle(measured)


def test_each_checkpoint_is_read_once_for_all_kinds(measured: Ingested, read: list[tuple[str, int, int]]) -> None:
    assert sorted(read) == sorted(product(RECIPES, SEEDS, STEPS))
    assert measured.report.outcome.checkpoints == len(read)


def test_every_comparison_is_complete(measured: Ingested) -> None:
    counted = rows(
        measured.database, "select kind, count(*), bool_and(complete) from analysis.comparisons group by kind"
    )
    expected = {"seed": 6, "step": 4, "final": 4, "size": 6, "matched": 6, "cross": 18, "custom": 2}
    expected |= {"step_reverse": 4, "final_reverse": 4}
    assert {kind: (count, complete) for kind, count, complete in counted} == {k: (n, True) for k, n in expected.items()}
    assert findings(measured.database) == {}


@pytest.mark.parametrize("kind", ["size", "matched", "custom"])
def test_kl_between_models_matches_float64(measured: Ingested, oracle: Oracle, kind: str) -> None:
    query = """
    select model, seed_p, step, model_q, seed_q, step_q, token_id, kl from analysis.pairwise_kl
    where kind = %s order by model, seed_p, step, model_q, seed_q, step_q, token_id
    """
    drawn = random.Random(3).sample(rows(measured.database, query, kind), 60)
    expected = [
        float64.kl(oracle.log_p(*p)[[token]], oracle.log_p(*q)[[token]])[0]
        for *cells, token, _ in drawn
        for p, q in [(cells[:3], cells[3:])]
    ]
    assert_close(np.array([row[-1] for row in drawn]), np.array(expected))


def test_listed_pairs_are_compared_and_no_others(measured: Ingested) -> None:
    columns = "model, seed_p, step, model_q, seed_q, step_q"
    query = f"select distinct {columns} from analysis.pairwise_kl where kind = 'custom'"
    listed = {(SMALL, 0, 0, LARGE, 2, 4), (SMALL, 1, 0, LARGE, 1, 4)}
    assert set(rows(measured.database, query)) == listed | {(LARGE, seed, 4, LARGE, seed, 0) for seed in SEEDS}


def test_cross_comparisons_keep_sums_and_no_tokens(measured: Ingested, oracle: Oracle) -> None:
    assert rows(measured.database, "select count(*) from analysis.pairwise_kl where kind = 'cross'") == [(0,)]
    query = """
    select model, step, model_q, step_q, convergence from analysis.expected_convergence where kind = 'cross'
    """
    stored = rows(measured.database, query)
    assert len(stored) == 18
    for model, step, model_q, step_q, convergence in stored:
        kl = [float64.kl(oracle.log_p(model, seed, step), oracle.log_p(model_q, seed, step_q)).mean() for seed in SEEDS]
        assert convergence == pytest.approx(-np.mean(kl), rel=1e-5)


def test_matched_steps_have_the_nearest_mean_surprisal_and_its_difference_is_kept(
    measured: Ingested, oracle: Oracle
) -> None:
    mean = {
        (model, step): np.mean([-oracle.of_targets(oracle.log_p(model, seed, step)).mean() for seed in SEEDS])
        for model, step in product(RECIPES, STEPS)
    }
    query = "select model, step, model_q, step_q, surprisal_difference from analysis.comparisons where kind = 'matched'"
    for model, step, model_q, step_q, difference in rows(measured.database, query):
        distance = {t: abs(mean[model_q, t] - mean[model, step]) for t in STEPS}
        assert step_q == min(distance, key=lambda t: distance[t])
        assert difference == pytest.approx(mean[model, step] - mean[model_q, step_q], rel=1e-5)


def test_a_second_run_reads_and_writes_nothing(measured: Ingested) -> None:
    before = contents(measured.database)
    with reads_counted() as read:
        report = ingest(measured.database, measured.study)
    assert read == []
    assert (report.outcome.evaluations, report.outcome.pairs) == (0, 0)
    assert_same(contents(measured.database), before)


def test_kinds_and_steps_added_one_after_another_end_where_one_run_ends(
    measured: Ingested, every_kind: Study, database: Database
) -> None:
    usual = ("seed", "step", "step_reverse", "final", "final_reverse")
    ingest(database, replace(every_kind, kinds=usual, models=(LARGE,), custom=()))
    ingest(database, replace(every_kind, kinds=("cross",), seeds=(0, 1), custom=()))
    ingest(database, replace(every_kind, kinds=("matched",), custom=()))
    ingest(database, every_kind)
    assert findings(database) == {}
    assert_same(contents(database), contents(measured.database))


def test_sums_of_cross_comparisons_that_lack_a_seed_are_measured_once(
    every_kind: Study, database: Database, tmp_path: Path
) -> None:
    assert every_kind.root is not None
    root = Path(shutil.copytree(every_kind.root, tmp_path / "models"))
    shutil.rmtree(root / LARGE / "seed1" / "step1")
    study = replace(every_kind, root=root, kinds=("cross",), seeds=(0, 1), steps=(0, 1), custom=())
    first = ingest(database, study).outcome
    # Eight comparisons, of which the four with the missing checkpoint have one pair in place of two.
    assert first.pairs == 8 + 4
    with reads_counted() as read:
        again = ingest(database, study).outcome
    assert (read, again.pairs) == ([], 0)
    counted = rows(database, "select n_pairs, count(*) from analysis.comparisons group by n_pairs order by n_pairs")
    assert counted == [(1, 4), (2, 4)]


def test_a_smaller_study_leaves_matched_comparisons_of_a_larger_one_alone(measured: Ingested) -> None:
    query = "select model, step, model_q, step_q from analysis.comparisons where kind = 'matched' order by 1, 2, 3"
    before = rows(measured.database, query)
    ingest(measured.database, replace(measured.study, kinds=("matched",), steps=(0, 1), custom=()))
    assert rows(measured.database, query) == before


def test_small_memory_changes_no_bit(measured: Ingested, every_kind: Study, database: Database) -> None:
    with reads_counted() as read:
        ingest(database, every_kind, memory=0)
    assert len(read) == len(set(read)) == len(RECIPES) * len(SEEDS) * len(STEPS)
    assert_same(contents(database), contents(measured.database))


def test_a_flagged_run_has_both_run_sets_with_the_entropy_of_each_mixture(
    every_kind: Study, database: Database, oracle: Oracle
) -> None:
    study = replace(every_kind, models=(LARGE,), kinds=("seed", "step"), custom=())
    ingest(database, replace(study, seeds=(0, 1)))
    with database.engine().begin() as connection:
        flag_run(connection, "tiny", LARGE, 1, "for the test")
    ingest(database, study)
    assert findings(database) == {}
    query = """
    select comparison.run_set, array_agg(chunk.mixture_entropy[1] order by chunk.chunk_id)
    from warehouse.comparison inner join warehouse.convergence_chunk as chunk using (comparison_id)
    where kind = 'seed' and step = 4 group by comparison.run_set
    """
    stored = dict(rows(database, query))
    for run_set, seeds in (("all", SEEDS), ("default", (0, 2, 3))):
        mean = np.mean([np.exp(oracle.log_p(LARGE, seed, 4)[:1]) for seed in seeds], axis=0)
        assert stored[run_set][0] == pytest.approx(float64.entropy(np.log(mean))[0], rel=1e-5)
    with database.engine().begin() as connection:
        unflag_run(connection, "tiny", LARGE, 1)
    assert findings(database) == {}


def test_kept_readouts_serve_later_pairs_and_references_without_reading(
    every_kind: Study, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measured: Ingested
) -> None:
    monkeypatch.setattr("ingest.pipeline.kept_readouts", lambda: tmp_path / "readouts")
    ingest(database, replace(every_kind, kinds=("seed",), references=(), custom=()), keep_readouts=True)
    assert len(list((tmp_path / "readouts").iterdir())) == len(RECIPES) * len(SEEDS) * len(STEPS)
    more = ReferenceSpec("another", text=every_kind.corpus.path)
    with reads_counted() as read:
        ingest(database, replace(every_kind, references=(*every_kind.references, more)))
    assert read == []
    assert findings(database) == {}
    query = "select count(*), count(distinct reference_id) from warehouse.reference_evaluation"
    assert rows(database, query) == [(48, 2)]


def test_ranks_deal_out_the_blocks_and_together_do_everything_once(
    measured: Ingested, every_kind: Study, database: Database
) -> None:
    done = []
    for rank in (0, 1, 0):
        with reads_counted() as read:
            report = ingest(database, every_kind, rank=rank, world_size=2)
        done.append((read, report.outcome.evaluations, report.outcome.pairs))
    (first, *_), (second, *_), (_, *last) = done
    assert first
    assert second
    assert sum(evaluations for _, evaluations, _ in done) == 24
    assert last[0] == 0
    assert findings(database) == {}
    assert_same(contents(database), contents(measured.database))


def test_what_waits_for_other_ranks_is_said(every_kind: Study, database: Database) -> None:
    meters: list[SilentMeter] = []

    def meter(tokens: int, checkpoints: int) -> SilentMeter:
        meters.append(SilentMeter(tokens, checkpoints))
        return meters[-1]

    ingest(database, every_kind, meter=meter, rank=1, world_size=2)
    assert any("are not scored yet, so pairs across steps and models wait" in note for note in meters[0].notes)


def test_sizes_are_held_against_each_other_in_both_directions(measured: Ingested) -> None:
    query = "select distinct model, model_q from analysis.comparisons where kind = 'size'"
    assert set(rows(measured.database, query)) == set(permutations(RECIPES, 2))


def test_what_was_visited_and_forgotten_is_not_read_ahead_again(
    every_kind: Study, database: Database, tmp_path: Path
) -> None:
    root = save_models(tmp_path, [LARGE], seeds=(0,), steps=range(6))
    with reads_counted() as read:
        ingest(database, replace(every_kind, root=root, kinds=("step",), custom=()))
    assert sorted(read) == [(LARGE, 0, step) for step in range(6)]


def test_more_top_entries_than_ids_are_refused(every_kind: Study, database: Database) -> None:
    with pytest.raises(BadStudy, match="top_k of study letters is 100000, but there are 320 ids: lower it"):
        ingest(database, replace(every_kind, top_k=100_000))


def test_work_on_kept_readouts_alone_is_told(every_kind: Study, database: Database) -> None:
    study = replace(every_kind, models=(SMALL,), seeds=(0, 1), kinds=("seed",), custom=(), steps=(0, 1))
    ingest(database, study, keep_readouts=True)
    report = ingest(database, replace(study, kinds=("step",)), keep_readouts=True)
    assert (report.outcome.checkpoints, report.outcome.kept, report.outcome.pairs) == (0, 4, 2)
    assert summary(report).startswith("Read 0 of 4 checkpoints")
