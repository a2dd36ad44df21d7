"""Words and parts of speech: where NLTK's words are in a text, and which tag a token takes."""

from __future__ import annotations

import json
from pathlib import Path

import nltk
import numpy as np
import pytest

from ingest.alignment import first_tokens_with, last_tokens_with
from ingest.corpus import Corpus, load_corpus
from ingest.tagging import MissingTaggerData, Words, find_words, locate, tag_tokens
from ingest.vocabulary import load_vocabulary
from tests.ingest import tiny_tokenizers

# Token indices of the HTML, CSS and JavaScript that the study repainted as UNK.
REPAINTED = (range(1_403, 1_767), range(1_798, 2_123))
#: The tokens outside of the passages whose tag is not the study's, with ours and theirs. Current NLTK makes two words
#: of .” where the study's glued both to the word before, and what stands beside is tagged in that light.
AT_QUOTES = {
    581: ("every day.”", ".", "NN"),
    2_226: ("the app.”", ".", "NN"),
    2_547: ("became available.”", ".", "JJ"),
    2_550: (".”\n\nThat", "IN", "WDT"),
    3_126: ("traffic management.”", ".", "NN"),
    3_127: (" management.” Similar", "JJ", "NNP"),
    3_713: ("vention of networking", "NN", "JJ"),
    3_714: (" of networking.”", ".", "JJ"),
    3_991: ("the sect.”", ".", "NN"),
    4_013: (" from criminal acts", "NNS", "NN"),
    4_014: (" criminal acts.”", ".", "NN"),
    4_174: ("five years.”", ".", "NNS"),
}
#: The < of "P < 0.01", outside of the passages, is no word in the study.
LONE_LESS_THAN = {4_440: (" metal P <", "NNP", "UNK")}
#: Tokens before .” that end a word of ours and none of the study's.
ENDS_BEFORE_QUOTES = [580, 2_225, 2_546, 3_125, 3_713, 3_990, 4_013, 4_173]


@pytest.fixture
def no_nltk_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(nltk.data, "path", [])


@pytest.fixture
def nltk_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("NLTK_DATA", str(shared_data / "nltk_data"))


@pytest.fixture
def study(shared_data: Path) -> Corpus:
    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    return load_corpus(shared_data / "seed-kl-study" / "sample4" / "input_text.txt", vocabulary)


def tiny_corpus(folder: Path, text: str) -> Corpus:
    vocabulary = load_vocabulary(tiny_tokenizers.byte_level(folder / "tokenizer.json"))
    (folder / "text.txt").write_bytes(text.encode())
    return load_corpus(folder / "text.txt", vocabulary)


def located(text: str, words: list[str]) -> list[str | None]:
    start, end = locate(text, words)
    return [text[a:b] if a >= 0 else None for a, b in zip(start, end, strict=True)]


def is_repainted(token: int) -> bool:
    return any(token in passage for passage in REPAINTED)


def test_words_are_located_left_to_right():
    text = "the cat, the  cat"
    start, end = locate(text, ["the", "cat", ",", "the", "cat"])
    assert start.tolist() == [0, 4, 7, 9, 14]
    assert end.tolist() == [3, 7, 8, 12, 17]


def test_a_rewritten_quote_is_nowhere_and_a_quote_spelled_so_is_found():
    assert located('He said "no" .', ["He", "said", "``", "no", "''", "."]) == ["He", "said", None, "no", None, "."]
    assert located("He said ``no'' .", ["He", "said", "``", "no", "''", "."])[2:5] == ["``", "no", "''"]


def test_a_rewritten_quote_does_not_jump_to_the_same_spelling_further_on():
    assert located("\"a\" b c ``d''", ["``", "a", "''", "b", "c", "``", "d", "''"]) == [
        None,
        "a",
        None,
        "b",
        "c",
        "``",
        "d",
        "''",
    ]


def test_a_word_the_text_does_not_have_is_nowhere_and_stops_no_later_one():
    assert located("one two", ["one", "absent", "two"]) == ["one", None, "two"]
    assert located("one (dropped) two", ["one", "two"]) == ["one", "two"]
    assert located(f"one {'x' * 500} two", ["one", "two"]) == ["one", None]
    assert located("", ["absent"]) == [None]
    assert located("text", []) == []


def test_words_need_no_data_and_full_stops_end_sentences(no_nltk_data: None):
    words = find_words('Mr. Smith didn\'t go. "He stayed," they said.\n\nThe end')
    assert "without punkt" in words.source
    spelled = ("did", "n't", "go", ".", "``", "He", "stayed", ",", "''", "they", "said", ".", "The", "end")
    assert words.words[-len(spelled) :] == spelled
    assert (words.start >= 0).sum() == len(words.words) - 2


def test_word_ends_are_the_last_characters_of_located_words(no_nltk_data: None):
    text = 'A "b" cd'
    words = find_words(text)
    assert [text[c] for c in words.starts] == ["A", "b", "c"]
    assert [text[c] for c in words.last_characters] == ["A", "b", "d"]


def test_missing_tagger_data_names_both_ways_to_get_it(tmp_path: Path, no_nltk_data: None):
    with pytest.raises(MissingTaggerData, match=r"NLTK_DATA .* python -m nltk\.downloader") as raised:
        tag_tokens(tiny_corpus(tmp_path, "The cat sat."))
    assert "averaged_perceptron_tagger_eng" in str(raised.value)


def test_data_whose_download_was_broken_off_are_missing_and_words_are_found_without(
    tmp_path: Path, no_nltk_data: None, monkeypatch: pytest.MonkeyPatch
):
    for kind, name in (("tokenizers", "punkt_tab"), ("taggers", "averaged_perceptron_tagger_eng")):
        (tmp_path / "data" / kind).mkdir(parents=True)
        (tmp_path / "data" / kind / f"{name}.zip").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "data"))
    assert find_words("The cat sat.").words == ("The", "cat", "sat", ".")
    with pytest.raises(MissingTaggerData):
        tag_tokens(tiny_corpus(tmp_path, "The cat sat."))


def test_missing_tagger_data_is_fetched_only_on_request(
    tmp_path: Path, no_nltk_data: None, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def refuse(name: str, **_: object) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(nltk, "download", refuse)
    corpus = tiny_corpus(tmp_path, "The cat sat.")
    with pytest.raises(MissingTaggerData):
        tag_tokens(corpus)
    assert asked == []
    with pytest.raises(MissingTaggerData):
        tag_tokens(corpus, download=True)
    assert asked == ["punkt_tab", "averaged_perceptron_tagger_eng"]


def test_a_token_takes_the_tag_of_half_its_characters_or_none(tmp_path: Path, nltk_data: None):
    corpus = tiny_corpus(tmp_path, "The cat\n\n\n\nsat")
    words = find_words(corpus.text)
    assert words.words == ("The", "cat", "sat")
    tags = tag_tokens(corpus, words)
    by_character = {}
    for tag, start, end in zip(tags, corpus.char_start, corpus.char_end, strict=True):
        by_character |= dict.fromkeys(range(start, end), tag)
    assert [by_character[corpus.text.index(word)] for word in words.words] == ["DT", "NN", "VBD"]
    assert by_character[8] == "UNK"
    assert tags[-1] == "UNK"  # the end-of-text token has no characters


def study_file(shared_data: Path, name: str) -> Path:
    return shared_data / "seed-kl-study" / "sample4" / name


def test_tags_of_the_studys_text_are_the_published_ones(study: Corpus, shared_data: Path, nltk_data: None):
    file = study_file(shared_data, "pos_tagged_tokens.json")
    published = [tag for _, tag in json.loads(file.read_text(encoding="utf-8"))][1:]
    assert len(published) == study.n_tokens == 4_662
    assert {published[token] for passage in REPAINTED for token in passage} == {"UNK"}
    different = {
        token: (ours, theirs)
        for token, (ours, theirs) in enumerate(zip(tag_tokens(study), published, strict=True))
        if ours != theirs and not is_repainted(token)
    }
    expected = AT_QUOTES | LONE_LESS_THAN
    assert different == {token: (ours, theirs) for token, (_, ours, theirs) in expected.items()}
    assert len(AT_QUOTES) == 12
    for token, (around, _, _) in expected.items():
        assert study.text[: study.char_end[token]].endswith(around)
    for token in AT_QUOTES:
        assert ".”" in study.text[study.char_start[token - 3] : study.char_end[token + 1]]


@pytest.mark.parametrize("which", ["begin", "end"])
def test_word_boundaries_of_the_studys_text_are_the_published_ones(
    study: Corpus, shared_data: Path, nltk_data: None, which: str
):
    published = np.load(study_file(shared_data, f"{which}_tokens.npy"))
    assert len(np.unique(published)) == {"begin": 3_479, "end": 3_473}[which]
    words = find_words(study.text)
    assert "punkt sentences" in words.source
    marked = boundaries(study, words, which)
    assert marked[published].all()
    marked[published] = False
    extra = [token for token in np.flatnonzero(marked).tolist() if not is_repainted(token)]
    assert extra == [*({"begin": [], "end": ENDS_BEFORE_QUOTES}[which]), *LONE_LESS_THAN]
    assert all(study.text[study.char_end[token] :].startswith(".”") for token in ENDS_BEFORE_QUOTES)


def test_without_punkt_nearly_all_word_boundaries_are_the_same(
    study: Corpus, nltk_data: None, monkeypatch: pytest.MonkeyPatch
):
    with_punkt = find_words(study.text)
    monkeypatch.delenv("NLTK_DATA")
    monkeypatch.setattr(nltk.data, "path", [])
    without = find_words(study.text)
    assert "without punkt" in without.source
    for which in ("begin", "end"):
        assert (boundaries(study, with_punkt, which) != boundaries(study, without, which)).sum() <= 5


def boundaries(corpus: Corpus, words: Words, which: str) -> np.ndarray:
    if which == "begin":
        return first_tokens_with(corpus, words.starts)
    return last_tokens_with(corpus, words.last_characters)
