"""Objects of JSON, none of whose values is lost: Python keeps the last of two of one name without a word."""

from __future__ import annotations

from typing import Any


def with_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as `object_pairs_hook`. Raises ValueError if it has a name twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)} twice")
    return found
