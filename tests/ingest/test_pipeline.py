"""An ingestion as a whole: done twice, and added to in every way, it ends where a single run would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.layers import TAGGER
from ingest.setting import missing_layers
from ingest.study import CorpusSpec, LearningRateSpec, ReferenceSpec, Study
from ingest.tagging import MissingTaggerData
from tests.conftest import Outcome
from tests.contents import findings, frame
from tests.ingested import (
    RECIPES,
    SMALL_SEEDS,
    SMALL_STEPS,
    Ingested,
    SilentMeter,
    documents,
    ingest,
    reads_counted,
    rows,
    save_cell,
    small_cells,
    study_of,
    write_documents,
)
from warehouse import annotating, dependent_layers
from warehouse.annotations import load_layer, read_layer
from warehouse.claims import Claim
from warehouse.database import Database

# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_reads_every_checkpoint_once_and_leaves_nothing_planned(database: Database, study: Study) -> None:
    meters: list[SilentMeter] = []

    def meter(tokens: int, checkpoints: int) -> SilentMeter:
        meters.append(SilentMeter(tokens, checkpoints))
        return meters[0]

    with reads_counted() as read:
        report = ingest(database, study, meter=meter)
    assert sorted(read) == small_cells()
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


def test_learning_rates_follow_from_the_schedule_and_are_filled_in_by_a_later_plan(
    database: Database, study: Study
) -> None:
    query = "select step, learning_rate from analysis.checkpoints order by step"
    small = replace(study, models=study.models[:1], seeds=(0,), kinds=())
    ingest(database, small)
    steps = [step for step, rate in rows(database, query) if rate is None]
    assert len(steps) == 3
    schedule = LearningRateSpec(peak=0.01, warmup_steps=2, last_step=max(steps), final_fraction=0.1)
    ingest(database, replace(small, learning_rate=schedule))
    for step, rate in rows(database, query):
        cosine = (1 + np.cos(np.pi * (step - 2) / (max(steps) - 2))) / 2
        expected = 0.01 * (step / 2 if step < 2 else 0.1 + 0.9 * cosine)
        assert rate == pytest.approx(expected, rel=1e-12)
    before = rows(database, query)
    # What is known stays, like tokens seen.
    ingest(database, replace(small, learning_rate=replace(schedule, peak=1.0)))
    assert rows(database, query) == before


# --- parts of speech -------------------------------------------------------------------------------------------------


@pytest.fixture
def no_tagger_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NLTK's data and without internet."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(nltk, "download", lambda *_, **__: False)
    monkeypatch.delenv("NLTK_DATA", raising=False)


def layers_of(database: Database) -> set[str]:
    return {layer for (layer,) in rows(database, "select layer from analysis.annotation_layers")}


@pytest.mark.usefixtures("no_tagger_data")
def test_parts_of_speech_are_left_out_with_a_warning_where_the_data_are_not(
    database: Database, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(database, replace(study, seeds=(0,), steps=(4,), layers=()))
    assert layers_of(database) >= {"document", "frequency", "word_start", "final_surprisal"}
    assert not {layer for layer in layers_of(database) if layer.startswith("pos")}
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("Layer pos and those made from it are left out: NLTK's data ")


@pytest.mark.usefixtures("no_tagger_data")
def test_what_is_left_out_is_said_when_a_corpus_is_new_and_not_by_every_run(
    database: Database, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    all_layers = replace(study, seeds=(0,), steps=(4,), layers=(), references=())
    ingest(database, all_layers)
    assert "left out" in caplog.text
    caplog.clear()
    ingest(database, all_layers)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.usefixtures("no_tagger_data")
def test_parts_of_speech_that_a_study_names_are_not_left_out(database: Database, study: Study) -> None:
    with pytest.raises(MissingTaggerData, match="NLTK_DATA"):
        ingest(database, replace(study, layers=("document", "pos.context")))
    assert rows(database, "select count(*) from warehouse.corpus") == [(0,)]


def test_parts_of_speech_are_taken_in_where_the_data_are(
    database: Database, study: Study, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLTK_DATA", str(shared_data / "nltk_data"))
    ingest(
        database, replace(study, seeds=(0, 1), steps=(4,), layers=("pos", "pos.context", "pos.group", "pos.universal"))
    )
    query = "select value, n_tokens from analysis.conditional_convergence where layer = %s order by value"
    tags, before = (dict(rows(database, query, layer)) for layer in ("pos", "pos.context"))
    assert {"DT", "NN", "VBD"} <= set(tags)
    assert sum(tags.values()) == sum(before.values()) + 1  # the first token has none before it
    groups, universal = (dict(rows(database, query, layer)) for layer in ("pos.group", "pos.universal"))
    assert groups["noun"] == sum(n for tag, n in tags.items() if tag.startswith("NN"))
    assert groups["verb"] == universal["VERB"] - tags.get("MD", 0)
    assert findings(database) == {}


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
    more = replace(study, seeds=(*SMALL_SEEDS, 3))
    with reads_counted() as read:
        report = ingest(database, more)
    # Every other seed is needed for its pairs with the new one.
    assert sorted(read) == small_cells((*SMALL_SEEDS, 3), SMALL_STEPS)
    assert report.outcome.evaluations == 3
    assert report.outcome.pairs == 3 * 6 + 3 * 2
    expect(more)


def test_a_step_added_at_the_end_gives_what_one_run_gives(database: Database, study: Study, expect: Any) -> None:
    study = replace(study, kinds=("seed", "step", "step_reverse"))
    ingest(database, study)
    more = replace(study, steps=(*SMALL_STEPS, 8))
    with reads_counted() as read:
        report = ingest(database, more)
    assert sorted(read) == small_cells(SMALL_SEEDS, (4, 8))
    assert report.outcome.evaluations == 3
    expect(more)


def test_a_step_added_at_the_end_is_what_every_other_step_is_held_against(database: Database, study: Study) -> None:
    ingest(database, study)
    with reads_counted() as read:
        report = ingest(database, replace(study, steps=(*SMALL_STEPS, 8)))
    assert sorted(read) == small_cells(SMALL_SEEDS, (*SMALL_STEPS, 8))
    # Seeds at the new step; and from and to every other, of which the one before is also the step before.
    assert report.outcome.pairs == 6 + 3 * 2 * 3
    assert findings(database) == {}


def test_a_step_added_in_between_reads_only_its_neighbours_and_the_last(database: Database, study: Study) -> None:
    ingest(database, study)
    with reads_counted() as read:
        report = ingest(database, replace(study, steps=(0, 1, 2, 4)))
    assert sorted(read) == small_cells(SMALL_SEEDS, (1, 2, 4))
    assert report.outcome.evaluations == 3
    # Of seeds at the step; and to and from its neighbours, of which the later is the last.
    assert report.outcome.pairs == 6 + 3 * 2 * 2
    assert findings(database) == {}


def test_a_kind_wanted_later_reads_what_it_pairs(database: Database, study: Study, expect: Any) -> None:
    ingest(database, replace(study, kinds=("seed",)))
    with reads_counted() as read:
        ingest(database, study)
    assert sorted(read) == small_cells()
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
    assert sorted(read) == small_cells()
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
            f"delete from warehouse.document_divergence_chunk where pair_id in ({pairs})",
            "delete from warehouse.comparison_pair where %(lost)s in (evaluation_p, evaluation_q)",
            "delete from warehouse.reference_chunk where evaluation_id = %(lost)s",
            "delete from warehouse.reference_evaluation where evaluation_id = %(lost)s",
            "delete from warehouse.score_summary where evaluation_id = %(lost)s",
            "delete from warehouse.score_chunk where evaluation_id = %(lost)s",
            "delete from warehouse.document_score_chunk where evaluation_id = %(lost)s",
            "update warehouse.evaluation set status = 'planned', input_digest = null where evaluation_id = %(lost)s",
        ):
            connection.execute(statement.encode(), {"lost": lost})
    with reads_counted() as read:
        report = ingest(database, study)
    # The other seeds at the step, and the same seed at the steps beside it, of which one is the last.
    assert sorted(read) == sorted({*small_cells(SMALL_SEEDS, (1,)), *small_cells((1,), SMALL_STEPS)})
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
        connection.execute("delete from warehouse.document_divergence_chunk where pair_id = %s", [pair])
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


def test_what_is_made_of_final_surprisal_follows_it_and_what_a_user_loaded_stands(
    database: Database, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(database, replace(study, seeds=(0, 1), steps=(0,)))
    with database.engine().begin() as connection:
        (corpus,) = annotating.corpora(connection)
        model_id = annotating.choose_model(connection, "small")
        first = read_layer(connection, corpus.corpus_id, "final_surprisal", model_id=model_id)
        assert first is not None
        dependent_layers.put_context(connection, corpus, first, model_id=model_id, replace_it=False)
    ingest(database, replace(study, seeds=(0, 1), steps=(0, 1)))
    query = "select source from analysis.annotation_layers where layer like 'final_surprisal%'"
    assert rows(database, query) == [("small seed 0 step 1",)] * 2
    with database.engine().begin() as connection:
        own = replace(first, source="a user's, column x, by token_id")
        dependent_layers.put_layer(connection, corpus, own, model_id=model_id, replace_it=True)
    ingest(database, replace(study, seeds=(0, 1), steps=(0, 1, 4)))
    assert rows(database, query) == [("a user's, column x, by token_id",)] * 2
    with database.engine().begin() as connection:
        dependent_layers.drop_with_twin(connection, corpus, "final_surprisal", model_id=model_id)
        dependent_layers.put_layer(connection, corpus, own, model_id=None)
    ingest(database, replace(study, seeds=(0, 1), steps=(0, 1, 4)))
    assert rows(database, query) == [("a user's, column x, by token_id",)]
    assert "Layer final_surprisal is there for every model, so that small seed 0 step 4 gets none" in caplog.text
    assert findings(database) == {}


def test_groups_of_our_tags_are_not_put_beside_tags_of_a_users(database: Database, study: Study) -> None:
    bare = replace(study, seeds=(0, 1), steps=(0,), layers=("document",))
    ingest(database, bare)
    with database.engine().begin() as connection:
        (corpus,) = annotating.corpora(connection)
        layer = read_layer(connection, corpus.corpus_id, "document")
        assert layer is not None
        load_layer(connection, corpus.corpus_id, replace(layer, name="pos", source="tags.csv"))
        wanted = replace(study, layers=("pos", "pos.universal", "pos.context", "word_class"))
        assert missing_layers(connection, wanted, corpus.corpus_id) == {"word_class"}
        load_layer(connection, corpus.corpus_id, replace(layer, name="pos", source=f"x; {TAGGER}"), replace=True)
        assert missing_layers(connection, wanted, corpus.corpus_id) == {"pos.universal", "pos.context", "word_class"}


def test_a_second_corpus_and_a_second_protocol_stand_beside_the_first(
    database: Database, study: Study, tmp_path: Path
) -> None:
    ingest(database, study)
    text = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    ingest(database, replace(study, corpus=CorpusSpec(path=text, name="other")))
    narrow = study.with_options(protocol_window=16)
    with reads_counted() as read:
        ingest(database, narrow)
    assert sorted(read) == small_cells()
    query = """
    select corpus, protocol, convergence from analysis.expected_convergence where kind = 'seed' and step = 1
    """
    means = frame(database, query)
    assert means[["corpus", "protocol"]].drop_duplicates().shape == (3, 2)
    assert means["convergence"].nunique() == len(means) == 3
    assert findings(database) == {}


def test_a_block_that_was_lost_with_the_server_again_and_again_is_done_all_the_same(
    database: Database, study: Study, expect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False] * 5

    def renew(_: Claim) -> bool:
        return not answers or answers.pop()

    monkeypatch.setattr(Claim, "renew", renew)
    ingest(database, study)
    assert answers == []
    expect(study)


def test_two_ingestions_of_one_study_share_the_work(database: Database, study: Study, expect: Any) -> None:
    """The second leaves out the block that the first has claimed, and does the other one."""
    notes: list[list[str]] = []
    reports: list[Any] = []

    class Waiting(SilentMeter):
        def __init__(self, tokens: int, checkpoints: int) -> None:
            super().__init__(tokens, checkpoints)
            notes.append(self.notes)

    class First(SilentMeter):
        def tokens(self, count: int) -> None:
            super().tokens(count)
            if not second.ident:
                second.start()
                while not notes or not notes[0]:
                    time.sleep(0.01)

    second = threading.Thread(target=lambda: reports.append(ingest(database, study, meter=Waiting)))
    with reads_counted() as read:
        reports.insert(0, ingest(database, study, meter=First))
        second.join(60)
    assert notes == [["Step 4 of small is being ingested by another process: it comes last."]]
    assert [report.outcome.evaluations for report in reports] == [3, 6]
    # For its pairs with the last step the second reads that step, too.
    assert sorted(read) == sorted([*small_cells(), *small_cells(steps=[4])])
    expect(study)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_did_and_then_that_nothing_is_left(
    named_database: Database, study_file: Path, command: Callable[..., Outcome]
) -> None:
    arguments = ("ingest", str(study_file), "--device", "cpu", "--model", "flat-14m", "--seed", "0", "--seed", "1")
    first = command(*arguments, "--step", "0", "--step", "4")
    assert (first.status, first.errors) == (0, "")
    assert first.output.startswith("Read 4 of 4 checkpoints over 1,")
    # Two seeds at two steps, each way; from one step to the other, each way: to the next and to the last are one.
    assert ": 4 evaluations, 8 ordered pairs, " in first.output
    again = command(*arguments, "--step", "0", "--step", "4")
    assert again.output == "All 4 checkpoints and their pairs are in the warehouse already: nothing to measure.\n"
    assert findings(named_database) == {}


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
