"""Items and documents without BOS by the whole way, against float64 recomputed from the saved checkpoints."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.derived_spec import DerivedSpec
from ingest.setting import ContextTooShort, UnknownLayer
from ingest.study import CorpusSpec, ProtocolSpec, Study
from tests import float64
from tests.contents import findings
from tests.ingested import WORDS, ingest, rows
from tests.models import EOS_ID, tokenizer
from tests.oracle import V, assert_close
from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs

CELL, WINDOW = ("small", 2, 4), 12


def sentences(count: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS.split(), k=draw.randrange(2, 12))) for _ in range(count)]


def items_study(study: Study, path: Path, form: Any, records: Iterable[Any], **protocol: Any) -> Study:
    """The small study on items, scores only."""
    path.write_text("\n".join(json.dumps(record) for record in records), "utf-8")
    return replace(
        study,
        steps=(0, 4),
        kinds=(),
        layers=(),
        references=(),
        corpus=CorpusSpec(path, "items", items=form),
        protocol=ProtocolSpec("documents", WINDOW, **protocol),
    )


def folder_of(study: Study, cell: tuple[str, int, int] = CELL) -> Path:
    assert study.root is not None
    return study.root / cell[0] / f"seed{cell[1]}" / f"step{cell[2]}"


def surprisals(study: Study, ids: list[int], *, bos: bool = True) -> list[float]:
    """Of each id of a document, the first excepted where there is no BOS."""
    sequence = [EOS_ID, *ids] if bos else ids
    if len(sequence) < 2:
        return []
    log_p = float64.log_softmax(float64.logits(folder_of(study), sequence, WINDOW)[:, :V])
    return (-log_p[np.arange(len(sequence) - 1), sequence[1:]]).tolist()


def surprisal_of(study: Study, text: str, *, context: int = 0) -> float:
    """Of a text after its first ids."""
    return sum(surprisals(study, tokenizer().encode(text).ids)[context:])


def test_pairs_are_scored_as_sentences_of_their_own_long_ones_in_windows(
    database: Database, study: Study, tmp_path: Path
) -> None:
    pairs = [
        {"good": good, "bad": bad, "paradigm": "ab"[n % 2], "category": "odd"}
        for n, (good, bad) in enumerate(zip(sentences(40), sentences(40, seed=2), strict=True))
    ]
    wanted = items_study(study, tmp_path / "pairs.jsonl", "pairs", pairs)
    assert max(len(tokenizer().encode(pair["good"]).ids) for pair in pairs) > WINDOW
    ingest(database, wanted)
    assert findings(database) == {}
    margins = [surprisal_of(wanted, pair["bad"]) - surprisal_of(wanted, pair["good"]) for pair in pairs]
    where = "model = %s and seed = %s and step = %s"
    stored = rows(
        database, f"select paradigm, item, margin from analysis.minimal_pairs where {where} order by 1, 2", *CELL
    )
    assert [row[:2] for row in stored] == [(name, n) for name in "ab" for n in range(20)]
    assert_close(np.array([row[2] for row in stored]), np.array([*margins[0::2], *margins[1::2]]))
    accuracy = rows(
        database,
        f"select paradigm, category, accuracy from analysis.minimal_pair_accuracy where {where} order by 1",
        *CELL,
    )
    assert accuracy == [
        ("a", "odd", np.mean(np.array(margins[0::2]) > 0)),
        ("b", "odd", np.mean(np.array(margins[1::2]) > 0)),
    ]
    assert 0 < np.mean(np.array(margins) > 0) < 1
    assert rows(database, "select layer from analysis.annotation_layers") == []


def test_the_same_items_again_measure_nothing_and_others_under_their_name_are_refused(
    database: Database, study: Study, tmp_path: Path
) -> None:
    pairs = [{"good": good, "bad": bad} for good, bad in zip(sentences(3), sentences(3, seed=2), strict=True)]
    wanted = items_study(study, tmp_path / "pairs.jsonl", "pairs", pairs)
    assert ingest(database, wanted).outcome.evaluations == 6
    assert ingest(database, wanted).outcome.evaluations == 0
    options = [{"options": [pair["good"], pair["bad"]], "correct": 0} for pair in pairs]
    with pytest.raises(ConflictingInputs, match="with other items"):
        ingest(database, items_study(study, tmp_path / "pairs.jsonl", "options", options))
    spans = [{"spans": {"good": pair["good"], "bad": pair["bad"]}} for pair in pairs]
    with pytest.raises(ConflictingInputs, match="with other items"):
        ingest(database, items_study(study, tmp_path / "pairs.jsonl", "spans", spans))
    with pytest.raises(UnknownLayer):
        ingest(database, replace(wanted, layers=("colour",)))


def test_options_are_scored_after_their_question(database: Database, study: Study, tmp_path: Path) -> None:
    questions = [
        {"context": context, "options": options, "correct": n % 3}
        for n, (context, *options) in enumerate(zip(*(sentences(9, seed) for seed in range(4)), strict=True))
    ]
    wanted = items_study(study, tmp_path / "options.jsonl", "options", questions)
    ingest(database, wanted)
    assert findings(database) == {}
    scores: dict[bool, list[float]] = {True: [], False: []}
    counts, right = {True: 0, False: 0}, 0
    for question in questions:
        own = []
        for n, option in enumerate(question["options"]):
            text = f"{question['context']} {option}"
            border = [end > len(question["context"]) for _, end in tokenizer().encode(text).offsets].index(True)
            own.append(surprisal_of(wanted, text, context=border))
            scores[n == question["correct"]].append(own[-1])
            counts[n == question["correct"]] += len(tokenizer().encode(text).ids) - border
        right += min(own) == own[question["correct"]]
    columns = "perplexity_correct, perplexity_incorrect, n_tokens_correct, n_tokens_incorrect, accuracy"
    where = "model = %s and seed = %s and step = %s"
    (stored,) = rows(database, f"select {columns} from analysis.option_perplexity where {where}", *CELL)
    expected = [exp(sum(scores[correct]) / counts[correct]) for correct in (True, False)]
    assert_close(np.array(stored[:2]), np.array(expected))
    assert stored[2:4] == (counts[True], counts[False])
    assert stored[4] == right / 9


def test_without_bos_the_first_token_of_a_document_is_null_and_no_part_of_any_mean(
    database: Database, study: Study
) -> None:
    wanted = replace(
        study, steps=(0, 4), kinds=("seed", "final"), protocol=ProtocolSpec("documents", WINDOW, bos=False), top_k=2
    )
    ingest(database, wanted)
    assert findings(database) == {}
    documents: dict[int, list[int]] = {}
    for document, vocab_id in rows(database, "select document, vocab_id from analysis.tokens order by token_id"):
        documents.setdefault(document, []).append(vocab_id)
    expected = [[float("nan"), *surprisals(wanted, ids, bos=False)] for _, ids in sorted(documents.items())]
    columns = "surprisal, entropy, rank, top_vocab_id, eos_logmass, tokens.position, context_length"
    where = "where model = %s and seed = %s and step = %s"
    view = "analysis.token_score inner join analysis.tokens using (token_id)"
    stored = rows(database, f"select {columns} from {view} {where} order by token_id", *CELL)
    flat = np.array([x for own in expected for x in own])
    first = np.isnan(flat)
    assert [row[0] is None for row in stored] == first.tolist()
    assert_close(np.array([row[0] for row in stored], float)[~first], flat[~first])
    assert all(row[:5] == (None,) * 5 for row, is_first in zip(stored, first, strict=True) if is_first)
    assert all(None not in row[:5] for row, is_first in zip(stored, first, strict=True) if not is_first)
    assert [row[6] for row in stored if row[5] < WINDOW] == [row[5] for row in stored if row[5] < WINDOW]
    for table, column in [("divergence_chunk", "kl"), ("convergence_chunk", "kl"), ("reference_chunk", "kl")]:
        query = f"""
        select bool_and((x is null) = (256 * chunk_id + n - 1 = any(%s)))
        from warehouse.{table}, unnest({column}) with ordinality as t (x, n)
        """
        gaps = rows(database, query, np.flatnonzero(first).tolist())
        assert gaps == [(True,)], table
    query = (
        f"select mean_surprisal from analysis.checkpoints inner join warehouse.evaluation using (checkpoint_id) {where}"
    )
    (mean,) = rows(database, query, *CELL)
    assert_close(np.array(mean), np.array([flat[~first].mean()]))
    (counts,) = rows(database, "select min(n_tokens), max(n_tokens) from analysis.expected_convergence")
    assert counts == ((~first).sum(), (~first).sum())


def test_the_gain_of_a_long_context_is_that_of_the_plain_model(database: Database, study: Study) -> None:
    spans = DerivedSpec("in-context", target=20, short_from=16, long_from=10)
    wanted = replace(
        study,
        steps=(0, 4),
        kinds=(),
        layers=(),
        references=(),
        corpus=replace(study.corpus, derived=spans),
        protocol=ProtocolSpec("documents", WINDOW, bos=False),
    )
    ingest(database, wanted)
    assert findings(database) == {}
    assert study.corpus.path is not None
    gains = []
    for line in study.corpus.path.read_text("utf-8").splitlines():
        ids = tokenizer().encode(json.loads(line)["text"]).ids
        for start in range(0, len(ids) - 19, 20):
            stretch = ids[start : start + 20]
            short, long = (surprisals(wanted, stretch[begin - 1 :], bos=False)[-1] for begin in (16, 10))
            gains.append(short - long)
    where = "model = %s and seed = %s and step = %s"
    columns = "n_items, score, se_score"
    (stored,) = rows(database, f"select {columns} from analysis.in_context_learning_score where {where}", *CELL)
    assert stored[0] == len(gains) > 5
    assert_close(np.array(stored[1:]), np.array([np.mean(gains), np.std(gains, ddof=1) / len(gains) ** 0.5]))
    derived = rows(
        database,
        "select c.name, c.derivation, b.name from warehouse.corpus as c inner join warehouse.corpus as b "
        "on b.corpus_id = c.derived_from",
    )
    name = f"{study.corpus.name}-in-context-20-16-10"
    assert derived == [
        (name, {"kind": "in-context", "target": 20, "short_from": 16, "long_from": 10}, study.corpus.name)
    ]


def test_spans_longer_than_a_model_sees_end_the_run_and_condemn_no_checkpoint(database: Database, study: Study) -> None:
    spans = DerivedSpec("in-context", target=30, short_from=20, long_from=1)
    protocol = ProtocolSpec("documents", 28, bos=False)
    wanted = replace(study, steps=(0,), kinds=(), corpus=replace(study.corpus, derived=spans), protocol=protocol)
    with pytest.raises(ContextTooShort, match="have 29 tokens before their target, and small sees 28"):
        ingest(database, wanted)
    assert rows(database, "select distinct status from warehouse.checkpoint") == [(None,)]
    assert ingest(database, replace(wanted, protocol=replace(protocol, window=29))).outcome.evaluations == 3


def test_a_noised_corpus_stands_beside_its_text(database: Database, study: Study) -> None:
    small = replace(study, steps=(0, 4), kinds=(), layers=("word_class",), references=())
    ingest(database, small)
    noise = DerivedSpec("noised", percent=40, seed=1)
    ingest(database, replace(small, corpus=replace(small.corpus, derived=noise)))
    assert findings(database) == {}
    name = study.corpus.name
    means = dict(rows(database, "select corpus, avg(surprisal) from analysis.expected_surprisal group by 1"))
    assert set(means) == {name, f"{name}-noised-40-seed-1"}
    values = rows(database, "select corpus, value, n_tokens from analysis.conditional_surprisal where step = 4 "
                  "and seed = 0 and layer = 'word_class' order by 1, 2")  # fmt: skip
    # A replaced token keeps the place, and so the word class, of the one it replaces.
    half = len(values) // 2
    assert [row[1:] for row in values[:half]] == [row[1:] for row in values[half:]]
