"""`warehouse import metrics`: result files of lm-evaluation-harness and tables, into view checkpoint_metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from queries.check import run_checks
from tests.conftest import Outcome
from tests.contents import findings, frame
from tests.ingested import SMALL_SEEDS, SMALL_STEPS, ingest, save_models, study_of, write_documents
from tests.ingested import documents as texts
from warehouse.database import Database

Command = Callable[..., Outcome]
METRICS = "select * from analysis.checkpoint_metrics order by family, model, seed, step, name, source"


def run(command: Command, *arguments: str) -> str:
    """Import, which must work; returns what it said."""
    done = command("import", "metrics", *arguments)
    assert done.status == 0, done.errors
    return done.output


def refused(command: Command, database: Database, *arguments: str) -> str:
    """Import, which must be refused in one sentence and leave nothing behind; returns the sentence."""
    before = frame(database, METRICS)
    checkpoints = len(frame(database, "select * from analysis.checkpoints"))
    done = command("import", "metrics", *arguments)
    assert done.status == 2, done.errors + done.output
    assert len(done.errors.strip().splitlines()) == 1
    assert frame(database, METRICS).equals(before)
    assert len(frame(database, "select * from analysis.checkpoints")) == checkpoints
    return done.errors


def first_layout(step: int, perplexity: float, **config: Any) -> dict[str, Any]:
    """A file as the harness wrote them at first."""
    arguments = f"use_accelerate=True,pretrained=EleutherAI/pythia-v1.1-70m,revision=step{step}"
    return {
        "results": {
            "lambada_openai": {"ppl": perplexity, "ppl_stderr": 4.5, "acc": 0.25, "acc_stderr": 0.006},
            "crows_pairs_english": {"likelihood_difference": 3.1, "likelihood_difference_stderr": 0.1},
        },
        "versions": {"lambada_openai": 0, "crows_pairs_english": 0},
        "config": {"model": "hf-causal", "model_args": arguments, "num_fewshot": 0, "limit": None, **config},
    }


def present_layout(step: int, accuracy: float) -> dict[str, Any]:
    """A file as the harness writes them now."""
    return {
        "results": {
            "arc_easy": {
                "alias": "arc_easy",
                "acc,none": accuracy,
                "acc_stderr,none": 0.0097,
                "acc_norm,none": 0.59,
                "acc_norm_stderr,none": "N/A",
            },
            "gsm8k": {
                "alias": "gsm8k",
                "exact_match,strict-match": 0.02,
                "exact_match_stderr,strict-match": 0.004,
                "exact_match,flexible-extract": 0.03,
                "exact_match_stderr,flexible-extract": 0.005,
            },
            "lambada_openai": {"alias": "lambada_openai", "perplexity,none": 142.0, "perplexity_stderr,none": 5.0},
            "odd": {"alias": "odd", "name": "odd", "sample_len": 7, "surprise,none": 1.5, " ": ""},
        },
        "groups": {},
        "group_subtasks": {"arc_easy": []},
        "configs": {"arc_easy": {"task": "arc_easy", "num_fewshot": 5}},
        "versions": {"arc_easy": 1.0},
        "n-shot": {"arc_easy": 5, "gsm8k": 8, "lambada_openai": 0},
        "higher_is_better": {"arc_easy": {"acc": True}, "odd": {"surprise": False}},
        "n-samples": {"arc_easy": {"original": 2376, "effective": 100}},
        "config": {
            "model": "hf",
            "model_args": {"pretrained": "EleutherAI/pythia-70m", "revision": f"step{step}"},
            "model_num_parameters": 70426624,
            "model_revision": f"step{step}",
            "num_fewshot": None,
        },
        "model_name": "EleutherAI/pythia-70m",
    }


def save(path: Path, document: object) -> Path:
    """Write a JSON file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


# --- the published files ------------------------------------------------------------------------------------------


def test_the_published_results_of_pythia_70m_are_imported(
    named_database: Database, command: Command, shared_data: Path
) -> None:
    folder = shared_data / "pythia" / "evals" / "pythia-70m"
    arguments = (str(folder), "--family", "pythia", "--path-pattern", "{model}_step{step}.json")
    said = run(command, *arguments)
    files = {int(path.stem.split("step")[1]): json.loads(path.read_text()) for path in folder.rglob("*.json")}
    numbers = sum(
        not name.endswith("_stderr")
        for document in files.values()
        for task in document["results"].values()
        for name in task
    )
    assert said == f"Imported {numbers:,} results of 27 checkpoints.\n"

    lambada = frame(
        named_database,
        "select step, value from checkpoint_metrics where family = 'pythia' and model = '70m' and seed = 0 "
        "and name = 'lambada_openai/perplexity' order by value, step",
    )
    assert (int(lambada["step"][0]), round(lambada["value"][0], 2)) == (53000, 94.32)
    assert round(lambada.set_index("step")["value"][143000], 2) == 142.43
    expected = {step: document["results"]["lambada_openai"]["ppl"] for step, document in files.items()}
    assert dict(zip(lambada["step"], lambada["value"], strict=True)) == expected

    everything = frame(named_database, METRICS)
    assert everything["source"].unique().tolist() == ["lm-evaluation-harness, 0-shot"]
    for row in everything.sample(200, random_state=1).itertuples():
        task, metric = row.name.split("/")
        told = files[row.step]["results"][task]
        metric = "ppl" if metric == "perplexity" else metric
        assert (row.value, row.standard_error) == (told[metric], told[f"{metric}_stderr"])
    assert "are in the warehouse already" in run(command, *arguments)
    assert findings(named_database) == {}


# --- layouts ------------------------------------------------------------------------------------------------------


def test_the_first_layout_says_tasks_metrics_and_directions(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    path = save(tmp_path / "70m.json", first_layout(53000, 94.3))
    run(command, str(path), "--family", "pythia")
    found = frame(named_database, METRICS).set_index("name")
    assert found["model"].unique().tolist() == ["pythia-v1.1-70m"]
    assert found["step"].unique().tolist() == [53000]
    assert found["value"].to_dict() == {
        "lambada_openai/perplexity": 94.3,
        "lambada_openai/acc": 0.25,
        "crows_pairs_english/likelihood_difference": 3.1,
    }
    assert found["standard_error"]["lambada_openai/perplexity"] == 4.5
    assert found["higher_is_better"].to_dict() == {
        "lambada_openai/perplexity": False,
        "lambada_openai/acc": True,
        "crows_pairs_english/likelihood_difference": None,
    }
    assert found["status"].isna().all(), "nobody read the checkpoint"


def test_the_present_layout_says_filters_shots_items_and_directions(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    path = save(tmp_path / "EleutherAI__pythia-70m" / "results_2025-01-01T00-00-00.json", present_layout(512, 0.65))
    run(command, str(path), "--family", "pythia")
    found = frame(named_database, METRICS).set_index("name")
    assert found["model"].unique().tolist() == ["pythia-70m"]
    assert found["value"].to_dict() == {
        "arc_easy/acc": 0.65,
        "arc_easy/acc_norm": 0.59,
        "gsm8k/exact_match,strict-match": 0.02,
        "gsm8k/exact_match,flexible-extract": 0.03,
        "lambada_openai/perplexity": 142.0,
        "odd/surprise": 1.5,
    }
    assert found["source"]["arc_easy/acc"] == "lm-evaluation-harness, 5-shot"
    assert found["source"]["lambada_openai/perplexity"] == "lm-evaluation-harness, 0-shot"
    assert found["source"]["odd/surprise"] == "lm-evaluation-harness"
    assert (found["n"]["arc_easy/acc"], found["n"]["odd/surprise"]) == (100, 7)
    assert pd.isna(found["n"]["lambada_openai/perplexity"])
    assert pd.isna(found["standard_error"]["arc_easy/acc_norm"])
    assert found["standard_error"]["gsm8k/exact_match,flexible-extract"] == 0.005
    directions = found["higher_is_better"].to_dict()
    assert directions["arc_easy/acc"] is True
    assert directions["odd/surprise"] is False
    assert directions["gsm8k/exact_match,strict-match"] is True


def test_both_layouts_of_a_folder_make_one_series(named_database: Database, command: Command, tmp_path: Path) -> None:
    save(tmp_path / "runs" / "old" / "70m_step16.json", first_layout(16, 2000.0))
    save(tmp_path / "runs" / "new" / "step512" / "results_2025-01-01.json", present_layout(512, 0.65))
    save(tmp_path / "runs" / "new" / "settings.json", {"tasks": ["arc_easy"]})
    said = run(command, str(tmp_path / "runs"), "--family", "pythia", "--model", "70m")
    assert "1 other JSON files were passed over" in said
    query = "select step, value from analysis.checkpoint_metrics where name = 'lambada_openai/perplexity' order by step"
    assert frame(named_database, query).to_numpy().tolist() == [[16, 2000.0], [512, 142.0]]


def test_seeds_are_read_from_repositories(named_database: Database, command: Command, tmp_path: Path) -> None:
    for seed in (1, 2):
        document = present_layout(512, 0.5 + seed / 100)
        document["config"]["model_args"]["pretrained"] = f"EleutherAI/pythia-70m-seed{seed}"
        save(tmp_path / f"seed{seed}" / "results.json", document)
    pattern = ("--repository-pattern", "EleutherAI/pythia-{model}-seed{seed}")
    run(command, str(tmp_path), "--family", "polypythia", *pattern)
    found = frame(named_database, f"{METRICS}").query("name == 'arc_easy/acc'")
    assert found[["model", "seed", "step", "value"]].to_numpy().tolist() == [
        ["70m", 1, 512, 0.51],
        ["70m", 2, 512, 0.52],
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_a_row_for_each_result(
    named_database: Database, command: Command, tmp_path: Path, suffix: str
) -> None:
    table = pd.DataFrame(
        {
            "model": ["small", "small"],
            "seed": [1, 1],
            "step": [8, 16],
            "name": ["head/rank", "blimp/acc"],
            "value": [12.5, 0.75],
            "standard_error": [None, 0.01],
            "n": [None, 500],
            "higher_is_better": ["false", ""],
        }
    )
    path = tmp_path / f"results{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
    run(command, str(path), "--family", "toy")
    found = frame(named_database, METRICS)
    assert found[["seed", "step", "name", "value"]].to_numpy().tolist() == [
        [1, 8, "head/rank", 12.5],
        [1, 16, "blimp/acc", 0.75],
    ]
    assert found["higher_is_better"].tolist() == [False, True]
    assert found["source"].unique().tolist() == [path.name]
    assert pd.isna(found["n"][0])
    assert (found["n"][1], found["standard_error"][1]) == (500, 0.01)


def test_a_table_may_have_a_column_for_each_metric(named_database: Database, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "probe.tsv"
    path.write_text("step\taccuracy\tloss\n8\t0.5\t3.5\n16\t\t3.0\n")
    options = ("--family", "toy", "--model", "small", "--seed", "3", "--source", "probes", "--higher", "accuracy")
    run(command, str(path), *options)
    found = frame(named_database, METRICS)
    assert found[["seed", "step", "name", "value", "source"]].to_numpy().tolist() == [
        [3, 8, "accuracy", 0.5, "probes"],
        [3, 8, "loss", 3.5, "probes"],
        [3, 16, "loss", 3.0, "probes"],
    ]
    assert found["higher_is_better"].tolist() == [True, False, False]


# --- again, and otherwise -----------------------------------------------------------------------------------------


def test_other_numbers_of_a_result_are_refused(named_database: Database, command: Command, tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.json", first_layout(16, 10.0)), save(tmp_path / "b.json", first_layout(16, 11.0))
    run(command, str(first), "--family", "pythia")
    said = refused(command, named_database, str(second), "--family", "pythia")
    assert "is 10 in the warehouse" in said
    assert "b.json says 11" in said
    run(command, str(second), "--family", "pythia", "--source", "a second run")
    query = "select value from analysis.checkpoint_metrics where name = 'lambada_openai/perplexity' order by 1"
    assert frame(named_database, query)["value"].tolist() == [10.0, 11.0]


def test_files_that_differ_about_one_result_are_refused(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    save(tmp_path / "a.json", first_layout(16, 10.0))
    save(tmp_path / "b.json", first_layout(16, 11.0))
    said = refused(command, named_database, str(tmp_path), "--family", "pythia")
    assert "a.json" in said
    assert "b.json" in said


def test_a_direction_is_learned_and_not_turned(named_database: Database, command: Command, tmp_path: Path) -> None:
    path = str(save(tmp_path / "a.json", first_layout(16, 10.0)))
    run(command, path, "--family", "pythia")
    run(command, path, "--family", "pythia", "--lower", "likelihood_difference")
    query = "select higher_is_better from analysis.checkpoint_metrics where name like '%likelihood_difference'"
    assert frame(named_database, query)["higher_is_better"].tolist() == [False]
    said = refused(command, named_database, path, "--family", "pythia", "--higher", "likelihood_difference")
    assert "says the opposite" in said


def test_results_that_are_no_number_are_left_out_and_named(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    document = first_layout(0, float("inf"))
    document["results"]["lambada_openai"]["ppl_stderr"] = float("nan")
    done = command("import", "metrics", str(save(tmp_path / "a.json", document)), "--family", "pythia")
    assert done.status == 0, done.errors
    assert "Left out as no number: lambada_openai/perplexity in" in done.errors
    assert "Imported 2 results" in done.output


# --- what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step", "options", "said"),
    [
        ("70m_step17.json", 16, ("--family", "p"), "step 16 by its revision and about step 17 by its name"),
        ("a.json", 16, ("--family", "p", "--step", "8"), "step 8 by --step and about step 16 by its revision"),
        ("a.json", 16, (), "Nothing says the family"),
        ("a.json", 16, ("--family", "p", "--path-pattern", "{model}_step{step}.json"), "is not like {model}_step"),
        ("a.json", 16, ("--family", "p", "--path-pattern", "{size}.json"), "has {size}: write {family}"),
    ],
)
def test_a_file_whose_checkpoint_is_not_clear_is_refused(
    named_database: Database,
    command: Command,
    tmp_path: Path,
    name: str,
    step: int,
    options: tuple[str, ...],
    said: str,
) -> None:
    path = save(tmp_path / name, first_layout(step, 10.0))
    assert said in refused(command, named_database, str(path), *options)


def test_a_file_that_names_no_step_is_refused(named_database: Database, command: Command, tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", first_layout(16, 10.0, model_args="pretrained=EleutherAI/pythia-70m"))
    assert "Nothing says the step" in refused(command, named_database, str(path), "--family", "pythia")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "is no JSON file"),
        ("a.json", "{}", "is no result file"),
        ("a.json", '{"results": [1]}', "is no result file"),
        ("absent.json", None, "cannot be read"),
        ("folder", None, "holds no result file"),
        ("a.csv", "step,name\n1,x\n", "lacks column value"),
        ("a.csv", "step,name,value\n1,x,much\n", "has no number in line 2"),
        ("a.csv", "step,name,value\n1,x,NaN\n", "has no finite number in line 2"),
        ("a.csv", "step,acc\n1,inf\n", "has no finite number in line 2"),
        ("a.csv", "step,acc\nx,1\n", "Column step has no number in line 2"),
        ("a.csv", "step\n1\n", "nor a column for each metric"),
        ("a.csv", "step,name,value,higher_is_better\n1,x,2,up\n", "write true, false or nothing"),
        ("a.csv", "step,acc\n1,0.5\n1,0.6\n", "line 2"),
        ("a.csv", "step,acc\n-4,0.5\n", "Column step has no number from 0"),
        ("a.csv", "step,acc\n2147483648,0.5\n", "Column step has no number from 0"),
        ("a.csv", "step,acc\n1,\n", "is a finite number: nothing was found"),
        ("a.csv", "step,name,value,n\n1,x,2,3000000000\n", "says n 3000000000 of x"),
        ("a.csv", "step,name,value,n\n1,x,2,-1\n", "says n -1 of x"),
        ("a.csv", "step,name,value,n\n1,x,2,3.7\n", "Column n has no whole number in line 2"),
        ("a.csv", "step,name,value,n\n1,x,2,inf\n", "Column n has no whole number in line 2"),
        ("a.csv", "step,name,value,standard_error\n1,x,2,-inf\n", "says standard error -inf of x"),
        ("a.csv", 'step,name,value\n1,"x,2\n2,y,3\n3,z,4\n4,u",5\n', "Column name in line 2"),
        ("a.csv", 'step,name,value\n1,"x,2\n2,y,3\n3,z,4\n', "a.csv"),
        ("a.csv", 'step,acc\n1,"2\n3,4\n', "Column acc in line 2"),
        ("a.csv", 'step,"acc\n1,2\n2"\n4,5\n', "The name of a column in line 1 of"),
        ("a.csv", f"step,acc\n{'9' * 400},5\n", "Column step has"),
        ("a.csv", f"step,acc\n1,{'9' * 5000}\n", "Column acc has no finite number in line 2"),
        ("a.csv", "step,name,value\n1,x\0y,2\n", "Column name has a NUL character in line 2"),
        ("a.json", "[" * 100_000, "is nested too deeply"),
        ("a.json", '{"results": {"t": {"acc": ' + "9" * 5000 + "}}}", "is no JSON file"),
        ("a_step1.json", '{"results": {"t": {"acc": ' + "9" * 400 + "}}}", "such as t/acc in"),
        ("a_step1.json", '{"results": {"t": {"acc": Infinity}}}', "is a finite number, such as t/acc in"),
        ("a_step1.json", '{"results": {"t\\u0000": {"acc": 1}}}', "has a name with a NUL character"),
        ("a_step1.json", '{"results": {"\\ud800": {"acc": 1}}}', "has a name with a NUL character"),
        ("a_step1.json", '{"results": {"t": {"acc": 1, "sample_len": 3000000000}}}', "says n 3000000000"),
        ("a_step3000000000.json", '{"results": {"t": {"acc": 1}}}', "is about step 3000000000 by its name"),
    ],
)
def test_a_file_without_results_is_refused(
    named_database: Database, command: Command, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    elif name == "folder":
        path.mkdir()
    options = ("--family", "toy", "--model", "small")
    assert said in refused(command, named_database, str(path), *options)


@pytest.mark.parametrize("option", ["--seed", "--step"])
def test_a_negative_number_of_a_checkpoint_is_refused(
    named_database: Database, command: Command, tmp_path: Path, option: str
) -> None:
    (tmp_path / "a.csv").write_text("model,acc\nsmall,0.5\n")
    options = {"--seed": "0", "--step": "1", option: "-4"}
    arguments = [word for each in options.items() for word in each]
    said = refused(command, named_database, str(tmp_path / "a.csv"), "--family", "toy", *arguments)
    assert f"{option[2:]} -4 by {option}" in said


def test_a_revision_of_thousands_of_digits_is_no_step(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    document = first_layout(16, 10.0, model_args=f"pretrained=x/small,revision=step{'9' * 5000}")
    said = refused(command, named_database, str(save(tmp_path / "a.json", document)), "--family", "toy")
    assert "Nothing says the step" in said


def test_numbers_of_rows_that_pandas_writes_are_no_metric(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    pd.DataFrame({"step": [8, 16], "acc": [0.5, 0.6]}).to_csv(tmp_path / "a.csv")
    run(command, str(tmp_path / "a.csv"), "--family", "toy", "--model", "small")
    assert frame(named_database, METRICS)["name"].tolist() == ["acc", "acc"]


# --- beside what is measured here ---------------------------------------------------------------------------------


def test_a_model_that_was_known_by_its_results_alone_can_be_ingested(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    table = pd.DataFrame({"model": "small", "seed": SMALL_SEEDS[0], "step": [*SMALL_STEPS, 99], "acc": 0.5})
    table.to_csv(tmp_path / "results.csv", index=False)
    run(command, str(tmp_path / "results.csv"), "--family", "tiny")
    root = save_models(tmp_path / "models", ["small"], SMALL_SEEDS[:2], SMALL_STEPS)
    study = study_of(root, write_documents(tmp_path / "text.jsonl", texts(4)), references=())
    ingest(named_database, study)
    query = "select c.step, c.status, c.source, m.value from analysis.checkpoints as c "
    query += "left join analysis.checkpoint_metrics as m using (checkpoint_id) where c.seed = 0 order by step"
    found = frame(named_database, query)
    assert found["step"].tolist() == [*SMALL_STEPS, 99]
    assert found["value"].tolist() == [0.5] * 4
    assert found["status"].tolist()[:3] == ["ok"] * 3
    assert all(str(root) in source for source in found["source"][:3]), "where they are is known now"
    assert found["source"][3] == "imported"
    with named_database.read() as connection:
        assert not [finding.check for finding in run_checks(connection) if finding.rows]
