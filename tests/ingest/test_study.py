"""Studies: what a file and options say, and what they are told when they say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.derived_spec import DerivedSpec
from ingest.study import (
    KINDS,
    BadStudy,
    CorpusSpec,
    CustomSpec,
    LearningRateSpec,
    ProtocolSpec,
    ReferenceSpec,
    Study,
    read_study,
)

FULL = """
suite = "folder"
root = "checkpoints"
family = "toys"
models = ["9m", "14m"]
seeds = [2, 0, 0, 1]
steps = [64, 0, 8]
kinds = ["seed", "final"]
layers = ["document"]
tokens_per_step = 2048

[corpus]
path = "~/prose.txt"
name = "prose"
eos = "none"
split = "line"
licence = "CC0-1.0"

[protocol]
window = 64
vocabulary = "tokenizer"

[references.unigram]
text = "texts/train.txt"

[references.pile]
counts = "/data/pile.npy"
smoothing = "none"
repair = true
"""


def study_file(folder: Path, text: str, name: str = "toys.toml") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def test_every_key_is_read_and_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert read_study(study_file(tmp_path, FULL)) == Study(
        name="toys",
        suite="folder",
        root=tmp_path / "checkpoints",
        family="toys",
        models=("9m", "14m"),
        seeds=(0, 1, 2),
        steps=(0, 8, 64),
        kinds=("seed", "final"),
        layers=("document",),
        tokens_per_step=2048,
        corpus=CorpusSpec(Path("/home/ada/prose.txt"), "prose", "none", "line", licence="CC0-1.0"),
        protocol=ProtocolSpec(window=64),
        references=(
            ReferenceSpec("unigram", text=tmp_path / "texts/train.txt"),
            ReferenceSpec("pile", counts=Path("/data/pile.npy"), smoothing="none", repair=True),
        ),
    )


def test_a_schedule_of_the_learning_rate_is_a_table_of_its_own(tmp_path: Path) -> None:
    table = "[learning_rate]\npeak = 1e-3\nwarmup_steps = 100\nlast_step = 1100\nfinal_fraction = 0"
    rate = read_study(study_file(tmp_path, table)).learning_rate
    assert rate == LearningRateSpec(1e-3, 100, 1100, 0.0)
    assert rate is not None
    assert [rate.at(step) for step in (0, 50, 100, 600, 1100, 2000)] == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0, 0])
    with pytest.raises(BadStudy, match=r"\[learning_rate\] of .* lacks final_fraction"):
        read_study(study_file(tmp_path, table.replace("\nfinal_fraction = 0", "")))
    with pytest.raises(BadStudy, match=r"last_step .* must come after the warm-up of 1100 steps, not be 1100"):
        read_study(study_file(tmp_path, table.replace("= 100\n", "= 1100\n")))


def test_a_reference_of_n_grams_says_how_its_text_is_counted(tmp_path: Path) -> None:
    table = "[references.trigram]\ntext = 'a.txt'\norder = 3\nweight = 2\neos = 'none'\nsplit = 'line'"
    expected = ReferenceSpec("trigram", text=tmp_path / "a.txt", order=3, weight=2.0, eos="none", split="line")
    assert read_study(study_file(tmp_path, table)).references == (expected,)
    assert ReferenceSpec("plain").order == ReferenceSpec("plain").weight == 1


def test_a_number_format_is_text_and_no_number(tmp_path: Path) -> None:
    assert read_study(study_file(tmp_path, "[protocol]\ndtype = 'float64'")).protocol.dtype == "float64"


def test_an_empty_study_wants_everything_under_the_name_of_its_file(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, "", "my.study.toml"))
    assert study == Study(name="my.study")
    assert study.kinds == ("seed", "step", "step_reverse", "final", "final_reverse")
    assert set(study.kinds) < set(KINDS)
    assert (study.protocol.window, study.protocol.name) == (2048, "concatenated-2048")


def test_no_kinds_means_scores_only(tmp_path: Path) -> None:
    assert read_study(study_file(tmp_path, "kinds = []")).kinds == ()


def test_a_protocol_is_named_after_what_is_not_the_default() -> None:
    assert ProtocolSpec(window=64, vocabulary="model").name == "concatenated-64-full-width"
    assert len({ProtocolSpec(window=w, vocabulary=v).name for w in (2, 4) for v in ("tokenizer", "model")}) == 4


def test_items_are_sequences_of_their_own_unless_the_study_says_otherwise(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, "[corpus]\nitems = 'blimp'"))
    assert (study.protocol.windows, study.protocol.bos) == ("documents", True)
    said = read_study(study_file(tmp_path, "[corpus]\nitems = 'blimp'\n[protocol]\nwindows = 'concatenated'"))
    assert said.protocol.windows == "concatenated"
    plain = read_study(study_file(tmp_path, ""))
    assert plain.with_options(corpus_items="pairs").protocol.windows == "documents"
    assert plain.with_options(corpus_items="pairs", protocol_windows="truncated").protocol.windows == "truncated"
    assert said.with_options(corpus_items="pairs").protocol.windows == "concatenated"


def test_spans_of_a_text_are_read_without_bos_and_other_derived_corpora_as_their_text(tmp_path: Path) -> None:
    spans = read_study(study_file(tmp_path, "[corpus.derived]\nkind = 'in-context'\nname = 'spans'"))
    assert spans.corpus.derived == DerivedSpec("in-context", "spans", target=501, short_from=450, long_from=100)
    assert spans.protocol.name == "documents-2048-without-bos"
    noise = read_study(
        study_file(tmp_path, "[corpus.derived]\nkind = 'noised'\npercent = 20"), ["corpus.derived.percent = 60"]
    )
    assert noise.corpus.derived == DerivedSpec("noised", percent=60, seed=0)
    assert noise.protocol == ProtocolSpec()


@pytest.mark.parametrize("windows", ["concatenated", "documents", "truncated"])
def test_all_windows_may_do_without_bos(tmp_path: Path, windows: str) -> None:
    study = read_study(study_file(tmp_path, f"[protocol]\nwindows = '{windows}'\nbos = false"))
    assert study.protocol.name == f"{windows}-2048-without-bos"


CUSTOM = """
top_k = 10

[corpus]
n_tokens = 4662

[protocol]
windows = "truncated"
window = 16
bos = false

[[custom]]
model = "14m"
step = 0
model_q = "31m"
step_q = 8

[[custom]]
model = "14m"
step = 0
seed = 2
model_q = "14m"
step_q = 8
"""


def test_custom_comparisons_are_listed_and_a_seed_alone_stands_for_both(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, CUSTOM))
    assert study.custom == (CustomSpec("14m", 0, "31m", 8), CustomSpec("14m", 0, "14m", 8, seed=2, seed_q=2))
    assert study.kinds == ("seed", "step", "step_reverse", "final", "final_reverse", "custom")
    assert (study.top_k, study.corpus.n_tokens) == (10, 4662)
    assert (study.protocol.windows, study.protocol.name) == ("truncated", "truncated-16-without-bos")
    assert study.with_options(kinds=("seed",)).kinds == ("seed",)
    assert read_study(study_file(tmp_path, 'kinds = ["seed"]' + CUSTOM)).kinds == ("seed",)


def test_a_suite_may_be_a_file_beside_the_study(tmp_path: Path) -> None:
    assert read_study(study_file(tmp_path, "suite = 'suites/own.toml'")).suite == str(tmp_path / "suites/own.toml")


REFUSED = {
    "unknown key": ("stepz = [1]", "Unknown key stepz", "did you mean steps?"),
    "unknown key without a neighbour": ("xyzzy = 1", "Unknown key xyzzy", "known are corpus, custom, family,"),
    "unknown key of a table": ("[corpus]\npaht = 'x'", "Unknown key paht in [corpus]", "did you mean path?"),
    "unknown key of a reference": ("[references.u]\ncount = 'x'", "[references.u]", "did you mean counts?"),
    "unknown suite": ("suite = 'foldr'", "Unknown suite foldr", "did you mean folder?"),
    "unknown kind": ("kinds = ['seeds']", "Unknown kind seeds", "did you mean seed?"),
    "unknown policy": ("[corpus]\neos = 'after'", "Unknown corpus.eos after", "after-document"),
    "unknown vocabulary": ("[protocol]\nvocabulary = 'full'", "protocol.vocabulary full", "known are model, tokenizer"),
    "unknown windows": ("[protocol]\nwindows = 'truncate'", "protocol.windows truncate", "did you mean truncated?"),
    "unknown smoothing": (
        "[references.u]\ntext = 'x'\nsmoothing = 'add-two'",
        "references.smoothing add-two",
        "add-one",
    ),
    "text for numbers": ("steps = ['1']", "steps", "a list of whole numbers, not ['1']"),
    "true for a number": ("seeds = [true]", "seeds", "a list of whole numbers"),
    "a number for a list": ("steps = 1", "steps", "a list of whole numbers, not 1"),
    "numbers for names": ("models = [1]", "models", "a list of names"),
    "text for a number": ("tokens_per_step = '1k'", "tokens_per_step", "a whole number, not '1k'"),
    "a fraction for a number": ("[protocol]\nwindow = 1.5", "window", "a whole number, not 1.5"),
    "a number for truth": ("[protocol]\nbos = 1", "bos", "true or false, not 1"),
    "a number for a path": ("root = 3", "root", "text, not 3"),
    "a value for a table": ("corpus = 'prose.txt'", "[corpus]", "must be a table"),
    "values for references": ("references = ['u']", "references", "[references.NAME]"),
    "too small a window": ("[protocol]\nwindow = 1", "window", "at least 2 tokens, not 1"),
    "a reference of nothing": ("[references.u]", "Reference u", "either text or counts"),
    "a reference of both": ("[references.u]\ntext = 'x'\ncounts = 'y'", "Reference u", "either text or counts"),
    "an order of counts": ("[references.u]\ncounts = 'x'\norder = 2", "Reference u", "counted from a text"),
    "a weight of nothing": ("[references.u]\ntext = 'x'\nweight = 2", "weight 2.0", "no lower order"),
    "a text repaired": ("[references.u]\ntext = 'x'\nrepair = true", "Reference u", "drop repair"),
    "counts that are split": ("[references.u]\ncounts = 'x'\nsplit = 'line'", "Reference u", "drop them"),
    "an order that is none": ("[references.u]\ntext = 'x'\norder = 6", "order 6", "1 to 5"),
    "an unsmoothed order": (
        "[references.u]\ntext = 'x'\norder = 2\nsmoothing = 'none'",
        "Reference u",
        "drop smoothing",
    ),
    "an order without weight": (
        "[references.u]\ntext = 'x'\norder = 2\nweight = 0",
        "weight 0",
        "above 0",
    ),
    "a weight that is no number": ("[references.u]\ntext = 'x'\nweight = 'heavy'", "weight", "a number, not 'heavy'"),
    "references of another width": (
        "[protocol]\nvocabulary = 'model'\n[references.u]\ntext = 'x'",
        "vocabulary is model",
        "set it to tokenizer",
    ),
    "a negative top-k": ("top_k = -1", "top_k", "0, to keep none, or more"),
    "unknown items": ("[corpus]\nitems = 'pair'", "Unknown corpus.items pair", "did you mean pairs?"),
    "split items": ("[corpus]\nitems = 'pairs'\nsplit = 'line'", "items and split", "exclude each other"),
    "a derived corpus of no kind": ("[corpus.derived]\npercent = 20", "[corpus.derived]", "lacks kind"),
    "an unknown kind of derived corpus": (
        "[corpus.derived]\nkind = 'noise'",
        "Unknown corpus.derived.kind noise",
        "did you mean noised?",
    ),
    "no share of noise": ("[corpus.derived]\nkind = 'noised'", "kind noised", "percent from 1 to 100, not None"),
    "too much noise": ("[corpus.derived]\nkind = 'noised'\npercent = 101", "kind noised", "from 1 to 100, not 101"),
    "a negative seed of noise": (
        "[corpus.derived]\nkind = 'noised'\npercent = 20\nseed = -1",
        "seed -1",
        "give 0 or more",
    ),
    "no length": ("[corpus.derived]\nkind = 'truncated'\nlength = 0", "kind truncated", "at least 1, not 0"),
    "a key of another kind": (
        "[corpus.derived]\nkind = 'truncated'\nlength = 9\nseed = 2",
        "Key seed",
        "says nothing of truncated",
    ),
    "spans out of order": (
        "[corpus.derived]\nkind = 'in-context'\ntarget = 400",
        "long_from, short_from, target 100, 450, 400",
        "rise in this order",
    ),
    "a derived corpus that is no table": ("[corpus]\nderived = 'noised'", "[corpus.derived]", "must be a table"),
    "custom without a list": ("kinds = ['custom']", "custom", "write a [[custom]] table"),
    "custom as one table": ("[custom]\nmodel = 'a'", "custom", "[[custom]] for each comparison"),
    "custom without q": ("[[custom]]\nmodel = 'a'\nstep = 1", "number 1", "lacks model_q, step_q: add it"),
    "custom with an unknown key": (
        "[[custom]]\nmodel = 'a'\nstep = 1\nmodel_q = 'b'\nstep_p = 1",
        "Unknown key step_p in [[custom]] number 1",
        "did you mean step",
    ),
    "custom with one seed": (
        "[[custom]]\nmodel = 'a'\nstep = 1\nmodel_q = 'b'\nstep_q = 1\nseed_q = 2",
        "seed_q 2 and no seed",
        "give both, or neither",
    ),
    "custom with itself": (
        "[[custom]]\nmodel = 'a'\nstep = 1\nmodel_q = 'a'\nstep_q = 1",
        "compares a step 1 with itself",
        "change q",
    ),
    "a suite that is a number": ("suite = 3", "suite", "text, not 3"),
    "no TOML": ("steps = [1", "is no TOML file", "mend it"),
}


@pytest.mark.parametrize(("text", "what", "advice"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_one_sentence_naming_the_file(
    tmp_path: Path, text: str, what: str, advice: str
) -> None:
    file = study_file(tmp_path, text)
    with pytest.raises(BadStudy) as refusal:
        read_study(file)
    message = str(refusal.value)
    assert what in message
    assert advice in message
    assert str(file) in message
    assert "\n" not in message


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match="There is no study file"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(BadStudy, match="cannot be read"):
        read_study(tmp_path)
    (tmp_path / "latin.toml").write_bytes("name = 'caf\xe9'".encode("latin-1"))
    with pytest.raises(BadStudy, match="is no TOML file"):
        read_study(tmp_path / "latin.toml")


def test_options_take_the_place_of_keys_and_the_others_stay(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path, FULL))
    changed = study.with_options(
        models=("70m",),
        seeds=(),
        steps=(4, 2, 4),
        root=Path("elsewhere"),
        family=None,
        corpus_path=Path("other.txt"),
        corpus_split=None,
        protocol_window=128,
        references=(),
    )
    assert (changed.models, changed.seeds, changed.steps) == (("70m",), (0, 1, 2), (2, 4))
    assert (changed.root, changed.family) == (Path("elsewhere"), "toys")
    assert changed.corpus == CorpusSpec(Path("other.txt"), "prose", "none", "line", "CC0-1.0")
    assert changed.protocol == ProtocolSpec(window=128)
    assert changed.references == study.references
    assert study.with_options() == study


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("sede",)}, "Unknown kind sede in the options: did you mean seed?"),
        ({"suite": "folders"}, "did you mean folder?"),
        ({"corpus_eos": "never"}, "Unknown corpus.eos never in the options"),
        ({"protocol_window": 1}, "at least 2 tokens"),
    ],
)
def test_options_are_held_to_the_same(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadStudy) as refusal:
        Study("toys").with_options(**options)
    assert message in str(refusal.value)


def test_an_option_that_is_no_key_is_an_error_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="modles"):
        Study("toys").with_options(modles=("9m",))
