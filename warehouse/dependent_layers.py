"""Layers and what is made of them: the twin of the token before, and groups of a layer's values.

Whatever replaces a layer makes these again in the same transaction, or is refused. Knows stored layers; rows and files
are not known here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from warehouse import schema
from warehouse.annotation_keys import CorpusRange
from warehouse.annotations import BadAnnotation, drop_layer, layer_names, load_layer, read_layer
from warehouse.facts import driver
from warehouse.layer import CONTEXT, NO_VALUE, Layer, context_of, present_values
from warehouse.locks import hold_corpus

#: What the source of a user's groups ends in, before the name of the layer that they are groups of.
GROUPS_OF = ", groups of layer "
#: What stands between the source of a layer and the file of the groups that come with the package.
SHIPPED_GROUPS = "; "
#: A replacement with fewer values than this share of the former ones, some rows left out, is taken for a mistake.
COLLAPSE = 0.5


@dataclass(frozen=True)
class Written:
    """What became of a layer and of those made of it. notes: what a user should know."""

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written((*self.layers, *other.layers), (*self.notes, *other.notes))


@dataclass(frozen=True)
class _Stored:
    """A row of the table of layers. owner: the model that it belongs to, None for every model."""

    name: str
    source: str
    owner: int | None


def put_layer(
    connection: Connection,
    corpus: CorpusRange,
    layer: Layer,
    *,
    model_id: int | None,
    replace_it: bool = False,
    context: bool = False,
) -> Written:
    """Write a layer and, if context is set or the layer replaces one that has it, its twin of the token before.

    Groups of the values of a layer that is replaced are made again. A twin or a group that was not asked for and would
    have no values is dropped. Raises BadAnnotation if there is such a layer already and replace_it is not set, if a
    model (or every model) has one of this name, or if the new layer has values of which the groups say nothing.
    """
    hold_corpus(driver(connection), corpus.corpus_id)
    _refuse_other_owners(connection, corpus, layer.name, model_id)
    old = read_layer(connection, corpus.corpus_id, layer.name, model_id=model_id) if replace_it else None
    groups = [] if old is None else _groups_of(connection, corpus, old)
    if old is not None:
        _refuse_new_values(connection, corpus, groups, old, layer)
    load_layer(connection, corpus.corpus_id, layer, model_id=model_id, replace=replace_it)
    done = Written((layer,))
    for group in groups:
        assert old is not None
        held = read_layer(connection, corpus.corpus_id, group.name, model_id=group.owner)
        assert held is not None
        done += _again(connection, corpus, _grouped_anew(held, old, layer), group.owner, "no token is in a group")
    twin = layer.name + CONTEXT
    has_twin = twin in layer_names(connection, corpus.corpus_id, model_id)
    if context:
        done += put_context(connection, corpus, layer, model_id=model_id, replace_it=replace_it)
    elif has_twin:
        why_none = "no token comes after one with a value"
        done += _again(connection, corpus, _context(connection, corpus, layer), model_id, why_none)
    return done


def put_context(
    connection: Connection, corpus: CorpusRange, layer: Layer, *, model_id: int | None, replace_it: bool
) -> Written:
    """Write the twin of a layer, with the value of the token before. Raises BadAnnotation, also where it has none."""
    twin = _context(connection, corpus, layer)
    if not twin.categories:
        raise BadAnnotation(f"No token of corpus {corpus.name} comes after one with a value of {layer.name}.")
    return put_layer(connection, corpus, twin, model_id=model_id, replace_it=replace_it)


def drop_with_twin(connection: Connection, corpus: CorpusRange, name: str, *, model_id: int | None) -> list[str]:
    """Delete a layer and its twin; returns their names. Raises BadAnnotation while there are groups of their values."""
    hold_corpus(driver(connection), corpus.corpus_id)
    names = [each for each in (name, name + CONTEXT) if each in layer_names(connection, corpus.corpus_id, model_id)]
    for each in names:
        held = read_layer(connection, corpus.corpus_id, each, model_id=model_id)
        assert held is not None
        if groups := _groups_of(connection, corpus, held):
            raise BadAnnotation(
                f"Of layer {each} {_listed(group.name for group in groups)} {_are(len(groups))} made, whose groups it "
                f"would leave without values: drop {_them(len(groups))} first "
                f"({_how_to_drop(connection, corpus, groups[0])})."
            )
    for each in names:
        drop_layer(connection, corpus.corpus_id, each, model_id=model_id)
    return names


def refuse_collapse(connection: Connection, corpus: CorpusRange, layer: Layer, model_id: int | None) -> None:
    """Raise BadAnnotation if a layer gives far fewer tokens a value than the one that it would replace."""
    row, category = schema.annotation_layer.c, schema.annotation_category.c
    query = (
        select(func.sum(category.n_tokens))
        .join(schema.annotation_layer, row.layer_id == category.layer_id)
        .where(row.corpus_id == corpus.corpus_id, row.name == layer.name, row.model_id.is_not_distinct_from(model_id))
    )
    held, new = int(connection.execute(query).scalar() or 0), int(np.count_nonzero(layer.codes != NO_VALUE))
    if new < COLLAPSE * held:
        raise BadAnnotation(
            f"Rows were left out, and layer {layer.name} would have values on {new:,} tokens of corpus {corpus.name} "
            f"instead of {held:,}: correct the rows, or pass --fewer if that is meant."
        )


def sequence_starts(connection: Connection, corpus: CorpusRange) -> list[int]:
    """The tokens, from 0, that a model reads with nothing before them.

    The first of each document where every protocol that measured the corpus reads documents one by one; else the first
    of the corpus.
    """
    evaluation, protocol, document = schema.evaluation.c, schema.protocol.c, schema.document.c
    joined = schema.evaluation.join(schema.protocol, protocol.protocol_id == evaluation.protocol_id)
    alone = select(func.bool_and(protocol.windows == "documents")).select_from(joined)
    if not connection.execute(alone.where(evaluation.corpus_id == corpus.corpus_id)).scalar_one():
        return [0]
    firsts = select(document.first_token_id).where(document.corpus_id == corpus.corpus_id)
    return [first - corpus.first for first in connection.execute(firsts).scalars()]


def _context(connection: Connection, corpus: CorpusRange, layer: Layer) -> Layer:
    return context_of(layer, sequence_starts(connection, corpus))


def _again(connection: Connection, corpus: CorpusRange, layer: Layer, model_id: int | None, why_none: str) -> Written:
    """Write a layer that was there in another form, or drop it with its twin where no token has a value any more."""
    if layer.categories:
        return put_layer(connection, corpus, layer, model_id=model_id, replace_it=True)
    dropped = drop_with_twin(connection, corpus, layer.name, model_id=model_id)
    return Written((), (f"Dropped layer {_listed(dropped)}: {why_none}.",))


def _refuse_other_owners(connection: Connection, corpus: CorpusRange, name: str, model_id: int | None) -> None:
    """Raise BadAnnotation if views would show two layers of this name for one model."""
    row, model = schema.annotation_layer.c, schema.model.c
    joined = schema.annotation_layer.outerjoin(schema.model, model.model_id == row.model_id)
    query = select(model.family, model.name).select_from(joined)
    query = query.where(row.corpus_id == corpus.corpus_id, row.name == name).order_by(model.family, model.name)
    other = row.model_id.is_(None) if model_id is not None else row.model_id.is_not(None)
    found = connection.execute(query.where(other)).all()
    if found and model_id is None:
        models = [f"{family}/{model}" for family, model in found]
        raise BadAnnotation(
            f"Layer {name} of corpus {corpus.name} belongs to single models ({_listed(models)}): choose another name, "
            "or replace that of one with --model FAMILY/NAME --replace."
        )
    if found:
        raise BadAnnotation(
            f"Layer {name} of corpus {corpus.name} is there for every model: choose another name for one of a single "
            "model, or drop that one first."
        )


# --- groups -----------------------------------------------------------------------------------------------------------


def _groups_of(connection: Connection, corpus: CorpusRange, base: Layer) -> list[_Stored]:
    """The layers that group the values of another one, as their sources say; their twins follow them."""
    row = schema.annotation_layer.c
    query = select(row.name, row.source, row.model_id).where(row.corpus_id == corpus.corpus_id).order_by(row.name)
    every = [_Stored(*found) for found in connection.execute(query)]
    names = {each.name for each in every}
    return [
        each
        for each in every
        if _is_group(each, base) and not (each.name.endswith(CONTEXT) and each.name.removesuffix(CONTEXT) in names)
    ]


def _is_group(layer: _Stored, base: Layer) -> bool:
    shipped = layer.name.startswith(f"{base.name}.") and layer.source.startswith(base.source + SHIPPED_GROUPS)
    return shipped or layer.source.endswith(f"{GROUPS_OF}{base.name}")


def _refuse_new_values(
    connection: Connection, corpus: CorpusRange, groups: list[_Stored], old: Layer, new: Layer
) -> None:
    strange = sorted({category.value for category in new.categories} - {category.value for category in old.categories})
    if groups and strange:
        raise BadAnnotation(
            f"Of layer {new.name} {_listed(group.name for group in groups)} {_are(len(groups))} made, whose groups say "
            f"nothing of the new values {_listed(strange)}: drop {_them(len(groups))} first "
            f"({_how_to_drop(connection, corpus, groups[0])}), and group the new ones by a file with --key "
            f"value:{new.name}."
        )


def _how_to_drop(connection: Connection, corpus: CorpusRange, layer: _Stored) -> str:
    """The command that drops a layer, whichever corpora and models there are."""
    words = ["warehouse", "annotate", layer.name, "--corpus", corpus.name]
    if layer.owner is not None:
        model = schema.model.c
        family, name = connection.execute(select(model.family, model.name).where(model.model_id == layer.owner)).one()
        words += ["--model", f"{family}/{name}"]
    return f"`{shlex.join((*words, '--drop'))}`"


def _grouped_anew(group: Layer, old: Layer, new: Layer) -> Layer:
    """A layer of groups of a former layer's values, for the layer that takes its place."""
    token_of = _a_token_of_each(old)
    index = {category.value: token_of[code] for code, category in enumerate(old.categories)}
    # Of each new value a token of the former layer that has it; the last one is for the code -1.
    tokens = np.array([*(index[category.value] for category in new.categories), 0], np.int64)
    own = np.append(group.codes[tokens[:-1]], NO_VALUE)
    categories, codes = present_values(group.categories, own[new.codes])
    numbers = None if group.numbers is None else np.append(group.numbers[tokens[:-1]], np.nan)[new.codes]
    source = group.source
    if not source.endswith(f"{GROUPS_OF}{old.name}"):
        source = new.source + source.removeprefix(old.source)
    return replace(group, categories=categories, codes=codes, numbers=numbers, source=source)


def _a_token_of_each(layer: Layer) -> NDArray[np.int64]:
    """A token for each value of a layer; every value has one."""
    codes, tokens = np.unique(layer.codes, return_index=True)
    return np.asarray(tokens[codes != NO_VALUE], np.int64)


def _listed(names: Iterable[str], limit: int = 10) -> str:
    every = list(names)
    if len(every) > limit:
        return f"{', '.join(every[:limit])} and {len(every) - limit:,} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def _are(n: int) -> str:
    return "are" if n > 1 else "is"


def _them(n: int) -> str:
    return "them" if n > 1 else "it"
