"""Manifests: every key is explained, the documented example is one, and pairs find their kinds."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from itertools import product

import pytest

from ingest.plan import Cell, Grid, contrasts
from tests.documents import ROOT, blocks
from warehouse.importing.kinds import kinds, steps_by_model
from warehouse.importing.manifest import Checkpoint, Manifest, Positions, parse_manifest

DOCUMENT = ROOT / "docs" / "imports.md"


def test_the_documented_manifest_says_what_the_document_says() -> None:
    (block,) = [block for block in blocks("toml") if block.document == DOCUMENT]
    manifest = parse_manifest(tomllib.loads(block.code), where="the document")
    assert manifest.positions == Positions(0, 2048)
    assert manifest.files is not None
    assert manifest.rows is not None
    files = list(manifest.files.checkpoints("pythia-deduped", manifest.seed))
    rows = list(manifest.rows.checkpoints("pythia-deduped", manifest.seed))
    assert (len(files), len(rows)) == (9, 36)
    assert rows[9] == Checkpoint("pythia-deduped", "160m", 0, 128), "model by model, step by step"


def test_every_key_of_a_manifest_is_explained() -> None:
    text = DOCUMENT.read_text("utf-8")
    keys = {entry.name for entry in fields(Manifest)}
    tables = {"files": "`[files]`", "rows": "`[rows]`", "row": "`[[row]]`", "columns": "`[columns]`"}
    tables["constants"] = "`[constants]`"
    assert {key for key in keys if tables.get(key, f"`{key}`") not in text} == set()


@pytest.mark.parametrize("steps", [(0, 1), (0, 8, 64, 512)])
def test_a_pair_is_of_the_kinds_that_a_study_would_give_it(steps: tuple[int, ...]) -> None:
    seeds = (0, 1, 2)
    cells = [Cell("m", seed, step) for seed in seeds for step in steps]
    grid = Grid("m", seeds, steps, {})
    wanted: dict[tuple[Cell, Cell], set[str]] = {}
    for contrast in contrasts(("seed", "step", "step_reverse", "final", "final_reverse"), [grid]):
        for pair in contrast.pairs:
            wanted.setdefault(pair, set()).add(contrast.kind)
    for p, q in product(cells, cells):
        if p != q:
            found = kinds(Checkpoint("f", *p), Checkpoint("f", *q), steps)
            assert set(found) == wanted.get((p, q), {"custom"}), (p, q)


def test_pairs_of_two_models_or_of_unlisted_steps_are_custom() -> None:
    one, other = Checkpoint("f", "m", 0, 8), Checkpoint("g", "m", 0, 8)
    assert kinds(one, other, (8,)) == ["custom"]
    assert kinds(one, one._replace(step=16), (8, 64)) == ["custom"]


def test_steps_are_those_of_each_model_unless_they_are_listed() -> None:
    found = [Checkpoint("f", "a", 0, 8), Checkpoint("f", "a", 1, 0), Checkpoint("f", "b", 0, 4)]
    assert steps_by_model(found) == {("f", "a"): (0, 8), ("f", "b"): (4,)}
    assert steps_by_model(found, [64, 8]) == {("f", "a"): (8, 64), ("f", "b"): (8, 64)}
