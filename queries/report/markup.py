"""Elements of HTML, in which everything that is not an element is escaped."""

from __future__ import annotations

from html import escape

_EMPTY = {"img", "meta"}


class Markup(str):
    """Text that is HTML, and needs no escaping."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | None) -> Markup:
    """An element. attributes: an underscore at the end is dropped, others are hyphens; None leaves an attribute out."""
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    opening = f"<{name}{''.join(pairs)}>"
    return Markup(opening if name in _EMPTY else f"{opening}{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Children one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child, quote=False) for child in children))
