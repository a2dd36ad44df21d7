"""A study: what to measure, read from a TOML file and overridden by options.

This module knows the words of a study file, and nothing of what they lead to.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ingest.derived_spec import KEYS, DerivedSpec, foreign_key
from ingest.suite import Schedule, suite_names
from warehouse.errors import WarehouseError

#: Comparison kinds that a study measures unless it names others: all are of checkpoints of one model.
USUAL_KINDS = ("seed", "step", "step_reverse", "final", "final_reverse")
#: Comparison kinds: KL(p || q) for the pairs each kind names (docs/methods.md §2).
KINDS = (*USUAL_KINDS, "size", "matched", "cross", "custom")
#: Orders of n-grams that are counted, unigrams included.
ORDERS = range(1, 6)


class BadStudy(WarehouseError):
    """The study file says something that cannot be followed."""


@dataclass(frozen=True)
class CorpusSpec:
    """A text to score.

    split: how a text file falls into documents; None for its end-of-text marks. items: in which form the documents are
    items, None for a text. n_tokens: how many tokens it is expected to have, EOS included; checked when it is read, and
    what a dry run counts with where it cannot be read. derived: what to make from it and score instead.
    """

    path: Path | None = None
    name: str | None = None
    eos: Literal["after-document", "none"] = "after-document"
    split: str | None = None
    licence: str | None = None
    n_tokens: int | None = None
    items: Literal["blimp", "pairs", "options", "spans"] | None = None
    derived: DerivedSpec | None = None

    @property
    def has_items(self) -> bool:
        """Whether what is scored are items, each document by itself."""
        return self.items is not None or (self.derived is not None and self.derived.kind == "in-context")


@dataclass(frozen=True)
class ProtocolSpec:
    """What changes a measured quantity by design.

    windows: which sequences a model sees. window: longest one, for truncated windows the ids a token is predicted from;
    a model's context length caps it. bos: whether they begin with BOS; the first token of a sequence that does not is
    not measured. dtype: of weights and activations in the forward
    pass; float64 for small models whose KL of nearly equal checkpoints should be exact. Readouts are float32.
    """

    windows: Literal["concatenated", "documents", "truncated"] = "concatenated"
    window: int = 2048
    bos: bool = True
    vocabulary: Literal["tokenizer", "model"] = "tokenizer"
    dtype: Literal["float32", "float64"] = "float32"

    @property
    def name(self) -> str:
        """The protocol's name: its windows, and whatever is not the default."""
        bos = "" if self.bos else "-without-bos"
        width = "" if self.vocabulary == "tokenizer" else "-full-width"
        dtype = "" if self.dtype == "float32" else f"-{self.dtype}"
        return f"{self.windows}-{self.window}{bos}{width}{dtype}"


@dataclass(frozen=True)
class ReferenceSpec:
    """A distribution to hold models against: counts of a text, or of a file of counts.

    order: n of the n-grams of a text. weight: how many counts the next lower order stands for. eos, split: how the text
    becomes documents, as for a corpus.
    """

    name: str
    text: Path | None = None
    counts: Path | None = None
    smoothing: Literal["add-one", "none"] = "add-one"
    repair: bool = False
    order: int = 1
    weight: float = 1.0
    eos: Literal["after-document", "none"] = "after-document"
    split: str | None = None


@dataclass(frozen=True)
class CustomSpec:
    """One comparison of kind custom: KL(p || q) of two checkpoints, or without seeds of all runs by seed."""

    model: str
    step: int
    model_q: str
    step_q: int
    seed: int | None = None
    seed_q: int | None = None


@dataclass(frozen=True)
class LearningRateSpec:
    """The learning rate of every model: linear warm-up to its peak, then a cosine to final_fraction at last_step."""

    peak: float
    warmup_steps: int
    last_step: int
    final_fraction: float

    def at(self, step: int) -> float:
        """The learning rate at a step (docs/methods.md §5)."""
        return self.peak * Schedule(self.warmup_steps, self.last_step, self.final_fraction).fraction(step)


@dataclass(frozen=True)
class Study:
    """What to measure. Empty models, seeds, steps, layers mean all there are; the step list defines next and last.
    Of a corpus of items, empty layers mean none.

    suite: the name of a suite, or the path of a suite's TOML file. top_k: how many of the most probable ids to keep for
    each token, with their log-probabilities. tokens_per_step, learning_rate: None for the suite's.
    """

    name: str
    suite: str = "folder"
    root: Path | None = None
    family: str | None = None
    models: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    kinds: tuple[str, ...] = USUAL_KINDS
    layers: tuple[str, ...] = ()
    tokens_per_step: int | None = None
    top_k: int = 0
    custom: tuple[CustomSpec, ...] = ()
    learning_rate: LearningRateSpec | None = None
    corpus: CorpusSpec = field(default_factory=CorpusSpec)
    protocol: ProtocolSpec = field(default_factory=ProtocolSpec)
    references: tuple[ReferenceSpec, ...] = ()

    def with_options(self, **options: Any) -> Study:
        """The study with every given option in place of its key; corpus_path stands for corpus.path, and so on."""
        given = {key: value for key, value in options.items() if value not in (None, ())}
        if given.get("corpus_items") and not self.corpus.has_items:
            given.setdefault("protocol_windows", "documents")
        own = {key: given.pop(key) for key in list(given) if key in _names(Study)}
        study = replace(self, **own)
        for part in ("corpus", "protocol"):
            prefix = f"{part}_"
            inner = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
            study = replace(study, **{part: replace(getattr(study, part), **inner)})
            given = {key: value for key, value in given.items() if not key.startswith(prefix)}
        if given:
            raise TypeError(f"no key of a study: {', '.join(given)}")
        return _checked(study, "the options")


def read_study(path: Path, settings: Sequence[str] = ()) -> Study:
    """The study of a TOML file; relative paths in it start at its folder.

    settings: lines such as `protocol.window = 512`, which replace what the file says.
    Raises BadStudy for a missing or broken file, an unknown key or a value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadStudy(
            f"There is no study file {path}: give the path of a TOML file that says what to measure."
        ) from None
    except OSError as error:
        raise BadStudy(f"Study {path} cannot be read ({error.strerror}): give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadStudy(f"Study {path} is no TOML file ({error}): mend it there.") from None
    for setting in settings:
        _merge(table, _parse_setting(setting))
    return parse_study({"name": path.stem, **table}, where=str(path), folder=path.parent)


def _parse_setting(setting: str) -> dict[str, Any]:
    try:
        return tomllib.loads(setting)
    except tomllib.TOMLDecodeError as error:
        raise BadStudy(f"Setting {setting} is no TOML ({error}): write KEY=VALUE, with quotes round text.") from None


def _merge(table: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put the values of a table over those of another, table by table."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def parse_study(table: Mapping[str, Any], *, where: str, folder: Path) -> Study:
    """The study that a TOML table says. where: what errors call the table; folder: where relative paths start."""
    values = dict(table)
    corpus = _corpus(values.pop("corpus", {}), where, folder)
    protocol = values.pop("protocol", {})
    if isinstance(protocol, Mapping):
        protocol = {**_usual_protocol(corpus), **protocol}
    parts: dict[str, Any] = {
        "corpus": corpus,
        "protocol": _parse(ProtocolSpec, protocol, f"[protocol] of {where}", folder),
        "references": _references(values.pop("references", {}), where, folder),
        "custom": _custom(values.pop("custom", []), where, folder),
        "learning_rate": None,
    }
    if "learning_rate" in values:
        within = f"[learning_rate] of {where}"
        parts["learning_rate"] = _parse(LearningRateSpec, values.pop("learning_rate"), within, folder)
    if parts["custom"]:
        values.setdefault("kinds", [*USUAL_KINDS, "custom"])
    if isinstance(suite := values.get("suite"), str) and suite.endswith(".toml"):
        values["suite"] = str(folder / Path(suite).expanduser())
    return _checked(_parse(Study, values, where, folder, **parts), where)


def _corpus(table: Any, where: str, folder: Path) -> CorpusSpec:
    values, derived = dict(table) if isinstance(table, Mapping) else table, None
    if isinstance(values, dict) and "derived" in values:
        within = f"[corpus.derived] of {where}"
        derived = _parse(DerivedSpec, inner := values.pop("derived"), within, folder)
        if key := foreign_key(derived.kind, inner):
            raise BadStudy(
                f"Key {key} in {within} says nothing of {derived.kind}: {suggestion(key, KEYS[derived.kind])}"
            )
    spec: CorpusSpec = _parse(CorpusSpec, values, f"[corpus] of {where}", folder, derived=derived)
    return spec


def _usual_protocol(corpus: CorpusSpec) -> dict[str, Any]:
    """What a protocol is unless a study says otherwise: items are sequences of their own, spans without BOS."""
    if not corpus.has_items:
        return {}
    spans = corpus.derived is not None and corpus.derived.kind == "in-context"
    return {"windows": "documents", **({"bos": False} if spans else {})}


def _references(tables: Any, where: str, folder: Path) -> tuple[ReferenceSpec, ...]:
    if not isinstance(tables, dict) or not all(isinstance(entry, dict) for entry in tables.values()):
        raise BadStudy(f"Key references in {where} must be tables: write [references.NAME] with text or counts.")
    return tuple(
        parse_reference(name, entry, f"[references.{name}] of {where}", folder) for name, entry in tables.items()
    )


def parse_reference(name: str, table: Mapping[str, Any], where: str, folder: Path) -> ReferenceSpec:
    """The reference that a table says; where and folder as for `parse_study`."""
    reference: ReferenceSpec = _parse(ReferenceSpec, {**table, "name": name}, where, folder)
    return reference


def _custom(tables: Any, where: str, folder: Path) -> tuple[CustomSpec, ...]:
    if not isinstance(tables, list):
        raise BadStudy(f"Key custom in {where} must be a list of tables: write [[custom]] for each comparison.")
    return tuple(
        _parse(CustomSpec, table, f"[[custom]] number {number} of {where}", folder)
        for number, table in enumerate(tables, start=1)
    )


def _parse(kind: type[Any], table: Any, where: str, folder: Path, **parts: Any) -> Any:
    if not isinstance(table, Mapping):
        raise BadStudy(f"{where} must be a table of keys and values.")
    known = _names(kind) - set(parts)
    for key in table:
        if key not in known:
            raise BadStudy(f"Unknown key {key} in {where}: {suggestion(key, known | set(parts))}")
    hints = get_type_hints(kind)
    if lacking := [entry.name for entry in fields(kind) if _is_required(entry) and entry.name not in {*table, *parts}]:
        raise BadStudy(f"{where} lacks {', '.join(lacking)}: add it.")
    return kind(**{key: _value(key, value, hints[key], where, folder) for key, value in table.items()}, **parts)


def _is_required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _value(key: str, value: Any, hint: Any, where: str, folder: Path) -> Any:
    name = str(hint)
    if "Path" in name and isinstance(value, str):
        path = Path(value).expanduser()
        return path if path.is_absolute() else folder / path
    if "tuple" in name:
        of = int if "int" in name else str
        if isinstance(value, list) and all(type(item) is of for item in value):
            return tuple(value)
        raise BadStudy(
            f"Key {key} in {where} must be a list of {'whole numbers' if of is int else 'names'}, not {value!r}."
        )
    if hint is float and type(value) is int:
        return float(value)
    wanted = float if hint is float else bool if "bool" in name else int if "int" in name else str
    if type(value) is not wanted:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise BadStudy(f"Key {key} in {where} must be {words[wanted]}, not {value!r}.")
    return value


def _checked(study: Study, where: str) -> Study:
    """The study with its lists in order. Raises BadStudy for what no type rules out."""
    _check_words(study, where)
    _check_corpus(study.corpus, where)
    _check_protocol(study, where)
    for reference in study.references:
        _check_reference(reference, where)
    if (rate := study.learning_rate) is not None and not 0 <= rate.warmup_steps < rate.last_step:
        raise BadStudy(
            f"Key last_step in [learning_rate] of {where} must come after the warm-up of {rate.warmup_steps} steps, "
            f"not be {rate.last_step}."
        )
    if study.top_k < 0:
        raise BadStudy(f"Key top_k in {where} must be 0, to keep none, or more, not {study.top_k}.")
    if "custom" in study.kinds and not study.custom:
        raise BadStudy(f"Kind custom in {where} compares nothing: write a [[custom]] table for each comparison.")
    custom = tuple(_checked_custom(entry, where) for entry in study.custom)
    steps, seeds = tuple(sorted(set(study.steps))), tuple(sorted(set(study.seeds)))
    return replace(study, steps=steps, seeds=seeds, custom=custom)


def _check_words(study: Study, where: str) -> None:
    _one_of("kind", study.kinds, KINDS, where)
    if not study.suite.endswith(".toml"):
        _one_of("suite", [study.suite], suite_names(), where)
    parts = [("corpus", study.corpus), ("protocol", study.protocol), *(("references", r) for r in study.references)]
    if study.corpus.derived is not None:
        parts.append(("corpus.derived", study.corpus.derived))
    for key, part in parts:
        for name, hint in get_type_hints(type(part)).items():
            value, words = getattr(part, name), _words_of(hint)
            if words and value is not None:
                _one_of(f"{key}.{name}", [value], words, where)


def _words_of(hint: Any) -> tuple[str, ...]:
    """The words that a hint allows, such as those of `Literal["a", "b"] | None`; none where it is of another type."""
    kinds = [hint, *get_args(hint)]
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def _check_corpus(corpus: CorpusSpec, where: str) -> None:
    if corpus.items is not None and corpus.split is not None:
        raise BadStudy(f"Keys items and split in [corpus] of {where} exclude each other: each role is a document.")
    if corpus.derived is not None and (fault := corpus.derived.fault()):
        raise BadStudy(f"Table [corpus.derived] of {where} {fault}")


def _check_protocol(study: Study, where: str) -> None:
    protocol = study.protocol
    if protocol.window < 2:
        raise BadStudy(f"Key window in {where} must be at least 2 tokens, not {protocol.window}.")
    if study.references and protocol.vocabulary == "model":
        raise BadStudy(
            f"References in {where} count the tokenizer's ids, but key vocabulary is model: set it to tokenizer, "
            "or drop the references."
        )


def _check_reference(reference: ReferenceSpec, where: str) -> None:
    name = f"Reference {reference.name} in {where}"
    if (reference.text is None) == (reference.counts is None):
        raise BadStudy(f"{name} needs either text or counts, one of the two.")
    if reference.order not in ORDERS:
        raise BadStudy(f"{name} has order {reference.order}: n-grams are counted for {ORDERS[0]} to {ORDERS[-1]}.")
    if reference.order > 1 and reference.text is None:
        raise BadStudy(f"{name} has order {reference.order} and a file of counts: n-grams are counted from a text.")
    if reference.order > 1 and reference.smoothing != "add-one":
        raise BadStudy(f"{name} has order {reference.order}, whose unigrams have smoothing add-one: drop smoothing.")
    if not 0 < reference.weight < float("inf"):
        raise BadStudy(f"{name} has weight {reference.weight}: it must be above 0, or unseen n-grams make KL infinite.")
    if reference.order == 1 and reference.weight != 1.0:
        raise BadStudy(f"{name} has weight {reference.weight} and order 1, which has no lower order: give an order.")
    if reference.text is not None and reference.repair:
        raise BadStudy(f"{name} has repair and a text: only a file of counts can be broken; drop repair.")
    if reference.counts is not None and (reference.split is not None or reference.eos != "after-document"):
        raise BadStudy(f"{name} has split or eos and a file of counts: they are for a text; drop them.")


def _checked_custom(entry: CustomSpec, where: str) -> CustomSpec:
    """With the seed of p for q where only that is given."""
    if entry.seed is None and entry.seed_q is not None:
        raise BadStudy(f"A [[custom]] table in {where} has seed_q {entry.seed_q} and no seed: give both, or neither.")
    full = replace(entry, seed_q=entry.seed if entry.seed_q is None else entry.seed_q)
    if (full.model, full.seed, full.step) == (full.model_q, full.seed_q, full.step_q):
        raise BadStudy(f"A [[custom]] table in {where} compares {full.model} step {full.step} with itself: change q.")
    return full


def _one_of(key: str, values: Iterable[str], known: Sequence[str], where: str) -> None:
    for value in values:
        if value not in known:
            raise BadStudy(f"Unknown {key} {value} in {where}: {suggestion(value, known)}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown word."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."


def _names(kind: type[Any]) -> set[str]:
    return {entry.name for entry in fields(kind)}
