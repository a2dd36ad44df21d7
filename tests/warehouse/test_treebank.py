"""UD English EWT as gold: its own text in the tokens of Pythia, against an alignment by its SpaceAfter marks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.corpus import Corpus
from ingest.vocabulary import load_vocabulary
from tests.conftest import Outcome
from tests.ingested import rows
from tests.warehouse.annotated_text import load_text
from warehouse.database import Database

LAYERS = ("upos", "xpos", "deprel", "head_distance")


@dataclass(frozen=True)
class Gold:
    """A document: its text, and for each character the fields of the word that it is in."""

    text: str
    fields: list[list[str] | None]


def documents(treebank: Path) -> Iterator[Gold]:
    """The documents of a treebank, sentences one line each, every character placed by the SpaceAfter marks."""
    for document in treebank.read_text("utf-8").split("# newdoc")[1:]:
        texts, fields = list[str](), list[list[str] | None]()
        for sentence in document.strip("\n").split("\n\n"):
            lines = sentence.split("\n")
            [text] = [line.removeprefix("# text = ") for line in lines if line.startswith("# text =")]
            own = list(characters([line.split("\t") for line in lines if line[:1].isdigit()]))
            assert "".join(character for character, _ in own).rstrip(" ") == re.sub(r"\s", " ", text)
            texts.append(text)
            fields += [*[word for _, word in own[: len(text)]], None]
        yield Gold("\n".join(texts), fields[:-1])


def characters(lines: list[list[str]]) -> Iterator[tuple[str, list[str] | None]]:
    """(character, fields of its word or None) of a sentence."""
    within = 0  # the last word of a multiword token, whose parts have no space between them
    for line in lines:
        if "-" in line[0]:
            within, space = int(line[0].split("-")[1]), "SpaceAfter=No" not in line[9]
        elif "." not in line[0]:
            yield from ((c, line) for c in line[1])
            last = int(line[0]) == within
            if space if last else (int(line[0]) > within and "SpaceAfter=No" not in line[9]):
                yield " ", None


def value(fields: list[str], layer: str) -> str | None:
    if layer == "head_distance":
        return None if fields[6] == "0" else str(int(fields[6]) - int(fields[0]))
    return fields[{"upos": 3, "xpos": 4, "deprel": 7}[layer]]


def expected(corpus: Corpus, gold: list[Gold], layer: str) -> list[str | None]:
    """What each token should have: what half of its characters have, of several the most frequent."""
    by_character: dict[int, list[str] | None] = {}
    for document, own in zip(corpus.documents, gold, strict=True):
        assert corpus.text[document.char_start : document.char_end] == own.text
        by_character |= dict(enumerate(own.fields, start=document.char_start))
    found = list[str | None]()
    for start, end in zip(corpus.char_start.tolist(), corpus.char_end.tolist(), strict=True):
        held = [fields for c in range(start, end) if (fields := by_character.get(c)) is not None]
        counts = Counter(v for fields in held if (v := value(fields, layer)) is not None)
        best, count = counts.most_common(1)[0] if counts else (None, 0)
        found.append(best if 2 * count >= end - start else None)
    return found


@pytest.mark.parametrize("part", ["dev", "test"])
def test_gold_annotations_are_those_of_the_characters(
    named_database: Database,
    command: Callable[..., Outcome],
    shared_data: Path,
    tmp_path: Path,
    part: str,
) -> None:
    treebank = shared_data / "UD_English-EWT" / f"en_ewt-ud-{part}.conllu"
    gold = list(documents(treebank))
    (tmp_path / "ewt.jsonl").write_text("\n".join(json.dumps({"text": document.text}) for document in gold), "utf-8")
    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    corpus = load_text(named_database, tmp_path / "ewt.jsonl", vocabulary, "ewt")
    for layer in LAYERS:
        outcome = command("annotate", layer, str(treebank))
        assert outcome.status == 0, outcome.errors
        stored = rows(
            named_database,
            "select token_id, value, value_number from analysis.token_annotation where layer = %s",
            layer,
        )
        held = {i: str(int(number)) if layer == "head_distance" else text for i, text, number in stored}
        assert [held.get(i) for i in range(corpus.n_tokens)] == expected(corpus, gold, layer), layer
