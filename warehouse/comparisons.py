"""Pairs and comparisons: KL of ordered pairs as immutable units, and what is derived from all pairs of a comparison.

A comparison is derived from every visible pair: whoever adds a pair locks its row and derives it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from warehouse import schema
from warehouse.facts import copy_chunks, driver, read_groups, read_tokens
from warehouse.locks import share_corpus
from warehouse.summaries import Values, convergence_rows
from warehouse.values import CorpusValues

Kl = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """KL(p || q) of an ordered pair of evaluations.

    kl: [T] nats; mean_kl is its mean in float64. pearson: of the two surprisals; None where one is constant.
    top1_agreement: share of tokens with the same most probable entry.
    """

    evaluation_p: int
    evaluation_q: int
    environment_id: int
    kl: Kl
    mean_kl: float
    pearson: float | None
    top1_agreement: float | None


@dataclass(frozen=True)
class Member:
    """A pair that belongs to a comparison."""

    pair_id: int
    seed_p: int
    seed_q: int
    mean_kl: float


@dataclass(frozen=True)
class _Comparison:
    comparison_id: int
    kind: str
    corpus_id: int
    model_id: int
    first_token_id: int
    seeds: list[int] | None


# Which pairs answer a comparison: same corpus and protocol, the two models and steps, good checkpoints, no flagged run.
_ELIGIBLE = """
from warehouse.comparison as comparison
inner join warehouse.run as run_p on run_p.model_id = comparison.model_id
inner join warehouse.checkpoint as checkpoint_p
    on checkpoint_p.run_id = run_p.run_id and checkpoint_p.step = comparison.step and checkpoint_p.status = 'ok'
inner join warehouse.evaluation as p
    on p.checkpoint_id = checkpoint_p.checkpoint_id
    and p.corpus_id = comparison.corpus_id and p.protocol_id = comparison.protocol_id
inner join warehouse.comparison_pair as pair on pair.evaluation_p = p.evaluation_id
inner join warehouse.evaluation as q
    on q.evaluation_id = pair.evaluation_q
    and q.corpus_id = comparison.corpus_id and q.protocol_id = comparison.protocol_id
inner join warehouse.checkpoint as checkpoint_q
    on checkpoint_q.checkpoint_id = q.checkpoint_id
    and checkpoint_q.step = comparison.step_q and checkpoint_q.status = 'ok'
inner join warehouse.run as run_q on run_q.run_id = checkpoint_q.run_id and run_q.model_id = comparison.model_q_id
where
    (comparison.run_set = 'all' or not (run_p.outlier or run_q.outlier))
    and (comparison.kind = 'seed') = (run_p.run_id <> run_q.run_id)
"""

_MEMBERS = f"""
select pair.pair_id, run_p.seed as seed_p, run_q.seed as seed_q, pair.mean_kl
{_ELIGIBLE} and comparison.comparison_id = :comparison
order by run_p.seed, run_q.seed
"""

# The pairs that a comparison was derived from.
_STORED_MEMBERS = """
select pair.pair_id, run_p.seed as seed_p, run_q.seed as seed_q, pair.mean_kl
from warehouse.comparison_member as member
inner join warehouse.comparison_pair as pair on pair.pair_id = member.pair_id
inner join warehouse.evaluation as p on p.evaluation_id = pair.evaluation_p
inner join warehouse.checkpoint as checkpoint_p on checkpoint_p.checkpoint_id = p.checkpoint_id
inner join warehouse.run as run_p on run_p.run_id = checkpoint_p.run_id
inner join warehouse.evaluation as q on q.evaluation_id = pair.evaluation_q
inner join warehouse.checkpoint as checkpoint_q on checkpoint_q.checkpoint_id = q.checkpoint_id
inner join warehouse.run as run_q on run_q.run_id = checkpoint_q.run_id
where member.comparison_id = :comparison
order by run_p.seed, run_q.seed
"""

_OUTDATED = f"""
with chosen as (
    select comparison_id from warehouse.comparison
    where corpus_id = :corpus and protocol_id = :protocol and model_id = :model
),

eligible as (
    select comparison.comparison_id, pair.pair_id
    {_ELIGIBLE} and comparison.comparison_id in (select comparison_id from chosen)
),

member as (
    select comparison_id, pair_id from warehouse.comparison_member
    where comparison_id in (select comparison_id from chosen)
)

select distinct comparison_id
from eligible full join member using (comparison_id, pair_id)
where eligible.pair_id is null or member.pair_id is null
order by comparison_id
"""


def load_pair(connection: Connection, unit: Pair, corpus_id: int, first_token_id: int) -> int | None:
    """Write a pair; None if it was there already, else its id."""
    share_corpus(driver(connection), corpus_id)
    row = {
        "evaluation_p": unit.evaluation_p,
        "evaluation_q": unit.evaluation_q,
        "environment_id": unit.environment_id,
        "n_tokens": len(unit.kl),
        "mean_kl": unit.mean_kl,
        "pearson": unit.pearson,
        "top1_agreement": unit.top1_agreement,
    }
    statement = (
        upsert(schema.comparison_pair)
        .values(**row)
        .on_conflict_do_nothing()
        .returning(schema.comparison_pair.c.pair_id)
    )
    pair_id = connection.execute(statement).scalar_one_or_none()
    if pair_id is not None:
        copy_chunks(connection, schema.divergence_chunk, {"pair_id": pair_id}, first_token_id, {"kl": unit.kl})
    return pair_id


def outdated(connection: Connection, corpus_id: int, protocol_id: int, model_id: int) -> list[int]:
    """Comparisons of a model that are not derived from exactly the pairs that answer them now.

    They lack a pair just written, or were wanted only after their pairs had been measured for another comparison.
    """
    keys = {"corpus": corpus_id, "protocol": protocol_id, "model": model_id}
    return list(connection.execute(text(_OUTDATED), keys).scalars())


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
    """
    share_corpus(driver(connection), values.corpus_id)
    comparison = _locked(connection, comparison_id)
    members = [Member(*row) for row in connection.execute(text(_MEMBERS), {"comparison": comparison_id})]
    seeds = sorted({seed for member in members for seed in (member.seed_p, member.seed_q)})
    mixture = _mixture(connection, comparison, tuple(seeds), mixtures or {})
    _forget(connection, comparison_id)
    _write_members(connection, comparison_id, members, seeds)
    if members:
        kl = _read_pairs(connection, members, known or {})
        mean = _mean(list(kl.values()))
        columns = {"kl": mean, "mixture_entropy": mixture}
        copy_chunks(
            connection, schema.convergence_chunk, {"comparison_id": comparison_id}, comparison.first_token_id, columns
        )
        layers = values.layers(connection, comparison.model_id)
        _write_summaries(connection, comparison_id, mean, kl, seeds, layers, values)


def summarise_layer(connection: Connection, layer: Values, model_id: int | None, values: CorpusValues) -> None:
    """Write the summaries of a new layer for every comparison of its corpus (and model)."""
    column = schema.comparison.c
    query = select(column.comparison_id, column.seeds).where(column.corpus_id == values.corpus_id, column.n_pairs > 0)
    if model_id is not None:
        query = query.where(column.model_id == model_id)
    for comparison_id, seeds in connection.execute(query.order_by(column.comparison_id)).all():
        members = [Member(*row) for row in connection.execute(text(_STORED_MEMBERS), {"comparison": comparison_id})]
        mean_query = "select kl from warehouse.convergence_chunk where comparison_id = %(comparison)s order by chunk_id"
        (mean,) = read_tokens(connection, mean_query, {"comparison": comparison_id}, 1)
        _write_summaries(connection, comparison_id, mean, _read_pairs(connection, members, {}), seeds, [layer], values)


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
    if comparison.seeds is None or tuple(comparison.seeds) != seeds:
        return None
    query = """
    select mixture_entropy from warehouse.convergence_chunk
    where comparison_id = %(comparison)s and mixture_entropy is not null order by chunk_id
    """
    (kept,) = read_tokens(connection, query, {"comparison": comparison.comparison_id}, 1)
    return kept if len(kept) else None


def _forget(connection: Connection, comparison_id: int) -> None:
    for table in (schema.comparison_member, schema.convergence_chunk, schema.convergence_summary):
        connection.execute(delete(table).where(table.c.comparison_id == comparison_id))


def _write_members(connection: Connection, comparison_id: int, members: Sequence[Member], seeds: Sequence[int]) -> None:
    if members:
        rows = [{"comparison_id": comparison_id, "pair_id": member.pair_id} for member in members]
        connection.execute(insert(schema.comparison_member), rows)
    means = [member.mean_kl for member in members]
    connection.execute(
        update(schema.comparison)
        .where(schema.comparison.c.comparison_id == comparison_id)
        .values(
            n_pairs=len(members),
            seeds=list(seeds),
            seed_pairs=[sum(seed in (m.seed_p, m.seed_q) for m in members) for seed in seeds],
            sd_pairs=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        )
    )


def _read_pairs(
    connection: Connection, members: Sequence[Member], known: Mapping[int, Kl]
) -> dict[tuple[int, int], Kl]:
    """[T] KL of each member by (seed of p, seed of q)."""
    unknown = [member.pair_id for member in members if member.pair_id not in known]
    query = (
        "select pair_id, kl from warehouse.divergence_chunk where pair_id = any(%(pairs)s) order by pair_id, chunk_id"
    )
    read = read_groups(connection, query, {"pairs": unknown}) if unknown else {}
    return {(m.seed_p, m.seed_q): known[m.pair_id] if m.pair_id in known else read[m.pair_id] for m in members}


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
        for row in convergence_rows(mean, kl, seeds, layer, clusters)
    ]
    if rows:
        connection.execute(insert(schema.convergence_summary), rows)
