"""Groups of part-of-speech tags: the files that ship with the package, and a layer made from one.

A group is a row of a file, not code. Knows layers and nothing of corpora or the database.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from warehouse.layer import NO_VALUE, Category, Layer, present_values

#: The layers that come from another one's values: the layer, the file of the package, and what it says of a token.
GROUPED = {
    "pos.universal": ("pos_universal.csv", "universal part of speech (Petrov et al. 2012)"),
    "pos.group": ("pos_group.csv", "noun, verb (VBP is one) or function word"),
}


@cache
def shipped_groups(name: str) -> Mapping[str, str]:
    """The group of each tag, in the order of the file, from one that ships with the package; see `GROUPED`."""
    text = (files("ingest") / "words" / name).read_text(encoding="utf-8")
    return {row["value"]: row["group"] for row in csv.DictReader(text.splitlines())}


def tag_groups(tagged: Layer, name: str) -> Layer:
    """The layer pos.universal or pos.group, from the layer of the tags; its source names both."""
    file, description = GROUPED[name]
    source = f"{tagged.source}; {file}"
    return grouped(tagged, shipped_groups(file), name=name, source=source, description=description)


def grouped(layer: Layer, groups: Mapping[str, str], *, name: str, source: str, description: str) -> Layer:
    """A layer whose values are the groups of another's values, in the order in which `groups` first names them.

    Tokens whose value has no group have no value; groups that no token is in are left out.
    """
    names = list(dict.fromkeys(groups.values()))
    codes = [names.index(groups[c.value]) if c.value in groups else NO_VALUE for c in layer.categories]
    of_code = np.array([*codes, NO_VALUE], np.int32)  # the last one is for the code -1
    categories, dense = present_values([Category(name) for name in names], of_code[layer.codes])
    return Layer(
        name=name,
        kind="categorical",
        categories=categories,
        codes=dense,
        numbers=None,
        source=source,
        description=description,
    )
