"""Items as files hold them: minimal pairs, options of a question, spans. BLiMP's zip, folders, JSON lines.

Gives one whole text whose parts are the documents, and says which belong together. Knows nothing of tokens.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ingest.texts import (
    BYTE_ORDER_MARK,
    JOINT,
    JSON_LINES,
    EmptyCorpus,
    Part,
    SourceText,
    UnreadableCorpus,
    decode_utf8,
    read_bytes,
)
from warehouse.errors import WarehouseError
from warehouse.items import Paradigm, ParadigmKind, Role

log = logging.getLogger(__name__)

ItemForm = Literal["blimp", "pairs", "options", "spans"]


class BadItem(WarehouseError):
    """A line of a file of items does not say what an item must."""


@dataclass(frozen=True)
class ItemText:
    """What one role of an item says. context: what stands before it and is not scored itself."""

    role: str
    text: str
    context: str = ""

    @property
    def whole(self) -> str:
        """Context and text, with a space between two words."""
        apart = self.context and not (self.context[-1].isspace() or self.text[0].isspace())
        return f"{self.context}{' ' * bool(apart)}{self.text}"


@dataclass(frozen=True)
class Item:
    """An item. where: the line that it was read from, for errors."""

    paradigm: str
    category: str | None
    texts: tuple[ItemText, ...]
    where: str


@dataclass(frozen=True)
class ItemSource:
    """A whole text whose parts are documents, and the paradigms that these play roles in."""

    source: SourceText = field(repr=False)
    paradigms: tuple[Paradigm, ...]


def read_items(path: str | Path, form: ItemForm) -> ItemSource:
    """Read items from JSON lines, from a folder of such files or a zip of them; see docs/sequences.md for the forms.

    Hidden files and what macOS adds to a zip are passed over. Documents are called paradigm/item/role. Raises
    UnreadableCorpus for files that cannot be read, EmptyCorpus where there is no item, BadItem naming the line.
    """
    path = Path(path)
    by_paradigm: dict[str, list[Item]] = {}
    for stem, file, raw in _files(path):
        for item in _items(decode_utf8(raw, file), stem, file, form):
            by_paradigm.setdefault(item.paradigm, []).append(item)
    if not by_paradigm:
        raise EmptyCorpus(f"{path} holds no item; give JSON lines with at least one.")
    paradigms, documents = [], list[tuple[str, ItemText]]()
    for name, items in by_paradigm.items():
        roles = []
        for number, item in enumerate(items):
            _require_category(item, items[0])
            for text in item.texts:
                roles.append(Role(number, text.role, len(documents)))
                documents.append((f"{name}/{number}/{text.role}", text))
        paradigms.append(Paradigm(name, _KINDS[form], items[0].category, tuple(roles)))
    if form != "spans":
        _say_alike([item for items in by_paradigm.values() for item in items])
    return ItemSource(_joined(documents), tuple(paradigms))


_KINDS: Mapping[ItemForm, ParadigmKind] = {
    "blimp": "minimal_pairs",
    "pairs": "minimal_pairs",
    "options": "options",
    "spans": "spans",
}


def _require_category(item: Item, first: Item) -> None:
    if item.category != first.category:
        raise BadItem(
            f"{item.where} puts paradigm {item.paradigm} into category {item.category}, and {first.where} into "
            f"{first.category}: give a paradigm one category."
        )


def _say_alike(items: Iterable[Item]) -> None:
    """Say which items leave nothing to choose, as some of BLiMP do: two of their roles say the same, so none wins."""
    alike = [item.where for item in items if len({text.whole for text in item.texts}) < len(item.texts)]
    if alike:
        count = f"{len(alike):,} items say" if len(alike) > 1 else "One item says"
        place = alike[0][0].lower() + alike[0][1:]
        log.warning("%s the same in two roles, so that neither wins; the first is %s", count, place)


def _joined(documents: Iterable[tuple[str, ItemText]]) -> SourceText:
    texts, parts, start = [], [], 0
    for name, text in documents:
        whole = text.whole
        parts.append(Part(name, start, start + len(whole), scored=start + len(text.context)))
        texts.append(whole)
        start += len(whole) + len(JOINT)
    return SourceText(JOINT.join(texts), tuple(parts))


# --- files --------------------------------------------------------------------------------------------------------


def _files(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """What each file of JSON lines is called among them, where it is, and its bytes, in order of names."""
    if path.is_dir():
        files = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        for stem, name in _stems(filter(_is_wanted, files)):
            yield stem, str(path / name), read_bytes(path / name)
    elif path.suffix == ".zip":
        yield from _members(path)
    else:
        yield path.stem, str(path), read_bytes(path)


def _stems(names: Iterable[str]) -> list[tuple[str, str]]:
    """Each of some relative paths, sorted, after what it is called: its stem, with its folders where two have it."""
    places = sorted(PurePosixPath(name) for name in names)
    count = Counter(place.stem for place in places)
    return [(p.stem if count[p.stem] == 1 else p.with_suffix("").as_posix(), p.as_posix()) for p in places]


def _is_wanted(name: str) -> bool:
    """Whether a file is JSON lines of the user's: not hidden, and not the shadow that macOS writes beside a file."""
    place = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in place.parts)
    return place.suffix in JSON_LINES and not hidden


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    if not path.exists():
        read_bytes(path)  # says that there is none
    try:
        with zipfile.ZipFile(path) as archive:
            for stem, name in _stems(filter(_is_wanted, archive.namelist())):
                yield stem, f"{name} in {path}", archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        # RuntimeError is how zipfile refuses a member that needs a password.
        raise UnreadableCorpus(
            f"{path} cannot be unpacked ({error}): give an intact zip without a password."
        ) from error


# --- lines --------------------------------------------------------------------------------------------------------


def _items(text: str, stem: str, file: str, form: ItemForm) -> Iterator[Item]:
    for number, line in enumerate(text.removeprefix(BYTE_ORDER_MARK).split("\n"), start=1):
        if line.strip():
            where = f"Line {number:,} of {file}"
            record = _Record(_parsed(line, where), where)
            name = record.optional("paradigm", "UID", "task") or stem
            category = record.optional("category", "linguistics_term")
            texts = _checked(_READERS[form](record), where)
            yield Item(_name(name), category and _name(category), texts, where)


def _name(text: str) -> str:
    """A name as PostgreSQL can hold it."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"{where} is not JSON ({error}): write one object per line.") from error
    if not isinstance(record, dict):
        raise BadItem(f"{where} is no JSON object: write one object per line.")
    return record


@dataclass(frozen=True)
class _Record:
    """An object of a line, whose keys are asked for by name."""

    values: Mapping[str, Any]
    where: str

    def optional(self, *names: str) -> str | None:
        """The text under the first of these keys that there is. Raises BadItem where it is no text."""
        for name in names:
            if (value := self.values.get(name)) is not None:
                return _text(value, f"key {name}", self.where)
        return None

    def required(self, *names: str) -> str:
        """The same; raises BadItem where there is none."""
        value = self.optional(*names)
        if value is None:
            raise BadItem(f"{self.where} lacks {names[0]}: an item of this form has it as text.")
        return value


def _text(value: object, what: str, where: str) -> str:
    if not isinstance(value, str):
        raise BadItem(f"{where} has {what} that is no text but {json.dumps(value)[:40]}: write it in quotes.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadItem(f"{where} escapes half a character in {what}; no UTF-8 can hold it.") from error
    return value


def _pair(record: _Record) -> list[ItemText]:
    context = record.optional("context") or ""
    return [ItemText(role, record.required(role), context) for role in ("good", "bad")]


def _blimp(record: _Record) -> list[ItemText]:
    return [ItemText(role, record.required(f"sentence_{role}")) for role in ("good", "bad")]


def _options(record: _Record) -> list[ItemText]:
    """The correct option first, then the others in their order."""
    if {"context", "question"} <= record.values.keys():
        raise BadItem(f"{record.where} has a context and a question: put both into one of them.")
    context, options = record.optional("context", "question") or "", record.values.get("options")
    if not isinstance(options, list) or len(options) < 2:
        raise BadItem(f"{record.where} needs key options, a list of two texts or more.")
    correct = record.values.get("correct")
    if type(correct) is not int or not 0 <= correct < len(options):
        raise BadItem(
            f"{record.where} needs key correct, the number of the correct option from 0 to {len(options) - 1}, "
            f"not {json.dumps(correct)[:40]}."
        )
    texts = [_text(option, f"option {number}", record.where) for number, option in enumerate(options)]
    others = (text for number, text in enumerate(texts) if number != correct)
    wrong = [ItemText(f"incorrect-{number}", text, context) for number, text in enumerate(others, start=1)]
    return [ItemText("correct", texts[correct], context), *wrong]


def _spans(record: _Record) -> list[ItemText]:
    """One span of key text, or several by their names; a context of the line stands before those without their own."""
    context, spans = record.optional("context") or "", record.values.get("spans")
    if spans is None:
        return [ItemText("span", record.required("text"), context)]
    if not isinstance(spans, dict) or not spans:
        raise BadItem(f"{record.where} has key spans that is no object of names and texts.")
    return [_span(_name(role), value, context, record.where) for role, value in spans.items()]


def _span(role: str, value: object, context: str, where: str) -> ItemText:
    if isinstance(value, dict):
        inner = _Record(value, f"{where}, span {role},")
        own = inner.optional("context")
        return ItemText(role, inner.required("text"), context if own is None else own)
    return ItemText(role, _text(value, f"span {role}", where), context)


_READERS: Mapping[ItemForm, Callable[[_Record], list[ItemText]]] = {
    "blimp": _blimp,
    "pairs": _pair,
    "options": _options,
    "spans": _spans,
}


def _checked(texts: list[ItemText], where: str) -> tuple[ItemText, ...]:
    """Raise BadItem for a role that says nothing."""
    for text in texts:
        if not text.text.strip():
            raise BadItem(f"{where} has nothing but white space as its {text.role}: leave the item out, or mend it.")
    return tuple(texts)
