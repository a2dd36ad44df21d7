"""Views in the database: replaced in place, or made anew with everything that users built on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from queries import files, sync
from queries.dependents import ViewSyncError
from queries.files import SqlFileError
from warehouse.database import Database

Rows = list[tuple[Any, ...]]


class Package:
    """A copy of the package's SQL files that a test edits."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        for folder in ("functions", "views"):
            shutil.copytree(files.ROOT / folder, root / folder)
        definitions, digest = files.definitions, files.digest
        patch.setattr(files, "definitions", lambda: definitions(root))
        patch.setattr(files, "digest", lambda: digest(root))

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def remove(self, path: str) -> None:
        (self.root / path).unlink()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    return Package(tmp_path, monkeypatch)


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as connection:
        yield connection


def ask(connection: psycopg.Connection[Any], query: str) -> Rows:
    return connection.execute(query.encode()).fetchall()


def view_oid(connection: psycopg.Connection[Any], name: str) -> Any:
    return ask(connection, f"select to_regclass('{name}')::oid")[0][0]


def rename_document_name(package: Package) -> None:
    """A change that `create or replace` refuses."""
    package.edit("views/documents.sql", "document.name,", "document.name as title,")
    package.edit("views/documents.sql", "documents.name is", "documents.title is")


def test_nothing_happens_when_the_views_are_current(owner: psycopg.Connection[Any]) -> None:
    before = ask(owner, "select digest, made_at from warehouse.views_state")
    assert sync.is_current(owner)
    assert before[0][0] == sync.digest()
    sync.sync(owner)
    assert ask(owner, "select digest, made_at from warehouse.views_state") == before
    sync.sync(owner, force=True)
    assert ask(owner, "select digest from warehouse.views_state")[0][0] == sync.digest()
    assert ask(owner, "select made_at from warehouse.views_state") != [before[0][1:]]


def test_an_added_column_replaces_the_view_in_place(owner: psycopg.Connection[Any], package: Package) -> None:
    owner.execute("create view public.mine as select name from analysis.documents")
    oids = [view_oid(owner, name) for name in ("analysis.documents", "public.mine")]
    package.edit("views/documents.sql", "document.byte_end\n", "document.byte_end,\n    1 as extra\n")
    assert not sync.is_current(owner)
    sync.sync(owner)
    assert sync.is_current(owner)
    assert [view_oid(owner, name) for name in ("analysis.documents", "public.mine")] == oids
    assert ask(owner, "select extra from analysis.documents") == []


BUILT = """
create schema lab;
create view lab.names with (security_barrier = true) as select corpus, document, n_tokens from analysis.documents;
comment on view lab.names is 'names of '' documents';
comment on column lab.names.corpus is 'which corpus';
create materialized view lab.kept as select corpus, document, n_tokens from lab.names;
create unique index kept_key on lab.kept (corpus, document);
comment on materialized view lab.kept is 'kept';
create function lab.count_of(d analysis.documents) returns bigint stable language sql return (d).n_tokens;
create view lab.upper as select document, n_tokens + 1 as more from lab.kept;
create function lab.refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end';
create trigger refuse instead of insert on lab.names for each row execute function lab.refuse();
create rule nothing as on delete to lab.names do instead nothing;
alter view lab.names alter column document set default 7;
grant usage on schema lab to warehouse_read;
grant select (corpus) on lab.names to warehouse_read with grant option;
grant select on lab.upper to public;
revoke execute on function lab.count_of from public;
grant select on analysis.documents to public;
"""

ON_TOP = """
select
    c.oid::regclass::text, c.relkind, c.relowner::regrole::text, c.reloptions,
    obj_description(c.oid, 'pg_class'),
    (select array_agg(x::text order by x::text) from unnest(coalesce(c.relacl, acldefault('r', c.relowner))) as x),
    pg_get_viewdef(c.oid),
    (select array_agg(row(a.attname, a.attacl::text, col_description(c.oid, a.attnum))::text order by attnum)
        from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0),
    (select array_agg(pg_get_triggerdef(t.oid)) from pg_trigger as t where t.tgrelid = c.oid),
    (select array_agg(r.rulename) from pg_rewrite as r where r.ev_class = c.oid),
    (select array_agg(pg_get_indexdef(i.indexrelid)) from pg_index as i where i.indrelid = c.oid),
    (select array_agg(pg_get_expr(d.adbin, c.oid)) from pg_attrdef as d where d.adrelid = c.oid),
    c.relispopulated
from pg_class as c
where c.relnamespace = 'lab'::regnamespace and c.relkind in ('v', 'm')
union all
select
    p.oid::regprocedure::text, p.prokind, p.proowner::regrole::text, null, null,
    (select array_agg(x::text order by x::text) from unnest(p.proacl) as x),
    pg_get_functiondef(p.oid), null, null, null, null, null, null
from pg_proc as p where p.pronamespace = 'lab'::regnamespace
order by 1
"""


def add_document(connection: psycopg.Connection[Any]) -> None:
    connection.execute("insert into warehouse.tokenizer (name, sha256, length) values ('t', 't', 1)")
    connection.execute(
        """
        insert into warehouse.corpus (
            name, tokenizer_id, first_token_id, n_tokens, n_documents, n_characters, n_bytes, source, text_sha256,
            token_sha256, eos_policy, cluster
        ) select 'c', tokenizer_id, 0, 3, 1, 3, 3, 's', 'x', 'y', 'none', 'chunk' from warehouse.tokenizer
        """
    )
    connection.execute(
        "insert into warehouse.document select corpus_id, 0, 0, 3, 0, 3, 0, 3, 'd' from warehouse.corpus"
    )


def test_what_users_built_survives_a_change_that_needs_a_drop(owner: psycopg.Connection[Any], package: Package) -> None:
    add_document(owner)
    owner.execute(BUILT)
    before = ask(owner, ON_TOP)
    assert len(before) == 5
    oid = view_oid(owner, "analysis.documents")
    rename_document_name(package)
    sync.sync(owner)
    assert view_oid(owner, "analysis.documents") != oid
    assert ask(owner, "select title from analysis.documents") == [("d",)]
    assert ask(owner, ON_TOP) == before
    assert ask(owner, "select * from lab.kept") == [("c", 0, 3)]
    assert ask(owner, "select * from lab.upper") == [(0, 4)]
    assert ask(owner, "select has_table_privilege('public', 'analysis.documents', 'select')") == [(True,)]
    assert sync.is_current(owner)


def test_objects_of_another_owner_go_back_to_that_owner(owner: psycopg.Connection[Any], package: Package) -> None:
    owner.execute("grant warehouse_read to current_user")  # who is no superuser gives things only to roles it is in
    owner.execute("grant create on schema public to warehouse_read")
    owner.execute("create view public.mine as select document from analysis.documents")
    owner.execute("alter view public.mine owner to warehouse_read")
    rename_document_name(package)
    sync.sync(owner)
    assert ask(owner, "select relowner::regrole::text from pg_class where relname = 'mine'") == [("warehouse_read",)]


@pytest.mark.parametrize(
    ("built", "name"),
    [
        ("create view public.mine as select name from analysis.documents", "mine"),
        ("create view a as select name as n from analysis.documents; create view mine as select n from a", "a"),
        ("create table mine (d analysis.documents)", "mine"),
        ("create materialized view mine as select document, n_tokens from analysis.documents;"
         "create statistics s on document, n_tokens from mine", "s"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_back_is_named_and_nothing_changes(
    owner: psycopg.Connection[Any], package: Package, built: str, name: str
) -> None:
    owner.execute("set search_path = public")
    owner.execute(built.encode())
    everything = (
        "select oid, relname, relacl::text from pg_class where relnamespace::regnamespace::text !~ '^pg_' order by 1"
    )
    before = ask(owner, everything)
    rename_document_name(package)
    with pytest.raises(ViewSyncError, match=rf"\b{name}\b"):
        sync.sync(owner)
    assert ask(owner, everything) == before
    assert not sync.is_current(owner)
    assert ask(owner, "select name from analysis.documents") == []


def test_a_dropped_file_takes_its_view_along_and_leaves_users_objects(
    owner: psycopg.Connection[Any], package: Package
) -> None:
    owner.execute("create view analysis.mine as select 1 as x")
    owner.execute("create function analysis.my_function() returns integer language sql as 'select 1'")
    package.remove("views/documents.sql")
    sync.sync(owner)
    assert view_oid(owner, "analysis.documents") is None
    assert ask(owner, "select x, analysis.my_function() from analysis.mine") == [(1, 1)]


def test_a_users_object_with_the_name_of_ours_is_refused_not_overwritten(
    owner: psycopg.Connection[Any], package: Package
) -> None:
    owner.execute("create view analysis.fresh as select 'theirs' as x")
    package.write("views/fresh.sql", "create or replace view analysis.fresh as select 'ours' as x;")
    with pytest.raises(ViewSyncError, match="view fresh"):
        sync.sync(owner)
    assert ask(owner, "select x from analysis.fresh") == [("theirs",)]


def test_a_function_with_other_arguments_replaces_the_old_one(owner: psycopg.Connection[Any], package: Package) -> None:
    for path in ("functions/context_length.sql", "views/token_score.sql"):
        text = (package.root / path).read_text()
        text = text.replace("bos boolean\n)", "bos boolean, spare integer\n)").replace(
            "integer, boolean)", "integer, boolean, integer)"
        )
        package.write(path, text.replace("evaluation.bos\n    )", "evaluation.bos, 0\n    )"))
    sync.sync(owner)
    found = ask(owner, "select pronargs from pg_proc where proname = 'context_length'")
    assert found == [(6,)]
    assert sync.is_current(owner)


def test_an_older_package_does_not_overwrite_newer_views(
    owner: psycopg.Connection[Any], package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.10.0")
    sync.sync(owner, force=True)
    rename_document_name(package)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.9.5")
    with pytest.raises(ViewSyncError, match=r"0\.10\.0 and this is 0\.9\.5: upgrade the package"):
        sync.sync(owner)
    assert ask(owner, "select name from analysis.documents") == []
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.11.0")
    sync.sync(owner)
    assert ask(owner, "select title from analysis.documents") == []


def test_a_broken_file_is_named_and_changes_nothing(owner: psycopg.Connection[Any], package: Package) -> None:
    package.edit("views/tokens.sql", "chunk.chunk_id,", "chunk.no_such_column,")
    with pytest.raises(ViewSyncError, match=r"analysis\.tokens"):
        sync.sync(owner)
    assert ask(owner, "select chunk_id from analysis.tokens") == []


def test_the_callers_search_path_and_transaction_are_kept(database: Database, package: Package) -> None:
    rename_document_name(package)
    with database.connect() as connection:
        before = ask(connection, "show search_path")
        sync.sync(connection)
        assert ask(connection, "show search_path") == before
        connection.rollback()
        assert not sync.is_current(connection)


def test_the_reader_can_use_every_view_and_function(database: Database) -> None:
    with database.read() as reader:
        for (view,) in ask(reader, "select relname from pg_class where relnamespace = 'analysis'::regnamespace"):
            ask(reader, f"select * from analysis.{view}")
        denied = ask(
            reader,
            """
            select proname from pg_proc
            where pronamespace = 'analysis'::regnamespace and not has_function_privilege(oid, 'execute')
            """,
        )
        assert denied == []


def test_files_come_after_what_they_require(tmp_path: Path) -> None:
    for folder, name, requires in (
        ("functions", "f", "v"),
        ("views", "v", "z"),
        ("views", "z", ""),
        ("functions", "g", ""),
        ("views", "a", "f, g"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.sql").write_text(f"-- Purpose.\n-- requires: {requires}\nselect 1;")
    assert [file.name for file in files.definitions(tmp_path)] == ["g", "z", "v", "f", "a"]
    (tmp_path / "views" / "z.sql").write_text("-- requires: a\nselect 1;")
    with pytest.raises(SqlFileError, match="require each other"):
        files.definitions(tmp_path)
    (tmp_path / "views" / "z.sql").write_text("-- requires: nobody\nselect 1;")
    with pytest.raises(SqlFileError, match="nobody"):
        files.definitions(tmp_path)
