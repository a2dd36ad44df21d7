"""BLiMP as its authors publish it, the first pairs of all its paradigms, against transformers in double precision."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.blimp import save_models, shortened
from ingest.demo.recipe import TINY, Run
from ingest.study import CorpusSpec, ProtocolSpec, Study
from tests.contents import findings, frame
from tests.ingested import ingest
from warehouse.database import Database

PAIRS = 10
#: The small demo's models and tokenizer, with a context for every sentence.
RECIPE = replace(TINY, sequence_length=128, seeds=(0, 1))


@pytest.fixture
def archive(shared_data: Path, tmp_path: Path) -> Path:
    """The zip with the first pairs of each paradigm, and all else that is in it."""
    return shortened(shared_data / "blimp" / "BLiMP.zip", tmp_path / "BLiMP.zip", PAIRS)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """One random checkpoint of each run, whose head prefers some tokens."""
    return save_models(RECIPE, tmp_path / "models")


def by_transformers(checkpoint: Path, archive: Path) -> pd.DataFrame:
    """paradigm, category, item and margin of each pair, every sentence on its own after BOS."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()

    def log_probability(text: str) -> float:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert len(ids) <= RECIPE.sequence_length
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return sum(float(log_p[place, token]) for place, token in enumerate(ids[1:]))

    rows: list[dict[str, Any]] = []
    with zipfile.ZipFile(archive) as held:
        for name in held.namelist():
            if name.startswith("data/") and name.endswith(".jsonl"):
                for item, line in enumerate(held.read(name).decode().splitlines()):
                    pair = json.loads(line)
                    margin = log_probability(pair["sentence_good"]) - log_probability(pair["sentence_bad"])
                    names = {"paradigm": pair["UID"], "category": pair["linguistics_term"], "item": item}
                    rows.append({**names, "margin": margin})
    return pd.DataFrame(rows)


def test_every_paradigm_of_blimp_has_the_accuracy_that_transformers_gives(
    database: Database, archive: Path, checkpoints: Path
) -> None:
    study = Study(
        name="blimp",
        root=checkpoints,
        family="tiny",
        kinds=(),
        layers=(),
        references=(),
        corpus=CorpusSpec(archive, "blimp", items="blimp"),
        protocol=ProtocolSpec("documents", RECIPE.sequence_length),
    )
    ingest(database, study)
    assert findings(database) == {}
    for run in RECIPE.runs:
        expected = by_transformers(run.folder(checkpoints) / "step0", archive)
        assert expected["paradigm"].nunique() == 67
        assert len(expected) == 67 * PAIRS
        pairs = _of(database, "minimal_pairs", run, "paradigm, category, item, margin")
        columns = ["paradigm", "item"]
        pd.testing.assert_frame_equal(
            pairs.sort_values(columns, ignore_index=True)[expected.columns],
            expected.sort_values(columns, ignore_index=True),
            rtol=0,
            atol=1e-4,
            check_dtype=False,
        )
        accuracy = _of(database, "minimal_pair_accuracy", run, "paradigm, accuracy").set_index("paradigm")["accuracy"]
        wanted = (expected["margin"] > 0).groupby(expected["paradigm"]).mean()
        pd.testing.assert_series_equal(accuracy.sort_index(), wanted.sort_index(), check_names=False)
        assert 0.2 < np.mean(wanted) < 0.8


def _of(database: Database, view: str, run: Run, columns: str) -> pd.DataFrame:
    return frame(database, f"select {columns} from {view} where model = '{run.model}' and seed = {run.seed}")
