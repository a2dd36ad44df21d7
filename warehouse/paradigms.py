"""Results by paradigm: how evaluations fare on the items of a corpus, and how far the seeds of a model are apart.

They are derived from the stored sums over documents, when evaluations are loaded and by ``warehouse refresh``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from warehouse import schema
from warehouse.facts import copy_rows, read_groups

Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Items:
    """The items of a corpus that ask which of several documents is the most probable: minimal pairs, and options.

    paradigm_ids: [P] keys. paradigms: [N] index of each item's paradigm. documents: [N, k] document of each role of an
    item, the good or correct one first; -1 where an item has fewer roles than others.
    """

    paradigm_ids: NDArray[np.int64]
    paradigms: NDArray[np.int64]
    documents: NDArray[np.int64]

    def sums(self, x: Floats, chosen: NDArray[np.bool_]) -> Floats:
        """[P] sum of x, one number a chosen item, by paradigm."""
        return np.bincount(self.paradigms[chosen], x, len(self.paradigm_ids)).astype(np.float64)

    def log_probabilities(self, surprisal: NDArray[np.float32]) -> Floats:
        """[N, k] of each role from [D] sums of surprisal: NaN where it was not scored, -inf where there is no role."""
        scores = -surprisal.astype(np.float64)[self.documents]
        return np.where(self.documents < 0, -np.inf, scores)


@dataclass(frozen=True)
class Scores:
    """[N, k] log-probabilities of the roles of all items by one evaluation, in nats; with_eos: with their EOS."""

    plain: Floats
    with_eos: Floats | None

    @classmethod
    def of(cls, items: Items, surprisal: NDArray[np.float32], eos_surprisal: NDArray[np.float32] | None) -> Scores:
        """From [D] sums of surprisal and surprisals of EOS; None where documents have none."""
        plain = items.log_probabilities(surprisal)
        return cls(plain, None if eos_surprisal is None else plain + _absent_as_zero(items, eos_surprisal))

    @property
    def scored(self) -> NDArray[np.bool_]:
        """[N] whether all roles of an item have a score."""
        return np.logical_not(np.isnan(self.plain).any(1))

    @cached_property
    def answers(self) -> Floats:
        """[N, k] log of the softmax over the roles of each item."""
        return _log_softmax(self.plain)

    @cached_property
    def answers_with_eos(self) -> Floats | None:
        """The same with EOS counted."""
        return None if self.with_eos is None else _log_softmax(self.with_eos)


def _absent_as_zero(items: Items, eos_surprisal: NDArray[np.float32]) -> Floats:
    return np.where(items.documents < 0, 0.0, -eos_surprisal.astype(np.float64)[items.documents])


def score_rows(items: Items, scores: Scores) -> list[Row]:
    """Rows of ``paradigm_score`` of one evaluation, less its key; see docs/methods.md §7."""
    scored = scores.scored
    margin = _margin(scores.plain[scored])
    counts = items.sums(np.ones(len(margin)), scored)
    with_eos = None
    if scores.with_eos is not None:
        # NaN where an item lacks an EOS, and then the count of its paradigm is not known.
        margin_with_eos = _margin(scores.with_eos[scored])
        with_eos = items.sums(np.where(np.isnan(margin_with_eos), np.nan, margin_with_eos > 0), scored)
    columns = {
        "n_items": counts,
        "n_correct": items.sums((margin > 0).astype(np.float64), scored),
        "n_correct_with_eos": with_eos,
        "sum_margin": items.sums(margin, scored),
        "sum_margin2": items.sums(margin * margin, scored),
    }
    return _rows(items, columns, ("n_items", "n_correct", "n_correct_with_eos"))


def _margin(log_probabilities: Floats) -> Floats:
    """[n] how far the first role is above the best other one."""
    wanted, others = log_probabilities[:, 0], log_probabilities[:, 1:]
    return np.asarray(wanted - others.max(1))


def divergence_rows(items: Items, p: Scores, q: Scores) -> list[Row]:
    """Rows of ``paradigm_divergence`` of one ordered pair of evaluations, less its keys; see docs/methods.md §7."""
    scored = p.scored & q.scored
    kl = _kl(p.answers[scored], q.answers[scored])
    with_eos = None
    if p.answers_with_eos is not None and q.answers_with_eos is not None:
        with_eos = items.sums(_kl(p.answers_with_eos[scored], q.answers_with_eos[scored]), scored)
    columns = {
        "n_items": items.sums(np.ones(len(kl)), scored),
        "sum_kl": items.sums(kl, scored),
        "sum_kl_with_eos": with_eos,
    }
    return _rows(items, columns, ("n_items",))


def _kl(log_p: Floats, log_q: Floats) -> Floats:
    """[n] KL between two [n, k] distributions over roles, in nats, by the terms of docs/methods.md §2."""
    p, q = np.exp(log_p), np.exp(log_q)
    present = ~np.isneginf(log_p)
    d = np.subtract(log_p, log_q, out=np.zeros_like(log_p), where=present)
    terms = np.where(np.abs(d) < 1, p * (d + np.expm1(-np.clip(d, -1, 1))), p * d - p + q)
    return np.asarray(terms.sum(1))


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def _rows(items: Items, columns: Mapping[str, Floats | None], counts: Collection[str]) -> list[Row]:
    """A row for every paradigm; what is NaN, or was not measured on any item with EOS, becomes NULL."""
    rows = []
    for index, paradigm_id in enumerate(items.paradigm_ids.tolist()):
        row: Row = {"paradigm_id": paradigm_id}
        for name, column in columns.items():
            value = None if column is None or np.isnan(column[index]) else float(column[index])
            row[name] = int(value) if value is not None and name in counts else value
        rows.append(row)
    return rows


# --- in the database -----------------------------------------------------------------------------------------------

_ITEMS = """
select item.paradigm_id, item.item, item.role in ('good', 'correct') as wanted, item.document
from warehouse.item as item
inner join warehouse.paradigm as paradigm on paradigm.paradigm_id = item.paradigm_id
where paradigm.corpus_id = :corpus and paradigm.kind <> 'spans'
order by item.paradigm_id, item.item, wanted desc, item.role
"""

_PARADIGMS = """
select paradigm_id from warehouse.paradigm where corpus_id = :corpus and kind <> 'spans' order by paradigm_id
"""

# Evaluations of some ids, each with one of another seed of its model at its step.
_SEED_PAIRS = """
select evaluation.evaluation_id, other.evaluation_id
from warehouse.evaluation as evaluation
inner join warehouse.checkpoint as checkpoint on checkpoint.checkpoint_id = evaluation.checkpoint_id
inner join warehouse.run as run on run.run_id = checkpoint.run_id
inner join warehouse.run as other_run on other_run.model_id = run.model_id and other_run.run_id <> run.run_id
inner join warehouse.checkpoint as other_checkpoint
    on other_checkpoint.run_id = other_run.run_id and other_checkpoint.step = checkpoint.step
inner join warehouse.evaluation as other
    on other.checkpoint_id = other_checkpoint.checkpoint_id
    and other.corpus_id = evaluation.corpus_id
    and other.protocol_id = evaluation.protocol_id
where evaluation.evaluation_id = any(:ids) and evaluation.status = 'complete' and other.status = 'complete'
"""


def read_items(connection: Connection, corpus_id: int) -> Items:
    """The minimal pairs and options of a corpus; not an item without a good or correct role, or without another."""
    paradigm_ids = connection.execute(text(_PARADIGMS), {"corpus": corpus_id}).scalars().all()
    rows = connection.execute(text(_ITEMS), {"corpus": corpus_id}).all()
    return _items(np.array(paradigm_ids, np.int64), np.array([tuple(row) for row in rows], np.int64).reshape(-1, 4))


def _items(paradigm_ids: NDArray[np.int64], roles: NDArray[np.int64]) -> Items:
    """From [R, 4] rows of paradigm, item, whether the role is the wanted one, document; the wanted one first."""
    changes = np.flatnonzero((np.diff(roles[:, :2], axis=0) != 0).any(1)) + 1
    starts = np.concatenate([[0], changes]) if len(roles) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(roles)))
    documents = np.full((len(starts), max(sizes.max(initial=0), 2)), -1, np.int64)
    number = np.repeat(np.arange(len(starts)), sizes)
    documents[number, np.arange(len(roles)) - np.repeat(starts, sizes)] = roles[:, 3]
    kept = (roles[starts, 2] == 1) & (sizes >= 2)
    return Items(paradigm_ids, np.searchsorted(paradigm_ids, roles[starts, 0])[kept], documents[kept])


def write_results(connection: Connection, items: Items, evaluation_ids: Collection[int]) -> None:
    """Write the results by paradigm of evaluations just loaded, and of each with other seeds of its model at its step.

    Whoever writes them is alone with the corpus' paradigms, see :func:`warehouse.locks.hold_paradigms`.
    """
    if not len(items.paradigm_ids):
        return
    ids = sorted(set(evaluation_ids))
    found = connection.execute(text(_SEED_PAIRS), {"ids": ids}).all()
    pairs = sorted({pair for one, other in found for pair in ((one, other), (other, one))})
    scores = _read_scores(connection, items, {*ids, *(side for pair in pairs for side in pair)})
    # A refresh adds what an earlier version of the package has loaded without sums.
    pairs = [pair for pair in pairs if scores.keys() >= set(pair)]
    own = [{"evaluation_id": key, **row} for key in ids for row in score_rows(items, scores[key])]
    copy_rows(connection, schema.paradigm_score, own)
    copy_rows(connection, schema.paradigm_divergence, list(_divergences(items, scores, pairs)))


def _divergences(items: Items, scores: Mapping[int, Scores], pairs: Iterable[tuple[int, int]]) -> Iterable[Row]:
    for p, q in pairs:
        for row in divergence_rows(items, scores[p], scores[q]):
            yield {"evaluation_p": p, "evaluation_q": q, **row}


def _read_scores(connection: Connection, items: Items, evaluation_ids: Collection[int]) -> dict[int, Scores]:
    """Scores of all items by evaluation."""
    query = """
    select evaluation_id, {column} from warehouse.document_score_chunk
    where evaluation_id = any(%(ids)s) and {column} is not null
    order by evaluation_id, document_chunk
    """
    keys = {"ids": list(evaluation_ids)}
    surprisal = read_groups(connection, query.format(column="surprisal"), keys)
    eos = read_groups(connection, query.format(column="eos_surprisal"), keys)
    return {key: Scores.of(items, surprisal[key], eos.get(key)) for key in surprisal}
