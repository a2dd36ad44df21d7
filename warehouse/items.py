"""Items: which documents of a corpus belong together, and as what. Rows of paradigms and of their items.

Knows names and numbers of documents, and nothing of what they say or how they are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sqlalchemy import Connection, insert, select

from warehouse import schema
from warehouse.facts import copy_rows

ParadigmKind = Literal["minimal_pairs", "options", "spans"]


class Role(NamedTuple):
    """What a document is in an item, whose number counts from 0 within its paradigm."""

    item: int
    role: str
    document: int


@dataclass(frozen=True)
class Paradigm:
    """A set of items of one kind. category: a wider group that its source names, if any.

    Roles of minimal pairs are good and bad, of options correct and incorrect-1, incorrect-2, ...; of spans any names.
    """

    name: str
    kind: ParadigmKind
    category: str | None
    roles: tuple[Role, ...] = field(repr=False)


def save_items(connection: Connection, corpus_id: int, paradigms: Sequence[Paradigm]) -> None:
    """Write the paradigms of a corpus that has none yet, with their items, in the connection's transaction."""
    table = schema.paradigm
    for paradigm in paradigms:
        row = {"name": paradigm.name, "kind": paradigm.kind, "category": paradigm.category}
        made = insert(table).values(corpus_id=corpus_id, **row).returning(table.c.paradigm_id)
        key = connection.execute(made).scalar_one()
        copy_rows(connection, schema.item, list(_item_rows(key, corpus_id, paradigm)))


def _item_rows(paradigm_id: int, corpus_id: int, paradigm: Paradigm) -> Iterable[dict[str, object]]:
    return ({"paradigm_id": paradigm_id, "corpus_id": corpus_id, **role._asdict()} for role in paradigm.roles)


def same_items(connection: Connection, corpus_id: int, paradigms: Sequence[Paradigm]) -> bool:
    """Whether the corpus has just these paradigms and items."""
    paradigm, item = schema.paradigm.c, schema.item.c
    query = (
        select(paradigm.name, paradigm.kind, paradigm.category, item.item, item.role, item.document)
        .select_from(schema.paradigm.join(schema.item, item.paradigm_id == paradigm.paradigm_id))
        .where(paradigm.corpus_id == corpus_id)
    )
    known = {tuple(row) for row in connection.execute(query)}
    return known == {(each.name, each.kind, each.category, *role) for each in paradigms for role in each.roles}
