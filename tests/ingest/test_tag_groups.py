"""Groups of part-of-speech tags: the files that ship, and the layers that are made from them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest import tag_groups as tag_groups_module
from ingest.setting import BUILT_IN
from ingest.tag_groups import GROUPED, grouped, shipped_groups, tag_groups
from warehouse.layer import Category, Layer, context_of


def layer_of(*values: str | None) -> Layer:
    """A layer of tags with these values, token by token."""
    names = sorted({value for value in values if value is not None})
    codes = np.array([-1 if value is None else names.index(value) for value in values], np.int32)
    return Layer("pos", "categorical", tuple(map(Category, names)), codes, None, "by hand", "tags")


def test_values_become_their_groups_in_the_order_of_the_groups():
    tags = layer_of("NN", "UNK", None, "VBP", "DT", "NNS")
    made = grouped(
        tags, {"VBP": "verb", "NN": "noun", "NNS": "noun", "XX": "nowhere"}, name="g", source="s", description="d"
    )
    assert made.values() == ["noun", None, None, "verb", None, "noun"]
    assert [category.value for category in made.categories] == ["verb", "noun"]
    assert made.codes.dtype == np.int32


def test_a_category_that_no_token_has_brings_no_group():
    tags = replace(layer_of("NN"), categories=(Category("NN"), Category("VB")))
    made = grouped(tags, {"VB": "verb", "NN": "noun"}, name="g", source="s", description="d")
    assert [category.value for category in made.categories] == ["noun"]
    assert made.values() == ["noun"]


def test_a_layer_without_a_grouped_value_has_no_categories_and_neither_has_its_twin():
    made = grouped(layer_of("UNK", None), {"NN": "noun"}, name="g", source="s", description="d")
    assert (made.values(), made.categories) == ([None, None], ())
    assert context_of(made).categories == ()


def test_universal_tags_are_those_of_nltks_map(shared_data: Path):
    lines = (shared_data / "nltk_data/taggers/universal_tagset/en-ptb.map").read_text("utf-8").splitlines()
    published = dict(line.split("\t") for line in lines)
    ours = shipped_groups("pos_universal.csv")
    assert {tag: published[tag] for tag in ours} == ours
    assert set(ours.values()) == set(published.values())


def test_every_tag_of_the_tagger_has_a_universal_tag(shared_data: Path):
    classes = (shared_data / "nltk_data/taggers/averaged_perceptron_tagger_eng").glob("*classes.json")
    [file] = classes
    assert set(json.loads(file.read_text("utf-8"))) <= set(shipped_groups("pos_universal.csv"))


def test_groups_are_those_of_the_study_with_vbp_among_the_verbs():
    groups = shipped_groups("pos_group.csv")
    by_group = {group: {tag for tag, own in groups.items() if own == group} for group in groups.values()}
    assert by_group["noun"] == {"NN", "NNS", "NNP", "NNPS"}
    assert by_group["verb"] == {"VB", "VBG", "VBN", "VBD", "VBZ", "VBP"}
    assert by_group["function word"] >= {"DT", "IN", "CC", "TO", "PRP", "MD", "WDT"}
    assert set(by_group) == {"noun", "verb", "function word"}


@pytest.mark.parametrize("name", [file for file, _ in GROUPED.values()])
def test_a_shipped_file_names_no_tag_twice(name: str):
    file = Path(tag_groups_module.__file__).parent / "words" / name
    with file.open(encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines))
    tags = [row["value"] for row in table]
    assert len(tags) == len(set(tags)) == len(shipped_groups(name))
    assert all(row["value"] and row["group"] for row in table)


def test_layers_of_groups_are_built_in_and_say_what_they_come_from():
    tags = layer_of("NN", "VBP", "IN", "JJ", ",", "UNK")
    assert tag_groups(tags, "pos.group").values() == ["noun", "verb", "function word", None, None, None]
    universal = tag_groups(tags, "pos.universal")
    assert universal.values() == ["NOUN", "VERB", "ADP", "ADJ", ".", None]
    assert universal.source == "by hand; pos_universal.csv"
    assert {name + twin for name in GROUPED for twin in ("", ".context")} <= set(BUILT_IN)
