"""Advisory locks: who may write what at the same time.

Loading a unit or a comparison shares its corpus; loading a layer, refreshing and flagging take it alone, since each
writes summaries for what the other adds.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg

# The first key of each lock tells what is locked; the values are arbitrary, and only this project's.
_CORPUS, _CATALOGUE, _BLOCK, _PARADIGMS = 740_001, 740_002, 740_003, 740_004


def share_corpus(connection: psycopg.Connection[Any], corpus_id: int) -> None:
    """Until the transaction ends, let other loads of the corpus run, and keep its layers as they are."""
    connection.execute("select pg_advisory_xact_lock_shared(%s, %s)", (_CORPUS, corpus_id))


def hold_corpus(connection: psycopg.Connection[Any], corpus_id: int) -> None:
    """Until the transaction ends, be the only writer of the corpus."""
    connection.execute("select pg_advisory_xact_lock(%s, %s)", (_CORPUS, corpus_id))


def hold_paradigms(connection: psycopg.Connection[Any], corpus_id: int) -> None:
    """Until the transaction ends, be the only one to load evaluations of a corpus with items.

    Results by paradigm are of pairs of evaluations, and of two loaded at once neither would see the other.
    """
    connection.execute("select pg_advisory_xact_lock(%s, %s)", (_PARADIGMS, corpus_id))


def hold_catalogue(connection: psycopg.Connection[Any]) -> None:
    """Until the transaction ends, be the only writer of corpora: token ids are dealt out one after another."""
    connection.execute("select pg_advisory_xact_lock(%s, 0)", (_CATALOGUE,))


def claim_block(connection: psycopg.Connection[Any], name: str, *, wait: bool) -> bool:
    """Claim a block of work for the life of the connection; False if another session has it and wait is not set."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
    if wait:
        connection.execute("select pg_advisory_lock(%s, %s)", (_BLOCK, key))
        return True
    row = connection.execute("select pg_try_advisory_lock(%s, %s)", (_BLOCK, key)).fetchone()
    return bool(row and row[0])
