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

from ingest.suite import suite_names
from warehouse.errors import WarehouseError

#: Comparison kinds that a study measures unless it names others: all are of checkpoints of one model.
USUAL_KINDS = ("seed", "step", "step_reverse", "final", "final_reverse")
#: Comparison kinds: KL(p || q) for the pairs each kind names (docs/methods.md §2).
KINDS = (*USUAL_KINDS, "size", "matched", "cross", "custom")
#: Window policies whose sequences may begin without BOS.
_WITHOUT_BOS = ("truncated",)


class BadStudy(WarehouseError):
    """The study file says something that cannot be followed."""


@dataclass(frozen=True)
class CorpusSpec:
    """A text to score.

    split: how a text file falls into documents; None for its end-of-text marks. n_tokens: how many tokens it is
    expected to have, EOS included; checked when it is read, and what a dry run counts with where it cannot be read.
    """

    path: Path | None = None
    name: str | None = None
    eos: Literal["after-document", "none"] = "after-document"
    split: str | None = None
    licence: str | None = None
    n_tokens: int | None = None


@dataclass(frozen=True)
class ProtocolSpec:
    """What changes a measured quantity by design.

    windows: which sequences a model sees. window: longest one, for truncated windows the ids a token is predicted from;
    a model's context length caps it. bos: whether they begin with BOS. dtype: of weights and activations in the forward
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
    """A distribution to hold models against: counts of a text, or of a file of counts."""

    name: str
    text: Path | None = None
    counts: Path | None = None
    smoothing: Literal["add-one", "none"] = "add-one"
    repair: bool = False


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
class Study:
    """What to measure. Empty models, seeds, steps, layers mean all there are; the step list defines next and last.

    suite: the name of a suite, or the path of a suite's TOML file. top_k: how many of the most probable ids to keep for
    each token, with their log-probabilities.
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
    corpus: CorpusSpec = field(default_factory=CorpusSpec)
    protocol: ProtocolSpec = field(default_factory=ProtocolSpec)
    references: tuple[ReferenceSpec, ...] = ()

    def with_options(self, **options: Any) -> Study:
        """The study with every given option in place of its key; corpus_path stands for corpus.path, and so on."""
        given = {key: value for key, value in options.items() if value not in (None, ())}
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
    parts: dict[str, Any] = {
        "corpus": _parse(CorpusSpec, values.pop("corpus", {}), f"[corpus] of {where}", folder),
        "protocol": _parse(ProtocolSpec, values.pop("protocol", {}), f"[protocol] of {where}", folder),
        "references": _references(values.pop("references", {}), where, folder),
        "custom": _custom(values.pop("custom", []), where, folder),
    }
    if parts["custom"]:
        values.setdefault("kinds", [*USUAL_KINDS, "custom"])
    if isinstance(suite := values.get("suite"), str) and suite.endswith(".toml"):
        values["suite"] = str(folder / Path(suite).expanduser())
    return _checked(_parse(Study, values, where, folder, **parts), where)


def _references(tables: Any, where: str, folder: Path) -> tuple[ReferenceSpec, ...]:
    if not isinstance(tables, dict) or not all(isinstance(entry, dict) for entry in tables.values()):
        raise BadStudy(f"Key references in {where} must be tables: write [references.NAME] with text or counts.")
    return tuple(
        _parse(ReferenceSpec, {**entry, "name": name}, f"[references.{name}] of {where}", folder)
        for name, entry in tables.items()
    )


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
    wanted = bool if "bool" in name else int if "int" in name else str
    if type(value) is not wanted:
        words = {bool: "true or false", int: "a whole number", str: "text"}
        raise BadStudy(f"Key {key} in {where} must be {words[wanted]}, not {value!r}.")
    return value


def _checked(study: Study, where: str) -> Study:
    """The study with its lists in order. Raises BadStudy for what no type rules out."""
    _check_words(study, where)
    _check_protocol(study, where)
    for reference in study.references:
        if (reference.text is None) == (reference.counts is None):
            raise BadStudy(f"Reference {reference.name} in {where} needs either text or counts, one of the two.")
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
    for key, part in parts:
        for name, hint in get_type_hints(type(part)).items():
            if get_origin(hint) is Literal:
                _one_of(f"{key}.{name}", [getattr(part, name)], get_args(hint), where)


def _check_protocol(study: Study, where: str) -> None:
    protocol = study.protocol
    if protocol.window < 2:
        raise BadStudy(f"Key window in {where} must be at least 2 tokens, not {protocol.window}.")
    if not protocol.bos and protocol.windows not in _WITHOUT_BOS:
        raise BadStudy(f"Key bos in {where} must be true: windows of kind {protocol.windows} begin with BOS.")
    if study.references and protocol.vocabulary == "model":
        raise BadStudy(
            f"References in {where} count the tokenizer's ids, but key vocabulary is model: set it to tokenizer, "
            "or drop the references."
        )


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
