"""Words found in a text: all of them where the list is of the text, and never at another place than their own."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from warehouse.words_in_text import locate

Spans = list[tuple[int, int] | None]


def spans(text: str, words: list[str]) -> Spans:
    start, end = locate(text, words)
    return [(a, b) if a >= 0 else None for a, b in zip(start.tolist(), end.tolist(), strict=True)]


def spelled(text: str, words: list[str]) -> list[str | None]:
    return [text[slice(*span)] if span else None for span in spans(text, words)]


WORD = st.text(st.sampled_from("abé漢.,'☕"), min_size=1, max_size=4)


@given(st.lists(st.tuples(WORD, st.sampled_from(["", " ", "\n\n", "\t "])), max_size=40))
def test_every_word_of_a_text_is_found_where_it_stands(parts: list[tuple[str, str]]) -> None:
    text, expected = "", []
    for word, space in parts:
        expected.append((len(text), len(text) + len(word)))
        text += word + space
    assert spans(text, [word for word, _ in parts]) == expected


def test_white_space_counts_nowhere() -> None:
    text = "New  York\nis big."
    assert spelled(text, ["New York", "is", "big", "."]) == ["New  York", "is", "big", "."]


def test_words_of_a_list_without_punctuation_are_found() -> None:
    text = '"Well," she said -- and left.'
    assert spelled(text, ["Well", "she", "said", "and", "left"]) == ["Well", "she", "said", "and", "left"]


def test_a_word_that_is_spelled_otherwise_is_not_found_and_the_rest_is() -> None:
    text = "He said “no” and went."
    words = ["He", "said", "``", "no", "''", "and", "went", "."]
    assert spelled(text, words) == ["He", "said", None, "no", None, "and", "went", "."]


def test_a_part_of_the_text_that_the_list_leaves_out_is_skipped() -> None:
    sentence = "the cat sat on the mat , and the dog lay under the table ."
    text = f"{sentence} {'la ' * 500} {sentence}"
    found = spans(text, [*sentence.split(), *sentence.split()])
    assert None not in found
    assert found[:2] == [(0, 3), (4, 7)]
    assert found[len(sentence.split())] == (len(text) - len(sentence), len(text) - len(sentence) + 3)


def test_a_word_is_not_found_within_another_word() -> None:
    assert spelled("there cat sat", ["the", "cat", "sat"]) == [None, "cat", "sat"]
    assert spelled("the concat", ["the", "cat"]) == ["the", None]
    assert spelled("cannot", ["can", "not"]) == ["can", "not"]


def test_a_frequent_word_is_not_found_far_ahead() -> None:
    text = "one " + "two three four " * 20 + "the end . " * 200
    assert spelled(text, ["one", "missing", "."]) == ["one", None, None]


def test_most_words_are_found_if_words_are_missing_or_wrong() -> None:
    draw = random.Random(4)
    kinds = ["".join(draw.choices("abcdefghijkl", k=draw.randint(1, 8))) for _ in range(400)]
    words = draw.choices(kinds, weights=[1 / rank for rank in range(1, 401)], k=3000)
    text = " ".join(words)
    listed, expected, at = [], [], 0
    for word in words:
        chance = draw.random()
        if chance >= 0.02:
            listed.append("xyz" if chance < 0.04 else word)
            expected.append(None if chance < 0.04 else (at, at + len(word)))
        at += len(word) + 1
    found = spans(text, listed)
    assert all(a is None or text[slice(*a)] == word for a, word in zip(found, listed, strict=True))
    assert all(a is None for a, word in zip(found, listed, strict=True) if word == "xyz")
    wrong = sum(a is not None and a != b for a, b in zip(found, expected, strict=True))
    lost = sum(b is not None and a is None for a, b in zip(found, expected, strict=True))
    # Where one of two equal neighbours is missing nobody can tell which one is meant.
    assert wrong < 0.005 * len(listed)
    assert lost < 0.01 * len(listed)
