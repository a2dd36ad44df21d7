"""`warehouse annotate` by words and spans of characters: on real text, held against a count of characters by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from ingest.corpus import Corpus
from ingest.vocabulary import load_vocabulary
from tests.conftest import Outcome
from tests.contents import frame
from tests.warehouse.annotated_text import load_text, tiny_vocabulary, write_corpus
from warehouse.conllu import read_conllu
from warehouse.database import Database

Command = Callable[..., Outcome]
WORD = re.compile(r"\w+|[^\w\s]")

TEXTS = (
    "The naïve café owner said “no”, and then — “yes”.  \n\nSo it went on.",
    "Anna walked out along the wall; she counted eleven geese, two swans and one very tired dog.",
    "漢字 and ☕☕: 1.4 metres of smell that lasted until June!",
)


@pytest.fixture
def corpus(named_database: Database, tmp_path: Path) -> Corpus:
    """Three letters in the database that commands open."""
    return load_text(named_database, write_corpus(tmp_path, TEXTS), tiny_vocabulary(tmp_path))


def painted(corpus: Corpus, values: Mapping[int, str]) -> list[str | None]:
    """docs/methods.md §3: the commonest value among a token's characters, if it covers half of them.

    values: of characters of documents.
    """
    tokens: list[str | None] = []
    for start, end in zip(corpus.char_start.tolist(), corpus.char_end.tolist(), strict=True):
        counts = Counter(values[c] for c in range(start, end) if c in values)
        value, count = counts.most_common(1)[0] if counts else (None, 0)
        tokens.append(value if 2 * count >= end - start else None)
    return tokens


def stored(database: Database, corpus: Corpus, layer: str) -> list[str | None]:
    rows = frame(database, "select token_id, value from token_annotation where layer = %s", layer)
    by_token = dict(zip(rows["token_id"], rows["value"], strict=True))
    return [by_token.get(i) for i in range(corpus.n_tokens)]


def words(corpus: Corpus) -> pd.DataFrame:
    """Every word of every document, with its class, its place in the text and in its document."""
    rows = [
        (d.name, m[0], "word" if m[0][0].isalnum() else "sign", m.start(), m.end(), d.char_start)
        for d in corpus.documents
        for m in WORD.finditer(corpus.text[d.char_start : d.char_end])
    ]
    return pd.DataFrame(rows, columns=["document", "word", "class", "start", "end", "offset"])


def values_of(table: pd.DataFrame) -> dict[int, str]:
    return {
        c + row.offset: row[2]
        for row in table.itertuples(index=False)
        for c in range(row.start, row.end)  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("columns", [["word"], ["document", "word"], ["document", "start", "end"], ["chars"]])
def test_words_and_spans_give_the_values_of_their_characters(
    named_database: Database, corpus: Corpus, command: Command, tmp_path: Path, columns: list[str]
) -> None:
    table = words(corpus)
    expected = painted(corpus, values_of(table))
    if columns == ["chars"]:
        table["char_start"], table["char_end"] = table["start"] + table["offset"], table["end"] + table["offset"]
        table, columns = table.sample(frac=1, random_state=2), ["char_start", "char_end"]
    table[[*columns, "class"]].to_csv(tmp_path / "w.tsv", sep="\t", index=False)
    outcome = command("annotate", "class", str(tmp_path / "w.tsv"))
    assert outcome.status == 0, outcome.errors
    assert stored(named_database, corpus, "class") == expected
    assert {"word", "sign", None} == set(expected)


def test_rows_whose_characters_belong_to_larger_neighbours_are_named(
    named_database: Database, corpus: Corpus, command: Command, tmp_path: Path
) -> None:
    """A byte-level token may hold a short word with more of another one."""
    longest = int((corpus.char_end - corpus.char_start).argmax())
    start, end = int(corpus.char_start[longest]), int(corpus.char_end[longest])
    assert end - start >= 3
    rows = f"char_start,char_end,value\n{start},{start + 1},a\n{start + 1},{end},b\n"
    (tmp_path / "s.csv").write_text(rows, "utf-8")
    outcome = command("annotate", "s", str(tmp_path / "s.csv"))
    assert outcome.errors == (
        "Note: 1 row gave no token a value, since no token is theirs by half: "
        f"line 2 (char_start {start}, char_end {start + 1}).\n"
    )
    assert stored(named_database, corpus, "s")[longest] == "b"


def test_words_of_another_text_are_counted_and_refused(corpus: Corpus, command: Command, tmp_path: Path) -> None:
    table = words(corpus)[["word", "class"]]
    table.loc[3, "word"] = "vendor"
    named = pd.DataFrame({"document": ["letter 0", "letter 9", "letter 0"], "word": ["The", "x", None], "v": "a"})
    named.to_csv(tmp_path / "n.csv", index=False)
    assert (
        "2 of 3 rows of n.csv: 1 name a document that corpus letters lacks: line 3 (word x); "
        "1 have no word: line 4 (word empty)."
    ) in command("annotate", "v", str(tmp_path / "n.csv")).errors
    table.to_csv(tmp_path / "w.csv", index=False)
    refused = command("annotate", "class", str(tmp_path / "w.csv"))
    assert refused.status == 2
    assert (
        f"Cannot use 1 of {len(table)} rows of w.csv: 1 have a word that does not come next in the text of corpus "
        "letters: line 5 (word vendor). Correct them, or pass --allow-partial to leave them out."
    ) in refused.errors
    assert command("annotate", "class", str(tmp_path / "w.csv"), "--allow-partial").status == 0


def test_a_text_that_its_tokens_do_not_spell_is_given_as_a_file(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "plain.txt"
    path.write_bytes(TEXTS[0].encode())
    corpus = load_text(named_database, path, tiny_vocabulary(tmp_path))
    with named_database.connect() as connection:
        connection.execute("update warehouse.vocabulary set bytes = bytes || bytes")
    table = words(corpus)
    table[["word", "class"]].to_csv(tmp_path / "w.csv", index=False)
    assert (
        "since its tokenizer changes the text: give the file that was ingested with --text."
        in command("annotate", "class", str(tmp_path / "w.csv")).errors
    )
    assert command("annotate", "class", str(tmp_path / "w.csv"), "--text", str(path)).status == 0
    assert stored(named_database, corpus, "class") == painted(corpus, values_of(table))


def test_a_gold_treebank_annotates_the_text_it_is_of(
    named_database: Database, command: Command, tmp_path: Path, shared_data: Path
) -> None:
    """UD English EWT, test split, in the tokens of Pythia."""
    (bank,) = (shared_data / "UD_English-EWT").glob("*test*.conllu")
    sentences = list(read_conllu(bank))[:400]
    cut = bank.read_text("utf-8").split("\n\n")[:400]
    (tmp_path / "ewt.conllu").write_text("\n\n".join(cut) + "\n\n", "utf-8")
    text = "\n".join(sentence.text or "" for sentence in sentences)
    (tmp_path / "ewt.txt").write_text(text, "utf-8")
    corpus = load_text(
        named_database, tmp_path / "ewt.txt", load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json"), "ewt"
    )
    characters: dict[str, dict[int, str]] = {"upos": {}, "deprel": {}, "Number": {}}
    line = 0
    for sentence in sentences:
        cursor = 0
        for word in sentence.words:
            cursor = (sentence.text or "").index(word.form, cursor)
            for name, values in characters.items():
                if name in word.values:
                    values |= dict.fromkeys(range(line + cursor, line + cursor + len(word.form)), word.values[name])
            cursor += len(word.form)
        line += len(sentence.text or "") + 1
    for name, values in characters.items():
        outcome = command("annotate", name, str(tmp_path / "ewt.conllu"))
        assert outcome.status == 0, outcome.errors
        assert stored(named_database, corpus, name) == painted(corpus, values), name
    assert command("annotate", "head_distance", str(tmp_path / "ewt.conllu"), "--edges", "-5,-1,0,1,2,6").status == 0
    assert command("annotate", "upos", str(tmp_path / "ewt.conllu"), "--context", "--replace").status == 0
    shifted = [None, *stored(named_database, corpus, "upos")[:-1]]
    assert stored(named_database, corpus, "upos.context") == shifted
