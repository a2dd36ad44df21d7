"""What an ingestion does with damaged checkpoints and with inputs that make no sense."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ingest.study import CorpusSpec, Study
from tests.conftest import Outcome
from tests.contents import assert_same, contents, findings, frame
from tests.ingested import (
    SMALL,
    Recipe,
    documents,
    ingest,
    reads_counted,
    rows,
    save_cell,
    save_models,
    study_of,
    write_documents,
)
from tests.models import Shape
from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs
from warehouse.writer import NoRoom

Command = Callable[..., Outcome]
MODEL, SEEDS, STEPS = "small", (0, 1, 2), (0, 1, 4)
WIDE, NARROW = (Recipe(Shape(hidden=8, layers=1, context=32, width=width)) for width in (330, 300))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sound checkpoints and a text."""
    folder = tmp_path_factory.mktemp("sound")
    write_documents(folder / "short.jsonl", documents(words=8))
    save_models(folder / "models", [MODEL], SEEDS, STEPS)
    return folder


@pytest.fixture
def study(sound: Path, tmp_path: Path) -> Study:
    """A study of a copy of them."""
    shutil.copytree(sound, tmp_path / "study")
    return study_of(tmp_path / "study" / "models", tmp_path / "study" / "short.jsonl", family=MODEL)


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def sound_contents(kept: dict[str, Any], sound: Path, other_database: Database) -> dict[str, pd.DataFrame]:
    """What one run over the sound checkpoints leaves."""
    if not kept:
        ingest(other_database, study_of(sound / "models", sound / "short.jsonl", family=MODEL))
        kept.update(contents(other_database))
    return kept


def folder_of(study: Study, seed: int, step: int) -> Path:
    assert study.root is not None
    return study.root / MODEL / f"seed{seed}" / f"step{step}"


# --- damaged checkpoints ---------------------------------------------------------------------------------------------


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def poison(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[3] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})


def widen(folder: Path) -> None:
    shutil.rmtree(folder)
    save_cell(folder.parents[2], MODEL, 1, 1, recipe=WIDE)


def narrow(folder: Path) -> None:
    shutil.rmtree(folder)
    save_cell(folder.parents[2], MODEL, 1, 1, recipe=NARROW)


def change_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text("utf-8"))
    vocabulary = description["model"]["vocab"]
    one, other = list(vocabulary)[5:7]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(description), "utf-8")


def misconfigure(folder: Path) -> None:
    file = folder / "config.json"
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 3.0}
    file.write_text(json.dumps({**json.loads(file.read_text()), "rope_parameters": rope}))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "truncated file": (truncate, "failed", "truncated or damaged"),
    "NaN weights": (poison, "failed", "NaN or infinite"),
    "config that cannot run": (misconfigure, "failed", "cannot be run as configured"),
    "missing folder": (shutil.rmtree, "missing", "no such checkpoint"),
    "empty folder": (empty, "missing", "holds no model.safetensors"),
    "wider vocabulary": (widen, "failed", "is not like the other checkpoints of small"),
    "narrower vocabulary": (narrow, "failed", "The tokenizer has 320 ids and the model"),
    "another tokenizer": (change_tokenizer, "failed", "is not the one that made the corpus"),
}


@pytest.mark.parametrize(("damage", "status", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_left_out_with_a_reason_and_taken_in_when_mended(
    database: Database,
    study: Study,
    sound_contents: dict[str, pd.DataFrame],
    sound: Path,
    damage: Callable[[Path], Any],
    status: str,
    reason: str,
) -> None:
    damage(folder_of(study, 1, 1))
    report = ingest(database, study)
    assert len(report.outcome.failures) == 1
    assert report.outcome.failures[0].startswith("small seed 1 step 1: ")
    assert report.outcome.evaluations == 8
    told = frame(database, "select seed, step, status, reason from analysis.checkpoints")
    bad = told[(told["seed"] == 1) & (told["step"] == 1)]
    assert bad["status"].tolist() == [status]
    assert reason in bad["reason"].iloc[0]
    assert set(told.drop(bad.index)["status"]) == {"ok"}
    compared = frame(database, "select step, step_q, kind, n_pairs, n_pairs_expected, complete from comparisons")
    touched = (compared["step"] == 1) | (compared["step_q"] == 1)
    assert not compared[touched]["complete"].any()
    assert compared[~touched]["complete"].all()
    assert (compared["n_pairs_expected"] == compared["kind"].map(lambda kind: 6 if kind == "seed" else 3)).all()
    assert (compared[touched]["n_pairs"] == 2).all()  # of two seeds each way, or of two runs
    assert findings(database) == {}

    shutil.rmtree(folder_of(study, 1, 1), ignore_errors=True)
    shutil.copytree(sound / "models" / MODEL / "seed1" / "step1", folder_of(study, 1, 1))
    assert ingest(database, study).outcome.failures == []
    assert_same(contents(database), sound_contents)
    assert findings(database) == {}


def test_a_checkpoint_that_stays_damaged_is_tried_again_without_its_partners(database: Database, study: Study) -> None:
    truncate(folder_of(study, 1, 0))
    shutil.rmtree(folder_of(study, 2, 1))
    ingest(database, study)
    with reads_counted() as read:
        report = ingest(database, study)
    assert read == [(MODEL, 1, 0)]
    assert len(report.outcome.failures) == 2
    assert (report.outcome.checkpoints, report.outcome.pairs) == (0, 0)


@pytest.mark.parametrize("step", STEPS)
def test_an_odd_checkpoint_is_the_one_left_out_also_where_it_is_read_first(
    database: Database, study: Study, step: int
) -> None:
    for seed in SEEDS if step == 4 else (0,):
        # At the last step, which is visited first, all are odd.
        shutil.rmtree(folder_of(study, seed, step))
        assert study.root is not None
        save_cell(study.root, MODEL, seed, step, recipe=WIDE)
    report = ingest(database, study)
    odd = {f"small seed {seed} step {step}" for seed in (SEEDS if step == 4 else (0,))}
    assert {failure.split(":")[0] for failure in report.outcome.failures} == odd
    assert all("width 330, not 320" in failure for failure in report.outcome.failures)
    assert report.outcome.evaluations == 9 - len(odd)
    assert rows(database, "select vocabulary_width from warehouse.model") == [(320,)]
    assert findings(database) == {}


def test_configs_that_differ_in_what_has_no_effect_on_sizes_are_all_taken(database: Database, study: Study) -> None:
    for number, (seed, step) in enumerate((seed, step) for seed in SEEDS for step in STEPS):
        file = folder_of(study, seed, step) / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "attention_dropout": number / 100}))
    assert ingest(database, study).outcome.failures == []


def test_a_rank_without_the_block_of_a_broken_last_step_reads_nothing_good_again(
    database: Database, study: Study
) -> None:
    truncate(folder_of(study, 1, 4))
    for rank in (0, 1):
        ingest(database, study, rank=rank, world_size=2)
    with reads_counted() as read:
        ingest(database, study, rank=1, world_size=2)
    assert read == [(MODEL, 1, 4)]


def test_a_seed_whose_folder_is_not_there_is_missing_and_the_others_are_measured(
    database: Database, study: Study
) -> None:
    report = ingest(database, replace(study, seeds=(0, 1, 9)))
    assert report.outcome.evaluations == 6
    assert len(report.outcome.failures) == 3
    query = "select step, reason from analysis.checkpoints where seed = 9 and status = 'missing' order by step"
    found = [(step, "has no such checkpoint" in reason) for step, reason in rows(database, query)]
    assert found == [(step, True) for step in STEPS]
    assert findings(database) == {}


def test_an_evaluation_stands_when_its_checkpoint_is_gone(database: Database, study: Study, tmp_path: Path) -> None:
    ingest(database, study)
    truncate(folder_of(study, 1, 1))
    before = frame(database, "select * from analysis.token_score order by evaluation_id, token_id")
    text = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    report = ingest(database, replace(study, corpus=CorpusSpec(path=text, name="other")))
    assert len(report.outcome.failures) == 1
    assert {row[0] for row in rows(database, "select status from analysis.checkpoints")} == {"ok"}
    after = frame(
        database, "select * from analysis.token_score where corpus = 'letters' order by evaluation_id, token_id"
    )
    pd.testing.assert_frame_equal(before, after)
    assert findings(database) == {}


def test_a_first_checkpoint_without_its_tokenizer_is_no_obstacle(database: Database, study: Study) -> None:
    (folder_of(study, 0, 0) / "tokenizer.json").unlink()
    assert ingest(database, study).outcome.failures == []


def test_the_command_ends_with_1_and_says_what_was_left_out(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    truncate(folder_of(study, 1, 1))
    poison(folder_of(study, 2, 1))
    outcome = command("ingest", str(write_study(tmp_path, study)), "--device", "cpu")
    assert outcome.status == 1
    assert outcome.output.startswith("Read 7 of 9 checkpoints over ")
    *_, error = outcome.errors.splitlines()
    assert error.startswith("Error: Some checkpoints are left out (small seed 1 step 1: ")
    assert "and 1 more" in error
    assert outcome.errors.count("Left out") == 2
    assert findings(named_database) == {}


# --- inputs that make no sense ---------------------------------------------------------------------------------------


def write_study(folder: Path, study: Study, head: str = "", tail: str = "") -> Path:
    """The study as a file."""
    file = folder / "small.toml"
    file.write_text(
        f'root = "{study.root}"\nlayers = ["document"]\n{head}\n[corpus]\npath = "{study.corpus.path}"\n'
        f'name = "letters"\n{tail}\n'
    )
    return file


def counts(database: Database) -> dict[str, int]:
    """Rows of every table."""
    tables = rows(database, "select tablename from pg_tables where schemaname = 'warehouse'")
    return {table: rows(database, f'select count(*) from warehouse."{table}"')[0][0] for (table,) in tables}


def assert_refused(outcome: Outcome, *fragments: str) -> None:
    """One sentence on stderr and status 2."""
    assert outcome.status == 2, outcome
    assert outcome.output == ""
    lines = outcome.errors.splitlines()
    assert len(lines) == 1, outcome.errors
    assert lines[0].startswith("Error: ")
    for fragment in fragments:
        assert fragment in lines[0]


REFUSED_OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "suite": (["--suite", "foldr"], ["Unknown suite foldr", "did you mean folder?"]),
    "kind": (["--kind", "steps"], ["Unknown kind steps", "did you mean step?"]),
    "layer": (["--layer", "frequenzy"], ["names layer frequenzy", "frequency"]),
    "step": (["--step", "3"], ["step 3 of small", "nearest are 4, 1, 0"]),
    "seed": (["--seed", "9"], ["seed 9 of small", "nearest are 2, 1, 0"]),
    "model": (["--model", "smal"], ["model smal", "nearest are small"]),
    "root": (["--root", "/nowhere"], ["There is no folder /nowhere"]),
    "window": (["--window", "1"], ["window", "at least 2"]),
    "policy": (["--eos", "before"], ["Unknown corpus.eos before"]),
    "reference": (["--reference", "unigram"], ["--reference must be NAME=FILE"]),
    "missing reference": (["--reference", "u=/nowhere.npy"], ["There is no file of token counts at /nowhere.npy"]),
    "missing corpus": (["--corpus", "/nowhere.txt"], ["There is no corpus at /nowhere.txt"]),
    "split": (["--split", "line"], ["only a text file is split"]),
}


@pytest.mark.parametrize(("options", "fragments"), REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS)
def test_an_option_that_makes_no_sense_is_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path, options: list[str], fragments: list[str]
) -> None:
    before = counts(named_database)
    assert_refused(command("ingest", str(write_study(tmp_path, study)), *options), *fragments)
    assert counts(named_database) == before


TEXTS = {
    "not UTF-8": (b"caf\xe9 au lait", "is not UTF-8 at byte offset 3"),
    "empty": (b"", "holds no text"),
    "blank": (b" \n\n", "holds no text"),
}


@pytest.mark.parametrize(("content", "fragment"), TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_none_is_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path, content: bytes, fragment: str
) -> None:
    before = counts(named_database)
    (tmp_path / "bad.txt").write_bytes(content)
    outcome = command("ingest", str(write_study(tmp_path, study)), "--corpus", str(tmp_path / "bad.txt"))
    assert_refused(outcome, fragment)
    assert counts(named_database) == before


def test_an_unknown_key_suggests_the_nearest(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    assert_refused(command("ingest", str(write_study(tmp_path, study, "stepz = [1]"))), "stepz", "did you mean steps?")
    assert counts(named_database) == before


def test_a_missing_study_and_a_study_without_corpus_are_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    assert_refused(command("ingest", str(tmp_path / "none.toml")), "There is no study file")
    assert_refused(command("ingest", str(tmp_path)), "cannot be read")
    (tmp_path / "bare.toml").write_text(f'root = "{study.root}"')
    assert_refused(command("ingest", str(tmp_path / "bare.toml")), "names no corpus")
    (tmp_path / "rootless.toml").write_text("")
    assert_refused(command("ingest", str(tmp_path / "rootless.toml")), "names no folder of checkpoints")


def test_a_tokenizer_beyond_the_models_vocabulary_is_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    for seed in SEEDS:
        for step in STEPS:
            narrow_cell(study, seed, step)
    outcome = command("ingest", str(write_study(tmp_path, study)))
    assert_refused(outcome, "The tokenizer has 320 ids and model small only 300")
    assert counts(named_database) == before


def narrow_cell(study: Study, seed: int, step: int) -> None:
    assert study.root is not None
    shutil.rmtree(folder_of(study, seed, step))
    save_cell(study.root, MODEL, seed, step, recipe=NARROW)


def test_models_of_different_tokenizers_are_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    assert study.root is not None
    save_models(study.root, ["other"], (0, 1), (0,))
    for seed in (0, 1):
        change_tokenizer(study.root / "other" / f"seed{seed}" / "step0")
    outcome = command("ingest", str(write_study(tmp_path, study)))
    assert_refused(outcome, "The tokenizers of other and small differ", "ingest them as two studies")
    assert counts(named_database) == before


def test_models_of_different_widths_are_not_compared_over_all_their_logits(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    assert study.root is not None
    for seed in (0, 1):
        save_cell(study.root, "wide", seed, 0, recipe=WIDE)
    file = str(write_study(tmp_path, study))
    refused = command("ingest", file, "--vocabulary", "model", "--kind", "cross", "--kind", "step")
    assert_refused(refused, "Kind cross", "small with 320 logits and wide with 330", "set vocabulary to tokenizer")
    assert counts(named_database) == before
    for sound in (["--vocabulary", "model", "--kind", "step"], ["--kind", "cross"]):
        assert command("ingest", file, "--device", "cpu", *sound).status == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    outcome = command("ingest", str(write_study(tmp_path, study)), "--device", "cuda")
    assert_refused(outcome, "no GPU", "--device cpu")
    assert counts(named_database) == before


def test_a_device_that_does_not_exist_is_one_sentence(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    before = counts(named_database)
    assert_refused(command("ingest", str(write_study(tmp_path, study)), "--device", "gpu"), "no device gpu")
    assert_refused(command("ingest", str(write_study(tmp_path, study)), "--device", "mps"), "on device mps")
    assert counts(named_database) == before


def test_too_little_room_on_the_disk_stops_before_anything_is_written(database: Database, study: Study) -> None:
    if not database.embedded:
        pytest.skip("the disk of another server is not ours to measure")
    before = counts(database)
    with pytest.raises(NoRoom, match="must stay free"):
        ingest(database, study, reserve=10**18)
    assert counts(database) == before


# --- the same name for something else --------------------------------------------------------------------------------


def test_another_text_under_the_same_name_is_refused_with_both(
    named_database: Database, study: Study, command: Command, tmp_path: Path
) -> None:
    assert command("ingest", str(write_study(tmp_path, study)), "--device", "cpu").status == 0
    before = counts(named_database)
    other = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    outcome = command("ingest", str(write_study(tmp_path, study)), "--corpus", str(other), "--device", "cpu")
    assert_refused(outcome, "Corpus letters is in the warehouse with other tokens", "short.jsonl", "other.jsonl")
    assert counts(named_database) == before


def test_other_counts_under_the_same_name_are_refused(database: Database, study: Study, tmp_path: Path) -> None:
    ingest(database, study)
    before = counts(database)
    other = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    changed = replace(study, references=(replace(study.references[0], text=other),))
    with pytest.raises(ConflictingInputs, match="Reference unigram is in the warehouse with other counts"):
        ingest(database, changed)
    assert counts(database) == before


@pytest.mark.parametrize("corpus", ["letters", "other"])
def test_changed_weights_of_a_measured_checkpoint_are_refused_with_both_hashes(
    database: Database, study: Study, tmp_path: Path, corpus: str
) -> None:
    ingest(database, replace(study, seeds=(0, 1)))
    before = frame(database, "select * from analysis.checkpoints order by checkpoint_id")
    shutil.copy(folder_of(study, 0, 0) / "model.safetensors", folder_of(study, 1, 1) / "model.safetensors")
    text = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    changed = study if corpus == "letters" else replace(study, corpus=CorpusSpec(path=text, name="other"))
    with pytest.raises(ConflictingInputs, match="holds other weights than were measured before") as refusal:
        ingest(database, changed)
    for digest in before[before["step"] < 4].drop_duplicates("weights_sha256")["weights_sha256"]:
        known = before[before["weights_sha256"] == digest][["seed", "step"]].to_numpy().tolist()
        assert (digest[:12] in str(refusal.value)) == (known in ([[0, 0]], [[1, 1]]))
    after = frame(database, "select * from analysis.checkpoints where seed < 2 order by checkpoint_id")
    pd.testing.assert_frame_equal(after, before)
    assert findings(database) == {}


def test_another_tokenizer_of_a_measured_model_is_refused(database: Database, study: Study, tmp_path: Path) -> None:
    ingest(database, study)
    before = frame(database, "select * from analysis.evaluations order by evaluation_id")
    for seed in SEEDS:
        for step in STEPS:
            change_tokenizer(folder_of(study, seed, step))
    text = write_documents(tmp_path / "other.jsonl", documents(words=8, seed=8))
    changed = replace(study, corpus=CorpusSpec(path=text, name="other"), references=())
    with pytest.raises(ConflictingInputs, match="Model small of family small is in the warehouse with another token"):
        ingest(database, changed)
    pd.testing.assert_frame_equal(frame(database, "select * from analysis.evaluations order by evaluation_id"), before)


def test_small_is_what_the_damages_differ_from() -> None:
    assert (SMALL.shape.hidden, SMALL.shape.layers) == (WIDE.shape.hidden, WIDE.shape.layers)
