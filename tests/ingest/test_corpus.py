"""A corpus' documents, tokens and offsets, and the inputs it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from ingest import corpus as corpus_module
from ingest.corpus import Corpus, CorpusTooLarge, MissingEndToken, UnknownEosPolicy, load_corpus
from ingest.texts import EmptyCorpus, UnreadableCorpus, UnusableSplit
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.ingest import tiny_tokenizers
from tests.ingest.tiny_tokenizers import EOS

HARD_TEXT = "The cat’s naïve 日本語 🙂🙃 — e\u0301 (cafe\u0301)\r\n\r\n\tthe    mat.\0 "


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(tiny_tokenizers.byte_level(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def texts(corpus: Corpus) -> list[str]:
    return [corpus.text[document.char_start : document.char_end] for document in corpus.documents]


def check_offsets(corpus: Corpus, eos_id: int | None, *, lossless: bool = True) -> None:
    """Tokens tile the bytes of every document, and touch the characters that their bytes belong to.

    They touch no others if the tokenizer is lossless.
    """
    encoded = corpus.text.encode()
    assert sum(document.n_tokens for document in corpus.documents) == corpus.n_tokens
    for number, document in enumerate(corpus.documents):
        own = slice(document.first_token, document.first_token + document.n_tokens)
        assert (corpus.document[own] == number).all()
        assert corpus.position[own].tolist() == list(range(document.n_tokens))
        is_text = corpus.ids[own] != eos_id
        starts, ends = corpus.byte_start[own][is_text], corpus.byte_end[own][is_text]
        assert starts[0] == document.byte_start
        assert ends[-1] == document.byte_end
        assert (starts[1:] == ends[:-1]).all()
        text = corpus.text[document.char_start : document.char_end]
        assert encoded[document.byte_start : document.byte_end].decode() == text
    for row in zip(corpus.char_start, corpus.char_end, corpus.byte_start, corpus.byte_end, strict=True):
        char_start, char_end, byte_start, byte_end = map(int, row)
        before, through = len(corpus.text[:char_start].encode()), len(corpus.text[:char_end].encode())
        assert before <= byte_start <= byte_end <= through
        if lossless and byte_end > byte_start:
            assert len(corpus.text[: char_start + 1].encode()) > byte_start
            assert len(corpus.text[: char_end - 1].encode()) < byte_end


def test_a_text_without_end_of_text_strings_is_one_document_with_an_empty_eos_at_its_end(
    tmp_path: Path, vocabulary: Vocabulary
):
    corpus = load_corpus(write(tmp_path / "cats.txt", "The cat sat."), vocabulary)
    assert corpus.name == "cats"
    assert [document.name for document in corpus.documents] == ["cats"]
    assert corpus.ids[-1] == vocabulary.eos_id
    assert (corpus.char_start[-1], corpus.char_end[-1]) == (12, 12)
    assert (corpus.byte_start[-1], corpus.byte_end[-1]) == (12, 12)
    assert corpus.ids[:-1].tolist() == vocabulary.tokenizer.encode("The cat sat.").ids


def test_an_end_of_text_string_separates_documents_and_is_the_span_of_the_eos_token(
    tmp_path: Path, vocabulary: Vocabulary
):
    corpus = load_corpus(write(tmp_path / "two.txt", f"né one{EOS}two"), vocabulary)
    assert texts(corpus) == ["né one", "two"]
    assert [document.name for document in corpus.documents] == ["document-1", "document-2"]
    first_eos = corpus.documents[0].n_tokens - 1
    assert corpus.ids[first_eos] == vocabulary.eos_id
    assert corpus.text[corpus.char_start[first_eos] : corpus.char_end[first_eos]] == EOS
    assert corpus.byte_end[first_eos] - corpus.byte_start[first_eos] == len(EOS)
    assert (corpus.documents[1].char_start, corpus.documents[1].byte_start) == (6 + len(EOS), 7 + len(EOS))
    check_offsets(corpus, vocabulary.eos_id)


def test_nothing_between_end_of_text_strings_counts_with_the_document_before(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "gap.txt", f"one{EOS}{EOS}two{EOS}"), vocabulary)
    assert texts(corpus) == ["one", "two"]
    ends = np.flatnonzero(corpus.ids == vocabulary.eos_id)
    assert corpus.document[ends].tolist() == [0, 0, 1, 1]
    widths = (corpus.char_end - corpus.char_start)[ends]
    assert widths.tolist() == [len(EOS), len(EOS), len(EOS), 0]


def test_an_end_of_text_string_at_the_start_counts_with_the_first_document(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "start.txt", f"{EOS}one"), vocabulary)
    assert texts(corpus) == ["one"]
    assert corpus.ids[0] == corpus.ids[-1] == vocabulary.eos_id
    assert corpus.position.tolist() == list(range(corpus.n_tokens))
    assert (corpus.char_start[0], corpus.char_end[0]) == (0, len(EOS))


def test_without_an_eos_policy_no_token_stands_for_the_end(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "two.txt", f"one{EOS}{EOS}two"), vocabulary, eos_policy="none")
    assert texts(corpus) == ["one", "two"]
    assert vocabulary.eos_id not in corpus.ids
    assert corpus.eos_policy == "none"


@pytest.mark.parametrize(
    ("split", "text", "expected"),
    [
        ("line", "one\r\n\ntwo\nthree\n", ["one", "two", "three"]),
        ("blank-line", "one\nmore\n\n\ntwo\r\n \r\nthree", ["one\nmore", "two", "three"]),
        ("=====", "one=====two==========", ["one", "two"]),
    ],
)
def test_a_text_splits_at_lines_blank_lines_or_a_string(
    tmp_path: Path, vocabulary: Vocabulary, split: str, text: str, expected: list[str]
):
    corpus = load_corpus(write(tmp_path / "text.txt", text), vocabulary, split=split)
    assert texts(corpus) == expected
    assert (corpus.ids == vocabulary.eos_id).sum() == len(expected)
    check_offsets(corpus, vocabulary.eos_id)


def test_line_ends_and_byte_order_mark_stay_in_the_text_but_the_mark_is_no_token(
    tmp_path: Path, vocabulary: Vocabulary
):
    raw = b"\xef\xbb\xbfone\r\ntwo"
    (tmp_path / "dos.txt").write_bytes(raw)
    corpus = load_corpus(tmp_path / "dos.txt", vocabulary)
    assert corpus.text.encode() == raw
    assert corpus.text_sha256 == hashlib.sha256(raw).hexdigest()
    assert (corpus.documents[0].char_start, corpus.documents[0].byte_start) == (1, 3)
    assert b"".join(vocabulary.pieces[i] for i in corpus.ids[:-1]) == b"one\r\ntwo"


def test_bytes_of_a_lossless_tokenizer_are_its_pieces_even_inside_characters(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "hard.txt", HARD_TEXT), vocabulary)
    check_offsets(corpus, vocabulary.eos_id)
    encoded = HARD_TEXT.encode()
    for i, start, end in zip(corpus.ids[:-1], corpus.byte_start, corpus.byte_end, strict=False):
        assert encoded[start:end] == vocabulary.pieces[i]
    smile = HARD_TEXT.index("🙂")
    touching = (corpus.char_start <= smile) & (corpus.char_end > smile)
    assert touching.sum() == 4


def test_characters_of_whole_pieces_are_their_text(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "hard.txt", HARD_TEXT), vocabulary)
    whole = 0
    for i, start, end in zip(corpus.ids[:-1], corpus.char_start, corpus.char_end, strict=False):
        piece = vocabulary.pieces[i]
        if piece.decode(errors="ignore").encode() == piece:
            assert corpus.text[start:end] == piece.decode()
            whole += 1
    assert whole > 20


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_offsets_of_any_text_tile_its_documents(tmp_path: Path, vocabulary: Vocabulary, documents: list[str]):
    source = "x" + EOS.join(documents)
    corpus = load_corpus(write(tmp_path / "any.txt", source), vocabulary)
    check_offsets(corpus, vocabulary.eos_id)
    assert corpus.text == source


def test_a_tokenizer_that_puts_a_space_before_the_text_has_exact_offsets(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.sentencepiece(tmp_path / "tokenizer.json"))
    corpus = load_corpus(write(tmp_path / "text.txt", "the cat 日\nthe"), vocabulary)
    check_offsets(corpus, vocabulary.eos_id)
    assert [corpus.text[a:b] for a, b in zip(corpus.char_start[:3], corpus.char_end[:3], strict=True)] == [
        "the",
        " ",
        "c",
    ]
    japanese = np.flatnonzero((corpus.char_start <= 8) & (corpus.char_end > 8))
    assert (corpus.byte_end - corpus.byte_start)[japanese].tolist() == [1, 1, 1]


def test_a_normalising_tokenizer_keeps_offsets_into_the_text_as_it_is(tmp_path: Path):
    file = tiny_tokenizers.byte_level(tmp_path / "tokenizer.json", normalizer=normalizers.NFC())
    vocabulary = load_vocabulary(file)
    corpus = load_corpus(write(tmp_path / "nfd.txt", f"cafe\u0301 the mat{EOS}日本"), vocabulary)
    check_offsets(corpus, vocabulary.eos_id, lossless=False)
    assert texts(corpus)[0] == "cafe\u0301 the mat"
    the = next(k for k, i in enumerate(corpus.ids) if vocabulary.texts[i] == " the")
    assert corpus.text[corpus.char_start[the] : corpus.char_end[the]] == " the"


def test_a_tokenizer_that_drops_white_space_still_tiles_the_text(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.wordpiece(tmp_path / "tokenizer.json"))
    corpus = load_corpus(write(tmp_path / "text.txt", " The  cats.\nCAFÉ!\n"), vocabulary, split="#")
    check_offsets(corpus, vocabulary.eos_id)
    spans = [corpus.text[a:b] for a, b in zip(corpus.char_start, corpus.char_end, strict=True)]
    assert spans == [" The", "  cat", "s", ".", "\nCAFÉ", "!\n", ""]


def test_json_lines_are_documents_named_by_name_or_id_and_joined_by_a_blank_line(
    tmp_path: Path, vocabulary: Vocabulary
):
    records = [
        {"text": "one\nline", "id": 7},
        {"text": "two", "name": "second", "id": 8},
        {"text": ""},
        {"text": "three"},
        {"text": "four", "name": "second"},
    ]
    lines = "\n".join(json.dumps(record) for record in records)
    corpus = load_corpus(write(tmp_path / "some.jsonl", f"{lines}\n\n"), vocabulary, name="some records")
    assert corpus.name == "some records"
    assert texts(corpus) == ["one\nline", "two", "three", "four"]
    assert [document.name for document in corpus.documents] == ["7", "second", "document-3", "second (2)"]
    assert corpus.text.startswith("one\nline\n\ntwo")
    assert (corpus.ids == vocabulary.eos_id).sum() == 4
    check_offsets(corpus, vocabulary.eos_id)


def test_a_folder_is_its_text_files_sorted_and_named_by_file(tmp_path: Path, vocabulary: Vocabulary):
    write(tmp_path / "b.txt", "second")
    write(tmp_path / "a.txt", "\ufefffirst")
    write(tmp_path / "notes.md", "not a text")
    corpus = load_corpus(tmp_path, vocabulary)
    assert [document.name for document in corpus.documents] == ["a", "b"]
    assert corpus.text == "first\n\nsecond"
    assert corpus.name == tmp_path.name


def test_digests_cover_the_text_and_the_ids_as_little_endian_int32(tmp_path: Path, vocabulary: Vocabulary):
    corpus = load_corpus(write(tmp_path / "text.txt", "The cat."), vocabulary)
    as_bytes = b"".join(int(i).to_bytes(4, "little") for i in corpus.ids)
    assert corpus.ids_sha256 == hashlib.sha256(as_bytes).hexdigest()
    assert corpus.text_sha256 == hashlib.sha256(b"The cat.").hexdigest()
    assert corpus.vocabulary_sha256 == vocabulary.sha256
    for column in ("ids", "document", "position", "char_start", "char_end", "byte_start", "byte_end"):
        assert getattr(corpus, column).dtype == np.int32
        assert getattr(corpus, column).shape == (corpus.n_tokens,)


def test_many_documents_come_out_in_order_across_batches(tmp_path: Path, vocabulary: Vocabulary):
    lines = [f"The cat number {i} sat." for i in range(corpus_module.DOCUMENTS_PER_BATCH + 3)]
    corpus = load_corpus(write(tmp_path / "text.txt", "\n".join(lines)), vocabulary, split="line")
    assert texts(corpus) == lines
    assert corpus.documents[-1].name == f"document-{len(lines)}"


@pytest.mark.parametrize("content", ["", "\ufeff", " \n\n", "\ufeff \n"])
def test_a_file_without_text_is_an_empty_corpus(tmp_path: Path, vocabulary: Vocabulary, content: str):
    with pytest.raises(EmptyCorpus, match=r"none\.txt"):
        load_corpus(write(tmp_path / "none.txt", content), vocabulary)


def test_a_text_of_separators_alone_is_an_empty_corpus(tmp_path: Path, vocabulary: Vocabulary):
    with pytest.raises(EmptyCorpus, match=r"none\.txt"):
        load_corpus(write(tmp_path / "none.txt", EOS * 3), vocabulary)


def test_a_folder_without_texts_is_an_empty_corpus(tmp_path: Path, vocabulary: Vocabulary):
    with pytest.raises(EmptyCorpus, match=r"no \.txt file"):
        load_corpus(tmp_path, vocabulary)


def test_a_missing_file_is_named(tmp_path: Path, vocabulary: Vocabulary):
    for name in ("absent.txt", "absent.jsonl", "absent"):
        with pytest.raises(UnreadableCorpus, match=name):
            load_corpus(tmp_path / name, vocabulary)


@pytest.mark.parametrize("name", ["latin.txt", "latin.jsonl", "folder"])
def test_text_that_is_not_utf8_is_named_with_its_byte_offset(tmp_path: Path, vocabulary: Vocabulary, name: str):
    if name == "folder":
        (tmp_path / name).mkdir()
    file = tmp_path / name / "a.txt" if name == "folder" else tmp_path / name
    file.write_bytes("é".encode() + b"caf\xe9 au lait")
    with pytest.raises(UnreadableCorpus, match=rf"{file.name} is not UTF-8 at byte offset 5"):
        load_corpus(tmp_path / name, vocabulary)


@pytest.mark.parametrize(
    "line",
    [
        *('{"text": "a"', '"text"', '{"body": "a"}', '{"text": 3}', '{"text": "\\ud83d"}'),
        *('{"text": "a", "name": "\\ud83d"}', '{"text": "a", "text": "b"}', "[" * 100_000),
    ],
    ids=lambda line: line[:40],
)
def test_a_bad_json_line_is_named_by_its_number(tmp_path: Path, vocabulary: Vocabulary, line: str):
    content = f'{{"text": "fine"}}\n\n{line}\n'
    with pytest.raises(UnreadableCorpus, match=r"Line 3 of .*bad\.jsonl"):
        load_corpus(write(tmp_path / "bad.jsonl", content), vocabulary)


def test_only_a_text_file_is_split(tmp_path: Path, vocabulary: Vocabulary):
    write(tmp_path / "a.txt", "text")
    for path, split in ((tmp_path, "line"), (tmp_path / "a.jsonl", "line"), (tmp_path / "a.txt", "")):
        with pytest.raises(UnusableSplit):
            load_corpus(path, vocabulary, split=split)


def test_an_unknown_eos_policy_is_refused(tmp_path: Path, vocabulary: Vocabulary):
    with pytest.raises(UnknownEosPolicy, match="after-document or none"):
        load_corpus(write(tmp_path / "a.txt", "text"), vocabulary, eos_policy="before")  # type: ignore[arg-type]


def test_an_eos_policy_needs_a_tokenizer_with_eos(tmp_path: Path):
    tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")
    tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", {"eos_token": None})
    vocabulary = load_vocabulary(tmp_path)
    text = write(tmp_path / "a.txt", "The cat.")
    with pytest.raises(MissingEndToken):
        load_corpus(text, vocabulary)
    assert load_corpus(text, vocabulary, eos_policy="none").n_tokens > 0


def test_more_text_than_offsets_can_count_is_refused(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(corpus_module, "LARGEST_OFFSET", 10)
    assert load_corpus(write(tmp_path / "a.txt", "ten bytes!"), vocabulary).n_tokens > 0
    with pytest.raises(CorpusTooLarge):
        load_corpus(write(tmp_path / "a.txt", "eleven byte"), vocabulary)


def test_the_studys_text_has_the_published_ids(shared_data: Path):
    study = shared_data / "seed-kl-study" / "sample4"
    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    corpus = load_corpus(study / "input_text.txt", vocabulary)
    published = np.load(study / "input_text_encoded.npy")
    assert corpus.n_tokens == 4_662
    assert [vocabulary.bos_id, *corpus.ids] == published.tolist()
    assert len(corpus.documents) == 10
    assert (corpus.ids[-2:] == vocabulary.eos_id).all()
    assert corpus.document[-2:].tolist() == [9, 9]
    check_offsets(corpus, vocabulary.eos_id)
    encoded = (study / "input_text.txt").read_bytes()
    pieces = [encoded[a:b] for a, b in zip(corpus.byte_start, corpus.byte_end, strict=True)]
    assert pieces[:-1] == [vocabulary.pieces[i] for i in corpus.ids[:-1]]


def test_the_real_llama_tokenizer_has_exact_offsets(shared_data: Path, tmp_path: Path):
    vocabulary = load_vocabulary(shared_data / "stories260K" / "hf_llama")
    corpus = load_corpus(write(tmp_path / "a.txt", HARD_TEXT), vocabulary)
    check_offsets(corpus, vocabulary.eos_id)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (1, 2)
