"""Annotation layers: which value each token has, in which order the values come, and where there is none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nltk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import layers
from ingest.corpus import Corpus, load_corpus
from ingest.layers import MisfitLayer
from ingest.references import load_reference
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.ingest import tiny_tokenizers
from tests.ingest.tiny_tokenizers import EOS
from warehouse.layer import Layer, context_of


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(tiny_tokenizers.byte_level(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


@pytest.fixture
def no_nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(nltk.data, "path", [])


def corpus_of(folder: Path, vocabulary: Vocabulary, text: str) -> Corpus:
    (folder / "text.txt").write_bytes(text.encode())
    return load_corpus(folder / "text.txt", vocabulary)


def by_character(corpus: Corpus, layer: Layer) -> list[str | None]:
    """The value at each character, from the last token that touches it."""
    values: list[str | None] = [None] * len(corpus.text)
    for value, start, end in zip(layer.values(), corpus.char_start, corpus.char_end, strict=True):
        values[start:end] = [value] * (end - start)
    return values


def value_of(corpus: Corpus, layer: Layer, word: str) -> set[str | None]:
    start = corpus.text.index(word)
    return set(by_character(corpus, layer)[start : start + len(word)])


def check_dense(layer: Layer) -> None:
    present = np.unique(layer.codes[layer.codes != -1])
    assert present.tolist() == list(range(len(layer.categories)))
    assert layer.codes.dtype == np.int32
    assert layer.numbers is None or layer.numbers.dtype == np.float32


def test_everything_has_one_value():
    layer = layers.everything(3)
    assert (layer.name, layer.values()) == ("all", ["all"] * 3)


def test_documents_are_their_names_in_order(tmp_path: Path, vocabulary: Vocabulary):
    corpus = corpus_of(tmp_path, vocabulary, f"one{EOS}two")
    layer = layers.document(corpus)
    assert [category.value for category in layer.categories] == ["document-1", "document-2"]
    assert layer.codes.tolist() == corpus.document.tolist()


def test_frequency_is_the_decade_of_the_count_with_its_bounds():
    counts = np.array([0, 1, 9, 10, 99, 100, 1e6, 5])
    layer = layers.frequency(np.arange(7, dtype=np.int32), counts, source="by hand")
    assert layer.values() == ["[0,1)", "[1,10)", "[1,10)", "[10,100)", "[10,100)", "[100,1000)", "[1000000,10000000)"]
    assert [(c.lower, c.upper) for c in layer.categories] == [(0, 1), (1, 10), (10, 100), (100, 1_000), (1e6, 1e7)]
    assert layer.kind == "numeric"
    assert layer.numbers is not None
    assert layer.numbers.tolist() == counts[:7].tolist()
    check_dense(layer)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_every_count_is_within_the_bounds_of_its_decade(counts: list[int]):
    layer = layers.frequency(np.arange(len(counts)), np.array(counts, np.float64), source="drawn")
    for code, count in zip(layer.codes, counts, strict=True):
        category = layer.categories[code]
        assert category.lower <= count < category.upper  # type: ignore[operator]
        assert category.value == ("[0,1)" if count == 0 else f"[{10 ** (len(str(count)) - 1)},{10 ** len(str(count))})")
    check_dense(layer)


@pytest.mark.parametrize("counts", [[1.0, 2.0], [1.0, 2.0, np.nan], [1.0, 2.0, -1.0], [1.0, 2.0, np.inf]])
def test_counts_that_do_not_fit_the_ids_are_refused(counts: list[float]):
    with pytest.raises(MisfitLayer):
        layers.frequency(np.array([0, 2]), counts, source="by hand")


def test_final_surprisal_has_published_bins_and_keeps_the_numbers():
    surprisals = np.array([0, 0.99, 1, 2, 3.9, 4, 8, 100, np.nan, -1e-7], np.float32)
    layer = layers.final_surprisal(surprisals, source="run at step 10")
    assert layer.values() == ["0-1", "0-1", "1-2", "2-4", "2-4", "4-8", "8+", "8+", None, "0-1"]
    assert [(c.lower, c.upper) for c in layer.categories] == [(0, 1), (1, 2), (2, 4), (4, 8), (8, None)]
    assert layer.numbers is not None
    np.testing.assert_array_equal(layer.numbers, surprisals)
    check_dense(layer)


def test_bins_without_tokens_are_left_out():
    layer = layers.final_surprisal(np.array([9, 0.5], np.float32), source="run at step 10")
    assert [category.value for category in layer.categories] == ["0-1", "8+"]
    assert layer.codes.tolist() == [1, 0]


def test_a_context_twin_has_the_value_of_the_token_before_and_none_at_a_start():
    layer = layers.final_surprisal(np.array([0.5, 1.5, 9, 0.25], np.float32), source="run")
    twin = context_of(layer)
    assert twin.name == "final_surprisal.context"
    assert twin.kind == "numeric"
    assert twin.values() == [None, "0-1", "1-2", "8+"]
    assert twin.numbers is not None
    np.testing.assert_array_equal(twin.numbers, np.array([np.nan, 0.5, 1.5, 9], np.float32))
    by_document = context_of(layer, sequence_starts=[0, 2])
    assert by_document.values() == [None, "0-1", None, "8+"]
    check_dense(by_document)


def test_a_value_that_only_the_last_token_has_is_none_of_its_context_twin():
    layer = layers.frequency(np.array([0, 1]), [5, 500], source="by hand")
    twin = context_of(layer)
    assert [category.value for category in twin.categories] == ["[1,10)"]
    assert twin.codes.tolist() == [-1, 0]


def test_a_context_twin_of_one_token_is_empty():
    twin = context_of(layers.everything(1))
    assert twin.codes.tolist() == [-1]
    assert twin.categories == ()


def test_word_class_tells_function_from_content_words(tmp_path: Path, vocabulary: Vocabulary):
    text = f"The WEARY cat’s owner didn't see 'Ghosts' on 14 July, the 5th.{EOS}They'll sit o'er us"
    corpus = corpus_of(tmp_path, vocabulary, text)
    layer = layers.word_class(corpus)
    for word in ("The", "didn't", "on", "They'll", "us"):
        assert value_of(corpus, layer, word) == {"function"}, word
    for word in ("WEARY", "cat", "owner", "see", "Ghosts", "July", "5th", "sit"):
        assert value_of(corpus, layer, word) - {"function"} == {"content"}, word
    for text_of_other in ("14", ",", ".", EOS):
        start = text.index(text_of_other)
        holders = (corpus.char_start == start) & (corpus.char_end <= start + len(text_of_other))
        assert holders.any()
        assert {value for value, held in zip(layer.values(), holders, strict=True) if held} == {"other"}
    assert [category.value for category in layer.categories] == ["function", "content", "other"]
    check_dense(layer)


def test_clitics_are_function_words_of_their_own(tmp_path: Path, vocabulary: Vocabulary):
    corpus = corpus_of(tmp_path, vocabulary, "zebra's zebra 's zebras'")
    classes = by_character(corpus, layers.word_class(corpus))
    assert classes[4] == "content"
    assert classes[6] == "function"
    assert classes[15] == "function"


def test_a_text_without_words_is_other(tmp_path: Path, vocabulary: Vocabulary):
    layer = layers.word_class(corpus_of(tmp_path, vocabulary, "12 + 3 = 15!"))
    assert set(layer.values()) == {"other"}


def test_function_words_are_lower_case_listed_once_and_closed_class():
    words = layers.function_words()
    assert {"the", "of", "they", "because", "would", "not", "n't", "'s", "whom", "cannot"} <= words
    assert not {"cat", "run", "good", "time", "say", "house"} & words
    assert all(word == word.lower() and "’" not in word for word in words)
    file = Path(layers.__file__).parent / "words" / "function_words_en.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    listed = [word for line in lines if not line.startswith("#") for word in line.split()]
    assert [word for word, times in Counter(listed).items() if times > 1] == []


def test_word_starts_and_ends_are_tokens_with_the_first_and_last_character(
    tmp_path: Path, vocabulary: Vocabulary, no_nltk_data: None
):
    corpus = corpus_of(tmp_path, vocabulary, "Zebras yawn. Zebras yawn!")
    start, end = layers.word_start(corpus), layers.word_end(corpus)
    text = corpus.text
    letters_or_marks = [c for c in range(len(text)) if not text[c].isspace()]
    firsts = {c for c in letters_or_marks if c == 0 or not (text[c - 1].isalpha() and text[c].isalpha())}
    lasts = {c for c in letters_or_marks if c == len(text) - 1 or not (text[c].isalpha() and text[c + 1].isalpha())}
    spans = [set(range(a, b)) for a, b in zip(corpus.char_start, corpus.char_end, strict=True)]
    assert start.values() == ["yes" if span & firsts else "no" for span in spans]
    assert end.values() == ["yes" if span & lasts else "no" for span in spans]
    assert [(c.value, c.number) for c in start.categories] == [("no", 0.0), ("yes", 1.0)]
    assert "without punkt" in start.source


def test_parts_of_speech_are_in_alphabetical_order_with_unk_last(
    tmp_path: Path, vocabulary: Vocabulary, shared_data: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("NLTK_DATA", str(shared_data / "nltk_data"))
    layer = layers.pos(corpus_of(tmp_path, vocabulary, "The cat sat on the mat."))
    values = [category.value for category in layer.categories]
    assert values == [*sorted(values[:-1]), "UNK"]
    assert {"DT", "NN", "IN"} <= set(values)
    assert "punkt" in layer.source
    check_dense(layer)


def test_frequency_of_the_studys_targets_is_the_published_one(shared_data: Path):
    study = shared_data / "seed-kl-study"
    pythia = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    corpus = load_corpus(study / "sample4" / "input_text.txt", pythia)
    reference = load_reference(study / "pile_validation_token_counts.npy", pythia.length, repair=True)
    counted = Counter(layers.frequency(corpus.ids, reference.counts, source="Pile validation").values())
    assert counted["[100,1000)"] == 171
    assert counted["[1000,10000)"] == 1_025
    assert counted["[10000,100000)"] == 1_102
    assert (
        sum(n for value, n in counted.items() if value is not None and int(value[1:].split(",")[0]) >= 100_000) == 2_364
    )
