"""Items are written with their corpus or not at all, and a corpus keeps those it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs, save_corpus, save_tokenizer
from warehouse.items import Paradigm, Role, same_items

PAIRS = (
    Paradigm("a", "minimal_pairs", "odd", (Role(0, "good", 0), Role(0, "bad", 1))),
    Paradigm("b", "minimal_pairs", None, (Role(0, "good", 2), Role(0, "bad", 3))),
)


def save(connection: Connection, paradigms: tuple[Paradigm, ...], scored_from: int = 0) -> int:
    """A corpus of four documents of two tokens."""
    tokenizer_id = save_tokenizer(
        connection, name="t", sha256="t", length=1, bos_id=0, eos_id=0, pieces=[("a", b"a", False, False, False)]
    )
    spans: Any = {"char_start": 0, "char_end": 0, "byte_start": 0, "byte_end": 0, "scored_from": scored_from}
    columns = ("vocab_ids", "documents", "positions", "char_starts", "char_ends", "byte_starts", "byte_ends")
    return save_corpus(
        connection,
        name="c",
        tokenizer_id=tokenizer_id,
        text_sha256="x",
        token_sha256="x",
        eos_policy="none",
        source="here",
        licence=None,
        n_characters=0,
        n_bytes=0,
        documents=[{"name": f"d{i}", "first_token": 2 * i, "n_tokens": 2, **spans} for i in range(4)],
        tokens={column: np.zeros(8, np.int32) for column in columns},
        paradigms=paradigms,
    )


def test_items_are_found_by_paradigm_number_and_role(database: Database) -> None:
    query = """
    select paradigm.name, kind, category, item, role, document from warehouse.item
    inner join warehouse.paradigm using (paradigm_id) inner join warehouse.corpus
    on corpus.corpus_id = paradigm.corpus_id and corpus.corpus_id = item.corpus_id order by document
    """
    with database.engine().begin() as connection:
        corpus_id = save(connection, PAIRS)
        assert [tuple(row) for row in connection.execute(text(query))] == [
            ("a", "minimal_pairs", "odd", 0, "good", 0),
            ("a", "minimal_pairs", "odd", 0, "bad", 1),
            ("b", "minimal_pairs", None, 0, "good", 2),
            ("b", "minimal_pairs", None, 0, "bad", 3),
        ]
        assert same_items(connection, corpus_id, PAIRS)
        assert not same_items(connection, corpus_id, PAIRS[:1])
        assert save(connection, PAIRS[::-1]) == corpus_id


@pytest.mark.parametrize(
    ("paradigms", "scored_from", "said"),
    [
        ((), 0, "other items"),
        (PAIRS[:1], 0, "other items"),
        ((*PAIRS[:1], Paradigm("b", "options", None, PAIRS[1].roles)), 0, "other items"),
        ((*PAIRS[:1], Paradigm("b", "minimal_pairs", "odd", PAIRS[1].roles)), 0, "other items"),
        ((*PAIRS[:1], Paradigm("b", "minimal_pairs", None, PAIRS[1].roles[::-1][:1])), 0, "other items"),
        (PAIRS, 1, "other documents"),
    ],
)
def test_a_corpus_with_other_items_under_its_name_is_refused(
    database: Database, paradigms: tuple[Paradigm, ...], scored_from: int, said: str
) -> None:
    with database.engine().begin() as connection:
        save(connection, PAIRS)
        with pytest.raises(ConflictingInputs, match=said):
            save(connection, paradigms, scored_from)


def test_items_that_cannot_be_written_leave_no_corpus_behind(database: Database) -> None:
    broken = (*PAIRS[:1], Paradigm("b", "minimal_pairs", None, (Role(0, "good", 7),)))
    with pytest.raises(ForeignKeyViolation), database.engine().begin() as connection:
        save(connection, broken)
    with pytest.raises(IntegrityError), database.engine().begin() as connection:
        save(connection, (*PAIRS[:1], *PAIRS[:1]))
    with database.engine().begin() as connection:
        for table in ("corpus", "document", "paradigm", "item", "token_chunk"):
            assert connection.execute(text(f"select count(*) from warehouse.{table}")).scalar_one() == 0
