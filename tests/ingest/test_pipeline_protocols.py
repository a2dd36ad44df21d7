"""Window policies and top entries by the whole way, against float64 recomputed from the saved checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from ingest.study import ProtocolSpec, Study
from tests import float64
from tests.contents import findings
from tests.ingested import ingest, reads_counted, rows
from tests.models import EOS_ID
from tests.oracle import V, assert_close
from warehouse.database import Database

CELL, WINDOW = ("small", 2, 4), 12


def measured(database: Database, study: Study, columns: str, protocol: ProtocolSpec) -> list[tuple[Any, ...]]:
    """Rows of view token_score for one checkpoint under a protocol, over tokens."""
    query = f"""
    select {columns} from analysis.token_score
    where model = %s and seed = %s and step = %s and protocol = %s order by token_id
    """
    ingest(database, replace(study, steps=(0, 4), protocol=protocol))
    assert findings(database) == {}
    return rows(database, query, *CELL, protocol.name)


def folder_of(study: Study) -> Path:
    assert study.root is not None
    return study.root / CELL[0] / f"seed{CELL[1]}" / f"step{CELL[2]}"


def documents_of(database: Database) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for document, vocab_id in rows(database, "select document, vocab_id from analysis.tokens order by token_id"):
        found.setdefault(document, []).append(vocab_id)
    return [found[document] for document in sorted(found)]


def test_documents_are_sequences_of_their_own(database: Database, study: Study) -> None:
    stored = measured(database, study, "surprisal, context_length", ProtocolSpec("documents", WINDOW))
    expected, contexts = [], []
    for ids in documents_of(database):
        log_p = float64.log_softmax(float64.logits(folder_of(study), [EOS_ID, *ids], WINDOW)[:, :V])
        expected += (-log_p[np.arange(len(ids)), ids]).tolist()
        starts = [next(s for s in range(0, t, WINDOW // 2) if t - 1 < s + WINDOW) for t in range(1, len(ids) + 1)]
        contexts += [t - start for t, start in enumerate(starts, 1)]
    assert max(map(len, documents_of(database))) > WINDOW
    assert_close(np.array([row[0] for row in stored]), np.array(expected))
    assert [row[1] for row in stored] == contexts


@pytest.mark.parametrize("bos", [True, False])
def test_truncated_contexts_are_the_last_tokens_with_or_without_bos(
    database: Database, study: Study, bos: bool
) -> None:
    stored = measured(database, study, "surprisal, context_length", ProtocolSpec("truncated", WINDOW, bos))
    model = AutoModelForCausalLM.from_pretrained(folder_of(study), dtype=torch.float64, attn_implementation="eager")
    ids = [vocab_id for document in documents_of(database) for vocab_id in document]
    expected = []
    for t in range(len(ids)):
        before = [EOS_ID, *ids[:t]]
        context = before if len(before) <= WINDOW else [EOS_ID] * bos + before[-(WINDOW - bos) :]
        assert len(context) == min(t + 1, WINDOW)
        with torch.no_grad():
            log_p = model(torch.tensor([context])).logits[0, -1, :V].log_softmax(-1)
        expected.append(-float(log_p[ids[t]]))
    assert_close(np.array([row[0] for row in stored]), np.array(expected))
    assert [row[1] for row in stored] == [min(t + 1, WINDOW) for t in range(len(ids))]


def test_top_entries_are_those_of_float64_and_are_fetched_when_wanted_later(database: Database, study: Study) -> None:
    study = replace(study, steps=(0, 4), protocol=ProtocolSpec(window=WINDOW))
    ingest(database, study)
    assert rows(database, "select count(*) from analysis.token_top") == [(0,)]
    with reads_counted() as read:
        ingest(database, replace(study, top_k=3))
    assert sorted(read) == sorted(("small", seed, step) for seed in (0, 1, 2) for step in (0, 4))
    assert findings(database) == {}
    query = """
    select vocab_id, log_probability from analysis.token_top
    where model = %s and seed = %s and step = %s order by token_id, place
    """
    top_ids, log_probabilities = (
        np.array(column).reshape(-1, 3) for column in zip(*rows(database, query, *CELL), strict=True)
    )
    ids = [EOS_ID, *(vocab_id for document in documents_of(database) for vocab_id in document)]
    log_p = float64.log_softmax(float64.logits(folder_of(study), ids, WINDOW)[:, :V])
    best = -np.sort(-log_p, 1)[:, :3]
    assert_close(log_probabilities, best)
    # Where two are equally probable to rounding either may come first.
    assert np.abs(np.take_along_axis(log_p, top_ids, 1) - best).max() < 1e-5
    with reads_counted() as read:
        ingest(database, replace(study, top_k=2))
    assert read == []
