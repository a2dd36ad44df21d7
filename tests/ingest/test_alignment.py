"""Which token holds a character, and what painted characters say of a token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alignment import UNPAINTED, commonest_paint, first_tokens_with, inside_documents, last_tokens_with, paint
from ingest.corpus import Corpus, load_corpus
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.ingest import tiny_tokenizers
from tests.ingest.tiny_tokenizers import EOS


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(tiny_tokenizers.byte_level(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


@pytest.fixture(scope="module")
def corpus(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text(f"The cats 🙂 sat.{EOS}On the mat🙂", encoding="utf-8")
    return load_corpus(file, vocabulary)


def test_paint_covers_spans_later_ones_over_earlier_and_skips_what_is_nowhere():
    spans = (np.array([0, -1, 2]), np.array([4, 3, 5]), np.array([7, 8, 9], np.int32))
    assert paint(6, *spans).tolist() == [7, 7, 9, 9, 9, UNPAINTED]


def test_characters_of_a_separator_are_inside_no_document(corpus: Corpus):
    characters = np.arange(len(corpus.text))
    expected = [not corpus.text.index(EOS) <= c < corpus.text.index(EOS) + len(EOS) for c in characters]
    assert inside_documents(corpus, characters).tolist() == expected


def test_first_and_last_tokens_with_each_character_match_a_search_by_hand(corpus: Corpus, vocabulary: Vocabulary):
    spans = list(zip(corpus.char_start.tolist(), corpus.char_end.tolist(), strict=True))
    for character in range(len(corpus.text)):
        holders = [t for t, (a, b) in enumerate(spans) if a <= character < b and corpus.ids[t] != vocabulary.eos_id]
        first = np.flatnonzero(first_tokens_with(corpus, np.array([character])))
        last = np.flatnonzero(last_tokens_with(corpus, np.array([character])))
        assert first.tolist() == holders[:1]
        assert last.tolist() == holders[-1:]


def test_a_character_in_four_tokens_starts_in_the_first_and_ends_in_the_last(corpus: Corpus):
    smile = np.array([corpus.text.index("🙂")])
    [first], [last] = (np.flatnonzero(f(corpus, smile)) for f in (first_tokens_with, last_tokens_with))
    assert last - first >= 2


@given(st.data(), st.sampled_from([0.0, 0.5, 1.0]))
def test_commonest_paint_matches_counting_token_by_token(
    corpus: Corpus, vocabulary: Vocabulary, data: st.DataObject, least_share: float
):
    codes = st.lists(st.integers(-1, 3), min_size=len(corpus.text), max_size=len(corpus.text))
    painted = np.array(data.draw(codes), np.int32)
    expected = []
    for i, start, end in zip(corpus.ids, corpus.char_start, corpus.char_end, strict=True):
        colours = [] if i == vocabulary.eos_id else [c for c in painted[start:end].tolist() if c != UNPAINTED]
        commonest = Counter(colours).most_common(1)  # the first seen of equally frequent ones
        expected.append(commonest[0][0] if commonest and commonest[0][1] >= least_share * (end - start) else UNPAINTED)
    assert commonest_paint(corpus, painted, least_share=least_share).tolist() == expected
