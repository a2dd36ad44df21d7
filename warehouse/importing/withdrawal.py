"""Taking out again what was imported: a protocol with all that came in under it, or results on benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial

from sqlalchemy import ColumnElement, Connection, delete, exists, select, update

from warehouse import schema
from warehouse.annotating import choose_model
from warehouse.comparisons import drop_comparison
from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.facts import driver
from warehouse.importing.target import IMPORTED
from warehouse.locks import hold_corpus
from warehouse.writer import Writer

_OF_PAIRS = (schema.divergence_chunk, schema.document_divergence_chunk)
_OF_EVALUATIONS = (
    schema.score_chunk,
    schema.score_summary,
    schema.document_score_chunk,
    schema.paradigm_score,
    schema.evaluation,
)


class NotImported(WarehouseError):
    """There is no imported protocol, or no result, of this name."""


def drop_protocol(database: Database, name: str) -> int:
    """Delete an imported protocol in one transaction; returns how many evaluations it had.

    name: with imported- or without. Checkpoints that only it knew are deleted too. Raises NotImported.
    """
    return Writer(database, database.engine(), reserve=0).commit(partial(_drop, name=name))


def drop_results(database: Database, source: str | None, metric: str | None, model: str | None) -> int:
    """Delete results on benchmarks in one transaction; returns how many.

    source, metric, model: which ones; None for all. Checkpoints that only they knew are deleted too, and scaling laws
    that were fitted to any of them. Raises NotImported, UnknownTarget.
    """
    wanted = partial(_drop_results, source=source, metric=metric, model=model)
    return Writer(database, database.engine(), reserve=0).commit(wanted)


def _drop_results(connection: Connection, source: str | None, metric: str | None, model: str | None) -> int:
    result, checkpoint, run = schema.checkpoint_metric.c, schema.checkpoint.c, schema.run.c
    chosen = delete(schema.checkpoint_metric)
    for column, value in ((result.source, source), (result.name, metric)):
        if value is not None:
            _refuse_unknown(connection, column, value)
            chosen = chosen.where(column == value)
    if model is not None:
        joined = schema.checkpoint.join(schema.run, run.run_id == checkpoint.run_id)
        own = select(checkpoint.checkpoint_id).select_from(joined)
        chosen = chosen.where(
            result.checkpoint_id.in_(own.where(run.model_id == choose_model(connection, model)).scalar_subquery())
        )
    returned = connection.execute(chosen.returning(result.checkpoint_id, result.name, result.source))
    gone = [(checkpoint_id, name, origin) for checkpoint_id, name, origin in returned]
    if not gone:
        raise NotImported("No result is of all that at once; view checkpoint_metrics shows what there is.")
    _drop_laws(connection, gone)
    _drop_orphans(connection)
    return len(gone)


def _drop_laws(connection: Connection, gone: Sequence[tuple[int, str, str]]) -> None:
    """Delete scaling laws of losses of which some are gone: fits to results of the same family.

    gone: checkpoint, name and source of each result.
    """
    checkpoint, run, model = schema.checkpoint, schema.run, schema.model
    joined = checkpoint.join(run, run.c.run_id == checkpoint.c.run_id).join(model, model.c.model_id == run.c.model_id)
    query = select(checkpoint.c.checkpoint_id, model.c.family).select_from(joined)
    query = query.where(checkpoint.c.checkpoint_id.in_({checkpoint_id for checkpoint_id, _, _ in gone}))
    family = {row.checkpoint_id: row.family for row in connection.execute(query)}
    fit = schema.fit.c
    for own, metric, source in sorted({(family[key], name, origin) for key, name, origin in gone}):
        asked = (fit.settings["metric"].astext == metric, fit.settings["source"].astext == source)
        connection.execute(delete(schema.fit).where(fit.kind == "scaling", fit.family == own, *asked))


def _refuse_unknown(connection: Connection, column: ColumnElement[str], value: str) -> None:
    known = connection.execute(select(column).distinct().order_by(column)).scalars().all()
    if value not in known:
        near = get_close_matches(value, known, n=3) or known[:5]
        said = f"nearest: {', '.join(near)}" if near else "there are no results"
        raise NotImported(f"No result has the {column.key} {value} ({said}).")


def _drop(connection: Connection, name: str) -> int:
    protocol_id = _find(connection, name)
    evaluation, comparison = schema.evaluation.c, schema.comparison.c
    concerned = select(evaluation.corpus_id).where(evaluation.protocol_id == protocol_id).distinct()
    for corpus_id in connection.execute(concerned.order_by(evaluation.corpus_id)).scalars().all():
        hold_corpus(driver(connection), corpus_id)
    own = select(comparison.comparison_id).where(comparison.protocol_id == protocol_id)
    for comparison_id in connection.execute(own).scalars().all():
        drop_comparison(connection, comparison_id)
    query = select(evaluation.evaluation_id, evaluation.checkpoint_id).where(evaluation.protocol_id == protocol_id)
    found = connection.execute(query).all()
    evaluations = [row.evaluation_id for row in found]
    _drop_pairs(connection, evaluations)
    for table in _OF_EVALUATIONS:
        connection.execute(delete(table).where(table.c.evaluation_id.in_(evaluations)))
    connection.execute(delete(schema.fit).where(schema.fit.c.protocol_id == protocol_id))
    connection.execute(delete(schema.protocol).where(schema.protocol.c.protocol_id == protocol_id))
    _forget_status(connection, [row.checkpoint_id for row in found])
    _drop_orphans(connection)
    return len(evaluations)


def _find(connection: Connection, name: str) -> int:
    protocol = schema.protocol.c
    query = select(protocol.name, protocol.protocol_id).where(protocol.origin.is_not(None)).order_by(protocol.name)
    known = {row.name: row.protocol_id for row in connection.execute(query)}
    for each in (name, f"imported-{name}"):
        if each in known:
            return int(known[each])
    said = f"it has {', '.join(known)}" if known else "it has none"
    raise NotImported(f"The warehouse has no imported protocol {name} ({said}); what was measured here stays.")


def _drop_pairs(connection: Connection, evaluations: list[int]) -> None:
    pair = schema.comparison_pair.c
    chosen = select(pair.pair_id).where(pair.evaluation_p.in_(evaluations))
    for table in (*_OF_PAIRS, schema.comparison_pair):
        connection.execute(delete(table).where(table.c.pair_id.in_(chosen)))
    divergence = schema.paradigm_divergence
    connection.execute(delete(divergence).where(divergence.c.evaluation_p.in_(evaluations)))


def _forget_status(connection: Connection, checkpoint_ids: list[int]) -> None:
    """Take back that checkpoints are ok where an import alone said so: none is left, and nobody read them here."""
    checkpoint, evaluation = schema.checkpoint.c, schema.evaluation.c
    measured = exists().where(evaluation.checkpoint_id == checkpoint.checkpoint_id, evaluation.status != "planned")
    said = (checkpoint.status == "ok", checkpoint.weights_sha256.is_(None), ~measured)
    statement = update(schema.checkpoint).where(checkpoint.checkpoint_id.in_(checkpoint_ids), *said)
    connection.execute(statement.values(status=None))


def _drop_orphans(connection: Connection) -> None:
    """Delete checkpoints that were known by imports alone and of which nothing is left, then their runs and models."""
    checkpoint, run, model = schema.checkpoint, schema.run, schema.model
    key = checkpoint.c.checkpoint_id
    held = [exists().where(table.c.checkpoint_id == key) for table in (schema.evaluation, schema.checkpoint_metric)]
    gone = delete(checkpoint).where(checkpoint.c.source == IMPORTED, ~held[0], ~held[1])
    runs = set(connection.execute(gone.returning(checkpoint.c.run_id)).scalars())
    empty = delete(run).where(run.c.run_id.in_(runs), ~exists().where(checkpoint.c.run_id == run.c.run_id))
    models = set(connection.execute(empty.returning(run.c.model_id)).scalars())
    layer = schema.annotation_layer.c.model_id
    unused = [~exists().where(column == model.c.model_id) for column in (run.c.model_id, layer)]
    connection.execute(delete(model).where(model.c.model_id.in_(models), *unused))
