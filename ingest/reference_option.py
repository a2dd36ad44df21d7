"""References as options name them, NAME=FILE[,KEY=VALUE...], put beside those of a study.

Knows the words of an option; what references are made of is unknown here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ingest.study import BadStudy, ReferenceSpec, Study, parse_reference, suggestion

#: Endings of files of counts; every other file is a text.
COUNTS = (".npy", ".csv", ".parquet")
#: The last of the keys after a file. A comma before anything else is one of the file's name.
_LAST_KEY = re.compile(r",([a-z_]+)=([^,]*)\Z")
_KEYS = {field.name for field in fields(ReferenceSpec)} - {"name", "text", "counts"}


def with_references(study: Study, entries: Iterable[str]) -> Study:
    """The study with references added, each in the place of one of the same name. Raises BadStudy."""
    added = {spec.name: spec for spec in map(_parsed, entries)}
    kept = tuple(added.pop(spec.name, spec) for spec in study.references)
    return replace(study, references=(*kept, *added.values()))


def _parsed(entry: str) -> ReferenceSpec:
    rest, keys = entry, dict[str, str]()
    while found := _LAST_KEY.search(rest):
        rest, keys = rest[: found.start()], {found[1]: found[2], **keys}
    name, separator, file = rest.partition("=")
    if not (separator and name and file):
        raise BadStudy(f"Option --reference must be NAME=FILE, perhaps with keys as in NAME=FILE,order=3, not {entry}.")
    for key in keys:
        if key not in _KEYS:
            raise BadStudy(f"Unknown key {key} in --reference {entry}: {suggestion(key, _KEYS)}")
    kind = "counts" if Path(file).suffix in COUNTS else "text"
    values = {key: _value(value) for key, value in keys.items()}
    return parse_reference(name, {kind: file, **values}, f"--reference {entry}", Path())


def _value(word: str) -> Any:
    """A number or a truth value where the word is one."""
    if word in ("true", "false"):
        return word == "true"
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            pass
    return word
