"""Items from files: which texts they become, which documents belong together, and what is refused."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.corpus import load_items
from ingest.items import BadItem, ItemForm, ItemSource, read_items
from ingest.texts import EmptyCorpus, UnreadableCorpus
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.models import EOS_ID, save_tokenizer
from warehouse.items import Role

BLIMP = {
    "sentence_good": "Anna sees herself.",
    "sentence_bad": "Anna sees itself.",
    "UID": "anaphor_gender",
    "linguistics_term": "anaphor_agreement",
    "pairID": "0",
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write(folder: Path, *records: Any, name: str = "items.jsonl") -> Path:
    (folder / name).write_text(lines(*records), "utf-8")
    return folder / name


def texts(found: ItemSource) -> dict[str, str]:
    source = found.source
    return {part.name or "": source.text[part.start : part.end] for part in source.parts}


def scored(found: ItemSource) -> dict[str, str]:
    """What counts for the score of each document."""
    source = found.source
    return {part.name or "": source.text[part.scored : part.end] for part in source.parts}


def test_blimp_is_read_from_a_zip_that_macos_made(tmp_path: Path) -> None:
    second = {**BLIMP, "UID": "wh_island", "linguistics_term": "island_effects", "sentence_good": "Who knows?"}
    with zipfile.ZipFile(tmp_path / "BLiMP.zip", "w") as archive:
        archive.writestr("data/", "")
        archive.writestr("data/wh_island.jsonl", lines(second))
        archive.writestr("data/anaphor_gender.jsonl", "\ufeff" + lines(BLIMP, BLIMP).replace("\n", "\r\n"))
        archive.writestr("data/.DS_Store", b"\0\xff")
        archive.writestr("__MACOSX/data/._anaphor_gender.jsonl", b"\0\5\26\7\xff")
        archive.writestr("README.txt", "no item")
    found = read_items(tmp_path / "BLiMP.zip", "blimp")
    assert [(p.name, p.kind, p.category) for p in found.paradigms] == [
        ("anaphor_gender", "minimal_pairs", "anaphor_agreement"),
        ("wh_island", "minimal_pairs", "island_effects"),
    ]
    assert found.paradigms[0].roles == (Role(0, "good", 0), Role(0, "bad", 1), Role(1, "good", 2), Role(1, "bad", 3))
    assert found.paradigms[1].roles == (Role(0, "good", 4), Role(0, "bad", 5))
    assert texts(found)["anaphor_gender/1/bad"] == "Anna sees itself."
    assert texts(found)["wh_island/0/good"] == "Who knows?"


def test_a_folder_is_read_file_by_file_and_files_name_paradigms_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write(tmp_path, {"good": "b", "bad": "c"}, name="verbs.jsonl")
    write(tmp_path / "more", {"good": "d", "bad": "e", "paradigm": "named", "category": "odd"}, name="nouns.json")
    write(tmp_path, {"good": "x", "bad": "y"}, name=".hidden.jsonl")
    found = read_items(tmp_path, "pairs")
    assert [(p.name, p.category) for p in found.paradigms] == [("named", "odd"), ("verbs", None)]


def test_files_of_one_name_in_several_folders_are_paradigms_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "what is in it"
    for place in ("x/data", "y/data", "y/more"):
        file = folder / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"good": "a b", "bad": "b a"}\n')
    found = read_items(folder, "pairs").paradigms
    assert [(paradigm.name, len(paradigm.roles)) for paradigm in found] == [("x/data", 2), ("y/data", 2), ("more", 2)]


def test_items_of_a_paradigm_stand_together_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    records = [{"good": f"g{n}", "bad": f"b{n}", "paradigm": "xy"[n % 2]} for n in range(4)]
    found = read_items(write(tmp_path, *records), "pairs")
    assert list(texts(found).values()) == ["g0", "b0", "g2", "b2", "g1", "b1", "g3", "b3"]
    assert found.paradigms[1].roles[-1] == Role(1, "bad", 7)


def test_the_correct_option_comes_first_and_the_question_does_not_count(tmp_path: Path) -> None:
    record = {
        "question": "The capital of Peru is",
        "options": ["Rome", " Lima", "Oslo"],
        "correct": 1,
        "task": "cities",
    }
    found = read_items(write(tmp_path, record), "options")
    assert [(p.name, p.kind) for p in found.paradigms] == [("cities", "options")]
    assert texts(found) == {
        "cities/0/correct": "The capital of Peru is Lima",
        "cities/0/incorrect-1": "The capital of Peru is Rome",
        "cities/0/incorrect-2": "The capital of Peru is Oslo",
    }
    assert list(scored(found).values()) == [" Lima", " Rome", " Oslo"]


def test_spans_are_one_text_or_several_with_names_and_contexts_of_their_own(tmp_path: Path) -> None:
    records = [
        {"text": "alone"},
        {"context": "Before:", "spans": {"first": "one", "second": {"text": "two", "context": "Then\n"}}},
    ]
    found = read_items(write(tmp_path, *records), "spans")
    assert texts(found) == {
        "items/0/span": "alone",
        "items/1/first": "Before: one",
        "items/1/second": "Then\ntwo",
    }
    assert scored(found) == {"items/0/span": "alone", "items/1/first": " one", "items/1/second": "two"}


def test_tokens_count_from_the_first_that_holds_a_character_of_the_option(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    record = {"context": "naïve Anna walked", "options": ["out", "the wall"], "correct": 0}
    corpus = load_items(write(tmp_path, record, {**record, "context": ""}), "options", vocabulary)
    for document in corpus.documents:
        own = slice(document.first_token + document.scored_from, document.first_token + document.n_tokens - 1)
        spelled = b"".join(vocabulary.pieces[i] for i in corpus.ids[own]).decode()
        text = corpus.text[document.char_start : document.char_end]
        assert spelled == text.removeprefix("naïve Anna walked")
        assert corpus.ids[own.stop] == EOS_ID
    assert corpus.documents[0].scored_from > 1
    assert corpus.documents[2].scored_from == 0


def test_a_token_across_the_border_counts(tmp_path: Path, vocabulary: Vocabulary) -> None:
    river = vocabulary.tokenizer.encode("The riv er").ids
    assert len(vocabulary.tokenizer.encode("The river").ids) < len(river)
    corpus = load_items(
        write(tmp_path, {"context": "The ", "options": ["river", "wall"], "correct": 0}), "options", vocabulary
    )
    first = corpus.documents[0]
    assert vocabulary.pieces[corpus.ids[first.scored_from]].startswith(b" ")


def test_items_alike_are_kept_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = read_items(write(tmp_path, {"good": "a", "bad": "b"}, {"good": "a", "bad": "a"}), "pairs")
    assert len(texts(found)) == 4
    assert "One item says the same in two roles" in caplog.text
    assert "line 2 of" in caplog.text


@pytest.mark.parametrize(
    ("form", "record", "said"),
    [
        ("blimp", {"good": "a", "bad": "b"}, "lacks sentence_good"),
        ("pairs", {"good": "a"}, "lacks bad"),
        ("pairs", {"good": "a", "bad": 3}, "key bad that is no text but 3"),
        ("pairs", {"good": "a", "bad": " \t"}, "nothing but white space as its bad"),
        ("pairs", {"good": "a", "bad": "b", "context": ["c"]}, "key context that is no text"),
        ("pairs", ["a", "b"], "no JSON object"),
        ("options", {"options": ["a", "b"]}, "key correct, the number of the correct option from 0 to 1, not null"),
        ("options", {"options": ["a", "b"], "correct": 2}, "from 0 to 1, not 2"),
        ("options", {"options": ["a", "b"], "correct": True}, "not true"),
        ("options", {"options": ["a"], "correct": 0}, "a list of two texts or more"),
        ("options", {"options": ["a", None], "correct": 0}, "option 1 that is no text but null"),
        ("options", {"options": ["a", "b"], "correct": 0, "question": "c", "context": "d"}, "put both into one"),
        ("spans", {"context": "a"}, "lacks text"),
        ("spans", {"spans": []}, "no object of names and texts"),
        ("spans", {"spans": {"a": {"context": "b"}}}, "span a, lacks text"),
    ],
)
def test_a_line_that_is_no_item_is_refused_with_its_number(
    tmp_path: Path, form: ItemForm, record: Any, said: str
) -> None:
    good = {
        "blimp": BLIMP,
        "pairs": {"good": "a", "bad": "b"},
        "options": {"options": ["a", "b"], "correct": 0},
        "spans": {"text": "a"},
    }
    with pytest.raises(BadItem, match="Line 2 of") as refusal:
        read_items(write(tmp_path, good[form], record), form)
    assert said in str(refusal.value)


def test_lines_that_are_no_json_or_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text('{"good": "a", "bad": "b"}\n\n{"good": "a"', "utf-8")
    with pytest.raises(BadItem, match=r"Line 3 of .*not JSON"):
        read_items(tmp_path / "half.jsonl", "pairs")
    (tmp_path / "half.jsonl").write_text('{"good": "a", "bad": "\\ud83d"}', "utf-8")
    with pytest.raises(BadItem, match="escapes half a character in key bad"):
        read_items(tmp_path / "half.jsonl", "pairs")
    (tmp_path / "latin.jsonl").write_bytes('{"good": "é"}'.encode("latin-1"))
    with pytest.raises(UnreadableCorpus, match="not UTF-8 at byte offset 10"):
        read_items(tmp_path / "latin.jsonl", "pairs")


def test_a_paradigm_of_two_categories_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, BLIMP, {**BLIMP, "linguistics_term": "binding"})
    with pytest.raises(BadItem, match=r"Line 2 of .* into category binding, and Line 1 of .* into anaphor_agreement"):
        read_items(path, "blimp")


def test_what_is_no_zip_or_holds_no_item_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCorpus, match=r"There is no corpus at .*none\.zip"):
        read_items(tmp_path / "none.zip", "blimp")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UnreadableCorpus, match="cannot be unpacked"):
        read_items(tmp_path / "text.zip", "blimp")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", lines(*[BLIMP] * 50))
    whole = (tmp_path / "cut.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:40] + b"\0" * 20 + whole[60:])
    with pytest.raises(UnreadableCorpus, match="cannot be unpacked"):
        read_items(tmp_path / "cut.zip", "blimp")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("__MACOSX/a.jsonl", lines(BLIMP))
    with pytest.raises(EmptyCorpus, match="holds no item"):
        read_items(tmp_path / "empty.zip", "blimp")


def test_the_whole_of_blimp_is_67_paradigms_of_1000_pairs(shared_data: Path, vocabulary: Vocabulary) -> None:
    corpus = load_items(shared_data / "blimp" / "BLiMP.zip", "blimp", vocabulary)
    assert len(corpus.paradigms) == 67
    assert {len(paradigm.roles) for paradigm in corpus.paradigms} == {2000}
    assert len({paradigm.category for paradigm in corpus.paradigms}) == 13
    assert len(corpus.documents) == 134_000
    for paradigm in corpus.paradigms[::20]:
        first = corpus.documents[paradigm.roles[0].document]
        assert first.name == f"{paradigm.name}/0/good"
        ids = vocabulary.tokenizer.encode(corpus.text[first.char_start : first.char_end]).ids
        assert corpus.ids[first.first_token :][: first.n_tokens].tolist() == [*ids, EOS_ID]
