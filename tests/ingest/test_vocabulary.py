"""What each id of a tokenizer spells, and which ids are spaces, punctuation and special."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from ingest.vocabulary import (
    UnknownPiece,
    UnreadableTokenizer,
    byte_level_alphabet,
    display,
    is_punctuation,
    load_vocabulary,
    starts_with_space,
)
from tests.ingest import tiny_tokenizers
from tests.ingest.tiny_tokenizers import EOS


def test_byte_level_alphabet_has_every_byte_once():
    alphabet = byte_level_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert alphabet["Ġ"] == ord(" ")
    assert alphabet["Ċ"] == ord("\n")
    assert alphabet["A"] == ord("A")


def test_byte_level_alphabet_agrees_with_the_tokenizers_library():
    assert set(byte_level_alphabet()) == set(ByteLevel.alphabet())
    text = "".join(map(chr, range(0x80))) + "é日🙂"
    pieces = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    spelled = "".join(piece for piece, _ in pieces)
    assert bytes(byte_level_alphabet()[character] for character in spelled) == text.encode()


def test_pieces_of_a_byte_level_vocabulary_spell_what_the_tokenizer_encodes(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.byte_level(tmp_path / "tokenizer.json"))
    text = "The cat's    naïve 日本 🙂\n\tmat<|endoftext|>\0end"
    ids = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids
    assert b"".join(vocabulary.pieces[i] for i in ids) == text.encode()


def test_length_counts_added_tokens_and_the_digest_is_the_files(tmp_path: Path):
    file = tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")
    vocabulary = load_vocabulary(file)
    tokenizer = Tokenizer.from_file(str(file))
    assert vocabulary.length == max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    assert vocabulary.length == len(vocabulary.texts) == len(vocabulary.pieces) == len(vocabulary.is_special)
    assert vocabulary.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    spaces = tokenizer.token_to_id("    ")
    assert vocabulary.texts[spaces] == "    "
    assert vocabulary.starts_with_space[spaces]
    assert not vocabulary.is_special[spaces]


def test_space_punctuation_and_eos_are_disjoint_and_defined_by_the_text(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.byte_level(tmp_path / "tokenizer.json"))
    is_eos = np.arange(vocabulary.length) == vocabulary.eos_id
    classes = np.stack([vocabulary.starts_with_space, vocabulary.is_punctuation, is_eos])
    assert classes.sum(axis=0).max() == 1
    assert (classes.sum(axis=1) > 0).all()
    for i, piece in enumerate(vocabulary.pieces):
        if i != vocabulary.eos_id and not any(byte > 0x7F for byte in piece):
            text = piece.decode()
            assert vocabulary.starts_with_space[i] == (text != text.lstrip())
            assert vocabulary.is_punctuation[i] == all(unicodedata.category(c)[0] in "PS" for c in text)


@pytest.mark.parametrize("piece", [b" a", b"\n", b"\t\t", "\u00a0x".encode(), "\u3000".encode()])
def test_pieces_that_start_with_white_space(piece: bytes):
    assert starts_with_space(piece)
    assert not is_punctuation(piece)


@pytest.mark.parametrize("piece", [b"a ", b"", b".", b"\xe2\x80", b"\xc2"])
def test_pieces_that_do_not_start_with_white_space(piece: bytes):
    assert not starts_with_space(piece)


@pytest.mark.parametrize("piece", [b".", b"),", b"+", b"$", "”".encode(), "€".encode()])
def test_punctuation_and_symbols_are_punctuation(piece: bytes):
    assert is_punctuation(piece)


@pytest.mark.parametrize("piece", [b"", b" .", b".a", b"5", b"'s", b"\xe2\x80", b"\xf0\x9f"])
def test_letters_digits_spaces_and_halves_of_characters_are_not_punctuation(piece: bytes):
    assert not is_punctuation(piece)


def test_display_marks_broken_utf8_and_nul_that_databases_refuse():
    assert display(b"\xe2\x80") == "\N{REPLACEMENT CHARACTER}"
    assert display(b"a\0b") == "a\N{SYMBOL FOR NULL}b"
    assert display("é".encode()) == "é"


def test_an_added_token_spells_itself_and_not_the_bytes_its_letters_stand_for(tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")))
    tokenizer.add_tokens(["naïve"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.pieces[tokenizer.token_to_id("naïve")] == "naïve".encode()


def test_an_end_of_text_token_of_spaces_is_special_and_no_space(tmp_path: Path):
    tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")
    tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", {"eos_token": "    "})
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.eos_text == "    "
    assert vocabulary.is_special[vocabulary.eos_id]
    assert not vocabulary.starts_with_space[vocabulary.eos_id]


def test_sentencepiece_marks_are_spaces_and_byte_pieces_are_bytes(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.sentencepiece(tmp_path / "tokenizer.json"))
    index = {text: i for i, text in enumerate(vocabulary.texts)}
    assert vocabulary.pieces[index[" the"]] == b" the"
    assert vocabulary.starts_with_space[index[" the"]]
    assert vocabulary.pieces[3 + 0xE2] == b"\xe2"
    assert vocabulary.starts_with_space[3 + ord("\n")]
    assert vocabulary.is_punctuation[index["."]]
    assert (vocabulary.bos_id, vocabulary.eos_id) == (1, 2)
    assert vocabulary.is_special[:3].all()
    assert vocabulary.is_special.sum() == 3


def test_wordpiece_prefix_is_not_part_of_the_text(tmp_path: Path):
    vocabulary = load_vocabulary(tiny_tokenizers.wordpiece(tmp_path / "tokenizer.json"))
    assert vocabulary.texts[6] == "s"
    assert (vocabulary.bos_id, vocabulary.eos_id) == (1, 2)
    assert not vocabulary.is_punctuation[vocabulary.is_special].any()


def test_the_files_beside_a_tokenizer_say_what_bos_and_eos_are(tmp_path: Path):
    tiny_tokenizers.sentencepiece(tmp_path / "tokenizer.json")
    settings = {"bos_token": None, "eos_token": {"content": "</s>"}}
    tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", settings)
    vocabulary = load_vocabulary(tmp_path / "tokenizer.json")
    assert vocabulary.bos_id is None
    assert vocabulary.eos_id == 2
    assert vocabulary.eos_text == "</s>"


def test_a_models_numbers_are_heard_last_and_only_for_special_tokens(tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")))
    tiny_tokenizers.write_json(tmp_path / "config.json", {"bos_token_id": 50_256, "eos_token_id": 2})
    assert (load_vocabulary(tmp_path).bos_id, load_vocabulary(tmp_path).eos_id) == (0, 0)
    renamed = tokenizer.to_str().replace(EOS, "<|stop|>")
    (tmp_path / "tokenizer.json").write_text(renamed, encoding="utf-8")
    assert (load_vocabulary(tmp_path).bos_id, load_vocabulary(tmp_path).eos_id) == (None, None)
    tiny_tokenizers.write_json(tmp_path / "config.json", {"eos_token_id": [2, 0]})
    assert load_vocabulary(tmp_path).eos_text == "<|stop|>"


def test_a_tokenizer_without_end_of_text_has_no_eos(tmp_path: Path):
    tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")
    tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", {"bos_token": None, "eos_token": None})
    vocabulary = load_vocabulary(tmp_path)
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.eos_text) == (None, None, None)


def test_a_configuration_that_names_no_known_token_is_refused(tmp_path: Path):
    tiny_tokenizers.byte_level(tmp_path / "tokenizer.json")
    for token, named in (("<end>", "<end>"), (5, "names 5"), ({"text": "<end>"}, "names None")):
        tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", {"eos_token": token})
        with pytest.raises(UnknownPiece, match=named):
            load_vocabulary(tmp_path)


def test_a_folder_with_another_form_of_tokenizer_is_read_through_transformers(tmp_path: Path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tiny_tokenizers.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.texts[5:9] == ("the", "cat", "s", ".")
    assert len(vocabulary.sha256) == 64


@pytest.mark.parametrize("content", [b"{}", b"not json", b"\xff\xfe", b""])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path, content: bytes):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(UnreadableTokenizer, match=r"tokenizer\.json"):
        load_vocabulary(file)


def test_a_missing_tokenizer_and_an_empty_folder_are_refused_by_name(tmp_path: Path):
    with pytest.raises(UnreadableTokenizer, match="absent"):
        load_vocabulary(tmp_path / "absent")
    with pytest.raises(UnreadableTokenizer, match=tmp_path.name):
        load_vocabulary(tmp_path)


def test_pythias_tokenizer_has_50277_ids_and_one_token_for_bos_and_eos(shared_data: Path):
    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    assert vocabulary.length == 50_277
    assert (vocabulary.bos_id, vocabulary.eos_id) == (0, 0)
    assert vocabulary.eos_text == "<|endoftext|>"
    assert np.flatnonzero(vocabulary.is_special).tolist() == [0, 1]
    assert vocabulary.starts_with_space[50_254:50_277].all()
    assert not (vocabulary.starts_with_space & vocabulary.is_punctuation).any()
    assert vocabulary.texts[22196] == "Join"
    assert vocabulary.texts[441] == " us"
