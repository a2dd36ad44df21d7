"""Annotation files: every format gives the same rows, and what is malformed is told with its line."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from warehouse import annotation_blocks, annotation_json
from warehouse.annotation_file import read_rows
from warehouse.annotation_rows import BadAnnotationFile, Rows
from warehouse.conllu import BadConllu

TABLE = pd.DataFrame({"token_id": [0, 1, 2, 300], "tag": ["NN", "``", 'a "b", c', "café ☕"]})


def text_of(rows: Rows, column: str) -> list[str | None]:
    texts = rows.texts(column)
    return [None if code < 0 else texts.values[code] for code in texts.codes.tolist()]


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolon.csv", "parquet", "category.parquet", "jsonl"])
def test_every_format_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"tags.{form}"
    if form.endswith("parquet"):
        (TABLE.astype({"tag": "category"}) if "category" in form else TABLE).to_parquet(path)
    elif form == "jsonl":
        TABLE.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        TABLE.to_csv(path, index=False, sep={"csv": ",", "tsv": "\t", "semicolon.csv": ";"}[form])
    rows = read_rows(path)
    ids, whole = rows.whole_numbers("token_id")
    assert (ids.tolist(), whole.all()) == ([0, 1, 2, 300], True)
    assert text_of(rows, "tag") == TABLE["tag"].tolist()
    assert rows.source == path.name


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_bytes(b"\xef\xbb\xbftoken_id,tag\r\n0, NN \r\n\r\n1,caf\xc3\xa9\r\n")
    rows = read_rows(path)
    assert list(rows.columns) == ["token_id", "tag"]
    assert text_of(rows, "tag") == ["NN", "café"]
    # The empty line is a line, though no row.
    assert rows.named([0, 1], "tag") == "line 2 (tag NN), line 4 (tag café)"


def test_a_header_may_be_quoted_come_late_or_lack_a_name(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text('\n\n"","the ""tag"""\n7,NN\n', "utf-8")
    rows = read_rows(path)
    assert list(rows.columns) == ["", 'the "tag"']
    assert rows.named([0], 'the "tag"') == 'line 4 (the "tag" NN)'


def test_quotes_in_tsv_are_letters_unless_all_cells_are_quoted_properly(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("word\ttag\nHe\tPRP\nsaid\tVBD\n\"\t``\n\"\t''\n", "utf-8")
    assert text_of(read_rows(path), "word") == ["He", "said", '"', '"']
    path.write_text('word\ttag\n"say ""ah"""\tVB\n""""\t``\n', "utf-8")
    assert text_of(read_rows(path), "word") == ['say "ah"', '"']


def test_values_are_text_numbers_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    path.write_text("token_id,x\n0,1\n1,-2.5e3\n2,\n3,NaN\n4,+.5\n5,inf\n6,many\n", "utf-8")
    rows = read_rows(path)
    numbers, bad = rows.numbers("x")
    assert numbers[[0, 1, 4]].tolist() == [1, -2500, 0.5]
    assert pd.isna(numbers[[2, 3, 5, 6]]).all()
    assert bad.tolist() == [False] * 5 + [True, True]
    assert text_of(rows, "x") == ["1", "-2.5e3", None, "NaN", "+.5", "inf", "many"]


def test_whole_numbers_may_be_written_as_decimals(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("token_id\n 7 \n8.0\n8.5\n-1\n1e3\n\nx\n99999999999999999999\n", "utf-8")
    ids, whole = read_rows(path).whole_numbers("token_id")
    assert whole.tolist() == [True, True, False, True, False, False, False]
    assert ids[[0, 1, 3]].tolist() == [7, 8, -1]
    pd.DataFrame({"token_id": [1.0, 2.5, None]}).to_parquet(tmp_path / "ids.parquet")
    ids, whole = read_rows(tmp_path / "ids.parquet").whole_numbers("token_id")
    assert (whole.tolist(), ids[0]) == ([True, False, False], 1)


def test_json_lines_may_lack_a_key_and_mix_types(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    lines = [{"token_id": 0, "v": "a"}, {"token_id": 1}, {"v": 3, "token_id": 2}, {"token_id": 3, "v": True}]
    path.write_text("\n\n".join(map(json.dumps, lines)), "utf-8")
    rows = read_rows(path)
    assert text_of(rows, "v") == ["a", None, "3", "true"]
    assert list(rows.places([0, 2])) == [1, 5]
    path.write_text('{"token_id": 0, "v": false}\n{"token_id": 1, "v": null}\n', "utf-8")
    assert text_of(read_rows(path), "v") == ["false", None]


def test_a_treebank_has_a_row_a_word_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bank.conllu"
    path.write_text(
        "# text = Dogs don't.\n"
        "1\tDogs\tdog\tNOUN\tNNS\tNumber=Plur\t2\tnsubj\t_\t_\n"
        "2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
        "2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_\n"
        "3\tn't\tnot\tPART\tRB\tPolarity=Neg\t2\tadvmod\t_\t_\n"
        "4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_\n\n",
        "utf-8",
    )
    rows = read_rows(path)
    assert text_of(rows, "form") == ["Dogs", "do", "n't", "."]
    assert text_of(rows, "head_distance") == ["1", None, "-1", "-2"]
    assert text_of(rows, "Polarity") == [None, None, "Neg", None]
    assert list(rows.places([0, 1, 3])) == [2, 4, 6]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "a.csv is empty; its first line must name the columns."),
        ("a.csv", b"token_id,v\n", "a.csv has no rows"),
        ("a.csv", b"token_id,v\n0,a\n1,b,c\n", "a.csv, line 3, has 3 columns and the header has 2"),
        ("a.csv", b"token_id,v\n0,a\n\n1\n", "a.csv, line 4, has 1 column and the header has 2"),
        ("a.csv", b"v,v\n0,a\n", "has two columns called v"),
        ("a.csv", b"token_id,v\n0,a\n1,caf\xe9\n", "a.csv, line 3, is not UTF-8: convert the file to UTF-8."),
        ("a.csv", b"tok\xe9,v\n0,a\n", "The first line of"),
        ("a.csv", "token_id,v\n0,a\n".encode("utf-16"), "a.csv is in UTF-16: save it as UTF-8."),
        ("a.csv", b"PK\x03\x04\0\0", "holds bytes that are no text"),
        ("a.csv", b'token_id,v\n0,a\n1,"\n2,b\n3,c\n', "a.csv, line 3: column v goes over several lines"),
        ("a.tsv", b"token_id\tv\n0\ta\n1\tb c\td\n", "a.tsv, line 3, has 3 columns and the header has 2"),
        ("a.jsonl", b'{"token_id": 0}\n{"token_id": 1\n', "a.jsonl, line 2, is not JSON"),
        ("a.jsonl", b'{"v": 1}\n{"v": 1, "v": 2}\n', "a.jsonl, line 2, is not JSON: it has v twice."),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl, line 1, is not a JSON object"),
        ("a.jsonl", b'{"token_id": 0, "v": ["a"]}\n', "a.jsonl, line 1: v is a list or an object"),
        ("a.jsonl", b'{"v": "caf\xe9"}\n', "a.jsonl, line 1, is not UTF-8"),
        ("a.parquet", b"token_id,v\n", "cannot be read as Parquet"),
        ("a.xlsx", b"PK", "The name of"),
    ],
)
def test_a_malformed_file_is_told_with_its_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadAnnotationFile) as failure:
        read_rows(tmp_path / name)
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_malformed_treebank_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text("1\tDogs\tdog\n", "utf-8")
    with pytest.raises(BadConllu, match="line 1, has 3 columns"):
        read_rows(tmp_path / "a.conllu")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadAnnotationFile, match=r"There is no file .*none\.csv"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadAnnotationFile, match="is no file"):
        read_rows(tmp_path / "folder.csv")


def test_the_format_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "tags.txt").write_text("token_id\ttag\n0\tNN\n", "utf-8")
    assert text_of(read_rows(tmp_path / "tags.txt", "tsv"), "tag") == ["NN"]


def test_rows_are_named_with_their_lines_and_a_count_of_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("token_id,v\n" + "".join(f"{i},\n" for i in range(20)), "utf-8")
    named = read_rows(path).named([1, 3, 5, 7, 9, 11, 13], "token_id", "v")
    assert named.startswith("line 3 (token_id 1, v empty), line 5 (")
    assert named.endswith("line 11 (token_id 9, v empty) and 2 more")


# --- block by block ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Readers go on after so many rows."""
    rows = 4
    monkeypatch.setattr(annotation_blocks, "BLOCK_ROWS", rows)
    monkeypatch.setattr(annotation_json, "BLOCK_ROWS", rows)
    return rows


MIXED = {
    "whole": [1, 2, None, 4, 5, 6, 7, 8, 9],
    "number": [1, 2, 3, 4, 0.1, math.nan, 1e-7, 1e22, 3.0],
    "truth": [True, None, False, True, True, False, True, True, False],
    "mixed": [1, 2, 3, 4, 5, 2.5, "x", True, math.nan],
    "great": [1, 2, 3, 4, 2**63, 6, 7, 8, 9],
}


def test_a_column_of_json_is_what_all_its_blocks_are(tmp_path: Path, small_blocks: int) -> None:
    path = tmp_path / "a.jsonl"
    records = [{name: cells[i] for name, cells in MIXED.items()} | ({"late": "y"} if i > 6 else {}) for i in range(9)]
    path.write_text("\n\n".join(json.dumps(record) for record in records), "utf-8")
    rows = read_rows(path)
    assert len(rows) > 2 * small_blocks
    assert rows.columns["whole"].to_pylist() == MIXED["whole"]
    assert rows.columns["number"].to_pylist() == [1, 2, 3, 4, 0.1, None, 1e-7, 1e22, 3]
    assert rows.columns["truth"].to_pylist() == MIXED["truth"]
    assert rows.columns["mixed"].to_pylist() == ["1", "2", "3", "4", "5", "2.5", "x", "true", None]
    assert rows.columns["great"].to_pylist() == ["1", "2", "3", "4", str(2**63), "6", "7", "8", "9"]
    assert rows.columns["late"].to_pylist() == [None] * 7 + ["y"] * 2
    assert rows.named([5], "whole") == "line 11 (whole 6)"


def test_two_lines_of_json_that_make_one_object_are_no_object(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": [{}\n{"b": 1}]}\n{"a": 1}, {"a": 2}\n', "utf-8")
    with pytest.raises(BadAnnotationFile, match="line 1: a is a list or an object"):
        read_rows(path)
    path.write_text('{"a": 1}, {"a": 2}\n{"a": 3}\n', "utf-8")
    with pytest.raises(BadAnnotationFile, match="line 1, is not JSON"):
        read_rows(path)
    path.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "utf-8")
    with pytest.raises(BadAnnotationFile, match="line 1, is not JSON"):
        read_rows(path)


def conllu_line(number: int, **feature: str) -> str:
    feats = "|".join(f"{name}={value}" for name, value in feature.items()) or "_"
    return f"1\tw{number}\t_\tNOUN\tNN\t{feats}\t0\troot\t_\t_\n\n"


def test_a_feature_of_a_treebank_may_come_late_and_stay_away(tmp_path: Path, small_blocks: int) -> None:
    path = tmp_path / "a.conllu"
    features = [{}, {}, {}, {}, {}, {"Case": "Nom"}, {}, {}, {}, {}, {}, {}, {"Case": "Acc"}]
    path.write_text("".join(conllu_line(i, **each) for i, each in enumerate(features)), "utf-8")
    rows = read_rows(path)
    assert len(rows) > 3 * small_blocks
    assert rows.columns["Case"].to_pylist() == [each.get("Case") for each in features]
    assert rows.columns["form"].to_pylist() == [f"w{i}" for i in range(13)]
    assert rows.named([12], "Case") == "line 25 (Case Acc)"


@pytest.mark.parametrize("form", ["jsonl", "conllu"])
def test_memory_grows_by_a_few_bytes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(annotation_blocks, "BLOCK_ROWS", 500)
    monkeypatch.setattr(annotation_json, "BLOCK_ROWS", 500)
    few, many = 4_000, 12_000
    line = {
        "jsonl": lambda i: json.dumps({"token_id": i, "tag": f"tag{i % 9}", "x": i / 7}) + "\n",
        "conllu": lambda i: conllu_line(i, Number="Sing", Case="Nom"),
    }[form]
    paths = [tmp_path / f"{n}.{form}" for n in (few, many)]
    for path, n in zip(paths, (few, many), strict=True):
        path.write_text("".join(line(i) for i in range(n)), "utf-8")
    peaks, held = [], []
    for path in [paths[0], *paths]:  # once before, so that nothing is imported while it counts
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        rows = read_rows(path)
        held.append(pa.total_allocated_bytes() - before)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del rows
    assert (peaks[2] - peaks[1]) / (many - few) < 40  # bytes of Python a row: where it stands, and nothing else
    assert 0 < (held[2] - held[1]) / (many - few) < 80  # bytes of columns a row
