"""Pairs: KL of ordered pairs of evaluations as immutable units, and which of them answer a comparison."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from warehouse import schema
from warehouse.blocks import read_units
from warehouse.documents import Documents, divergence_sums
from warehouse.facts import copy_units, driver
from warehouse.ledger import ANSWERS, SIDE, SIDES, in_bulk
from warehouse.locks import share_corpus
from warehouse.values import CorpusValues

Kl = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """KL(p || q) of an ordered pair of evaluations.

    kl: [T] nats; mean_kl is its mean in float64. pearson, spearman: of the two surprisals; None where one is
    constant. top1_agreement: share of tokens with the same most probable entry. token_facts: kl is to be kept, token by
    token; else only its mean is.
    """

    evaluation_p: int
    evaluation_q: int
    environment_id: int
    kl: Kl
    mean_kl: float
    pearson: float | None
    spearman: float | None
    top1_agreement: float | None
    token_facts: bool = True


@dataclass(frozen=True)
class Member:
    """A pair that belongs to a comparison. surprisal_difference: mean surprisal of p less that of q, in nats."""

    pair_id: int
    seed_p: int
    seed_q: int
    mean_kl: float
    surprisal_difference: float | None
    token_facts: bool


def _eligible(side: str) -> str:
    """The pairs that answer a comparison: of its corpus, protocol, models and steps, of good checkpoints, without a
    flagged run, with the KL of every token unless sums are enough. side: where sides are looked up.
    """
    return f"""
    from warehouse.comparison as comparison
    inner join {side} as p
        on p.corpus_id = comparison.corpus_id and p.protocol_id = comparison.protocol_id
        and p.model_id = comparison.model_id and p.step = comparison.step and p.status = 'ok'
    inner join warehouse.comparison_pair as pair on pair.evaluation_p = p.evaluation_id
    inner join {side} as q
        on q.evaluation_id = pair.evaluation_q
        and q.corpus_id = comparison.corpus_id and q.protocol_id = comparison.protocol_id
        and q.model_id = comparison.model_q_id and q.step = comparison.step_q and q.status = 'ok'
    where
        (comparison.run_set = 'all' or not (p.outlier or q.outlier))
        and (comparison.kind = 'cross' or pair.token_facts)
        and {ANSWERS}
    """


_MEMBER = """
pair.pair_id, p.seed as seed_p, q.seed as seed_q, pair.mean_kl,
p.mean_surprisal - q.mean_surprisal as surprisal_difference, pair.token_facts
"""

_MEMBERS = f"select {_MEMBER} {_eligible(SIDE)} and comparison.comparison_id = :comparison order by p.seed, q.seed"

# The pairs that a comparison was derived from.
_STORED_MEMBERS = f"""
select member.comparison_id, {_MEMBER}
from warehouse.comparison_member as member
inner join warehouse.comparison_pair as pair on pair.pair_id = member.pair_id
inner join {SIDE} as p on p.evaluation_id = pair.evaluation_p
inner join {SIDE} as q on q.evaluation_id = pair.evaluation_q
where member.comparison_id = any(:comparisons)
order by member.comparison_id, p.seed, q.seed
"""

_OUTDATED = f"""
{SIDES},

chosen as (
    select comparison_id, run_set from warehouse.comparison
    where
        corpus_id = :corpus and protocol_id = :protocol
        and (model_id = any(:models) or model_q_id = any(:models))
),

eligible as (
    select comparison.comparison_id, pair.pair_id
    {_eligible("side")} and comparison.comparison_id in (select comparison_id from chosen)
),

member as (
    select comparison_id, pair_id from warehouse.comparison_member
    where comparison_id in (select comparison_id from chosen)
)

select comparison_id
from chosen
where comparison_id in (
    select comparison_id
    from eligible full join member using (comparison_id, pair_id)
    where eligible.pair_id is null or member.pair_id is null
)
-- Run set all before run set default, which has for it what it is about to lose.
order by run_set, comparison_id
"""


#: Columns of a pair that its measurement fills.
_MEASURED = ("environment_id", "n_tokens", "mean_kl", "pearson", "spearman", "top1_agreement", "token_facts")


def load_pair(
    connection: Connection, unit: Pair, corpus_id: int, first_token_id: int, values: CorpusValues | None = None
) -> int | None:
    """Write a pair, or the KL of every token of one that was there without; None if there was nothing to write."""
    return load_pairs(connection, [unit], corpus_id, first_token_id, values)[0]


def load_pairs(
    connection: Connection,
    units: Sequence[Pair],
    corpus_id: int,
    first_token_id: int,
    values: CorpusValues | None = None,
) -> list[int | None]:
    """Write pairs, all in one COPY; for each its id, or None where there was nothing to write.

    A pair of which only the mean was kept is written again when its tokens are to be kept. values: of the corpus;
    whoever loads more than once hands over the same, so that its documents are read once.
    """
    share_corpus(driver(connection), corpus_id)
    column = schema.comparison_pair.c
    statement = upsert(schema.comparison_pair)
    given = statement.excluded
    wanted = statement.on_conflict_do_update(
        index_elements=[column.evaluation_p, column.evaluation_q],
        # All of what the tokens give, so that the mean is theirs.
        set_={name: given[name] for name in _MEASURED},
        where=~column.token_facts & given.token_facts,
    ).returning(column.evaluation_p, column.evaluation_q, column.pair_id)
    rows = connection.execute(wanted, [_pair_row(unit) for unit in units]).all() if units else []
    new = {(p, q): pair_id for p, q, pair_id in rows}
    # What was derived from a mean alone is outdated where there is another one now.
    members = schema.comparison_member
    connection.execute(delete(members).where(members.c.pair_id.in_(new.values())))
    ids = [new.get((unit.evaluation_p, unit.evaluation_q)) for unit in units]
    new_facts = [(key, unit.kl) for key, unit in zip(ids, units, strict=True) if key is not None and unit.token_facts]
    if new_facts:
        _write_kl(connection, new_facts, first_token_id, (values or CorpusValues(corpus_id)).documents(connection))
    return ids


def _write_kl(
    connection: Connection, facts: Sequence[tuple[int, Kl]], first_token_id: int, documents: Documents
) -> None:
    """Write the KL of pairs by token and by document; the latter is summed while the server takes in the former."""
    sums = []

    def by_token() -> Iterator[tuple[dict[str, int], dict[str, Kl]]]:
        for pair_id, kl in facts:
            yield {"pair_id": pair_id}, {"kl": kl}
            sums.append(({"pair_id": pair_id}, divergence_sums(documents, kl)))

    copy_units(connection, schema.divergence_chunk, by_token(), first_token_id)
    copy_units(connection, schema.document_divergence_chunk, sums, 0, chunk="document_chunk")


def _pair_row(unit: Pair) -> dict[str, object]:
    return {
        "evaluation_p": unit.evaluation_p,
        "evaluation_q": unit.evaluation_q,
        "environment_id": unit.environment_id,
        "n_tokens": len(unit.kl),
        "mean_kl": unit.mean_kl,
        "pearson": unit.pearson,
        "spearman": unit.spearman,
        "top1_agreement": unit.top1_agreement,
        "token_facts": unit.token_facts,
    }


def outdated(connection: Connection, corpus_id: int, protocol_id: int, model_ids: Collection[int] | int) -> list[int]:
    """Comparisons with one of these models on a side that are not derived from exactly the pairs that answer them now.

    They lack a pair just written, or were wanted only after their pairs had been measured for another comparison, or a
    flag or a verdict has changed. To be derived in this order.
    """
    models = [model_ids] if isinstance(model_ids, int) else list(model_ids)
    keys = {"corpus": corpus_id, "protocol": protocol_id, "models": models}
    with in_bulk(connection):
        return list(connection.execute(text(_OUTDATED), keys).scalars())


def visible_members(connection: Connection, comparison_id: int, known: Mapping[int, Kl]) -> list[Member]:
    """The pairs that answer a comparison now. Where the KL of one is out of reach, it and its like are deleted."""
    members = [Member(*row) for row in connection.execute(text(_MEMBERS), {"comparison": comparison_id})]
    if all(member.token_facts or member.pair_id in known for member in members):
        return members
    # All of them, known ones too: sums over some pairs could not be completed later.
    _forget_pairs(connection, [member.pair_id for member in members if not member.token_facts])
    return [member for member in members if member.token_facts]


def stored_members(connection: Connection, comparison_ids: Collection[int]) -> dict[int, list[Member]]:
    """The pairs that each comparison was derived from."""
    members: dict[int, list[Member]] = {comparison_id: [] for comparison_id in comparison_ids}
    rows = connection.execute(text(_STORED_MEMBERS), {"comparisons": list(comparison_ids)})
    for comparison_id, *member in rows:
        members[comparison_id].append(Member(*member))
    return members


def _forget_pairs(connection: Connection, pair_ids: Collection[int]) -> None:
    """Delete pairs of which only the mean was kept."""
    for table in (schema.comparison_member, schema.comparison_pair):
        connection.execute(delete(table).where(table.c.pair_id.in_(pair_ids)))


def forget_bare_pairs(connection: Connection, pairs: Collection[tuple[int, int]]) -> None:
    """Delete those of some pairs (evaluation of p, of q) of which only the mean was kept, to be measured again."""
    column = schema.comparison_pair.c
    evaluations = {evaluation for pair in pairs for evaluation in pair}
    query = select(column.pair_id, column.evaluation_p, column.evaluation_q).where(
        ~column.token_facts, column.evaluation_p.in_(evaluations), column.evaluation_q.in_(evaluations)
    )
    wanted = set(pairs)
    _forget_pairs(connection, [row.pair_id for row in connection.execute(query) if tuple(row[1:]) in wanted])


def read_pairs(connection: Connection, members: Sequence[Member], known: Mapping[int, Kl]) -> dict[tuple[int, int], Kl]:
    """[T] KL of each member by (seed of p, seed of q)."""
    unknown = [member.pair_id for member in members if member.pair_id not in known]
    found = read_units(connection, schema.divergence_chunk, unknown, ["kl"])
    read = {pair: kl for pair, (kl,) in found if kl is not None}
    return {(m.seed_p, m.seed_q): known[m.pair_id] if m.pair_id in known else read[m.pair_id] for m in members}
