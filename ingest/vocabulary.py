"""The vocabulary of a tokenizer: what each id spells, and which ids are spaces, punctuation and end of text.

Reads tokenizer files from this machine only. Knows nothing of corpora, models or the database.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What tokenizers without a configuration beside them call the two, most common first.
USUAL_EOS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "[SEP]")
USUAL_BOS = ("<|endoftext|>", "<s>", "<|begin_of_text|>", "<bos>", "[CLS]")

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SENTENCEPIECE_SPACE = "▁"


class UnreadableTokenizer(WarehouseError):
    """A tokenizer cannot be read."""


class UnknownPiece(WarehouseError):
    """A tokenizer's configuration names a token that its vocabulary lacks."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer and what its ids mean. `V` is `length`: the largest id, added tokens included, plus one.

    sha256: of the tokenizer file. texts: [V] pieces for display (invalid UTF-8 shown as U+FFFD, NUL as U+2400).
    pieces: [V] the bytes each id stands for; empty for an id without a piece. The three boolean arrays are [V];
    `starts_with_space`, `is_punctuation` and {eos_id} are disjoint (docs/methods.md §1).
    """

    sha256: str
    length: int
    bos_id: int | None
    eos_id: int | None
    texts: tuple[str, ...] = field(repr=False)
    pieces: tuple[bytes, ...] = field(repr=False)
    starts_with_space: NDArray[np.bool_] = field(repr=False)
    is_punctuation: NDArray[np.bool_] = field(repr=False)
    is_special: NDArray[np.bool_] = field(repr=False)
    tokenizer: Tokenizer = field(repr=False)

    @property
    def eos_text(self) -> str | None:
        """The text that stands for the end-of-text token, such as `<|endoftext|>`."""
        return None if self.eos_id is None else self.pieces[self.eos_id].decode()


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read a tokenizer from a `tokenizer.json`, or from a folder that holds one or that `AutoTokenizer` can read.

    Raises UnreadableTokenizer where there is no tokenizer, UnknownPiece where its configuration contradicts it.
    """
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    source = _read_file(file) if file.is_file() else _convert(path)
    tokenizer = _parse(source, path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = _pieces(tokenizer, json.loads(source))
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    settings = _settings(path if path.is_dir() else path.parent) if file.name == "tokenizer.json" else {}
    bos_id = _named_id(tokenizer, settings, "bos", USUAL_BOS, special)
    eos_id = _named_id(tokenizer, settings, "eos", USUAL_EOS, special)
    is_special = np.zeros(len(pieces), bool)
    is_special[[i for i in map(tokenizer.token_to_id, special) if i is not None]] = True
    is_special[[i for i in (bos_id, eos_id) if i is not None]] = True
    return Vocabulary(
        sha256=hashlib.sha256(source).hexdigest(),
        length=len(pieces),
        bos_id=bos_id,
        eos_id=eos_id,
        texts=tuple(display(piece) for piece in pieces),
        pieces=pieces,
        starts_with_space=np.array([starts_with_space(piece) for piece in pieces], bool) & ~is_special,
        is_punctuation=np.array([is_punctuation(piece) for piece in pieces], bool) & ~is_special,
        is_special=is_special,
        tokenizer=tokenizer,
    )


def display(piece: bytes) -> str:
    """A piece as text that every database accepts: invalid UTF-8 becomes U+FFFD, and NUL its picture, U+2400."""
    return piece.decode(errors="replace").replace("\0", "\N{SYMBOL FOR NULL}")


def starts_with_space(piece: bytes) -> bool:
    """Whether a piece begins with Unicode white space."""
    return piece.decode(errors="replace")[:1].isspace()


def is_punctuation(piece: bytes) -> bool:
    """Whether a piece consists of punctuation (Unicode P*) and symbols (S*) alone; part of a character is neither."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in text)


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableTokenizer(f"Cannot read the tokenizer {file}: {error.strerror}.") from error


def _convert(path: Path) -> bytes:
    """The `tokenizer.json` of a folder that holds its tokenizer in another form."""
    if not path.is_dir():
        raise UnreadableTokenizer(f"There is no tokenizer at {path}. Name a tokenizer.json or a folder that holds one.")
    from transformers import AutoTokenizer

    try:
        slow_or_fast = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False, use_fast=True
        )
        return bytes(slow_or_fast.backend_tokenizer.to_str().encode())
    except Exception as error:  # transformers raises whatever its parts raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnreadableTokenizer(
            f"{path} holds no tokenizer.json and no tokenizer that transformers can read ({reason})."
        ) from error


def _parse(source: bytes, path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(source.decode())
    except Exception as error:  # tokenizers raises bare Exception
        raise UnreadableTokenizer(f"{path} is not a tokenizer in the format of tokenizer.json: {error}.") from error


def _pieces(tokenizer: Tokenizer, source: Mapping[str, Any]) -> tuple[bytes, ...]:
    """[V] bytes of each id; how they are read off the vocabulary depends on the family of the tokenizer."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = set(tokenizer.get_added_tokens_decoder())
    kinds = set(_kinds({key: source.get(key) for key in ("pre_tokenizer", "decoder")}))
    byte_of = byte_level_alphabet() if "ByteLevel" in kinds else None
    prefix = (source.get("decoder") or {}).get("prefix", "##") if "WordPiece" in kinds else None
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for text, i in vocabulary.items():
        if i in added:
            pieces[i] = text.encode()
        elif byte_of is not None and all(character in byte_of for character in text):
            pieces[i] = bytes(byte_of[character] for character in text)
        elif prefix is not None:
            pieces[i] = text.removeprefix(prefix).encode()
        else:
            pieces[i] = _sentencepiece_bytes(text)
    return tuple(pieces)


def _kinds(node: object) -> Iterator[str]:
    """The `type` of every component in a tokenizer's description."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield node["type"]
        for child in node.values():
            yield from _kinds(child)
    elif isinstance(node, list):
        for child in node:
            yield from _kinds(child)


def byte_level_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (Radford et al. 2019, GPT-2).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _sentencepiece_bytes(text: str) -> bytes:
    single = BYTE_PIECE.fullmatch(text)
    return bytes.fromhex(single[1]) if single else text.replace(SENTENCEPIECE_SPACE, " ").encode()


def _settings(folder: Path) -> dict[str, Any]:
    """What the files beside a tokenizer.json say of its special tokens, the most specific file winning."""
    settings: dict[str, Any] = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file():
            try:
                settings |= json.loads(file.read_text(encoding="utf-8"))
            except (OSError, TypeError, ValueError) as error:
                raise UnreadableTokenizer(f"{file} is not a readable JSON object: {error}.") from error
    return settings


def _named_id(
    tokenizer: Tokenizer, settings: Mapping[str, Any], which: str, usual: tuple[str, ...], special: list[str]
) -> int | None:
    """The id of the BOS or EOS token: as configured by name, as such tokens are usually called, or by number.

    The number comes last and must be a special token's, for it is the model's, whose configuration class has defaults
    that fit other tokenizers.
    """
    if f"{which}_token" in settings:
        token = settings[f"{which}_token"]
        return None if token is None else _id_of(tokenizer, token.get("content") if isinstance(token, dict) else token)
    named = [tokenizer.token_to_id(name) for name in usual if name in special]
    number = settings.get(f"{which}_token_id")
    numbered = [
        i for i in (number if isinstance(number, list) else [number]) if i in map(tokenizer.token_to_id, special)
    ]
    return next((int(i) for i in [*named, *numbered] if i is not None), None)


def _id_of(tokenizer: Tokenizer, token: object) -> int:
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if found is None:
        raise UnknownPiece(f"The tokenizer's configuration names {token!r}, which is not in its vocabulary.")
    return int(found)
