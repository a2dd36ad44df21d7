"""Where imported measurements go: rows of the corpus, the protocol, the checkpoints and the files they came from.

Knows the tables of dimensions, and nothing of values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from warehouse import schema
from warehouse.dimensions import ConflictingInputs, find_or_make, save_environment
from warehouse.errors import WarehouseError
from warehouse.importing.manifest import Checkpoint, Manifest
from warehouse.importing.units import Target

#: Source of a checkpoint that is known by imports alone.
IMPORTED = "imported"


class UnknownCorpus(WarehouseError):
    """The warehouse has no corpus of this name."""


def find_corpus(connection: Connection, name: str) -> Target:
    """The corpus of this name. Raises UnknownCorpus naming those there are."""
    corpus, tokenizer = schema.corpus, schema.tokenizer
    query = (
        select(
            *(corpus.c[key] for key in ("corpus_id", "name", "first_token_id", "n_tokens", "tokenizer_id")),
            tokenizer.c.length.label("tokenizer_length"),
            corpus.c.token_sha256,
        )
        .select_from(corpus.join(tokenizer, corpus.c.tokenizer_id == tokenizer.c.tokenizer_id))
        .order_by(corpus.c.name)
    )
    rows = connection.execute(query).all()
    for row in rows:
        if row.name == name:
            return Target(**row._mapping)
    known = f"it has {', '.join(row.name for row in rows)}" if rows else "it has none"
    raise UnknownCorpus(
        f"The warehouse has no corpus {name} ({known}): add the text that was measured with `warehouse corpus add`."
    )


def document_ranges(connection: Connection, target: Target) -> list[tuple[int, int]]:
    """First token, counted from the first of the corpus, and number of tokens of each document."""
    document = schema.document.c
    query = (
        select(document.first_token_id - target.first_token_id, document.n_tokens)
        .where(document.corpus_id == target.corpus_id)
        .order_by(document.document)
    )
    return [(first, length) for first, length in connection.execute(query)]


def save_protocol(connection: Connection, manifest: Manifest) -> int:
    """The protocol of a manifest. Raises ConflictingInputs if its name, or all else of it, stands for another one."""
    protocol = schema.protocol.c
    stated = {
        "windows": "imported",
        "window": manifest.window,
        "bos": manifest.bos,
        "vocabulary": manifest.vocabulary,
        "dtype": manifest.dtype,
        "tf32": None,
        "origin": manifest.origin,
    }
    same = [protocol[key].is_not_distinct_from(value) for key, value in stated.items()]
    twin = connection.execute(
        select(protocol.name).where(*same, protocol.name != manifest.protocol_name)
    ).scalar_one_or_none()
    if twin is not None:
        raise ConflictingInputs(
            f"Protocol {twin} says the same as {manifest.protocol_name}, origin and all: import under its name, or say "
            "in origin what differs."
        )
    key = find_or_make(connection, schema.protocol, {"name": manifest.protocol_name}, **stated)
    row = connection.execute(select(schema.protocol).where(protocol.protocol_id == key)).mappings().one()
    for name, value in stated.items():
        if row[name] != value:
            raise ConflictingInputs(
                f"Protocol {manifest.protocol_name} is in the warehouse with {name} {row[name]!r}, not {value!r}: "
                "measurements made in another way need another protocol name."
            )
    return key


def save_files(connection: Connection, files: Iterable[Path], manifest: Manifest) -> dict[Path, int]:
    """An environment for each file that measurements came from: its name, its hash, and how it was taken."""
    return {file: save_environment(connection, _provenance(file, manifest)) for file in sorted(set(files))}


def _provenance(file: Path, manifest: Manifest) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    taken = {
        "positions": None if manifest.positions is None else str(manifest.positions),
        "offset": manifest.offset,
        "unit": manifest.unit,
        "clip": manifest.clip,
    }
    return {"imported_from": str(file), "sha256": digest, "origin": manifest.origin, **taken}


def source_file(connection: Connection, environment_id: int) -> str:
    """The file that an imported measurement came from."""
    environment = schema.environment.c
    query = select(environment.description["imported_from"].astext).where(environment.environment_id == environment_id)
    return str(connection.execute(query).scalar_one())


# --- checkpoints --------------------------------------------------------------------------------------------------


def save_checkpoints(
    connection: Connection, wanted: Collection[Checkpoint], *, tokenizer_id: int | None, measured: bool
) -> dict[Checkpoint, int]:
    """The rows of checkpoints, made where they are new, with their models and runs.

    tokenizer_id: of what was measured on tokens, None else. measured: the checkpoints were scored, so that those that
    imports alone know are ok; what an ingestion says of its own stands. Raises ConflictingInputs for a model with
    another tokenizer.
    """
    models = {key: _save_model(connection, *key, tokenizer_id) for key in sorted({each[:2] for each in wanted})}
    runs = {
        key: find_or_make(connection, schema.run, {"model_id": models[key[:2]], "seed": key[2]})
        for key in sorted({each[:3] for each in wanted})
    }
    ids = _save_steps(connection, runs, wanted)
    if measured and ids:
        checkpoint = schema.checkpoint.c
        unread = (checkpoint.source == IMPORTED, checkpoint.status.is_(None))
        statement = update(schema.checkpoint).where(checkpoint.checkpoint_id.in_(ids.values()), *unread)
        connection.execute(statement.values(status="ok"))
    return ids


def all_models(connection: Connection) -> frozenset[tuple[str, str]]:
    """Family and name of every model."""
    model = schema.model.c
    return frozenset((family, name) for family, name in connection.execute(select(model.family, model.name)))


def left_out(connection: Connection, ids: Mapping[Checkpoint, int]) -> tuple[str, ...]:
    """Those of some checkpoints that views leave out, with their status, for messages."""
    checkpoint = schema.checkpoint.c
    query = select(checkpoint.checkpoint_id, checkpoint.status).where(
        checkpoint.checkpoint_id.in_(ids.values()), checkpoint.status.is_distinct_from("ok")
    )
    status = {key: said or "not read yet" for key, said in connection.execute(query)}
    return tuple(f"{each} ({status[key]})" for each, key in sorted(ids.items()) if key in status)


def _save_model(connection: Connection, family: str, name: str, tokenizer_id: int | None) -> int:
    key = {"family": family, "name": name}
    model_id = find_or_make(connection, schema.model, key, objective="causal", tokenizer_id=tokenizer_id)
    known = claim_tokenizer(connection, model_id, tokenizer_id)
    if tokenizer_id not in (None, known):
        raise ConflictingInputs(
            f"Model {name} of family {family} is in the warehouse with another tokenizer than the corpus: import it "
            "under another family, or on the corpus that it was measured on."
        )
    return model_id


def claim_tokenizer(connection: Connection, model_id: int, tokenizer_id: int | None) -> int | None:
    """A model's tokenizer; this one where none was known, as of models with imported results alone."""
    model = schema.model.c
    if tokenizer_id is not None:
        unknown = update(schema.model).where(model.model_id == model_id, model.tokenizer_id.is_(None))
        connection.execute(unknown.values(tokenizer_id=tokenizer_id))
    known: int | None = connection.execute(select(model.tokenizer_id).where(model.model_id == model_id)).scalar_one()
    return known


def _save_steps(
    connection: Connection, runs: Mapping[tuple[str, str, int], int], wanted: Collection[Checkpoint]
) -> dict[Checkpoint, int]:
    rows = [
        {"run_id": runs[each[:3]], "step": each.step, "source": IMPORTED, "revision": f"step{each.step}"}
        for each in sorted(wanted)
    ]
    if rows:
        connection.execute(insert(schema.checkpoint).on_conflict_do_nothing(), rows)
    checkpoint = schema.checkpoint.c
    query = select(checkpoint.run_id, checkpoint.step, checkpoint.checkpoint_id).where(
        checkpoint.run_id.in_(runs.values())
    )
    found = {(run_id, step): key for run_id, step, key in connection.execute(query)}
    return {each: found[runs[each[:3]], each.step] for each in wanted}


def locate_imported(connection: Connection, places: Mapping[int, Mapping[str, Any]]) -> None:
    """Say where checkpoints are that only imports knew, by their ids.

    places: columns of their rows by name.
    """
    checkpoint = schema.checkpoint.c
    query = select(checkpoint.checkpoint_id).where(checkpoint.checkpoint_id.in_(places), checkpoint.source == IMPORTED)
    known = sorted(connection.execute(query).scalars())
    if known:
        names = sorted(places[known[0]])
        statement = update(schema.checkpoint).where(checkpoint.checkpoint_id == bindparam("key"))
        rows = [{"key": key, **{f"new_{name}": places[key][name] for name in names}} for key in known]
        connection.execute(statement.values({name: bindparam(f"new_{name}") for name in names}), rows)
