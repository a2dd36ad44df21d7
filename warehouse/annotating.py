"""Making layers: from rows of annotations and what the user wishes of them, to layers of a corpus.

Knows rows, keys, bins and stored layers; files and the command line are not known here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from warehouse import schema
from warehouse.annotation_keys import DOCUMENT_COLUMNS, KEY_COLUMNS, CorpusRange, Fault, Target, find_key, place
from warehouse.annotation_keys import refuse_twins as refuse_twin_values
from warehouse.annotation_rows import BadAnnotationFile, Rows, Texts
from warehouse.annotations import BadAnnotation, layer_names, read_layer
from warehouse.bins import binned, each_number, quantile_edges
from warehouse.corpus_tokens import document_texts, read_corpus_tokens
from warehouse.dependent_layers import GROUPS_OF
from warehouse.errors import WarehouseError
from warehouse.facts import driver
from warehouse.layer import NO_VALUE, TOTAL, Category, Layer, present_values
from warehouse.locks import hold_corpus
from warehouse.summaries import SUMMARISED_VALUES

Kind = Literal["categorical", "numeric"]
T = TypeVar("T")

#: What precedes the name of a layer in a key that maps its values to groups.
BY_VALUE = "value:"
GROUP_COLUMN = "group"
DEFAULT_BINS = 10
#: A value of more characters than this, or of more bytes, fits into no index.
LONGEST_VALUE, LONGEST_VALUE_BYTES = 1000, 2500


class UnknownTarget(WarehouseError):
    """There is no corpus, model or layer of this name."""


class PartialAnnotation(WarehouseError):
    """Some rows are about no token."""


@dataclass(frozen=True)
class Wish:
    """What a user wants of rows. key: one of KEY_COLUMNS, or value:LAYER. column: with the values. None: found out.

    kind: None for numeric where every value is a number. edges, n_bins: how numbers are binned; without edges by
    quantiles. text: a file with the text of the corpus, where its tokens do not spell it. missing: what stands for no
    value, beside an empty cell; with any, words such as NaN that are not among them are values.
    """

    name: str
    key: str | None = None
    column: str | None = None
    kind: Kind | None = None
    edges: tuple[float, ...] = ()
    n_bins: int | None = None
    allow_partial: bool = False
    text: Path | None = None
    description: str | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A layer, and what a user should know of how it came about. left_out: some rows are about no token of it."""

    layer: Layer
    notes: tuple[str, ...] = field(default=())
    left_out: bool = False


@dataclass(frozen=True)
class _Values:
    """The values of rows. codes: [R] int32, -1 for none. names: of the codes; numbers: of the codes, where numeric."""

    codes: NDArray[np.int32] = field(repr=False)
    names: Sequence[str]
    numbers: NDArray[np.float64] | None
    faults: tuple[Fault, ...] = ()


def corpora(connection: Connection) -> list[CorpusRange]:
    """Every corpus with its token ids, by name."""
    c = schema.corpus.c
    rows = connection.execute(select(c.corpus_id, c.name, c.first_token_id, c.n_tokens).order_by(c.name))
    return [CorpusRange(row[0], row[1], row[2], row[2] + row[3]) for row in rows]


def choose_corpus(connection: Connection, name: str | None, rows: Rows | None = None) -> CorpusRange:
    """The corpus of this name; without one the only corpus, or that of the first token id of the rows.

    Raises UnknownTarget.
    """
    known = corpora(connection)
    if not known:
        raise UnknownTarget("The warehouse has no corpus yet; `warehouse ingest` makes one.")
    if name is not None:
        return _named(name, {corpus.name: corpus for corpus in known}, "corpus")
    if rows is not None and "token_id" in rows.columns:
        ids, whole = rows.whole_numbers("token_id")
        first = ids[whole][:1]
        known = [corpus for corpus in known if (first >= corpus.first).any() and (first < corpus.end).any()] or known
    if len(known) > 1:
        raise UnknownTarget(f"There are several corpora ({_few(c.name for c in known)}): say which with --corpus.")
    return known[0]


def choose_model(connection: Connection, name: str) -> int:
    """The id of a model, named as FAMILY/NAME, or by its name alone where one family has it. Raises UnknownTarget."""
    m = schema.model.c
    rows = connection.execute(select(m.model_id, m.family, m.name).order_by(m.family, m.name)).all()
    found = [row for row in rows if name in (f"{row.family}/{row.name}", row.name)]
    if len(found) > 1:
        families = _few(f"{row.family}/{row.name}" for row in found)
        raise UnknownTarget(f"Several families have a model {name}: name it as one of {families}.")
    if found:
        return int(found[0].model_id)
    return _named(name, {f"{row.family}/{row.name}": int(row.model_id) for row in rows}, "model")


def stored_layer(
    connection: Connection, corpus: CorpusRange, name: str, model_id: int | None, *, exactly: bool = False
) -> Layer:
    """A layer of a corpus, the model's own before that of every model; exactly: only the former.

    Raises UnknownTarget. No other session changes it in this transaction.
    """
    hold_corpus(driver(connection), corpus.corpus_id)
    for owner in dict.fromkeys((model_id,) if exactly else (model_id, None)):
        if (layer := read_layer(connection, corpus.corpus_id, name, model_id=owner)) is not None:
            return layer
    _refuse_other_owner(connection, corpus, name)
    names = layer_names(connection, corpus.corpus_id) | layer_names(connection, corpus.corpus_id, model_id)
    raise UnknownTarget(f"Corpus {corpus.name} has no layer {name}{_nearest(name, names)}.")


def _refuse_other_owner(connection: Connection, corpus: CorpusRange, name: str) -> None:
    """Raise UnknownTarget where there is a layer of this name, but not of the model that was named, or of none."""
    layer, model = schema.annotation_layer.c, schema.model.c
    joined = schema.annotation_layer.outerjoin(schema.model, model.model_id == layer.model_id)
    query = select(layer.model_id, model.family, model.name).select_from(joined).order_by(model.family, model.name)
    owners = connection.execute(query.where(layer.corpus_id == corpus.corpus_id, layer.name == name)).all()
    if any(owner.model_id is None for owner in owners):
        raise UnknownTarget(f"Layer {name} of corpus {corpus.name} is there for every model: leave out --model.")
    if owners:
        models = _few(f"{owner.family}/{owner.name}" for owner in owners)
        raise UnknownTarget(f"Layer {name} of corpus {corpus.name} belongs to {models}: name the model with --model.")


def refuse_total(name: str) -> None:
    """Raise BadAnnotation if this is the name of the layer of all tokens."""
    if name == TOTAL:
        raise BadAnnotation(f"The layer {TOTAL} carries the totals: it stays as it is; choose another name.")


def make_layer(connection: Connection, corpus: CorpusRange, rows: Rows, wish: Wish, model_id: int | None) -> Made:
    """The layer that rows say, for the tokens of a corpus.

    Raises BadAnnotationFile for rows that contradict each other or lack a column, PartialAnnotation for rows that are
    about no token, BadAnnotation where no token gets a value, UnknownTarget for a layer that is not there.
    """
    if wish.key is not None and wish.key.startswith(BY_VALUE):
        return _regrouped(connection, corpus, rows, wish, model_id)
    kind, key_columns = find_key(rows, wish.key)
    column = _value_column(rows, wish, key_columns)
    values = _values(rows, column, wish)
    tokens = read_corpus_tokens(connection, corpus.corpus_id)
    target = Target(tokens, corpora(connection), lambda: document_texts(connection, tokens, wish.text))
    placed = place(kind, key_columns, rows, values.codes, target)
    faults = (*values.faults, *placed.faults)
    notes = _left_out(rows, faults, wish.allow_partial)
    if (placed.codes == NO_VALUE).all():
        raise BadAnnotation(f"{rows.source} gives no token of corpus {corpus.name} a value{_why_none(faults)}.")
    source = f"{rows.source}, column {column}, by {' and '.join(key_columns)}"
    layer = _layer(wish, values, placed.codes, source)
    return Made(layer, (*notes, *placed.notes, *_remarks(layer)), left_out=bool(faults))


# --- values -----------------------------------------------------------------------------------------------------------


def _value_column(rows: Rows, wish: Wish, key_columns: Sequence[str]) -> str:
    """The column with the values: as named, else called like the layer, else `value`, else the only one left."""
    if wish.column is not None:
        if wish.column not in rows.columns:
            raise BadAnnotationFile(f"{rows.source} has no column {wish.column}; it has {', '.join(rows.columns)}.")
        return wish.column
    others = [name for name in rows.columns if name not in key_columns]
    for usual in (wish.name, "value"):
        if usual in others:
            return usual
    keys = {name for choices in KEY_COLUMNS.values() for choice in choices for name in choice}
    left = [name for name in others if name not in keys and name not in DOCUMENT_COLUMNS]
    if len(left) != 1:
        raise BadAnnotationFile(
            f"{rows.source} has "
            + (f"the columns {', '.join(left)} to take values from" if left else "no column with values")
            + ": say which with --column."
        )
    return left[0]


def _values(rows: Rows, column: str, wish: Wish) -> _Values:
    """The values of a column as numbers or as categories: as wished, else numbers if all of them are."""
    if wish.missing:
        rows = rows.without(column, wish.missing)
    if wish.kind == "categorical":
        return _categorical(rows, column, wish)
    numbers, bad = rows.numbers(column)
    _refuse_commas(rows, column, numbers, bad, wish)
    if wish.kind == "numeric":
        faults = (Fault(f"have what is no finite number as {column}", np.flatnonzero(bad), (column,)),)
        return _numeric(numbers, faults if bad.any() else ())
    has_number, infinite = np.isfinite(numbers), rows.infinite(column)
    if infinite.any() and (bad == infinite).all():
        raise BadAnnotationFile(
            f"What {rows.source} has as {column} is not finite: {rows.named(np.flatnonzero(infinite), column)}; "
            "correct it, or pass --numeric with --allow-partial to leave it out."
        )
    if bad.any() and has_number.sum() > bad.sum():
        raise BadAnnotationFile(
            f"Most values of {column} in {rows.source} are numbers, but not {rows.named(np.flatnonzero(bad), column)}: "
            "correct them, or pass --missing WORD if they stand for no value, --categorical, or --numeric with "
            "--allow-partial to leave them out."
        )
    return _numeric(numbers, ()) if has_number.any() and not bad.any() else _categorical(rows, column, wish)


def _refuse_commas(rows: Rows, column: str, numbers: NDArray[np.float64], bad: NDArray[np.bool_], wish: Wish) -> None:
    """Raise BadAnnotationFile for numbers with a comma, which may mean 3.14 or 1234. bad: [R] is no finite number."""
    comma = bad & rows.with_comma(column)
    if comma.any() and (wish.kind == "numeric" or (np.isfinite(numbers) | comma).sum() > (bad & ~comma).sum()):
        raise BadAnnotationFile(
            f"{rows.source} has numbers with a comma as {column}: {rows.named(np.flatnonzero(comma), column)}; write "
            "decimals with a point and thousands without a mark, or pass --categorical if they are names."
        )


def _categorical(rows: Rows, column: str, wish: Wish) -> _Values:
    if not wish.missing and len(words := rows.missing_words(column)):
        raise BadAnnotationFile(
            f"It is not clear whether {rows.source} means a value or none as {column}: {rows.named(words, column)}; "
            "pass --missing with each word that stands for none, or --missing '' where only empty cells do."
        )
    texts = rows.texts(column)
    _refuse_long(rows, column, texts)
    return _Values(texts.codes, texts.values, None)


def _refuse_long(rows: Rows, column: str, texts: Texts) -> None:
    long = [
        code
        for code, value in enumerate(texts.values)
        if len(value) > LONGEST_VALUE or len(value.encode()) > LONGEST_VALUE_BYTES
    ]
    if long:
        raise BadAnnotationFile(
            f"Values of {column} in {rows.source} are longer than {LONGEST_VALUE:,} characters or "
            f"{LONGEST_VALUE_BYTES:,} bytes: {rows.named(np.flatnonzero(np.isin(texts.codes, long)), column)}; "
            "shorten them."
        )


def _numeric(numbers: NDArray[np.float64], faults: tuple[Fault, ...]) -> _Values:
    finite = np.isfinite(numbers)
    distinct, inverse = np.unique(numbers[finite], return_inverse=True)
    if len(distinct) and np.abs(distinct).max() > float(np.finfo(np.float32).max):
        raise BadAnnotationFile(
            f"A value of {distinct[np.abs(distinct).argmax()]:g} is too large: numbers are kept in single precision."
        )
    codes = np.full(len(numbers), NO_VALUE, np.int32)
    codes[finite] = inverse
    return _Values(codes, (), distinct, faults)


def _layer(wish: Wish, values: _Values, codes: NDArray[np.int32], source: str) -> Layer:
    """The layer of these values. codes: [T], an index into the values, -1 for none."""
    described = wish.description or f"{wish.name}, as loaded from {source}"
    if values.numbers is None:
        names, order = _sorted(values.names)
        categories, dense = present_values([Category(name) for name in names], order[codes])
        return Layer(wish.name, "categorical", categories, dense, None, source, described)
    numbers = np.append(values.numbers, np.nan)[codes]
    n_distinct = np.count_nonzero(np.bincount(codes[codes != NO_VALUE]))
    edges = list(wish.edges)
    if not edges and (wish.n_bins is not None or n_distinct > DEFAULT_BINS):
        edges = quantile_edges(numbers, wish.n_bins or DEFAULT_BINS)
    categories, bins = binned(numbers, edges) if edges else each_number(numbers)
    return Layer(wish.name, "numeric", categories, bins, numbers.astype(np.float32), source, described)


def _sorted(names: Sequence[str]) -> tuple[list[str], NDArray[np.int32]]:
    """The names in order, and the new code of each old one; the last is for the code -1."""
    order = sorted(range(len(names)), key=names.__getitem__)
    new = np.full(len(names) + 1, NO_VALUE, np.int32)
    new[order] = np.arange(len(names))
    return [names[i] for i in order], new


# --- groups of an existing layer's values -----------------------------------------------------------------------------


def _regrouped(connection: Connection, corpus: CorpusRange, rows: Rows, wish: Wish, model_id: int | None) -> Made:
    """The layer in which each value of another one is replaced by its group."""
    name = (wish.key or "").removeprefix(BY_VALUE)
    if "value" not in rows.columns:
        raise BadAnnotationFile(
            f"{rows.source} has the columns {', '.join(rows.columns)}, and needs value and {GROUP_COLUMN}."
        )
    base = stored_layer(connection, corpus, name, model_id)
    usual = GROUP_COLUMN if GROUP_COLUMN in rows.columns else None
    column = _value_column(rows, replace(wish, column=wish.column or usual), ("value",))
    values, groups = rows.texts("value"), _values(rows, column, wish)
    index = {category.value: code for code, category in enumerate(base.categories)}
    own = np.array([*(index.get(value, -1) for value in values.values), -1], np.int64)[values.codes]
    refuse_twin_values(rows, values.codes.astype(np.int64), len(values.values), ("value",))
    group_of = np.full(len(base.categories) + 1, NO_VALUE, np.int32)  # the last one is for the code -1
    group_of[own[own >= 0]] = groups.codes[own >= 0]
    codes = group_of[base.codes]
    if (codes == NO_VALUE).all():
        raise BadAnnotation(f"No value of {rows.source} is one of layer {name}, whose values are {_few(index)}.")
    notes = _left_out(rows, groups.faults, wish.allow_partial)
    if len(strange := np.flatnonzero(own < 0)):
        notes += (f"Layer {name} has no such value: {rows.named(strange, 'value')}.",)
    if len(alone := [value for value, code in index.items() if group_of[code] == NO_VALUE]):
        notes += (f"These values of {name} have no group: {_few(alone)}.",)
    layer = _layer(wish, groups, codes, f"{rows.source}{GROUPS_OF}{name}")
    return Made(layer, (*notes, *_remarks(layer)), left_out=bool(groups.faults))


# --- what to tell -----------------------------------------------------------------------------------------------------


def _left_out(rows: Rows, faults: Sequence[Fault], allowed: bool) -> tuple[str, ...]:
    """A note on rows that are about no token. Raises PartialAnnotation where these are not allowed."""
    if not faults:
        return ()
    n = len(np.unique(np.concatenate([fault.rows for fault in faults])))
    told = "; ".join(f"{len(fault.rows):,} {fault.what}: {rows.named(fault.rows, *fault.columns)}" for fault in faults)
    what = f"of {len(rows):,} rows of {rows.source}: {told}"
    if not allowed:
        raise PartialAnnotation(f"Cannot use {n:,} {what}. Correct them, or pass --allow-partial to leave them out.")
    return (f"Left out {n:,} {what}.",)


def _why_none(faults: Sequence[Fault]) -> str:
    return f", since rows {faults[0].what}" if faults else ": its values are empty"


def _remarks(layer: Layer) -> tuple[str, ...]:
    if len(layer.categories) > SUMMARISED_VALUES:
        return (
            f"Layer {layer.name} has {len(layer.categories):,} values; conditional views show layers of up to "
            f"{SUMMARISED_VALUES:,}, token_annotation shows it.",
        )
    return ()


def _named(name: str, known: Mapping[str, T], what: str) -> T:
    if name not in known:
        raise UnknownTarget(f"There is no {what} {name}{_nearest(name, known)}.")
    return known[name]


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3) or names[:5]
    return f"; nearest {'are' if len(near) > 1 else 'is'} {', '.join(near)}" if near else ""


def _few(names: Iterable[str], limit: int = 10) -> str:
    every = list(names)
    more = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
