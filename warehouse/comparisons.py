"""Comparisons: what is derived from all the pairs that answer one question at one step.

A comparison is derived from every visible pair: whoever adds a pair locks its row and derives it again. One of kind
`cross` keeps sums alone, so that its pairs must be at hand when it is derived.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from warehouse import schema
from warehouse.blocks import Columns, map_units, read_units
from warehouse.facts import copy_chunks, copy_rows, driver, read_tokens
from warehouse.ledger import ComparisonKey
from warehouse.locks import share_corpus
from warehouse.pairs import (
    Kl,
    Member,
    read_pairs,
    stored_members,
    visible_members,
)
from warehouse.summaries import Row, Values, convergence_rows, portions
from warehouse.values import CorpusValues


@dataclass(frozen=True)
class _Comparison:
    comparison_id: int
    kind: str
    corpus_id: int
    model_id: int
    first_token_id: int
    seeds: list[int] | None

    @property
    def keeps_tokens(self) -> bool:
        """Whether the mean of every token is stored, not only sums over them."""
        return self.kind != "cross"


def derive(
    connection: Connection,
    comparison_id: int,
    values: CorpusValues,
    *,
    known: Mapping[int, Kl] | None = None,
    mixtures: Mapping[tuple[int, ...], Kl] | None = None,
) -> None:
    """Make a comparison from all its visible pairs: its mean, its members, its summaries.

    known: KL by pair id, for pairs just written; the others are read. mixtures: [T] entropy of the mean of the seeds'
    predictions, by the seeds that took part; kept from before where the seeds are the same.
    Pairs whose tokens' KL is neither kept nor known are deleted, so that the next ingestion measures them again.
    """
    share_corpus(driver(connection), values.corpus_id)
    comparison = _locked(connection, comparison_id)
    members = visible_members(connection, comparison_id, known or {})
    seeds = sorted({seed for member in members for seed in (member.seed_p, member.seed_q)})
    mixture = _mixture(connection, comparison, tuple(seeds), mixtures or {})
    _forget(connection, comparison_id)
    _write_members(connection, comparison, members, seeds)
    if members:
        kl = read_pairs(connection, members, known or {})
        mean = _mean(list(kl.values()))
        if comparison.keeps_tokens:
            columns = {"kl": mean, "mixture_entropy": mixture}
            key = {"comparison_id": comparison_id}
            copy_chunks(connection, schema.convergence_chunk, key, comparison.first_token_id, columns)
        layers = values.layers(connection, comparison.model_id)
        _write_summaries(connection, comparison_id, mean, kl, seeds, layers, values)


def drop_comparison(connection: Connection, comparison_id: int) -> None:
    """Delete a comparison with all that was derived; its pairs stay."""
    _forget(connection, comparison_id)
    for table in (schema.custom_pair, schema.comparison):
        connection.execute(delete(table).where(table.c.comparison_id == comparison_id))


def withdraw_others(connection: Connection, corpus_id: int, protocol_id: int, keys: Collection[ComparisonKey]) -> None:
    """Delete comparisons that hold the same (model, step) against the same model as one of these, at another step."""
    c = schema.comparison.c
    wanted = {(key.kind, key.model_id, key.step, key.model_q_id): key.step_q for key in keys}
    query = select(c.comparison_id, c.kind, c.model_id, c.step, c.model_q_id, c.step_q).where(
        c.corpus_id == corpus_id, c.protocol_id == protocol_id, c.kind.in_({key.kind for key in keys})
    )
    for comparison_id, *key, step_q in connection.execute(query.order_by(c.comparison_id)).all():
        if wanted.get(tuple(key), step_q) != step_q:
            drop_comparison(connection, comparison_id)


def summarise_layer(connection: Connection, layer: Values, model_id: int | None, values: CorpusValues) -> None:
    """Write the summaries of a new layer for every comparison of its corpus (and model) whose tokens' KL is kept."""
    column = schema.comparison.c
    query = select(column.comparison_id, column.seeds).where(column.corpus_id == values.corpus_id, column.n_pairs > 0)
    if model_id is not None:
        query = query.where(column.model_id == model_id)
    seeds = {row.comparison_id: row.seeds for row in connection.execute(query.order_by(column.comparison_id))}
    members = stored_members(connection, seeds)
    kept = [comparison for comparison, its in members.items() if all(member.token_facts for member in its)]
    for portion in portions(kept, layer.size, lambda comparison: len(members[comparison])):
        chosen = {comparison: members[comparison] for comparison in portion}
        rows = _layer_rows(connection, chosen, seeds, layer, values)
        copy_rows(connection, schema.convergence_summary, rows)


def _layer_rows(
    connection: Connection,
    members: Mapping[int, Sequence[Member]],
    seeds: Mapping[int, Sequence[int]],
    layer: Values,
    values: CorpusValues,
) -> list[Row]:
    """Summaries of one layer for comparisons that are derived, from their stored pairs and means."""
    clusters = values.clusters(connection)
    pairs = sorted({member.pair_id for its in members.values() for member in its})
    # Each pair is read once, whatever the number of comparisons that it belongs to.
    totals = map_units(
        connection, schema.divergence_chunk, pairs, ["kl"], lambda columns: layer.totals(_given(columns))
    )

    def rows_of(comparison: int, mean: Kl) -> list[Row]:
        own = {(member.seed_p, member.seed_q): totals[member.pair_id] for member in members[comparison]}
        rows = convergence_rows(mean, own, seeds[comparison], layer, clusters)
        return [{"comparison_id": comparison, **row} for row in rows]

    rows: list[Row] = []
    bare = set(members)
    with closing(read_units(connection, schema.convergence_chunk, list(members), ["kl"])) as means:
        for comparison, columns in means:
            rows += rows_of(comparison, _given(columns))
            bare.remove(comparison)
    for comparison in bare:  # of kind cross: its mean is not kept, but its pairs may be
        rows += rows_of(comparison, _mean(list(read_pairs(connection, members[comparison], {}).values())))
    return rows


def _given(columns: Columns) -> Kl:
    """The one column of a unit that is never NULL."""
    (kl,) = columns
    assert kl is not None
    return kl


def forget_layer(connection: Connection, layer_id: int) -> None:
    """Delete the summaries of a layer."""
    connection.execute(delete(schema.convergence_summary).where(schema.convergence_summary.c.layer_id == layer_id))


def _locked(connection: Connection, comparison_id: int) -> _Comparison:
    c, k = schema.comparison.c, schema.corpus.c
    query = (
        select(c.comparison_id, c.kind, c.corpus_id, c.model_id, k.first_token_id, c.seeds)
        .select_from(schema.comparison.join(schema.corpus, k.corpus_id == c.corpus_id))
        .where(c.comparison_id == comparison_id)
        .with_for_update(of=schema.comparison)
    )
    return _Comparison(*connection.execute(query).one())


def _mixture(
    connection: Connection, comparison: _Comparison, seeds: tuple[int, ...], mixtures: Mapping[tuple[int, ...], Kl]
) -> Kl | None:
    """Entropy of the mean prediction of exactly these seeds: just measured, or kept; None if neither."""
    if comparison.kind != "seed":
        return None
    if seeds in mixtures:
        return mixtures[seeds]
    # The same comparison in the other run set may have had these seeds, before a run was flagged or unflagged.
    query = """
    select chunk.mixture_entropy
    from warehouse.convergence_chunk as chunk
    where chunk.mixture_entropy is not null and chunk.comparison_id = (
        select holder.comparison_id
        from warehouse.comparison as holder
        inner join warehouse.comparison as own using (kind, corpus_id, protocol_id, model_id, step, model_q_id, step_q)
        where own.comparison_id = %(comparison)s and holder.seeds = %(seeds)s::integer[]
        order by holder.comparison_id <> own.comparison_id
        limit 1
    )
    order by chunk.chunk_id
    """
    (kept,) = read_tokens(connection, query, {"comparison": comparison.comparison_id, "seeds": list(seeds)}, 1)
    return kept if len(kept) else None


def _forget(connection: Connection, comparison_id: int) -> None:
    for table in (schema.comparison_member, schema.convergence_chunk, schema.convergence_summary):
        connection.execute(delete(table).where(table.c.comparison_id == comparison_id))


def _write_members(
    connection: Connection, comparison: _Comparison, members: Sequence[Member], seeds: Sequence[int]
) -> None:
    if members:
        rows = [{"comparison_id": comparison.comparison_id, "pair_id": member.pair_id} for member in members]
        connection.execute(insert(schema.comparison_member), rows)
    means = [member.mean_kl for member in members]
    connection.execute(
        update(schema.comparison)
        .where(schema.comparison.c.comparison_id == comparison.comparison_id)
        .values(
            n_pairs=len(members),
            seeds=list(seeds),
            seed_pairs=[sum(seed in (m.seed_p, m.seed_q) for m in members) for seed in seeds],
            sd_pairs=float(np.std(means, ddof=1)) if len(means) > 1 else None,
            surprisal_difference=_surprisal_difference(comparison.kind, members),
        )
    )


def _surprisal_difference(kind: str, members: Sequence[Member]) -> float | None:
    """Mean over pairs of the mean surprisal of p less that of q; None for seeds, where each pair goes both ways."""
    if kind == "seed" or not members:
        return None
    total = 0.0
    # One after another, as `warehouse refresh` adds them: what nearly cancels depends on the order.
    for member in members:
        if member.surprisal_difference is None:
            return None
        total += member.surprisal_difference
    return total / len(members)


def _mean(kl: Sequence[Kl]) -> Kl:
    """[T] mean over pairs, in float64, stored as float32."""
    total = np.zeros(len(kl[0]), np.float64)
    for values in kl:
        total += values
    return (total / len(kl)).astype(np.float32)


def _write_summaries(
    connection: Connection,
    comparison_id: int,
    mean: Kl,
    kl: Mapping[tuple[int, int], Kl],
    seeds: Sequence[int],
    layers: Sequence[Values],
    values: CorpusValues,
) -> None:
    clusters = values.clusters(connection)
    rows = [
        {"comparison_id": comparison_id, **row}
        for layer in layers
        for row in convergence_rows(
            mean, {pair: layer.totals(tokens) for pair, tokens in kl.items()}, seeds, layer, clusters
        )
    ]
    copy_rows(connection, schema.convergence_summary, rows)
