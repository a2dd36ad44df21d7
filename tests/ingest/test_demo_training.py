"""The demo's experiment: its text, its models, and training in processes that can be interrupted and repeated."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from ingest.cli.demo import _study
from ingest.demo import STANDARD, TINY, TrainingFailed, TrainingUnderWay, train_all, write_corpus
from ingest.demo.recipe import Recipe, Run
from ingest.demo.text import Document, Texts, is_prose, load_texts
from ingest.demo.tokenizer import END_OF_TEXT, prepare, token_stream, train_tokenizer
from ingest.demo.train import batches, initial_model, learning_rate, train_run

#: Two runs of a few steps: enough to see a run begin, end, and be left alone.
MICRO = replace(TINY, name="micro", hidden_sizes=(16,), seeds=(0, 1), steps=(0, 1, 12), warmup_steps=4, batch_size=2)
PROJECT = Path(__file__).parents[2]


# Text


@pytest.mark.parametrize(
    "paragraph",
    [
        "Return True if the object is callable, and False if it is not.",
        "The “with” statement is used to wrap the execution of a block (see below) with methods defined by it.",
    ],
)
def test_sentences_are_prose(paragraph: str) -> None:
    assert is_prose(paragraph)


@pytest.mark.parametrize(
    "paragraph",
    [
        "The with statement",  # a heading
        "with_stmt ::= 'with' ( '(' with_stmt_contents ','? ')' | with_stmt_contents ) ':' suite.",
        "Value = [int(x) for x in line.split(',') if x] + [0] * 4 ** 2 - 1 or None.",
        "return the value of the object that was given, or nothing at all.",  # the rest of a sentence
        "Arguments are as follows and each of them may be left out",  # breaks off
    ],
)
def test_headings_grammar_code_and_fragments_are_not_prose(paragraph: str) -> None:
    assert not is_prose(paragraph)


@pytest.mark.parametrize(("source", "fewest"), [("python", 20), ("tiny", 8)])
def test_enough_documents_are_held_out_and_share_no_paragraph_with_training(source: str, fewest: int) -> None:
    texts = load_texts(source)  # type: ignore[arg-type]
    held_out = [paragraph for document in texts.evaluation for paragraph in document.text.split("\n\n")]
    trained_on = {paragraph for document in texts.training for paragraph in document.text.split("\n\n")}
    assert len(texts.evaluation) >= fewest
    assert len(set(held_out)) == len(held_out)
    assert trained_on.isdisjoint(held_out)
    assert len({document.name for document in texts.evaluation + texts.training}) == len(
        texts.evaluation + texts.training
    )


@pytest.mark.parametrize(
    ("recipe", "tokens"), [(STANDARD, range(12_000, 20_001)), (TINY, range(1_500, 3_501))], ids=["standard", "tiny"]
)
def test_the_evaluation_text_has_the_intended_length(recipe: Recipe, tokens: range) -> None:
    texts = load_texts(recipe.text)
    tokenizer = train_tokenizer(texts.training, recipe.vocabulary_size)
    assert tokenizer.get_vocab_size() == recipe.vocabulary_size
    assert len(token_stream(texts.evaluation, tokenizer)) - len(texts.evaluation) in tokens


def test_reading_the_standard_library_imports_none_of_it() -> None:
    code = "import sys; from ingest.demo.text import load_texts; load_texts('python'); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert {"antigravity", "this", "turtle", "smtplib", "mailbox"}.isdisjoint(modules.split())


def test_the_digest_changes_with_a_text_a_name_and_the_split() -> None:
    one, two = Document("one", "First."), Document("two", "Second.")
    variants = [
        Texts((one,), (two,)),
        Texts((two,), (one,)),
        Texts((one, two), ()),
        Texts((replace(one, text="First!"),), (two,)),
        Texts((replace(one, name="uno"),), (two,)),
    ]
    assert len({texts.digest() for texts in variants}) == len(variants)


def test_the_tokenizer_gives_back_every_byte_and_begins_documents_with_id_zero() -> None:
    documents = (Document("a", "Déjà vu: the cat sat."), Document("b", "The dog sat."))
    tokenizer = train_tokenizer(documents, 300)
    ids = token_stream(documents, tokenizer).tolist()
    starts = [index for index, token_id in enumerate(ids) if token_id == 0]
    assert tokenizer.token_to_id(END_OF_TEXT) == 0
    assert len(starts) == 2
    assert starts[0] == 0
    assert [tokenizer.decode(ids[a:b]) for a, b in pairwise([*starts, len(ids)])] == [d.text for d in documents]


# Models and schedule


def test_weights_start_with_the_small_initialisation_of_gpt_neox() -> None:
    model = initial_model(STANDARD, Run("neox-64d", 64, 0))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            deviation = math.sqrt(2 / (5 * 64)) / math.sqrt(
                2 * parameter.numel()
            )  # standard error of a standard deviation
            assert parameter.std().item() == pytest.approx(math.sqrt(2 / (5 * 64)), abs=5 * deviation), name
        else:
            assert set(parameter.tolist()) == ({1.0} if "norm.weight" in name else {0.0}), name


def test_seeds_differ_in_their_weights_and_in_the_order_of_the_text() -> None:
    text = torch.arange(5_000)
    weights = [initial_model(MICRO, Run("m", 16, seed)).get_input_embeddings().weight for seed in (0, 1, 0)]
    orders = [next(batches(MICRO, Run("m", 16, seed), text)) for seed in (0, 1, 0)]
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(orders[0], orders[1])


def test_windows_are_stretches_of_the_text_up_to_its_very_end() -> None:
    text = torch.arange(MICRO.sequence_length + 2)  # two windows are possible
    several = [batch for batch, _ in zip(batches(MICRO, Run("m", 16, 0), text), range(20), strict=False)]
    windows = torch.cat(several)
    assert windows.shape == (20 * MICRO.batch_size, MICRO.sequence_length + 1)
    assert set(windows[:, 0].tolist()) == {0, 1}
    assert bool((windows.diff(dim=1) == 1).all())


def test_the_learning_rate_warms_up_to_its_peak_and_ends_at_a_tenth_of_it() -> None:
    rates = [learning_rate(STANDARD, step) for step in range(1, STANDARD.steps[-1] + 1)]
    peak = STANDARD.peak_learning_rate
    assert rates[0] == pytest.approx(peak / STANDARD.warmup_steps)
    assert rates.index(max(rates)) + 1 == STANDARD.warmup_steps
    assert max(rates) == pytest.approx(peak)
    assert rates[-1] == pytest.approx(peak / 10)
    assert rates[STANDARD.warmup_steps :] == sorted(rates[STANDARD.warmup_steps :], reverse=True)


def test_the_demos_study_states_the_learning_rates_that_it_trains_with(tmp_path: Path) -> None:
    for recipe in (STANDARD, TINY):
        schedule = _study(recipe, tmp_path, tmp_path / recipe.name / "checkpoints").learning_rate
        assert schedule is not None
        steps = range(1, recipe.steps[-1] + 1)
        trained = [learning_rate(recipe, step) for step in steps]
        assert [schedule.at(step) for step in steps] == pytest.approx(trained, rel=1e-12)
        assert schedule.at(0) == 0


def test_a_model_learns_a_text_that_repeats_itself() -> None:
    text = torch.arange(7).repeat(200)
    recipe = replace(MICRO, steps=(0, 60), warmup_steps=10, vocabulary_size=16)
    losses = {}

    def save(model: torch.nn.Module, step: int) -> None:
        with torch.no_grad():
            losses[step] = model(text[None, :64], labels=text[None, :64]).loss.item()

    train_run(recipe, Run("m", 16, 0), text, save, lambda steps: None)
    assert losses[60] < 0.5 < math.log(16) - 1 < losses[0]


# Training everything


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def checkpoints(root: Path, progress: list[tuple[int, int]]) -> Path:
    return train_all(MICRO, root, lambda done, total: progress.append((done, total)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_step_of_every_run_is_saved_and_nothing_else(checkpoints: Path) -> None:
    expected = {f"micro-16d/seed{seed}/step{step}" for seed in MICRO.seeds for step in MICRO.steps}
    assert {str(path.relative_to(checkpoints)) for path in checkpoints.glob("*/*/*")} == expected
    assert {path.name for path in checkpoints.parent.iterdir()} == {"checkpoints", "lock"}


def test_a_checkpoint_loads_with_its_tokenizer_through_transformers(checkpoints: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = checkpoints / "micro-16d" / "seed0" / "step12"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.config.model_type == "gpt_neox"
    assert model.config.max_position_embeddings == 64
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 0)
    assert len(tokenizer) == model.config.vocab_size == MICRO.vocabulary_size
    ids = tokenizer("The ferry leaves at six.")["input_ids"]
    assert tokenizer.decode(ids) == "The ferry leaves at six."


def test_step_zero_is_the_initial_model_and_later_steps_are_not(checkpoints: Path) -> None:
    from transformers import AutoModelForCausalLM

    initial = initial_model(MICRO, Run("micro-16d", 16, 1)).float().state_dict()
    for step, same in ((0, True), (1, False)):
        saved = AutoModelForCausalLM.from_pretrained(checkpoints / "micro-16d" / "seed1" / f"step{step}").state_dict()
        assert all(torch.equal(saved[name], initial[name]) for name in initial) is same


def test_progress_counts_every_step_once(checkpoints: Path, progress: list[tuple[int, int]]) -> None:
    assert progress[0] == (0, 24)
    assert progress[-1] == (24, 24)
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})


def test_a_second_call_trains_nothing(checkpoints: Path, root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*")}
    assert train_all(MICRO, root, lambda done, total: pytest.fail("something was trained")) == checkpoints
    assert {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*")} == before


def test_an_interrupted_run_starts_again_alone_and_ends_with_the_same_bytes(root: Path, checkpoints: Path) -> None:
    before = files(checkpoints)
    finished = (checkpoints / "micro-16d" / "seed0").stat().st_ino
    (checkpoints / "micro-16d" / "seed1").rename(root / "lost")
    totals = set()
    train_all(MICRO, root, lambda done, total: totals.add(total))
    assert totals == {12}
    assert files(checkpoints) == before
    assert (checkpoints / "micro-16d" / "seed0").stat().st_ino == finished


def test_a_changed_recipe_trains_in_a_folder_of_its_own(root: Path, checkpoints: Path) -> None:
    before = files(checkpoints)
    other = train_all(replace(MICRO, steps=(0, 1), seeds=(0,)), root)
    assert other != checkpoints
    assert files(checkpoints) == before
    assert MICRO.digest("a text") != MICRO.digest("another text")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """Every process started during the test."""
    started: list[subprocess.Popen[str]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started


def test_ctrl_c_ends_the_workers_and_leaves_no_half_run(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    running = []

    def interrupt(done: int, total: int) -> None:
        if done:
            running.extend(process.returncode is None for process in processes)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(replace(MICRO, steps=(0, 100_000)), tmp_path, interrupt, processes=2)
    assert running == [True, True]
    assert all(process.returncode is not None for process in processes)
    assert list(tmp_path.glob("*/checkpoints/*/*")) == []


def test_a_worker_leaves_ctrl_c_to_its_parent_and_ends_when_the_parent_is_gone(tmp_path: Path) -> None:
    recipe = replace(MICRO, steps=(0, 100_000))
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    prepare(load_texts("tiny"), recipe.vocabulary_size, recipe.sequence_length, tmp_path)
    command = [sys.executable, "-m", "ingest.demo.train", str(tmp_path), str(tmp_path / "checkpoints")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, cwd=PROJECT, text=True) as worker:  # type: ignore[call-overload]
        worker.stdin.write(json.dumps(asdict(recipe.runs[0])) + "\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "10\n"
        worker.send_signal(signal.SIGINT)
        assert [worker.stdout.readline() for _ in range(3)] == ["10\n"] * 3
        worker.stdout.close()
        assert worker.wait(timeout=120) == 1
    assert not (tmp_path / "checkpoints").exists()


def test_a_worker_that_fails_is_one_sentence(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    with pytest.raises(TrainingFailed, match=r"float13.*worker0\.log.*Run it again") as failure:
        train_all(replace(MICRO, dtype="float13", seeds=(0,)), tmp_path)  # type: ignore[arg-type]
    assert "\n" not in str(failure.value)
    assert all(process.returncode is not None for process in processes)


def test_kernels_that_round_differently_arrive_at_the_same_weights(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # torch without AVX
    other = train_all(MICRO, tmp_path)
    for path in checkpoints.rglob("*.safetensors"):
        expected, actual = load_file(path), load_file(other / path.relative_to(checkpoints))
        for name in expected:
            torch.testing.assert_close(actual[name], expected[name], rtol=2e-7, atol=1e-9)


@pytest.fixture
def held_lock(tmp_path: Path) -> Iterator[Path]:
    import fcntl

    folder = tmp_path / f"micro-{MICRO.digest(load_texts('tiny').digest())}"
    folder.mkdir()
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield tmp_path


def test_two_processes_do_not_train_the_same_demo_at_once(held_lock: Path) -> None:
    with pytest.raises(TrainingUnderWay, match="Another process"):
        train_all(MICRO, held_lock)


def test_a_script_without_a_main_guard_may_train_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')")  # a file that would hide a module
    script = tmp_path / "scripts" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from dataclasses import replace\nfrom pathlib import Path\nfrom ingest.demo import TINY, train_all\n"
        "recipe = replace(TINY, hidden_sizes=(16,), seeds=(0,), steps=(0, 1), warmup_steps=1)\n"
        "print(train_all(recipe, Path('out')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / result.stdout.strip() / "tiny-16d" / "seed0" / "step1" / "model.safetensors").is_file()


def test_the_corpus_is_written_as_json_lines_with_the_training_text_beside_it(tmp_path: Path) -> None:
    training_path = write_corpus(TINY, tmp_path / "corpus" / "tiny.jsonl")
    texts = load_texts("tiny")
    assert training_path == tmp_path / "corpus" / "tiny.training.jsonl"
    for path, documents in ((training_path, texts.training), (tmp_path / "corpus" / "tiny.jsonl", texts.evaluation)):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert rows == [{"id": document.name, "text": document.text} for document in documents]
