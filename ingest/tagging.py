"""Words and parts of speech of English text, by NLTK: Penn tags and word boundaries, found in the text.

Knows the text and NLTK; how tags meet a model's tokens is for `alignment`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import chain, pairwise
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ingest.alignment import commonest_paint, paint
from ingest.corpus import Corpus
from warehouse.errors import WarehouseError

UNKNOWN = "UNK"
PUNKT = "tokenizers/punkt_tab/english/"
TAGGER = "taggers/averaged_perceptron_tagger_eng/"
REWRITTEN_QUOTES = ("``", "''")  # what NLTK makes of a straight double quote
SEARCH_WIDTH = 200  # how far, in characters, NLTK may have dropped text
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’»)\]]*(?=\s+[\"'“‘«(\[]*[A-Z0-9])|\n\s*\n")


class MissingTaggerData(WarehouseError):
    """NLTK's data for part-of-speech tags is not on this machine."""


@dataclass(frozen=True, eq=False)
class Words:
    """NLTK's tokens of a text, in order.

    words: as NLTK spells them. start, end: [n] int64, their characters in the text; both -1 for a straight double
    quote, which NLTK spells otherwise and the study left untagged. source: how sentences and words were found.
    """

    words: tuple[str, ...] = field(repr=False)
    start: NDArray[np.int64] = field(repr=False)
    end: NDArray[np.int64] = field(repr=False)
    source: str

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first characters of the located words."""
        return self.start[self.start >= 0]

    @property
    def last_characters(self) -> NDArray[np.int64]:
        """The last characters of the located words."""
        return self.end[self.start >= 0] - 1


def find_words(text: str) -> Words:
    """NLTK's words of a text, by `word_tokenize` if punkt's data is on this machine.

    Without punkt its words of plainly cut sentences, which end at a full stop, question or exclamation mark before a
    capital or a digit, and at a blank line. Raises nothing: word boundaries need no data.
    """
    import nltk
    from nltk.tokenize import NLTKWordTokenizer, word_tokenize

    _look_where_the_environment_says()
    if _has(PUNKT):
        words: Sequence[str] = word_tokenize(text)
        source = f"NLTK {nltk.__version__} word_tokenize, punkt sentences"
    else:
        tokenize = NLTKWordTokenizer().tokenize
        words = list(chain.from_iterable(tokenize(sentence) for sentence in _plain_sentences(text)))
        source = f"NLTK {nltk.__version__} NLTKWordTokenizer, sentences cut without punkt"
    start, end = locate(text, words)
    return Words(tuple(words), start, end, source)


def locate(text: str, words: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[n] first and [n] end characters of words, found left to right; -1, -1 where the text spells a word otherwise."""
    spans = []
    cursor = 0
    for word in words:
        here = _skip_space(text, cursor)
        if text.startswith(word, here):
            spans.append((here, here + len(word)))
        elif word in REWRITTEN_QUOTES and text.startswith('"', here):
            spans.append((-1, -1))
            cursor = here + 1
            continue
        else:
            found = text.find(word, here, here + SEARCH_WIDTH + len(word))
            spans.append((found, found + len(word)) if found >= 0 else (-1, -1))
        cursor = max(cursor, spans[-1][1])
    located = np.array(spans, np.int64).reshape(-1, 2)
    return located[:, 0], located[:, 1]


def tag_tokens(corpus: Corpus, words: Words | None = None, *, download: bool = False) -> list[str]:
    """[T] the Penn tag of each token, UNK where no tag covers half of its characters (docs/methods.md §3).

    words: `find_words` of the corpus' text, if at hand. download: fetch NLTK's data if it is missing. Raises
    MissingTaggerData.
    """
    require_tagger_data(download=download)
    from nltk import pos_tag

    words = words or find_words(corpus.text)
    tags = [tag for _, tag in pos_tag(words.words)]
    names = sorted(set(tags))
    codes = np.array([names.index(tag) for tag in tags], np.int32)
    painted = paint(len(corpus.text), words.start, words.end, codes)
    names.append(UNKNOWN)  # found by the code -1
    return [names[code] for code in commonest_paint(corpus, painted, least_share=0.5).tolist()]


def _skip_space(text: str, cursor: int) -> int:
    while cursor < len(text) and text[cursor].isspace():
        cursor += 1
    return cursor


def _plain_sentences(text: str) -> list[str]:
    ends = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


def require_tagger_data(*, download: bool) -> None:
    """Make sure that NLTK finds the data it tags with; download: fetch it if not. Raises MissingTaggerData."""
    import nltk

    _look_where_the_environment_says()
    missing = [resource.split("/")[1] for resource in (PUNKT, TAGGER) if not _has(resource)]
    if download:
        # NLTK says why a download failed, quiet or not, and to the stderr it was imported with; the error below says
        # what to do.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            missing = [name for name in missing if not nltk.download(name, quiet=True, print_error_to=StringIO())]
    if missing:
        raise MissingTaggerData(
            f"NLTK's data {' and '.join(missing)} is not on this machine: point NLTK_DATA at a folder that has it, "
            f"or fetch it with python -m nltk.downloader {' '.join(missing)}. Only part-of-speech layers need it."
        )


def _has(resource: str) -> bool:
    import nltk

    try:
        nltk.data.find(resource)
    except (LookupError, BadZipFile):  # the second where a download was broken off
        return False
    return True


def _look_where_the_environment_says() -> None:
    """Search NLTK_DATA as it is now: NLTK itself reads it only when it is imported."""
    import nltk

    for folder in reversed(os.environ.get("NLTK_DATA", "").split(os.pathsep)):
        if folder and folder not in nltk.data.path:
            nltk.data.path.insert(0, folder)
