"""Annotation layers: a category or a number for each token of a corpus.

Pure functions from a corpus, counts or surprisals to a layer. Knows nothing of models or the database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingest.alignment import UNPAINTED, commonest_paint, first_tokens_with, last_tokens_with, paint
from ingest.corpus import Corpus
from ingest.tagging import UNKNOWN, Words, find_words, require_tagger_data, tag_tokens
from warehouse.errors import WarehouseError
from warehouse.layer import NO_VALUE, TOTAL, Category, Layer, present_values

SURPRISAL_EDGES = (0.0, 1.0, 2.0, 4.0, 8.0)  # nats; the last bin is open (Fehlauer et al. 2025)
WORD_CLASSES = ("function", "content", "other")
WORD = re.compile(r"['’]?\w+(?:['’]\w+)*")
#: What the source of the tags made here ends in.
TAGGER = "averaged perceptron tagger"
CLITIC = re.compile(r"(?:n['’]t|['’](?:s|ll|ve|re|d|m))$")


class MisfitLayer(WarehouseError):
    """Values for a layer do not fit the tokens they are for."""


def everything(n_tokens: int) -> Layer:
    """The layer `all`, in which every token has the same value."""
    return _layer(TOTAL, [Category(TOTAL)], np.zeros(n_tokens, np.int32), "constant", "every token")


def document(corpus: Corpus) -> Layer:
    """The document of each token, by name, in the order of the corpus."""
    categories = [Category(document.name) for document in corpus.documents]
    return _layer("document", categories, corpus.document, "the corpus", "document that holds the token")


def frequency(ids: NDArray[np.integer], counts: ArrayLike, *, source: str) -> Layer:
    """The decade of each token's count in a reference text: [0,1), [1,10), [10,100), ...; numbers are the counts.

    ids: [T] vocabulary ids. counts: [V]. Raises MisfitLayer if an id has no count, or a count is negative or NaN.
    """
    by_id = np.asarray(counts, np.float64)
    if len(ids) and int(ids.max()) >= len(by_id):
        raise MisfitLayer(f"There are counts of {len(by_id):,} ids, but the corpus has id {int(ids.max())}.")
    own = by_id[ids]
    if not (np.isfinite(own) & (own >= 0)).all():
        raise MisfitLayer(f"Counts from {source} are negative or not finite for ids of the corpus; correct them.")
    edges = [0, 1]
    while edges[-1] <= own.max(initial=0):
        edges.append(edges[-1] * 10)
    categories = [Category(f"[{low},{high})", None, low, high) for low, high in pairwise(edges)]
    return _layer(
        "frequency", categories, _bins(own, edges), source, "decade of the token's count in the reference", own
    )


def final_surprisal(surprisals: NDArray[np.float32], *, source: str) -> Layer:
    """Bins of each token's surprisal at the last step of one run: 0-1, 1-2, 2-4, 4-8, 8+ nats.

    Numbers are the surprisals. surprisals: [T] nats, NaN where not measured (no value). source: the run and step.
    """
    bounds = [*SURPRISAL_EDGES, None]
    categories = [
        Category(f"{low:g}+" if high is None else f"{low:g}-{high:g}", None, low, high)
        for low, high in pairwise(bounds)
    ]
    codes = _bins(surprisals, SURPRISAL_EDGES)
    return _layer(
        "final_surprisal", categories, codes, source, "the token's surprisal at the last step, nats", surprisals
    )


def word_class(corpus: Corpus) -> Layer:
    """Function, content or other, by the English word that holds most of the token's characters.

    A word is a run of letters, digits and inner apostrophes; a clitic such as 's or n't is a word of its own. In the
    closed-class list it is function, else with a letter content. Numbers, punctuation, white space, EOS are other.
    """
    spans = [span for match in WORD.finditer(corpus.text) for span in _classed(match)]
    start, end, code = np.array(spans, np.int64).reshape(-1, 3).T
    painted = paint(len(corpus.text), start, end, code.astype(np.int32))
    classes = commonest_paint(corpus, painted)
    codes = np.where(classes == UNPAINTED, WORD_CLASSES.index("other"), classes)
    categories = [Category(name) for name in WORD_CLASSES]
    description = "function word (closed class), content word or other; English"
    return _layer("word_class", categories, codes, "function_words_en.txt", description)


def word_start(corpus: Corpus, words: Words | None = None) -> Layer:
    """Whether a token holds the first character of an NLTK word; words: `find_words` of the text, if at hand."""
    words = words or find_words(corpus.text)
    return _yes_or_no("word_start", first_tokens_with(corpus, words.starts), words, "first")


def word_end(corpus: Corpus, words: Words | None = None) -> Layer:
    """Whether a token holds the last character of an NLTK word; words: `find_words` of the text, if at hand."""
    words = words or find_words(corpus.text)
    return _yes_or_no("word_end", last_tokens_with(corpus, words.last_characters), words, "last")


def pos(corpus: Corpus, words: Words | None = None, *, download: bool = False) -> Layer:
    """The Penn part-of-speech tag of each token, UNK last; see `tagging.tag_tokens`. Raises MissingTaggerData."""
    require_tagger_data(download=download)  # before the words are found, which may need what is fetched
    words = words or find_words(corpus.text)
    tags = tag_tokens(corpus, words)
    names = sorted(set(tags), key=lambda tag: (tag == UNKNOWN, tag))
    index = {name: i for i, name in enumerate(names)}
    codes = np.array([index[tag] for tag in tags], np.int32)
    source = f"{words.source}; {TAGGER}"
    return _layer("pos", [Category(name) for name in names], codes, source, "Penn Treebank part of speech")


@cache
def function_words() -> frozenset[str]:
    """The closed-class words of English that ship with the package, in lower case, with straight apostrophes."""
    text = (files("ingest") / "words" / "function_words_en.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def _classed(match: re.Match[str]) -> list[tuple[int, int, int]]:
    """The (start, end, class) of a word, or of its host and its clitic; none for a number."""
    word, start, end = match[0], match.start(), match.end()
    if not any(character.isalpha() for character in word):
        return []
    if word[0] in "'’" and not _is_function(word):  # a quotation mark
        word, start = word[1:], start + 1
    clitic = None if _is_function(word) else CLITIC.search(word.lower())
    if clitic is None or clitic.start() == 0:
        return [(start, end, _class_of(word))]
    cut = clitic.start()
    return [(start, start + cut, _class_of(word[:cut])), (start + cut, end, WORD_CLASSES.index("function"))]


def _class_of(word: str) -> int:
    return WORD_CLASSES.index("function" if _is_function(word) else "content")


def _is_function(word: str) -> bool:
    return word.lower().replace("’", "'") in function_words()


def _yes_or_no(name: str, mask: NDArray[np.bool_], words: Words, which: str) -> Layer:
    categories = [Category("no", 0.0), Category("yes", 1.0)]
    return _layer(name, categories, mask, words.source, f"the token holds the {which} character of a word")


def _bins(values: ArrayLike, edges: Sequence[float]) -> NDArray[np.int64]:
    """[T] the bin i of each value, edges[i] <= value < edges[i + 1]; NO_VALUE for NaN.

    What is below every edge, as a surprisal may be by rounding, is in the first bin.
    """
    numbers = np.asarray(values, np.float64)
    bins = np.maximum(np.searchsorted(np.asarray(edges, np.float64), numbers, side="right") - 1, 0)
    return np.where(np.isnan(numbers), NO_VALUE, bins)


def _layer(
    name: str,
    categories: Sequence[Category],
    codes: ArrayLike,
    source: str,
    description: str,
    numbers: ArrayLike | None = None,
) -> Layer:
    """A layer of the categories that a token has, in the order given; their codes are 0 to k - 1."""
    present, dense = present_values(categories, np.asarray(codes, np.int64))
    return Layer(
        name=name,
        kind="categorical" if numbers is None else "numeric",
        categories=present,
        codes=dense,
        numbers=None if numbers is None else np.asarray(numbers, np.float32),
        source=source,
        description=description,
    )
