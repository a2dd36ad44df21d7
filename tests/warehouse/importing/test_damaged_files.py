"""Files of measurements that are damaged, or are not what their names say: an error that says so, or what they hold."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import Outcome
from tests.contents import frame
from tests.warehouse.importing.conftest import N_TOKENS, SAID, Bare, kl_of, long_table, write
from tests.warehouse.importing.test_import_kl import manifest_of, refused, run, stored
from tests.warehouse.importing.test_import_metrics import refused as metrics_refused
from warehouse.database import Database

Command = Callable[..., Outcome]
PAIR = (("small", 0, 0), ("small", 0, 8))


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_names_that_look_like_numbers_stay_as_they_are_written(
    bare: Bare, command: Command, tmp_path: Path, suffix: str
) -> None:
    table = long_table({PAIR: kl_of(*PAIR)}).assign(p_model="070", q_model="1.40")
    run(command, str(write(tmp_path / f"kl{suffix}", table)), *SAID)
    names = pd.DataFrame({"model": ["True"], "step": [8], "name": ["007"], "value": [0.5], "source": ["1e3"]})
    done = command("import", "metrics", str(write(tmp_path / f"results{suffix}", names)), "--family", "toy")
    assert done.status == 0, done.errors
    models = bare.frame("select name from warehouse.model order by name")["name"].tolist()
    assert models == ["070", "1.40", "True"]
    found = bare.frame("select name, source from analysis.checkpoint_metrics").iloc[0]
    assert found.tolist() == ["007", "1e3"]


def test_names_under_other_columns_stay_too(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = long_table({PAIR: kl_of(*PAIR)}).rename(columns={"p_model": "teacher"}).assign(teacher="070")
    (tmp_path / "m.toml").write_text('columns = {p_model = "teacher"}\n')
    run(command, str(write(tmp_path / "kl.csv", table)), "--manifest", str(tmp_path / "m.toml"), *SAID)
    assert "070" in bare.frame("select name from warehouse.model")["name"].tolist()


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("p_model", pa.array([["small"]] * N_TOKENS), "holds no text in UTF-8, but list<element: string>"),
        ("p_model", pa.array([b"\xff"] * N_TOKENS), "holds no text in UTF-8, but binary"),
        ("p_step", pa.array([True] * N_TOKENS), "Column p_step has no number in row 0"),
        ("kl", pa.array([True] * N_TOKENS), "Column kl has no number in row 0"),
        ("kl", pa.array([[0.5]] * N_TOKENS), "Column kl has no number in row 0"),
        ("kl", pa.array(["0.5"] * 300 + ["1_0"] * 300), "Column kl has no number in row 300"),
        ("position", pa.array([*range(N_TOKENS - 1), 2**53 + 1]), "one that is too great, in row 599"),
    ],
)
def test_a_column_of_another_type_is_refused(
    bare: Bare, command: Command, tmp_path: Path, column: str, values: pa.Array, said: str
) -> None:
    table = pa.Table.from_pandas(long_table({PAIR: kl_of(*PAIR)}))
    table = table.set_column(table.column_names.index(column), column, values)
    parquet.write_table(table, tmp_path / "kl.parquet")
    assert said in refused(command, bare, str(tmp_path / "kl.parquet"), *SAID)


def test_a_column_twice_in_parquet_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(long_table({PAIR: kl_of(*PAIR)}))
    parquet.write_table(table.append_column("kl", table.column("kl")), tmp_path / "kl.parquet")
    assert "two columns named kl" in refused(command, bare, str(tmp_path / "kl.parquet"), *SAID)


def test_a_folder_of_parquet_files_is_no_table(bare: Bare, command: Command, tmp_path: Path) -> None:
    (tmp_path / "kl.parquet").mkdir()
    write(tmp_path / "kl.parquet" / "part.parquet", long_table({PAIR: kl_of(*PAIR)}))
    assert "cannot be read (Is a directory)" in refused(command, bare, str(tmp_path / "kl.parquet"), *SAID)


def test_half_a_parquet_file_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "kl.parquet", long_table({PAIR: kl_of(*PAIR)}))
    path.write_bytes(path.read_bytes()[:-100])
    assert "is no parquet file" in refused(command, bare, str(path), *SAID)


def test_a_header_in_another_encoding_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    text = long_table({PAIR: kl_of(*PAIR)}).assign(mesuré=1).to_csv(index=False)
    (tmp_path / "kl.csv").write_bytes(text.encode("latin-1"))
    assert "UTF-8" in refused(command, bare, str(tmp_path / "kl.csv"), *SAID)


def test_what_is_no_text_is_not_written_to_the_screen(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "kl.parquet", long_table({PAIR: kl_of(*PAIR)}))
    said = refused(command, bare, str(path.rename(tmp_path / "kl.csv")), *SAID)
    assert said.strip().isprintable()
    assert len(said) < 400 + len(str(path))


@pytest.mark.parametrize("suffix", [".CSV", ".Parquet"])
def test_endings_of_names_may_be_in_capitals(bare: Bare, command: Command, tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"kl{suffix.lower()}", long_table({PAIR: kl_of(*PAIR)}))
    run(command, str(path.rename(tmp_path / f"KL{suffix}")), *SAID)
    np.testing.assert_allclose(stored(bare), kl_of(*PAIR), rtol=1e-7)


def test_a_name_that_no_index_holds_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = long_table({PAIR: kl_of(*PAIR)}).assign(p_model="m" * 501)
    said = refused(command, bare, str(write(tmp_path / "kl.csv", table)), *SAID)
    assert "Column p_model has more than 500 characters in line 2" in said


@pytest.mark.parametrize("option", ["--protocol", "--origin", "--family"])
def test_an_option_that_says_nothing_is_refused(bare: Bare, command: Command, tmp_path: Path, option: str) -> None:
    path = write(tmp_path / "kl.csv", long_table({PAIR: kl_of(*PAIR)}))
    assert f"Key {option[2:]} in the options must be text" in refused(command, bare, str(path), *SAID, option, " ")


@pytest.mark.parametrize("least", [-1.004e-9, -9.96e-4])
def test_the_clip_that_a_refusal_names_is_enough(bare: Bare, command: Command, tmp_path: Path, least: float) -> None:
    values = kl_of(*PAIR)
    values[7] = least
    path = str(write(tmp_path / "kl.csv", long_table({PAIR: values})))
    clip = refused(command, bare, path, *SAID).partition("set clip = ")[2].partition(";")[0]
    (tmp_path / "m.toml").write_text(f"clip = {clip}\n")
    run(command, path, "--manifest", str(tmp_path / "m.toml"), *SAID)
    assert stored(bare)[7] == 0


# --- matrices -----------------------------------------------------------------------------------------------------


class _Trap:
    """Makes a file when it is loaded from a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def _header(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(old.ljust(len(new)), new.ljust(len(old)))


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda raw: raw[:-40], "or not all of one"),
    "cut off in its header": (lambda raw: raw[:40], "or not all of one"),
    "empty": (lambda raw: b"", "or not all of one"),
    "a negative number of rows": (_header(b"(1, 600)", b"(-1,600)"), "or not all of one"),
    "more columns than a file can have": (_header(b"(1, 600), }", b"(1, " + b"9" * 30 + b"), }"), "or not all of one"),
    "a header that never ends": (_header(b"(1, 600), }", b"(1, (600), }"), "or not all of one"),
    "a second matrix": (lambda raw: raw + raw, "bytes after its matrix, such as a second one"),
    "text": (lambda raw: b"0.5 " * N_TOKENS, "is no npy file"),
}


def _matrix(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """A matrix of one pair, and the options that say what it is about."""
    row = {"p_model": "small", "q_model": "small", "p_step": 0, "q_step": 8}
    np.save(folder / "kl.npy", kl_of(*PAIR)[None])
    return folder / "kl.npy", ("--manifest", str(manifest_of(folder, row=[row])))


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_matrix_is_refused(bare: Bare, command: Command, tmp_path: Path, case: str) -> None:
    path, options = _matrix(tmp_path)
    damage, said = DAMAGE[case]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert said in refused(command, bare, str(path), *options)


def test_nothing_is_ever_loaded_from_a_pickle(bare: Bare, command: Command, tmp_path: Path) -> None:
    path, options = _matrix(tmp_path)
    sprung = tmp_path / "sprung"
    path.write_bytes(pickle.dumps(_Trap(sprung)))
    assert "is no npy file" in refused(command, bare, str(path), *options)
    np.save(path, np.array([[_Trap(sprung)] * N_TOKENS], object), allow_pickle=True)
    assert "is no npy file" in refused(command, bare, str(path), *options)
    with path.open("wb") as file:
        np.savez(file, kl=kl_of(*PAIR)[None])
    assert "is no npy file" in refused(command, bare, str(path), *options)
    assert not sprung.exists()


# --- benchmark results --------------------------------------------------------------------------------------------

RESULTS = {"results": {"t": {"acc": 0.5, "ppl": 8.0}}}
OF_TOY = ("--family", "toy", "--model", "small", "--step", "8")


@pytest.mark.parametrize("twin", ['{"results": {"t": {"acc": 0.5, "acc": 0.6}}}', '{"results": {}, "results": {}}'])
def test_a_name_twice_in_json_is_refused(named_database: Database, command: Command, tmp_path: Path, twin: str) -> None:
    (tmp_path / "a.json").write_text(twin)
    assert "twice" in metrics_refused(command, named_database, str(tmp_path / "a.json"), *OF_TOY)


@pytest.mark.parametrize("value", ["0.5", True, None, {"mean": 0.5}])
def test_a_result_that_is_no_number_is_named(
    named_database: Database, command: Command, tmp_path: Path, value: object
) -> None:
    entry = {"acc": value, "ppl": 8.0, "ppl_stderr": "N/A", "alias": "a task", " ": " "}
    (tmp_path / "a.json").write_text(json.dumps({"results": {"t": entry}}))
    done = command("import", "metrics", str(tmp_path / "a.json"), *OF_TOY)
    assert done.status == 0, done.errors
    assert f"Left out as no number: t/acc in {tmp_path / 'a.json'}.\n" in done.errors
    assert frame(named_database, "select name from warehouse.checkpoint_metric")["name"].tolist() == ["t/perplexity"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--higher", "accuracy"), "No result is of metric accuracy"),
        (("--lower", "ppl"), "there are t/acc, t/perplexity"),
        (("--higher", "acc", "--lower", "acc"), "named by --higher and by --lower"),
        (("--family", ""), "The family of"),
        (("--model", " "), "The model of"),
        (("--source", ""), "has a name with no letters"),
    ],
)
def test_an_option_about_nothing_is_refused(
    named_database: Database, command: Command, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RESULTS))
    assert said in metrics_refused(command, named_database, str(tmp_path / "a.json"), *OF_TOY, *options)


def test_the_name_of_a_result_that_no_index_holds_is_refused(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"results": {"t" * 600: {"acc": 0.5}}}))
    said = metrics_refused(command, named_database, str(tmp_path / "a.json"), *OF_TOY)
    assert "has a name with more than 500 characters" in said
