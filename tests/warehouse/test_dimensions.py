"""Dimensions: a name stands for one thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs, save_corpus, save_tokenizer


def _corpus(connection: Connection, lengths: list[int], token_sha256: str = "same") -> int:
    tokenizer_id = save_tokenizer(
        connection, name="t", sha256="t", length=1, bos_id=0, eos_id=0, pieces=[("a", b"a", False, False, False)]
    )
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
    spans: Any = {"char_start": 0, "char_end": 0, "byte_start": 0, "byte_end": 0}
    columns = ("vocab_ids", "documents", "positions", "char_starts", "char_ends", "byte_starts", "byte_ends")
    return save_corpus(
        connection,
        name="c",
        tokenizer_id=tokenizer_id,
        text_sha256="x",
        token_sha256=token_sha256,
        eos_policy="none",
        source="here",
        licence=None,
        n_characters=0,
        n_bytes=0,
        documents=[
            {"name": f"d{i}", "first_token": start, "n_tokens": length, **spans}
            for i, (start, length) in enumerate(zip(starts, lengths, strict=True))
        ],
        tokens={column: np.zeros(sum(lengths), np.int32) for column in columns},
    )


def test_the_same_corpus_is_found_again(database: Database) -> None:
    with database.engine().begin() as connection:
        assert _corpus(connection, [2, 3]) == _corpus(connection, [2, 3])


@pytest.mark.parametrize(
    ("lengths", "sha256", "words"), [([3, 2], "same", "other documents"), ([2, 3], "b", "other tokens")]
)
def test_another_text_under_the_same_name_is_refused(
    database: Database, lengths: list[int], sha256: str, words: str
) -> None:
    with database.engine().begin() as connection:
        _corpus(connection, [2, 3])
        with pytest.raises(ConflictingInputs, match=words):
            _corpus(connection, lengths, sha256)


def test_corpora_begin_on_a_chunk_of_their_own(database: Database) -> None:
    from sqlalchemy import text

    with database.engine().begin() as connection:
        _corpus(connection, [200, 57])
        connection.execute(text("update warehouse.corpus set name = 'first'"))
        _corpus(connection, [1])
        starts = connection.execute(text("select first_token_id from warehouse.corpus order by 1")).scalars().all()
    assert list(starts) == [0, 512]
