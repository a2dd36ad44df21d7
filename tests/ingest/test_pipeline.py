"""An ingestion as a whole: done twice, added to, interrupted and killed, it ends where a single run would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingest.study import CorpusSpec, ReferenceSpec, Study
from tests.contents import assert_same, contents, findings, frame
from tests.ingested import (
    RECIPES,
    Ingested,
    SilentMeter,
    documents,
    ingest,
    reads_counted,
    rows,
    save_cell,
    save_models,
    study_of,
    write_documents,
)
from warehouse.database import Database
from warehouse.writer import Writer

SEEDS, STEPS = (0, 1, 2), (0, 1, 4)


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One small model of three seeds and three steps, on ten short documents."""
    folder = tmp_path_factory.mktemp("small")
    text = write_documents(folder / "short.jsonl", documents(words=8))
    return study_of(save_models(folder / "models", ["small"], (0, 1, 2, 3), (0, 1, 2, 4, 8)), text, family="small")


@pytest.fixture(scope="module")
def from_scratch(small_study: Study) -> dict[tuple[Any, ...], dict[str, pd.DataFrame]]:
    """Contents after one run, by seeds, steps and kinds; filled as they are asked for."""
    return {}


@pytest.fixture
def study(small_study: Study) -> Study:
    return replace(small_study, seeds=SEEDS, steps=STEPS)


@pytest.fixture
def expect(from_scratch: dict[Any, Any], database: Database, other_database: Database) -> Any:
    """Asserts that a database holds what one run of a study puts into another."""

    def same(study: Study) -> None:
        key = (study.seeds, study.steps, study.kinds)
        if key not in from_scratch:
            ingest(other_database, study)
            from_scratch[key] = contents(other_database)
        assert_same(contents(database), from_scratch[key])
        assert findings(database) == {}

    return same


def cells(seeds: tuple[int, ...], steps: tuple[int, ...]) -> set[tuple[str, int, int]]:
    return {("small", seed, step) for seed in seeds for step in steps}


# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_reads_every_checkpoint_once_and_leaves_nothing_planned(database: Database, study: Study) -> None:
    meters: list[SilentMeter] = []

    def meter(tokens: int, checkpoints: int) -> SilentMeter:
        meters.append(SilentMeter(tokens, checkpoints))
        return meters[0]

    with reads_counted() as read:
        report = ingest(database, study, meter=meter)
    assert sorted(read) == sorted(cells(SEEDS, STEPS))
    assert (report.outcome.checkpoints, report.outcome.evaluations, report.n_wanted) == (9, 9, 9)
    # Six ordered pairs of seeds at three steps; to the next step and to the last, of which one is both, each way.
    assert report.outcome.pairs == 6 * 3 + 3 * (2 + 2 - 1) * 2
    assert report.outcome.failures == []
    assert findings(database) == {}
    assert {row[0] for row in rows(database, "select status from warehouse.evaluation")} == {"complete"}
    assert all(complete for (complete,) in rows(database, "select complete from analysis.comparisons"))
    [shown] = meters
    assert len(shown.read) == shown.total_checkpoints == 9
    assert shown.done_tokens == shown.total_tokens == 9 * report.n_tokens


def test_the_whole_ingestion_passes_every_check(ingested: Ingested) -> None:
    assert findings(ingested.database) == {}


def test_tokens_seen_and_flops_follow_from_the_tokens_of_a_step(database: Database, study: Study) -> None:
    ingest(database, replace(study, seeds=(0,), kinds=(), tokens_per_step=1000))
    for step, seen, flops, parameters in rows(
        database, "select step, tokens_seen, flops, parameters from analysis.checkpoints"
    ):
        assert seen == 1000 * step
        assert flops == 6 * parameters * seen


# --- again, and more -------------------------------------------------------------------------------------------------


def test_a_second_run_reads_and_writes_nothing(ingested_copy: Ingested) -> None:
    query = "select xmin::text, evaluation_id from warehouse.evaluation order by 2"
    before = rows(ingested_copy.database, query)
    with reads_counted() as read:
        report = ingest(ingested_copy.database, ingested_copy.study)
    assert read == []
    assert (report.outcome.checkpoints, report.outcome.evaluations, report.outcome.pairs) == (0, 0, 0)
    assert rows(ingested_copy.database, query) == before
    assert findings(ingested_copy.database) == {}


def test_a_seed_added_later_gives_what_one_run_gives(database: Database, study: Study, expect: Any) -> None:
    ingest(database, study)
    more = replace(study, seeds=(*SEEDS, 3))
    with reads_counted() as read:
        report = ingest(database, more)
    # Every other seed is needed for its pairs with the new one.
    assert sorted(read) == sorted(cells((*SEEDS, 3), STEPS))
    assert report.outcome.evaluations == 3
    assert report.outcome.pairs == 3 * 6 + 3 * 2
    expect(more)


def test_a_step_added_at_the_end_gives_what_one_run_gives(database: Database, study: Study, expect: Any) -> None:
    study = replace(study, kinds=("seed", "step", "step_reverse"))
    ingest(database, study)
    more = replace(study, steps=(*STEPS, 8))
    with reads_counted() as read:
        report = ingest(database, more)
    assert sorted(read) == sorted(cells(SEEDS, (4, 8)))
    assert report.outcome.evaluations == 3
    expect(more)


def test_a_step_added_at_the_end_is_what_every_other_step_is_held_against(database: Database, study: Study) -> None:
    ingest(database, study)
    with reads_counted() as read:
        report = ingest(database, replace(study, steps=(*STEPS, 8)))
    assert sorted(read) == sorted(cells(SEEDS, (*STEPS, 8)))
    # Seeds at the new step; and from and to every other, of which the one before is also the step before.
    assert report.outcome.pairs == 6 + 3 * 2 * 3
    assert findings(database) == {}


def test_a_step_added_in_between_reads_only_its_neighbours_and_the_last(database: Database, study: Study) -> None:
    ingest(database, study)
    with reads_counted() as read:
        report = ingest(database, replace(study, steps=(0, 1, 2, 4)))
    assert sorted(read) == sorted(cells(SEEDS, (1, 2, 4)))
    assert report.outcome.evaluations == 3
    # Of seeds at the step; and to and from its neighbours, of which the later is the last.
    assert report.outcome.pairs == 6 + 3 * 2 * 2
    assert findings(database) == {}


def test_a_kind_wanted_later_reads_what_it_pairs(database: Database, study: Study, expect: Any) -> None:
    ingest(database, replace(study, kinds=("seed",)))
    with reads_counted() as read:
        ingest(database, study)
    assert sorted(read) == sorted(cells(SEEDS, STEPS))
    expect(study)


def test_pairs_measured_for_one_kind_answer_another_without_reading(database: Database, study: Study) -> None:
    two = replace(study, steps=(0, 4))
    ingest(database, replace(two, kinds=("final",)))
    with reads_counted() as read:
        report = ingest(database, replace(two, kinds=("step", "final")))
    assert read == []
    assert report.outcome.pairs == 0
    counted = frame(database, "select kind, n_pairs, complete from analysis.comparisons order by kind")
    assert counted.to_numpy().tolist() == [["final", 3, True], ["step", 3, True]]
    means = frame(database, "select kind, convergence from analysis.expected_convergence order by kind")
    assert means["convergence"].nunique() == 1
    assert len(means) == 2
    assert findings(database) == {}


def test_pairs_of_another_study_reach_the_comparisons_they_answer(database: Database, study: Study) -> None:
    two = replace(study, steps=(0, 4))
    ingest(database, replace(two, seeds=(0, 1), kinds=("step",)))
    ingest(database, replace(two, seeds=(2,), kinds=("final",)))
    query = "select n_pairs, seeds, complete from analysis.comparisons where kind = 'step'"
    assert rows(database, query) == [(3, [0, 1, 2], True)]


def test_a_reference_added_later_reads_every_checkpoint_and_scores_none_again(database: Database, study: Study) -> None:
    ingest(database, study)
    before = rows(database, "select evaluation_id, measured_at, input_digest from warehouse.evaluation order by 1")
    assert study.corpus.path is not None
    more = replace(study, references=(*study.references, ReferenceSpec("counted", text=study.corpus.path)))
    with reads_counted() as read:
        report = ingest(database, more)
    assert sorted(read) == sorted(cells(SEEDS, STEPS))
    assert (report.outcome.evaluations, report.outcome.pairs) == (0, 0)
    assert before == rows(
        database, "select evaluation_id, measured_at, input_digest from warehouse.evaluation order by 1"
    )
    held = frame(database, "select reference, kl_reference from analysis.reference_divergence")
    assert held["reference"].value_counts().to_dict() == {"unigram": 9, "counted": 9}
    assert findings(database) == {}


def test_a_lost_evaluation_is_measured_again_with_its_pairs_and_nothing_else(
    database: Database, study: Study, expect: Any
) -> None:
    ingest(database, study)
    (lost,) = rows(database, "select evaluation_id from analysis.evaluations where seed = 1 and step = 1")[0]
    with database.connect() as connection:
        pairs = "select pair_id from warehouse.comparison_pair where %(lost)s in (evaluation_p, evaluation_q)"
        for statement in (
            f"delete from warehouse.comparison_member where pair_id in ({pairs})",
            f"delete from warehouse.divergence_chunk where pair_id in ({pairs})",
            "delete from warehouse.comparison_pair where %(lost)s in (evaluation_p, evaluation_q)",
            "delete from warehouse.reference_chunk where evaluation_id = %(lost)s",
            "delete from warehouse.reference_evaluation where evaluation_id = %(lost)s",
            "delete from warehouse.score_summary where evaluation_id = %(lost)s",
            "delete from warehouse.score_chunk where evaluation_id = %(lost)s",
            "update warehouse.evaluation set status = 'planned', input_digest = null where evaluation_id = %(lost)s",
        ):
            connection.execute(statement.encode(), {"lost": lost})
    with reads_counted() as read:
        report = ingest(database, study)
    # The other seeds at the step, and the same seed at the steps beside it, of which one is the last.
    assert sorted(read) == sorted({*cells(SEEDS, (1,)), *cells((1,), STEPS)})
    assert report.outcome.evaluations == 1
    assert report.outcome.pairs == 4 + 2 + 2
    expect(study)


def test_a_lost_pair_costs_no_mixture(database: Database, study: Study, expect: Any) -> None:
    ingest(database, study)
    with database.connect() as connection:
        ((pair,),) = connection.execute(
            "select distinct pair_id from analysis.pairwise_kl where kind = 'seed' and step = 1 "
            "and seed_p = 0 and seed_q = 2"
        ).fetchall()
        connection.execute("delete from warehouse.comparison_member where pair_id = %s", [pair])
        connection.execute("delete from warehouse.divergence_chunk where pair_id = %s", [pair])
        connection.execute("delete from warehouse.comparison_pair where pair_id = %s", [pair])
    assert ingest(database, study).outcome.pairs == 1
    expect(study)


def test_two_studies_of_some_seeds_each_end_with_the_mixture_of_all(
    database: Database, study: Study, expect: Any
) -> None:
    ingest(database, replace(study, seeds=(0, 1)))
    ingest(database, replace(study, seeds=(1, 2)))
    query = "select count(*), count(mixture_entropy) from analysis.token_convergence where kind = 'seed'"
    [(tokens, mixed)] = rows(database, query)
    assert tokens > mixed == 0  # nobody saw the three together
    ingest(database, study)
    expect(study)


def test_the_final_surprisal_layer_follows_the_last_step_and_not_a_study_of_fewer_steps(
    database: Database, study: Study
) -> None:
    query = "select source from analysis.annotation_layers where layer = 'final_surprisal'"
    for steps, last in (((0, 1), 1), ((0, 1, 4), 4), ((0, 1), 4)):
        ingest(database, replace(study, seeds=(0, 1), steps=steps))
        assert rows(database, query) == [(f"small seed 0 step {last}",)]
        assert findings(database) == {}


def test_a_second_corpus_and_a_second_protocol_stand_beside_the_first(
    database: Database, study: Study, tmp_path: Path
) -> None:
    ingest(database, study)
    text = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    ingest(database, replace(study, corpus=CorpusSpec(path=text, name="other")))
    narrow = study.with_options(protocol_window=16)
    with reads_counted() as read:
        ingest(database, narrow)
    assert sorted(read) == sorted(cells(SEEDS, STEPS))
    query = """
    select corpus, protocol, convergence from analysis.expected_convergence where kind = 'seed' and step = 1
    """
    means = frame(database, query)
    assert means[["corpus", "protocol"]].drop_duplicates().shape == (3, 2)
    assert means["convergence"].nunique() == len(means) == 3
    assert findings(database) == {}


# --- interrupted -----------------------------------------------------------------------------------------------------


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


class Disconnected(SilentMeter):
    """A meter that ends every session of the database once, as a restart of the server does."""

    database: Database
    ended: list[int]

    def tokens(self, count: int) -> None:
        super().tokens(count)
        if not self.ended and self.done_tokens > self.total_tokens // 2:
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
            self.ended += [1 for _ in rows(self.database, others + "and datname = current_database()")]


def test_a_lost_connection_costs_nothing(database: Database, study: Study, expect: Any) -> None:
    Disconnected.database, Disconnected.ended = database, []
    with reads_counted() as read:
        assert ingest(database, study, meter=Disconnected).outcome.evaluations == 9
    assert Disconnected.ended == [1]  # the session that holds the claim; the others last as long as a transaction
    assert len(read) == 9
    expect(study)


@pytest.fixture
def study_file(ingested: Ingested, tmp_path: Path) -> Path:
    """The study of the ingested models as a user would write it."""
    study = ingested.study
    assert study.corpus.path is not None
    file = tmp_path / "letters.toml"
    layers = ", ".join(f'"{layer}"' for layer in study.layers)
    file.write_text(
        f'root = "{study.root}"\nfamily = "tiny"\nlayers = [{layers}]\n'
        f'[corpus]\npath = "{study.corpus.path}"\nname = "letters"\n'
        f"[protocol]\nwindow = {study.protocol.window}\n"
        f'[references.unigram]\ntext = "{study.corpus.path}"\n'
    )
    return file


@pytest.fixture
def running(study_file: Path, database: Database) -> Iterator[subprocess.Popen[str]]:
    """`warehouse ingest` as a process of its own, on a fresh database."""
    environment = {
        **os.environ,
        "DATABASE_URL": database.owner_url,
        "DATABASE_READ_URL": database.reader_url,
        "OMP_NUM_THREADS": "1",
    }
    program = "from warehouse.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "ingest", str(study_file), "--device", "cpu", "--model", "flat-14m"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def await_evaluations(process: subprocess.Popen[str], database: Database) -> None:
    """Wait until a process has finished some evaluations."""
    while process.poll() is None:
        if rows(database, "select 1 from warehouse.evaluation where status = 'complete' limit 1"):
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_needs_no_repair(
    running: subprocess.Popen[str], database: Database, ingested: Ingested, how: signal.Signals
) -> None:
    await_evaluations(running, database)
    running.send_signal(how)
    _, errors = running.communicate(timeout=60)
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert errors.splitlines()[-1].startswith("Interrupted; what was finished is kept")
    else:
        assert running.returncode == -signal.SIGKILL
    assert findings(database) == {}
    [(done,)] = rows(database, "select count(*) from warehouse.evaluation where status = 'complete'")
    assert 0 < done < 16
    study = replace(ingested.study, models=("flat-14m",))
    with reads_counted() as read:
        ingest(database, study)
    # At most the step before and the last are read again, of each seed.
    assert len(read) <= 16 - done + 2 * 4
    assert_same(contents(database, "flat-14m"), contents(ingested.database, "flat-14m"))


# --- architectures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_architectures_go_the_whole_way(database: Database, tmp_path: Path, architecture: str) -> None:
    from tests.models import save_suite

    root = save_suite(tmp_path / "models", ["one"], (0, 1, 2), (0, 4), architecture)
    text = write_documents(tmp_path / "short.jsonl", documents(words=8))
    report = ingest(database, study_of(root, text))
    assert report.outcome.failures == []
    assert findings(database) == {}
    means = frame(database, "select kind, step, convergence, se_seed from analysis.expected_convergence")
    assert len(means) == 2 + 4
    assert (means["convergence"] < 0).all()
    assert means["se_seed"].notna().all()


def test_saving_a_cell_again_changes_nothing(tmp_path: Path, ingested: Ingested) -> None:
    """What the tests above compare rests on models that are the same each time they are made."""
    model = next(iter(RECIPES))
    made = save_cell(tmp_path, model, 1, 4)
    stored = ingested.root / model / "seed1" / "step4" / "model.safetensors"
    assert (made / "model.safetensors").read_bytes() == stored.read_bytes()
