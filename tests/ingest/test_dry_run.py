"""`warehouse ingest --dry-run`: numbers that agree with what an ingestion then writes, and with the published study."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from ingest.estimate import Estimate, estimate
from ingest.plan import survey
from ingest.source import open_source
from ingest.study import CustomSpec, Study, read_study
from tests.conftest import Outcome
from tests.documents import ROOT
from tests.hub import client_at
from tests.ingested import Ingested, ingest, rows
from warehouse.database import Database

STUDIES = ROOT / "studies"


def estimated(study: Study, n_tokens: int | None = None) -> Estimate:
    source = open_source(study)
    return estimate(study, source, survey(study, source.locate()), n_tokens)


def numbers(line: str) -> list[str]:
    return re.findall(r"\d+(?:[.,]\d+)*", line)


def line_of(outcome: Outcome, start: str) -> str:
    (line,) = [line for line in outcome.output.splitlines() if line.startswith(start)]
    return line


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a database nor a network can be reached, and the hub's cache is empty."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a dry run asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)


def test_the_published_study_is_500_checkpoints_and_2000_ordered_pairs(
    nowhere: None, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    with client_at(tmp_path, endpoint="http://127.0.0.1:9"):
        told = command("ingest", str(STUDIES / "fehlauer-2025.toml"), "--dry-run")
    assert (told.status, told.errors) == (0, "")
    assert numbers(line_of(told, "all  ")) == ["500", "0", "159.18"]
    for model, gigabytes in {"14m": "5.33", "31m": "8.62", "70m": "16.60", "160m": "37.50", "410m": "91.13"}.items():
        assert line_of(told, model + "  ").split()[1:] == ["5", "20", "100", "0", gigabytes, "GB"]
    assert line_of(told, "seed").split() == ["seed", "100", "2,000"]
    assert "corpus fehlauer-2025: 4,662 tokens, as the study says" in told.output
    assert "410m seed 3 is left out of run set default" in told.output
    # 4,662 tokens make 19 chunks: of scores, of KL to the unigram, of 2,000 pairs and of 100 means with their mixture.
    values = 4662 * (500 * 9 + 500 + 2000 + 2 * 100)
    assert numbers(line_of(told, "to write")) == [f"{19 * (500 + 500 + 2000 + 100):,}", f"{values:,}", "0.20"]
    # Hidden states and head in float32; at a time five seeds of 410m at a step, at the one before and at the last.
    readouts = 100 * 4 * (128 + 256 + 512 + 768 + 1024) * (4662 + 50304) / 1e9
    assert numbers(line_of(told, "readouts")) == [f"{readouts:.2f}", f"{3 * 5 * 4 * 1024 * (4662 + 50304) / 1e9:.2f}"]


def test_the_page_on_studies_shows_it_as_it_is(
    nowhere: None, command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with client_at(tmp_path, endpoint="http://127.0.0.1:9"):
        told = command("ingest", "studies/fehlauer-2025.toml", "--dry-run")
    assert told.output in (ROOT / "docs" / "studies.md").read_text("utf-8")


def test_the_slides_compare_along_one_run_and_across_sizes(
    nowhere: None, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    with client_at(tmp_path, endpoint="http://127.0.0.1:9"):
        told = command("ingest", str(STUDIES / "slides.toml"), "--dry-run")
    assert (told.status, told.errors) == (0, "")
    counted = {line.split()[0]: line.split()[1:] for line in told.output.splitlines() if line}
    assert counted["step"] == counted["step_reverse"] == ["76", "76"]
    assert counted["size"] == ["240", "240"]
    assert counted["cross"] == ["4,800", "4,800"]
    # Pairs of different sizes at one step are of kind cross too.
    assert line_of(told, "all, each pair once").split()[-2:] == ["5,192", "4,952"]
    # Pairs of any two steps want every readout at hand.
    readouts = 20 * 4 * (512 + 768 + 1024 + 2048) * (4171 + 50304) / 1e9
    assert numbers(line_of(told, "readouts")) == [f"{readouts:.2f}"] * 2


def test_both_studies_name_the_steps_and_seeds_of_the_published_ones() -> None:
    study = read_study(STUDIES / "fehlauer-2025.toml")
    assert study.seeds == (1, 3, 5, 7, 9)
    assert study.steps == (0, *(2**i for i in range(10)), *(1000 * 2**i for i in range(8)), 143000)
    assert len(study.steps) == 20
    assert read_study(STUDIES / "slides.toml").steps == study.steps
    assert study.references[0].repair


def test_the_texts_of_both_studies_have_as_many_tokens_as_they_say(shared_data: Path) -> None:
    from ingest.setting import read_corpus
    from ingest.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    for name, folder in (("fehlauer-2025", "sample4"), ("slides", "kl-pythia-70m-deduped")):
        study = read_study(STUDIES / f"{name}.toml")
        text = shared_data / "seed-kl-study" / folder / "input_text.txt"
        corpus = read_corpus(study.with_options(corpus_path=text), vocabulary)
        assert corpus.n_tokens == study.corpus.n_tokens


def test_what_a_dry_run_says_is_what_an_ingestion_then_writes(ingested: Ingested) -> None:
    report, database = ingested.report, ingested.database
    told = estimated(ingested.study, report.n_tokens)
    assert told.n_evaluations == report.outcome.evaluations
    assert told.n_pairs == told.n_token_pairs == report.outcome.pairs
    kinds = dict(rows(database, "select kind, count(*)::int from warehouse.comparison group by kind"))
    assert {kind.kind: kind.n_comparisons for kind in told.kinds} == kinds
    facts = ("score_chunk", "reference_chunk", "divergence_chunk", "convergence_chunk")
    written = sum(rows(database, f"select count(*) from warehouse.{table}")[0][0] for table in facts)
    assert told.n_rows == written


def test_readouts_are_as_large_as_the_models_that_were_read(
    ingested: Ingested, study_file: Path, command: Callable[..., Outcome]
) -> None:
    told = estimated(ingested.study, n_tokens := ingested.report.n_tokens)
    query = (
        "select sum(4 * hidden_size * (vocabulary_width + %s))::bigint from evaluation "
        "inner join checkpoint using (checkpoint_id) inner join run using (run_id) inner join model using (model_id)"
    )
    assert [(told.readout_bytes,)] == rows(ingested.database, query, n_tokens)
    assert told.shelf_bytes is not None
    assert told.readout_bytes is not None
    assert 0 < told.shelf_bytes < told.readout_bytes
    assert "of which 0.00 GB lies on disk" in command("ingest", str(study_file), "--dry-run", "--memory", "9").output


def test_a_local_study_is_counted_with_its_own_text_and_nothing_is_written(
    named_database: Database, study_file: Path, ingested: Ingested, command: Callable[..., Outcome]
) -> None:
    told = command("ingest", str(study_file), "--dry-run")
    assert (told.status, told.errors) == (0, "")
    assert f"corpus letters: {ingested.report.n_tokens:,} tokens in 10 documents" in told.output
    assert line_of(told, "sharp-9m").split()[1:5] == ["4", "4", "16", "0"]
    assert rows(named_database, "select count(*) from warehouse.corpus") == [(0,)]


def test_checkpoints_that_a_folder_lacks_are_counted_as_missing_and_not_written(
    small_study: Study, database: Database
) -> None:
    lacking = replace(small_study, seeds=(0, 1), steps=(0, 1))
    source = open_source(lacking)
    found = [each for each in source.locate() if (each.seed, each.step) != (1, 1)]
    (model,) = (told := estimate(lacking, source, survey(lacking, found), 100)).models
    assert (model.n_checkpoints, model.absent, model.here) == (4, 1, 3)
    assert told.n_evaluations == 3
    report = ingest(database, lacking)
    full = estimated(lacking, report.n_tokens)
    assert full.n_evaluations == report.outcome.evaluations == 4


def test_kinds_between_models_are_counted_by_hand() -> None:
    study = Study(
        "toys",
        suite="polypythia",
        models=("14m", "31m", "70m"),
        seeds=(0, 1),
        steps=(0, 1, 2),
        kinds=("size", "cross", "matched", "custom"),
        custom=(CustomSpec("14m", 0, "31m", 2), CustomSpec("14m", 0, "70m", 2, seed=1, seed_q=0)),
        top_k=10,
    )
    told = estimated(study, 257)
    counted = {kind.kind: (kind.n_comparisons, kind.n_pairs, kind.at_most) for kind in told.kinds}
    assert counted == {
        "size": (6 * 3, 6 * 3 * 2, False),
        "cross": (6 * 9, 6 * 9 * 2, False),
        "custom": (2, 3, False),
        "matched": (6 * 3, 6 * 3 * 2, True),
    }
    cells = [(model, seed, step) for model in study.models for seed in study.seeds for step in study.steps]
    crossed = {(p, q) for p, q in permutations(cells, 2) if p[0] != q[0] and p[1] == q[1]}
    listed = {(("14m", 1, 0), ("70m", 0, 2))}
    assert told.n_pairs == len(crossed | listed) + 36
    # size, the two lists of kind custom less nothing, and what matched may want
    assert told.n_token_pairs == 36 + 3 + 36
    assert told.values_per_token == 18 * (9 + 2 * 10) + 75 + 18 + 2 + 18
    assert told.n_rows == 2 * (18 * 2 + 75 + 38)


def test_a_text_of_unknown_length_is_counted_by_the_token(command: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "unknown.toml"
    file.write_text('suite = "pythia"\nmodels = ["14m"]\nsteps = [0, 1]\nkinds = []\n')
    told = command("ingest", str(file), "--dry-run")
    assert told.status == 0
    assert "no text is named, and key n_tokens of [corpus] does not say how many tokens it has" in told.output
    assert "to write: 18 values for each token" in told.output


def test_a_text_of_another_length_than_the_study_says_is_refused(
    study_file: Path, ingested: Ingested, command: Callable[..., Outcome]
) -> None:
    n_tokens = ingested.report.n_tokens
    assert command("ingest", str(study_file), "--dry-run", "--n-tokens", str(n_tokens)).status == 0
    told = command("ingest", str(study_file), "--dry-run", "--n-tokens", "1")
    assert told.status == 2
    assert f"letters.jsonl has {n_tokens:,} tokens and study letters says 1: this is another text" in told.errors


def test_more_top_entries_than_ids_are_refused_as_an_ingestion_would(
    study_file: Path, command: Callable[..., Outcome]
) -> None:
    assert command("ingest", str(study_file), "--dry-run", "--top-k", "320").status == 0
    told = command("ingest", str(study_file), "--dry-run", "--top-k", "321")
    assert (told.status, told.output) == (2, "")
    assert "Key top_k of study letters is 321, but there are 320 ids: lower it." in told.errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step", "3"], "names step 3 of 14m, which is not in suite polypythia; nearest are"),
        (["--model", "1b"], "names model 1b, which is not in suite polypythia"),
        (["--rank", "2", "--world-size", "2"], "must be less than --world-size 2"),
        (["--top-k", "-1"], "-1"),
        (["--memory", "nan"], "nan is no number of gigabytes"),
        (["--reserve", "nan"], "nan is no number of gigabytes"),
        (["--reserve", "inf"], "not in the range"),
        (["--layer", "frequenzy"], "names layer frequenzy, which is not built in: did you mean frequency?"),
        (["--device", "gpu"], "no device gpu: use cpu, cuda or auto"),
        (
            ["--model", "14m", "--kind", "size"],
            "Kind size of study fehlauer-2025 compares models with a seed and a step",
        ),
        (["--windows", "document"], "did you mean documents?"),
    ],
)
def test_what_cannot_be_is_bad_input(options: list[str], message: str, command: Callable[..., Outcome]) -> None:
    told = command("ingest", str(STUDIES / "fehlauer-2025.toml"), "--dry-run", *options)
    assert told.status == 2
    assert message in told.errors


def test_options_of_the_run_reach_the_pipeline(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome]
) -> None:
    import ingest.cli.ingest as cli
    from ingest.options import RunOptions

    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def run(study: Study, options: RunOptions, *, threads: int | None) -> None:
        seen.update(study=study, options=options, threads=threads)
        raise Stop

    monkeypatch.setattr(cli, "run", run)
    given = "--evict --allow-pickle --keep-readouts --memory 1.5 --rank 1 --world-size 3 --no-compile --reserve 2"
    keys = "--device cpu --threads 4 --top-k 5 --windows truncated --no-bos --window 16 --n-tokens 7"
    command("ingest", str(STUDIES / "slides.toml"), *given.split(), *keys.split())
    assert seen["options"] == RunOptions(
        device="cpu",
        reserve=2_000_000_000,
        memory=1_500_000_000,
        keep_readouts=True,
        evict=True,
        allow_pickle=True,
        rank=1,
        world_size=3,
        compiled=False,
    )
    study = seen["study"]
    assert (study.top_k, study.corpus.n_tokens, seen["threads"]) == (5, 7, 4)
    assert (study.protocol.windows, study.protocol.bos, study.protocol.window) == ("truncated", False, 16)
