"""Comparisons across models and of listed pairs, added to a warehouse of made-up measurements."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from sqlalchemy import Connection

from tests.queries.measured import Floats, Measured, Member, evaluation_ids, load_pair, model_key
from warehouse import comparisons, ledger
from warehouse.values import CorpusValues

Side = tuple[str, int]  # model, step
Pair = tuple[Member, Member]


def same_seeds(held: Measured, p: Side, q: Side, seeds: Collection[int] | None = None) -> list[Pair]:
    """The pairs of a comparison across models: the same seed label on both sides."""
    return [((p[0], seed, p[1]), (q[0], seed, q[1])) for seed in (held.seeds if seeds is None else seeds)]


def declare(connection: Connection, held: Measured, kind: str, p: Side, q: Side, listed: Sequence[Pair] = ()) -> int:
    """Enter a comparison in the ledger; returns its id."""
    key = ledger.ComparisonKey(kind, model_key(connection, p[0]), p[1], model_key(connection, q[0]), q[1])
    ids = evaluation_ids(connection, held)
    custom = {key: [(ids[one], ids[other]) for one, other in listed]} if kind == "custom" else {}
    return ledger.declare_comparisons(connection, held.corpus_id, held.protocol_id, [key], custom)[key]


def load(
    connection: Connection, held: Measured, pairs: Sequence[Pair], *, token_facts: bool = True
) -> dict[int, Floats]:
    """Make up and load the KL of pairs; returns it by id, for those that were written."""
    ids, random = evaluation_ids(connection, held), np.random.default_rng(len(held.kl))
    keys = [(load_pair(connection, held, ids, pair, random, token_facts=token_facts), pair) for pair in pairs]
    return {key: held.kl[pair] for key, pair in keys if key is not None}


def compare(
    connection: Connection, held: Measured, kind: str, p: Side, q: Side, pairs: Sequence[Pair] | None = None
) -> int:
    """Declare a comparison, load its pairs and derive it, as an ingestion does; returns its id."""
    chosen = same_seeds(held, p, q) if pairs is None else pairs
    comparison_id = declare(connection, held, kind, p, q, chosen)
    new = load(connection, held, [pair for pair in chosen if pair not in held.kl], token_facts=kind != "cross")
    comparisons.derive(connection, comparison_id, CorpusValues(held.corpus_id), known=new)
    return comparison_id
