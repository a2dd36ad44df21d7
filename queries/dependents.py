"""What stands on our views: the views and functions that users built, and what they granted or attached.

Everything is recorded as statements before a drop and run again after it. Where PostgreSQL knows of something on top
that cannot be put back, that is an error with its name. This module may not know which views are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from warehouse.errors import WarehouseError

Connection = psycopg.Connection[Any]
Key = tuple[str, int]  # catalogue and oid

_DROP = {"v": "drop view", "m": "drop materialized view", "f": "drop routine"}

# Which view, materialised view or function rests on which; a row type stands for its view.
_EDGES = """
select distinct
    case when classid = 'pg_rewrite'::regclass then 'pg_class' else 'pg_proc' end,
    coalesce(ev_class, objid),
    case when refclassid = 'pg_proc'::regclass then 'pg_proc' else 'pg_class' end,
    case
        when refclassid = 'pg_type'::regclass then coalesce(nullif(row_type.typrelid, 0), element.typrelid)
        else refobjid
    end
from pg_depend
left join pg_rewrite on classid = 'pg_rewrite'::regclass and pg_rewrite.oid = objid
left join pg_class as dependent on dependent.oid = ev_class
left join pg_type as row_type on refclassid = 'pg_type'::regclass and row_type.oid = refobjid
left join pg_type as element on element.oid = row_type.typelem
where
    deptype = 'n'
    and classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass)
    and refclassid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
    and (ev_class is null or dependent.relkind in ('v', 'm'))
"""

_RELATIONS = """
select
    oid, relkind::text, oid::regclass::text,
    case relkind when 'v' then 'create view ' else 'create materialized view ' end || oid::regclass
    || coalesce(' with (' || array_to_string(reloptions, ', ') || ')', '')
    || coalesce((select ' tablespace ' || quote_ident(spcname) from pg_tablespace where oid = reltablespace), '')
    || ' as ' || rtrim(pg_get_viewdef(oid), ';') || case relkind when 'm' then ' with no data' else '' end
from pg_class where oid = any(%s)
"""

_ROUTINES = """
select oid, 'f', oid::regprocedure::text, pg_get_functiondef(oid)
from pg_proc where oid = any(%s) and prokind in ('f', 'p')
"""

# Statements that give an object back to its owner, in the form of the object's kind.
_OWNERS = """
select case relkind when 'v' then 'alter view ' else 'alter materialized view ' end
    || oid::regclass || ' owner to ' || relowner::regrole
from pg_class where oid = %(oid)s and %(catalogue)s = 'pg_class'
union all
select 'alter routine ' || oid::regprocedure || ' owner to ' || proowner::regrole
from pg_proc where oid = %(oid)s and %(catalogue)s = 'pg_proc'
"""

# An object's privileges, as revoke statements of all it has by default and grant statements of what it had.
_PRIVILEGES = """
with object as (
    select oid::regclass::text as name, coalesce(relacl, acldefault('r', relowner)) as acl
    from pg_class where oid = %(oid)s and %(catalogue)s = 'pg_class'
    union all
    select 'routine ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner))
    from pg_proc where oid = %(oid)s and %(catalogue)s = 'pg_proc'
), privilege as (
    select object.name, item.privilege_type as what, item.grantee, item.is_grantable
    from object cross join lateral aclexplode(object.acl) as item
    union all
    select attrelid::regclass::text, item.privilege_type || ' (' || quote_ident(attname) || ')',
        item.grantee, item.is_grantable
    from pg_attribute cross join lateral aclexplode(attacl) as item
    where attrelid = %(oid)s and %(catalogue)s = 'pg_class' and not attisdropped
)
select
    what, name, case grantee when 0 then 'public' else grantee::regrole::text end, is_grantable
from privilege
"""

_COMMENTS = """
select format('comment on %%s %%s is %%L', case relkind when 'v' then 'view' else 'materialized view' end,
    oid::regclass, obj_description(oid, 'pg_class'))
from pg_class where oid = %(oid)s and %(catalogue)s = 'pg_class' and obj_description(oid, 'pg_class') is not null
union all
select format('comment on column %%s.%%I is %%L', attrelid::regclass, attname, col_description(attrelid, attnum))
from pg_attribute
where attrelid = %(oid)s and %(catalogue)s = 'pg_class' and attnum > 0 and col_description(attrelid, attnum) is not null
union all
select format('comment on routine %%s is %%L', oid::regprocedure, obj_description(oid, 'pg_proc'))
from pg_proc where oid = %(oid)s and %(catalogue)s = 'pg_proc' and obj_description(oid, 'pg_proc') is not null
"""

_ATTACHED = """
select format(
    'alter view %%s alter column %%I set default %%s', adrelid::regclass, attname, pg_get_expr(adbin, adrelid)
)
from pg_attrdef inner join pg_attribute on attrelid = adrelid and attnum = adnum
where adrelid = %(oid)s and %(catalogue)s = 'pg_class'
union all
select pg_get_triggerdef(oid) from pg_trigger
where tgrelid = %(oid)s and %(catalogue)s = 'pg_class' and not tgisinternal
union all
select pg_get_ruledef(oid) from pg_rewrite
where ev_class = %(oid)s and %(catalogue)s = 'pg_class' and rulename <> '_RETURN'
union all
select pg_get_indexdef(indexrelid) from pg_index where indrelid = %(oid)s and %(catalogue)s = 'pg_class'
"""

_REFRESH = """
select 'refresh materialized view ' || oid::regclass
from pg_class where oid = %(oid)s and %(catalogue)s = 'pg_class' and relkind = 'm' and relispopulated
"""

# What a drop would take along and no statement above brings back.
_LOST = """
select pg_describe_object(classid, objid, objsubid)
from pg_depend
where
    refclassid = %(catalogue)s::regclass and refobjid = %(oid)s and deptype = 'a'
    and classid not in ('pg_attrdef'::regclass, 'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_class'::regclass)
"""


class ViewSyncError(WarehouseError):
    """The views of the package cannot be put into this database."""

    exit_code = 1


@dataclass(frozen=True)
class _Object:
    """One object, and the statements that bring it back. create is empty for an object of ours."""

    key: Key
    kind: str
    name: str
    create: str
    owner: list[str]
    privileges: list[tuple[str, str, str, bool]]
    comments: list[str]
    attached: list[str]

    def drop(self) -> str:
        return f"{_DROP[self.kind]} {self.name}"


@dataclass(frozen=True)
class Dependents:
    """Our objects and all that rests on them, each after what it rests on."""

    objects: list[_Object]
    ours: frozenset[Key]

    @classmethod
    def of(cls, connection: Connection, labels: Iterable[str]) -> Dependents:
        """Record our views and functions (as ``view name``, ``function name``) and what rests on them."""
        ours = _keys(connection, set(labels))
        edges = [((a, b), (c, d)) for a, b, c, d in _rows(connection, _EDGES) if (a, b) != (c, d)]
        order = _closure(ours, edges)
        found = _describe(connection, order)
        return cls([_object(connection, key, found[key]) for key in order if key in found], ours)

    def drop(self, connection: Connection) -> None:
        """Drop everything, the topmost first. What was not recorded stops it: nothing is dropped by cascade."""
        for item in reversed(self.objects):
            self._refuse_loss(connection, item)
            try:
                connection.execute(item.drop().encode())
            except psycopg.errors.DependentObjectsStillExist as error:
                raise ViewSyncError(
                    f"{item.name} must be made anew, but something rests on it that cannot be put back: "
                    f"{error.diag.message_detail}. Drop it, upgrade with `warehouse db upgrade`, and make it again."
                ) from error

    def restore(self, connection: Connection) -> None:
        """Put back what users granted on ours and attached to them, and then their own objects.

        What was granted on an object of ours that is gone goes with it; what was attached to it is an error.
        """
        for item in self.objects:
            if item.key not in self.ours or _oid(connection, item) is not None:
                self._restore(connection, item)
            elif item.attached:
                raise ViewSyncError(f"{item.name} is gone from the package, but has this attached: {item.attached[0]}.")

    def _restore(self, connection: Connection, item: _Object) -> None:
        ours = item.key in self.ours
        statements = item.attached if ours else [item.create, *item.owner, *item.comments, *item.attached]
        try:
            for statement in statements:
                connection.execute(statement.encode())
            _restore_privileges(connection, item, ours=ours)
        except psycopg.OperationalError:
            raise  # of locks and time, not of this object
        except psycopg.Error as error:
            raise ViewSyncError(
                f"{item.name} was built on the views and cannot be put back on the new ones "
                f"({error.diag.message_primary}). Nothing was changed: drop it, upgrade with `warehouse db upgrade`, "
                "and make it again."
            ) from error

    def _refuse_loss(self, connection: Connection, item: _Object) -> None:
        lost = _rows(connection, _LOST, {"catalogue": item.key[0], "oid": item.key[1]})
        if lost:
            raise ViewSyncError(
                f"{item.name} must be made anew, and {lost[0][0]} on it cannot be put back. "
                "Drop it, upgrade with `warehouse db upgrade`, and make it again."
            )


def _rows(connection: Connection, query: LiteralString, params: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, params).fetchall()


def _keys(connection: Connection, labels: set[str]) -> frozenset[Key]:
    rows = _rows(
        connection,
        """
        select 'pg_class', oid, 'view ' || relname from pg_class
        where relnamespace = 'analysis'::regnamespace and relkind = 'v'
        union all
        select 'pg_proc', oid, 'function ' || proname from pg_proc where pronamespace = 'analysis'::regnamespace
        """,
    )
    return frozenset((catalogue, oid) for catalogue, oid, label in rows if label in labels)


def _closure(roots: frozenset[Key], edges: list[tuple[Key, Key]]) -> list[Key]:
    """roots and all that rests on them, directly or not; each after what it rests on."""
    above: dict[Key, set[Key]] = {}
    for dependent, support in edges:
        above.setdefault(support, set()).add(dependent)
    found, queue = set(roots), sorted(roots)
    while queue:
        fresh = above.get(queue.pop(), set()) - found
        found |= fresh
        queue.extend(fresh)
    sorter: TopologicalSorter[Key] = TopologicalSorter({key: set() for key in sorted(found)})
    for dependent, support in edges:
        if dependent in found and support in found:
            sorter.add(dependent, support)
    return list(sorter.static_order())


def _describe(connection: Connection, keys: list[Key]) -> dict[Key, tuple[str, str, str]]:
    """Kind, name and create statement of each object."""
    described: dict[Key, tuple[str, str, str]] = {}
    for catalogue, query in (("pg_class", _RELATIONS), ("pg_proc", _ROUTINES)):
        oids = [oid for known, oid in keys if known == catalogue]
        for oid, kind, name, create in _rows(connection, query, [oids]):
            described[catalogue, oid] = (kind, name, create)
    return described


def _object(connection: Connection, key: Key, description: tuple[str, str, str]) -> _Object:
    params = {"catalogue": key[0], "oid": key[1]}

    def statements(query: LiteralString) -> list[str]:
        return [row[0] for row in _rows(connection, query, params)]

    kind, name, create = description
    return _Object(
        key,
        kind,
        name,
        create,
        owner=statements(_OWNERS),
        privileges=_privileges(connection, *key),
        comments=statements(_COMMENTS),
        # An index first: filling the view then fills it too.
        attached=statements(_ATTACHED) + statements(_REFRESH),
    )


def _restore_privileges(connection: Connection, item: _Object, *, ours: bool) -> None:
    """Grant what was granted; for a user's object exactly that, so that default privileges add nothing."""
    current = _privileges(connection, item.key[0], _oid(connection, item))
    if set(current) == set(item.privileges):
        return
    target = item.name if item.kind != "f" else f"routine {item.name}"
    if not ours:
        for role in {to for _, _, to, _ in current}:
            connection.execute(f"revoke all on {target} from {role}".encode())
    for what, on, to, grantable in item.privileges:
        option = " with grant option" if grantable else ""
        connection.execute(f"grant {what} on {on} to {to}{option}".encode())


def _privileges(connection: Connection, catalogue: str, oid: int | None) -> list[tuple[str, str, str, bool]]:
    """Privileges on an object and its columns: what, on what, to whom, with grant option."""
    return [(*row,) for row in _rows(connection, _PRIVILEGES, {"catalogue": catalogue, "oid": oid})]


def _oid(connection: Connection, item: _Object) -> int | None:
    """The oid of the object that has the name now."""
    find = "select to_regprocedure(%s)::oid" if item.kind == "f" else "select to_regclass(%s)::oid"
    [(oid,)] = _rows(connection, find, [item.name])
    return None if oid is None else int(oid)
