"""Suites: the names they give, the numbers they publish, and what is said of one that cannot be followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, Olmo2Config

from ingest.architecture import architecture_facts
from ingest.locations import CheckpointLocation
from ingest.source import FolderSource, NoRoot, open_source
from ingest.study import Study, read_study
from ingest.suite import BadSuite, Suite, load_suite, suite_names
from tests.models import save_suite

#: Layers, heads and inner size of the published configs, which are not in the suites.
NEOX = {"14m": (6, 4), "31m": (6, 8), "70m": (6, 8), "160m": (12, 12), "410m": (24, 16), "1b": (16, 8)}
NEOX |= {"1.4b": (24, 16), "2.8b": (32, 32), "6.9b": (32, 32), "12b": (36, 40)}
OLMO = {"1b": (16, 16, 8192), "7b": (32, 32, 11008)}


def config(suite: str, name: str, hidden: int, width: int) -> Any:
    if suite == "olmo":
        layers, heads, inner = OLMO[name]
        return Olmo2Config(
            hidden_size=hidden,
            vocab_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            intermediate_size=inner,
            tie_word_embeddings=False,
        )
    layers, heads = NEOX[name]
    return GPTNeoXConfig(
        hidden_size=hidden,
        vocab_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


@pytest.mark.parametrize(("suite", "name"), [("pythia", n) for n in NEOX] + [("olmo", n) for n in OLMO])
def test_published_sizes_are_those_of_the_architecture(suite: str, name: str) -> None:
    model = load_suite(suite).model(name)
    assert model.hidden_size
    assert model.width
    with torch.device("meta"):
        facts = architecture_facts(
            AutoModelForCausalLM.from_config(config(suite, name, model.hidden_size, model.width), dtype=torch.float32)
        )
    assert (facts.parameters, facts.parameters_without_embeddings) == (
        model.parameters,
        model.parameters_without_embeddings,
    )
    # float16 and a mask of 2048 x 2048 bytes in each layer; float32
    stored = 2 * facts.parameters + facts.layers * 2048**2 if suite == "pythia" else 4 * facts.parameters
    assert model.bytes == stored


def located(suite: str) -> list[CheckpointLocation]:
    return list(load_suite(suite).locations())


def test_polypythia_names_fifty_runs_of_154_steps_and_seed_0_has_no_suffix() -> None:
    found = located("polypythia")
    assert len(found) == len(set(found)) == 7700
    assert len({(each.model, each.seed) for each in found}) == 50
    steps = [0, *(2**i for i in range(10)), *range(1000, 143001, 1000)]
    assert [each.step for each in found if (each.model, each.seed) == ("410m", 9)] == steps
    assert {each.source for each in found if each.model == "31m"} == {
        "EleutherAI/pythia-31m",
        *(f"EleutherAI/pythia-31m-seed{seed}" for seed in range(1, 10)),
    }
    assert {each.revision for each in found if each.step == 512} == {"step512"}
    assert found == sorted(found, key=lambda each: (["14m", "31m", "70m", "160m", "410m"].index(each.model), each))


def test_pythia_and_its_seed_0_among_the_polypythias_are_the_same_checkpoints() -> None:
    poly = load_suite("polypythia")
    assert {each for each in poly.locations() if each.seed == 0} <= set(located("pythia"))
    assert poly.family == load_suite("pythia").family == "pythia"
    assert load_suite("pythia").outliers == {}


def test_the_deduplicated_models_are_a_family_of_their_own() -> None:
    suite, found = load_suite("pythia-deduped"), located("pythia-deduped")
    assert suite.family == "pythia-deduped"
    assert {each.source for each in found if each.model == "1.4b"} == {"EleutherAI/pythia-1.4b-deduped"}
    assert len(found) == 8 * 154


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        # Branches of the two repositories, as the hub lists them.
        ("1b", "stage1-step0-tokens0B"),
        ("1b", "stage1-step10000-tokens21B"),
        ("1b", "stage1-step120000-tokens252B"),
        ("1b", "stage1-step1140000-tokens2391B"),
        ("1b", "stage1-step1907359-tokens4001B"),
        ("7b", "stage1-step150-tokens1B"),
        ("7b", "stage1-step900-tokens4B"),
        ("7b", "stage1-step2150-tokens10B"),
        ("7b", "stage1-step239000-tokens1003B"),
        ("7b", "stage1-step477000-tokens2001B"),
        ("7b", "stage1-step928646-tokens3896B"),
    ],
)
def test_olmo_revisions_carry_their_tokens_in_billions_rounded_up(model: str, revision: str) -> None:
    assert revision in {each.revision for each in located("olmo") if each.model == model}


def test_olmo_7b_has_928_branches_and_none_where_a_checkpoint_was_lost() -> None:
    steps = {each.step for each in located("olmo") if each.model == "7b"}
    assert len(steps) == 928
    assert steps.isdisjoint({0, 100000, 174000, 317000, 536000, 605000, 632000, 672000})


@pytest.mark.parametrize(
    ("model", "peak"), [("14m", 1e-3), ("31m", 1e-3), ("70m", 1e-3), ("160m", 6e-4), ("410m", 3e-4)]
)
def test_the_learning_rate_warms_up_for_a_hundredth_and_falls_to_a_tenth(model: str, peak: float) -> None:
    rate = load_suite("polypythia").learning_rate
    assert rate(model, 0) == 0
    assert rate(model, 715) == pytest.approx(peak / 2)
    assert rate(model, 1430) == pytest.approx(peak)
    assert rate(model, (1430 + 143000) // 2) == pytest.approx(0.55 * peak)
    assert rate(model, 143000) == pytest.approx(0.1 * peak)
    assert load_suite("olmo").learning_rate("1b", 10000) is None


def test_every_suite_of_the_package_is_described_and_known_by_name() -> None:
    assert suite_names() == ["folder", "olmo", "polypythia", "pythia", "pythia-deduped"]
    for name in suite_names():
        suite = load_suite(name)
        assert suite.description
        assert suite.is_local == (name == "folder")
    assert load_suite("polypythia").tokenizer_length == 50277


# Suites of the user's own

OWN = """
repository = "me/{model}-run{seed}"
revision = "ckpt-{step}"
seeds = [1, 2]
steps = [{ from = 0, to = 20, by = 10 }]
tokens_per_step = 100
[models.a]
[models.b]
steps = [5]
"""


def own(folder: Path, text: str) -> Suite:
    file = folder / "own.toml"
    file.write_text(text, "utf-8")
    return load_suite.__wrapped__(str(file))


def test_a_suite_of_ones_own_is_a_file_that_a_study_names(tmp_path: Path) -> None:
    assert [(each.source, each.revision) for each in own(tmp_path, OWN).locations()] == [
        *((f"me/a-run{seed}", f"ckpt-{step}") for seed in (1, 2) for step in (0, 10, 20)),
        ("me/b-run1", "ckpt-5"),
        ("me/b-run2", "ckpt-5"),
    ]
    (tmp_path / "study.toml").write_text('suite = "own.toml"')
    source = open_source(read_study(tmp_path / "study.toml"))
    assert (source.name, source.family, source.tokens_seen("b", 5)) == ("own", "own", 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("revision", "revisions"), "Unknown key revisions in suite"),
        (("revision", 'layout = "{model}"\nrevision'), "Unknown key layout in suite"),
        (("[models.a]", "[models.a]\nsize = 3"), "wrong key .*model a has no size"),
        (("steps = [{ from = 0, to = 20, by = 10 }]", ""), "lacks 'steps'"),
        (("[models.a]", 'only = ["c"]\n[models.a]'), "lacks 'c'"),
        (("steps = [5]", "steps = [{ from = 1 }]"), "lacks 'to'"),
        (("[models.a]", "[models.a"), "is no TOML file"),
        (("seeds = [1, 2]", ""), "names no checkpoint: give it seeds, and models with steps"),
        (("to = 20", "to = -1"), "names no checkpoint"),
        (("by = 10", "by = 0"), "must not be zero"),
        (("{model}-run{seed}", "{size}"), "lacks 'size'"),
        (("{model}-run{seed}", "{"), "Single '{'"),
        (("ckpt-{step}", "ckpt-{number}"), "lacks 'number'"),
        (('revision = "ckpt-{step}"', ""), "lacks 'revision'"),
        (("seeds = [1, 2]", 'seeds = ["a"]'), "a seed is no number but 'a'"),
        (("[models.a]", '[models.a]\nbytes = "many"'), "bytes of model a is no number"),
    ],
)
def test_a_suite_that_cannot_be_followed_is_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(BadSuite, match=message) as refusal:
        own(tmp_path, OWN.replace(*change))
    assert "own.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_suite_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadSuite, match=r"no suite .*none.toml; those of the package are folder, olmo, polypythia"):
        load_suite(str(tmp_path / "none.toml"))


# Folders


def test_a_folder_is_a_source_without_a_network(tmp_path: Path) -> None:
    root = save_suite(tmp_path / "toys", ["tiny"], [0], [0, 4])
    source = open_source(Study("toys", root=root, tokens_per_step=7))
    assert (source.name, source.family, source.outliers) == ("folder", "toys", {})
    first, second = source.locate()
    assert source.fetch(second) == root / "tiny" / "seed0" / "step4"
    assert source.is_here(first)
    assert source.n_bytes(first) == (root / "tiny" / "seed0" / "step0" / "model.safetensors").stat().st_size
    assert source.tokens_seen("tiny", 4) == 28
    assert source.learning_rate("tiny", 4) is None
    assert FolderSource(root, "mine").family == "mine"
    (root / "tiny" / "seed0" / "step0" / "tokenizer.json").unlink()
    assert source.tokenizer([first, second]) == second.path
    assert source.tokenizer([first]) == first.path
    assert source.tokenizer_here([first]) is None
    source.done(first)
    assert source.is_here(first)


def test_a_folder_suite_without_a_root_says_how_to_give_one() -> None:
    with pytest.raises(NoRoot, match="set root in it, or pass --root FOLDER"):
        open_source(Study("toys"))
