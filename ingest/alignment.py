"""Characters and tokens: which token holds a character, and what painted characters say of a token.

Pure functions over a corpus' offsets. Knows nothing of what the paint means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.corpus import Corpus

UNPAINTED = -1


def paint(
    text_length: int, starts: NDArray[np.int64], ends: NDArray[np.int64], codes: NDArray[np.int32]
) -> NDArray[np.int32]:
    """[characters] int32: the code of the span over each character, UNPAINTED where there is none.

    starts, ends, codes: [n] spans of characters, later ones over earlier ones; a span that starts below 0 is nowhere.
    """
    painted = np.full(text_length, UNPAINTED, np.int32)
    for start, end, code in zip(starts.tolist(), ends.tolist(), codes.tolist(), strict=True):
        if start >= 0:
            painted[start:end] = code
    return painted


def inside_documents(corpus: Corpus, characters: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[n] whether each character (an index into the whole text) belongs to a document and not to a separator."""
    starts = np.array([document.char_start for document in corpus.documents])
    ends = np.array([document.char_end for document in corpus.documents])
    nearest = np.searchsorted(starts, characters, side="right") - 1
    inside: NDArray[np.bool_] = (nearest >= 0) & (characters < ends[nearest])
    return inside


def first_tokens_with(corpus: Corpus, characters: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[T] whether a token is the first that touches one of the characters, of those inside documents."""
    held = characters[inside_documents(corpus, characters)]
    return _marked(corpus.n_tokens, np.searchsorted(corpus.char_end, held, side="right"))


def last_tokens_with(corpus: Corpus, characters: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[T] whether a token is the last that touches one of the characters, of those inside documents."""
    held = characters[inside_documents(corpus, characters)]
    return _marked(corpus.n_tokens, np.searchsorted(corpus.char_start, held, side="right") - 1)


def _marked(length: int, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
    marked = np.zeros(length, bool)
    marked[indices] = True
    return marked


def commonest_paint(corpus: Corpus, painted: NDArray[np.int32], *, least_share: float = 0.0) -> NDArray[np.int32]:
    """[T] int32: the most frequent code among each token's characters, or UNPAINTED.

    painted: [characters] int32. A code that covers less than least_share of a token's characters does not count. Of
    equally frequent codes the first in the text wins. Characters outside of documents, such as an end-of-text string,
    count as unpainted.
    """
    lengths = corpus.char_end - corpus.char_start
    token = np.repeat(np.arange(corpus.n_tokens), lengths)  # one entry per (token, character)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    character = np.repeat(corpus.char_start, lengths) + np.arange(len(token)) - first
    code = painted[character]
    counted = (code != UNPAINTED) & inside_documents(corpus, character)
    codes = int(painted.max(initial=0)) + 1
    pair, first_seen, count = np.unique(
        token[counted].astype(np.int64) * codes + code[counted], return_index=True, return_counts=True
    )
    order = np.lexsort((first_seen, -count, pair // codes))
    winners = order[np.unique((pair // codes)[order], return_index=True)[1]]
    winners = winners[count[winners] >= least_share * lengths[pair[winners] // codes]]
    commonest = np.full(corpus.n_tokens, UNPAINTED, np.int32)
    commonest[pair[winners] // codes] = pair[winners] % codes
    return commonest
