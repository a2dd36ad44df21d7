"""Fixtures of whole ingestions: a small study, what one run of it leaves, and a study file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingest.study import Study
from tests.contents import assert_same, contents, findings
from tests.ingested import SMALL_SEEDS, SMALL_STEPS, Ingested, documents, ingest, save_models, study_of, write_documents
from warehouse.database import Database


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One small model of three seeds and three steps, on ten short documents."""
    folder = tmp_path_factory.mktemp("small")
    text = write_documents(folder / "short.jsonl", documents(words=8))
    return study_of(save_models(folder / "models", ["small"], (0, 1, 2, 3), (0, 1, 2, 4, 8)), text, family="small")


@pytest.fixture(scope="session")
def from_scratch(small_study: Study) -> dict[tuple[Any, ...], dict[str, pd.DataFrame]]:
    """Contents after one run, by seeds, steps and kinds; filled as they are asked for."""
    return {}


@pytest.fixture
def study(small_study: Study) -> Study:
    return replace(small_study, seeds=SMALL_SEEDS, steps=SMALL_STEPS)


@pytest.fixture
def expect(from_scratch: dict[Any, Any], database: Database, other_database: Database) -> Any:
    """Asserts that a database holds what one run of a study puts into another."""

    def same(study: Study) -> None:
        key = (study.seeds, study.steps, study.kinds)
        if key not in from_scratch:
            ingest(other_database, study)
            from_scratch[key] = contents(other_database)
        assert_same(contents(database), from_scratch[key])
        assert findings(database) == {}

    return same


@pytest.fixture
def study_file(ingested: Ingested, tmp_path: Path) -> Path:
    """The study of the ingested models as a user would write it."""
    study = ingested.study
    assert study.corpus.path is not None
    file = tmp_path / "letters.toml"
    layers = ", ".join(f'"{layer}"' for layer in study.layers)
    file.write_text(
        f'root = "{study.root}"\nfamily = "tiny"\nlayers = [{layers}]\n'
        f'[corpus]\npath = "{study.corpus.path}"\nname = "letters"\n'
        f"[protocol]\nwindow = {study.protocol.window}\n"
        f'[references.unigram]\ntext = "{study.corpus.path}"\n'
    )
    return file
