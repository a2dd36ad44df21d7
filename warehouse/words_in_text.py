"""Words of a list in a text: where each one stands, found in order and whatever the white space.

Pure functions; what the words are annotated with is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

#: Where a list may go on after a gap: (characters, of two words at least, that must agree; how far ahead, None for
#: anywhere), tried in this order. Little evidence will do close by only.
EVIDENCE: tuple[tuple[int, int | None], ...] = ((48, 2000), (32, None), (20, 200), (10, 40))
#: How far ahead the last words of a list may be, of which there is less evidence.
CLOSE = 20
#: After so many searches to the end of the text in vain, searches stay close by: else they would take hours.
FAR_SEARCHES = 2000

Places = NDArray[np.int64]


def locate(text: str, words: Sequence[str]) -> tuple[Places, Places]:
    """[n] first and [n] end characters of words in a text, in order; -1, -1 where a word is not found.

    White space counts nowhere. A word that does not come next may come after punctuation; else it is looked for further
    on, together with the words after it, of which the more must agree the farther ahead they are. A word that is
    only a part of a word of the text is not found, unless the words of the list go on within it.
    """
    plain, place = _squeezed(text)
    bare = ["".join(word.split()) for word in words]
    found = np.full(len(words), -1, np.int64)
    cursor, searches = 0, FAR_SEARCHES
    for number, word in enumerate(bare):
        if not word:
            continue
        at = cursor if plain.startswith(word, cursor) else _after_punctuation(plain, cursor, word)
        if at < 0:
            at = _resume(plain, cursor, bare, number, far=searches > 0)
            searches -= at < 0
        if at >= 0:
            found[number] = at
            cursor = at + len(word)
    lengths = np.array([len(word) for word in bare], np.int64)
    return _without_parts(text, *_characters(found, lengths, place))


def _squeezed(text: str) -> tuple[str, Places]:
    """(the text without white space, [n] where each of its characters stands in the text)."""
    return "".join(text.split()), np.flatnonzero(~_those(text, str.isspace)).astype(np.int64)


def _those(text: str, test: Callable[[str], bool]) -> NDArray[np.bool_]:
    """[characters] whether each character passes a test."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
    return np.isin(codes, np.array([ord(character) for character in set(text) if test(character)], np.uint32))


def _after_punctuation(plain: str, cursor: int, word: str) -> int:
    """Where a word stands, if only punctuation comes before it; -1 if not."""
    while cursor < len(plain) and not plain[cursor].isalnum():
        cursor += 1
        if plain.startswith(word, cursor):
            return cursor
    return -1


def _resume(plain: str, cursor: int, words: Sequence[str], number: int, *, far: bool) -> int:
    """Where the list goes on with this word and those after it, from the cursor on; -1 for nowhere."""
    for evidence, reach in EVIDENCE:
        probe = _ahead(words, number, evidence)
        if reach is None and not far:
            continue
        at = plain.find(probe, cursor, None if reach is None else cursor + reach + len(probe))
        if at >= 0 and (len(probe) >= evidence or at <= cursor + CLOSE):
            return at
    return -1


def _ahead(words: Sequence[str], number: int, evidence: int) -> str:
    """A word with at least the next one, and so many after it as make up the evidence; what is left at the end."""
    probe = words[number]
    for count, word in enumerate(islice(words, number + 1, None), start=1):
        if count > 1 and len(probe) >= evidence:
            break
        probe += word
    return probe


def _characters(found: Places, lengths: Places, place: Places) -> tuple[Places, Places]:
    """First and end characters in the text with its white space."""
    start, end = np.full(len(found), -1, np.int64), np.full(len(found), -1, np.int64)
    here = found >= 0
    start[here] = place[found[here]]
    end[here] = place[found[here] + lengths[here] - 1] + 1
    return start, end


def _without_parts(text: str, start: Places, end: Places) -> tuple[Places, Places]:
    """The same without words that begin or end within a word of the text, unless the list goes on right there."""
    letter = np.concatenate([[False], _those(text, str.isalnum), [False]])
    within = letter[:-1] & letter[1:]  # [characters + 1] whether a boundary lies between two letters
    while True:
        here = start >= 0
        begins, ends = np.zeros(len(within), bool), np.zeros(len(within), bool)
        begins[start[here]], ends[end[here]] = True, True
        part = here & ((within[start] & ~ends[start]) | (within[end] & ~begins[end]))
        if not part.any():
            return start, end
        start, end = np.where(part, -1, start), np.where(part, -1, end)
