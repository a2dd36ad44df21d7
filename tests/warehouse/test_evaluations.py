"""Evaluations are immutable units: whole or absent, loaded once, and never mixed with those of other inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from tests.contents import findings, frame
from tests.queries.measured import Measured, evaluation_ids, measure
from warehouse import dimensions
from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs
from warehouse.evaluations import Evaluation, load_evaluation, read_scores
from warehouse.summaries import score_rows
from warehouse.values import CorpusValues

MEMBER = ("small", 1, 16)


@pytest.fixture
def measured(database: Database) -> Measured:
    """One model of three seeds and two steps, all of it loaded."""
    return measure(database, models=("small",), steps=(0, 16))


def unit_of(connection: Connection, measured: Measured) -> Evaluation:
    """The evaluation of MEMBER as it was loaded."""
    return Evaluation(
        evaluation_id=evaluation_ids(connection, measured)[MEMBER],
        input_digest=f"digest of {MEMBER}",
        environment_id=measured.environment_id,
        window=64,
        seconds=0.5,
        anisotropy=0.1,
        scores={**measured.scores[MEMBER], "pad_logmass": None},
        references={measured.reference_id: measured.references[MEMBER]},
    )


def everything(database: Database) -> list[Any]:
    """Every row of an evaluation, with the transaction that wrote it."""
    tables = (
        *("evaluation", "score_chunk", "score_summary", "reference_evaluation", "reference_chunk"),
        *("document_score_chunk", "paradigm_score", "paradigm_divergence"),
    )
    queries = (f"select xmin::text, t.* from warehouse.{table} as t order by t::text" for table in tables)
    return [frame(database, query).astype(str).to_numpy().tolist() for query in queries]


def test_loading_twice_is_a_no_op(measured: Measured) -> None:
    before = everything(measured.database)
    with measured.database.engine().begin() as connection:
        assert load_evaluation(connection, unit_of(connection, measured), CorpusValues(measured.corpus_id)) is False
    assert everything(measured.database) == before


def test_other_inputs_are_refused_naming_both(measured: Measured) -> None:
    before = everything(measured.database)
    with measured.database.engine().begin() as connection:
        other = replace(unit_of(connection, measured), input_digest="0123456789abcdef")
        with pytest.raises(ConflictingInputs) as refusal:
            load_evaluation(connection, other, CorpusValues(measured.corpus_id))
    assert "Checkpoint small seed 1 step 16 on corpus prose was measured from other inputs" in str(refusal.value)
    assert "digest of (" in str(refusal.value)
    assert "0123456789ab" in str(refusal.value)
    assert everything(measured.database) == before


def test_a_reference_added_later_leaves_the_scores_alone(measured: Measured) -> None:
    before = everything(measured.database)
    kl = np.linspace(0, 3, len(measured.documents), dtype=np.float32)
    with measured.database.engine().begin() as connection:
        tokenizer = frame(measured.database, "select tokenizer_id from warehouse.tokenizer").iloc[0, 0]
        counts = np.arange(40, dtype=np.float64)
        reference_id = dimensions.save_reference(
            connection,
            name="another",
            tokenizer_id=int(tokenizer),
            counts=counts,
            entropy=1.0,
            smoothing="add-one",
            source="made up",
            sha256="s" * 64,
        )
        unit = replace(unit_of(connection, measured), references={reference_id: kl})
        assert load_evaluation(connection, unit, CorpusValues(measured.corpus_id)) is False
    after = everything(measured.database)
    assert after[:3] + after[5:] == before[:3] + before[5:]
    held = frame(
        measured.database, "select kl_reference from analysis.reference_divergence where reference = 'another'"
    )
    assert held["kl_reference"].tolist() == pytest.approx([kl.astype(np.float64).mean()])
    assert findings(measured.database) == {}


def test_a_unit_whose_transaction_is_lost_leaves_nothing(measured: Measured) -> None:
    with measured.database.connect() as plain:
        evaluation_id = frame(
            measured.database, "select evaluation_id from analysis.evaluations where seed = 1 and step = 16"
        ).iloc[0, 0]
        tables = ("score_chunk", "score_summary", "document_score_chunk", "reference_chunk", "reference_evaluation")
        for table in (*tables, "paradigm_score"):
            plain.execute(f"delete from warehouse.{table} where evaluation_id = {evaluation_id}".encode())
        plain.execute(
            f"delete from warehouse.paradigm_divergence where {evaluation_id} in (evaluation_p, evaluation_q)".encode()
        )
        plain.execute(
            "update warehouse.evaluation set status = 'planned', input_digest = null where evaluation_id = %s",
            [int(evaluation_id)],
        )
    before = everything(measured.database)
    with measured.database.engine().connect() as connection:
        assert load_evaluation(connection, unit_of(connection, measured), CorpusValues(measured.corpus_id)) is True
        assert everything(measured.database) == before  # seen from another session
        connection.rollback()
    assert everything(measured.database) == before
    with measured.database.engine().begin() as connection:
        assert load_evaluation(connection, unit_of(connection, measured), CorpusValues(measured.corpus_id)) is True
    stored = frame(
        measured.database,
        'select mean_surprisal, "window", anisotropy from analysis.evaluations where seed = 1 and step = 16',
    )
    mean = measured.scores[MEMBER]["surprisal"].astype(np.float64).mean()
    assert stored.to_numpy().tolist() == [[pytest.approx(mean), 64, 0.1]]


def test_scores_are_read_back_as_they_were_loaded(measured: Measured) -> None:
    with measured.database.engine().connect() as connection:
        identity = evaluation_ids(connection, measured)[MEMBER]
        back = read_scores(connection, identity, ("surprisal", "top_vocab_id"))
    for name, values in back.items():
        np.testing.assert_array_equal(values, measured.scores[MEMBER][name])


def test_summaries_are_those_of_the_layers_of_the_model(measured: Measured) -> None:
    database = measured.database
    with database.engine().connect() as connection:
        values = CorpusValues(measured.corpus_id)
        model = int(frame(database, "select model_id from warehouse.model").iloc[0, 0])
        scores = measured.scores[MEMBER]
        expected = [
            row
            for layer in values.layers(connection, model)
            for row in score_rows(
                scores["surprisal"], scores["entropy"], scores["rank"], layer, values.clusters(connection)
            )
        ]
        identity = evaluation_ids(connection, measured)[MEMBER]
    stored = frame(database, "select * from warehouse.score_summary where evaluation_id = %s", identity)
    assert len(stored) == len(expected) == 1 + 6 + 2
    for row in expected:
        own = stored[(stored["layer_id"] == row["layer_id"]) & (stored["category_id"] == row["category_id"])]
        assert own[list(row)].iloc[0].to_dict() == row
