"""`warehouse import kl`: every layout of a file says the same, and what is not as it says is refused whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Outcome
from tests.contents import findings
from tests.warehouse.importing.conftest import (
    N_TOKENS,
    SAID,
    SEEDS,
    STEPS,
    Bare,
    kl_of,
    long_table,
    pairs_of_steps,
    write,
)

Command = Callable[..., Outcome]
PAIR = (("small", 0, 0), ("small", 0, 8))


def stored(bare: Bare, kind: str = "step", step: int = 0, seed: int = 0) -> np.ndarray:
    """[T] KL of one pair as a view gives it."""
    query = "select kl from analysis.pairwise_kl where kind = %s and step = %s and seed_p = %s order by token_id"
    return bare.frame(query, kind, step, seed)["kl"].to_numpy(float)


def run(command: Command, *arguments: str) -> str:
    """Import, which must work; returns what it said."""
    done = command("import", "kl", *arguments)
    assert done.status == 0, done.errors
    return done.output


def refused(command: Command, bare: Bare, *arguments: str) -> str:
    """Import, which must be refused in one sentence and leave nothing behind; returns the sentence."""
    before = bare.counts()
    done = command("import", "kl", *arguments)
    assert done.status == 2, done.errors + done.output
    assert done.errors.startswith("Error: ")
    assert len(done.errors.strip().splitlines()) == 1
    assert bare.counts() == before
    return done.errors


# --- layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_with_a_row_for_each_token_is_imported(
    bare: Bare, command: Command, tmp_path: Path, suffix: str
) -> None:
    values = pairs_of_steps()
    said = run(command, str(write(tmp_path / f"kl{suffix}", long_table(values))), *SAID)
    assert said.startswith("Imported 6 ordered pairs (3,600 KL values)")
    for (p, _), kl in values.items():
        np.testing.assert_allclose(stored(bare, step=p[2], seed=p[1]), kl, rtol=1e-7)
    assert findings(bare.database) == {}


def test_tokens_may_be_named_by_id_by_position_or_by_document_and_position(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    tokens = bare.frame("select token_id, document, position from analysis.tokens order by token_id")
    table = long_table({PAIR: kl_of(*PAIR)}).sample(frac=1, random_state=1)
    by_id = table.drop(columns="position").assign(token_id=tokens["token_id"].to_numpy()[table["position"]])
    by_document = table.assign(
        document=tokens["document"].to_numpy()[table["position"]],
        position=tokens["position"].to_numpy()[table["position"]],
    )
    run(command, str(write(tmp_path / "a.csv", table)), *SAID)
    for path, other in (("b.csv", by_id), ("c.csv", by_document)):
        said = run(command, str(write(tmp_path / path, other)), *SAID)
        assert "already" in said, "the values are those of the first file"
    np.testing.assert_allclose(stored(bare), kl_of(*PAIR), rtol=1e-7)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_with_a_column_for_each_position_is_imported(
    bare: Bare, command: Command, tmp_path: Path, suffix: str
) -> None:
    values = pairs_of_steps()
    rows = [
        {"p_seed": p[1], "q_seed": q[1], "p_step": p[2], "q_step": q[2], **{str(i): x for i, x in enumerate(kl)}}
        for (p, q), kl in values.items()
    ]
    manifest = tmp_path / "wide.toml"
    manifest.write_text(
        'corpus = "prose"\nprotocol = "lab"\norigin = "l"\nfamily = "toy"\nconstants = {model = "small"}'
    )
    path = write(tmp_path / f"wide{suffix}", pd.DataFrame(rows))
    run(command, str(path), "--manifest", str(manifest))
    for (p, _), kl in values.items():
        np.testing.assert_allclose(stored(bare, step=p[2], seed=p[1]), kl, rtol=1e-7)


def manifest_of(folder: Path, **keys: object) -> Path:
    """A manifest of npy files, keys as given."""
    said = {"corpus": "prose", "protocol": "lab", "origin": "another lab", "family": "toy", **keys}
    path = folder / "manifest.toml"
    path.write_text("\n".join(f"{key} = {_toml(value)}" for key, value in said.items() if value is not None))
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("p", ["files", "rows"])
def test_files_of_one_checkpoint_hold_a_row_for_each_other(
    bare: Bare, command: Command, tmp_path: Path, p: str
) -> None:
    for step in STEPS:
        others = [other for other in STEPS if other != step]
        pairs = [(step, other) if p == "files" else (other, step) for other in others]
        rows = [kl_of(("small", 0, one), ("small", 0, two)) for one, two in pairs]
        np.save(tmp_path / f"about-{step}.npy", rows)
    grid = {"models": ["small"], "steps": list(STEPS)}
    manifest = manifest_of(tmp_path, path="about-{step}.npy", p=p, files=grid, rows={**grid, "skip_file": True})
    run(command, str(manifest))
    np.testing.assert_allclose(stored(bare, "step", 0), kl_of(("small", 0, 0), ("small", 0, 8)), rtol=1e-7)
    np.testing.assert_allclose(stored(bare, "step_reverse", 64), kl_of(("small", 0, 64), ("small", 0, 8)), rtol=1e-7)
    np.testing.assert_allclose(stored(bare, "final", 0), kl_of(("small", 0, 0), ("small", 0, 64)), rtol=1e-7)


def test_a_matrix_may_list_the_pair_of_each_row(bare: Bare, command: Command, tmp_path: Path) -> None:
    sides = [("small", seed, 8) for seed in SEEDS]
    pairs = list(permutations(sides, 2))
    np.save(tmp_path / "seeds.npy", [kl_of(*pair) for pair in pairs])
    row = [
        {"p_model": "small", "q_model": "small", "p_seed": p[1], "q_seed": q[1], "p_step": 8, "q_step": 8}
        for p, q in pairs
    ]
    run(command, str(tmp_path / "seeds.npy"), "--manifest", str(manifest_of(tmp_path, row=row)))
    found = bare.frame("select * from analysis.expected_convergence").iloc[0]
    mean = np.mean([kl_of(*pair) for pair in pairs])
    assert (found["kind"], found["n_pairs"], found["complete"]) == ("seed", 6, True)
    assert found["convergence"] == pytest.approx(-mean, rel=1e-6)
    assert found["se_seed"] > 0


def test_columns_may_have_other_names_and_values_another_unit(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = long_table({PAIR: kl_of(*PAIR)}).rename(columns={"kl": "divergence", "p_step": "t"})
    columns = {"kl": "divergence", "p_step": "t"}
    manifest = manifest_of(tmp_path, columns=columns, unit="bits")
    run(command, str(write(tmp_path / "bits.csv", table)), "--manifest", str(manifest))
    np.testing.assert_allclose(stored(bare), kl_of(*PAIR) * 0.6931471805599453, rtol=1e-6)


# --- which tokens -------------------------------------------------------------------------------------------------


def test_positions_outside_the_range_stay_null_and_an_offset_moves_the_others(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    np.save(tmp_path / "kl.npy", [kl_of(*PAIR)])
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    manifest = manifest_of(tmp_path, row=row, offset=1)
    run(command, str(tmp_path / "kl.npy"), "--manifest", str(manifest), "--positions", "3:300")
    kl = stored(bare)
    assert np.flatnonzero(np.isfinite(kl)).tolist() == list(range(4, 301))
    np.testing.assert_allclose(kl[4:301], kl_of(*PAIR)[3:300], rtol=1e-7)
    total = bare.frame("select convergence, n_tokens from analysis.expected_convergence").iloc[0]
    assert total["n_tokens"] == 297
    assert total["convergence"] == pytest.approx(-kl_of(*PAIR)[3:300].mean(), rel=1e-6)


def test_a_table_takes_the_same_positions_and_offset(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = long_table({PAIR: kl_of(*PAIR)})
    run(command, str(write(tmp_path / "kl.csv", table)), *SAID, "--positions", "3:300", "--offset", "1")
    kl = stored(bare)
    assert np.flatnonzero(np.isfinite(kl)).tolist() == list(range(4, 301))
    np.testing.assert_allclose(kl[4:301], kl_of(*PAIR)[3:300], rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "has 600 positions, which with offset 1 end at token 601, and corpus prose has 600"),
        (("--positions", "0:700"), "has 600 positions, not 700"),
        (("--positions", "0:600"), "are about tokens 1 to 600, and corpus prose has tokens 0 to 599"),
        (("--positions", "0:10", "--offset", "-1"), "are about tokens -1 to 8"),
        (("--positions", "7:7"), "A:B with A less than B"),
        (("--positions", "first"), "A:B, from position A to the one before B"),
    ],
)
def test_positions_that_are_about_no_token_are_refused(
    bare: Bare, command: Command, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    np.save(tmp_path / "kl.npy", [kl_of(*PAIR)])
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    manifest = manifest_of(tmp_path, row=row, offset=1)
    assert said in refused(command, bare, str(tmp_path / "kl.npy"), "--manifest", str(manifest), *options)


# --- again, and otherwise -----------------------------------------------------------------------------------------


def test_the_same_file_again_writes_nothing(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = str(write(tmp_path / "kl.csv", long_table(pairs_of_steps())))
    run(command, path, *SAID)
    before = bare.counts()
    said = run(command, path, *SAID)
    assert said == f"All 6 ordered pairs of {path} are in the warehouse already: nothing was written.\n"
    assert bare.counts() == before


def test_a_second_file_adds_its_pairs_to_the_comparisons(bare: Bare, command: Command, tmp_path: Path) -> None:
    values = pairs_of_steps()
    first = {pair: kl for pair, kl in values.items() if pair[0][1] < 2}
    run(command, str(write(tmp_path / "first.csv", long_table(first))), *SAID)
    said = run(command, str(write(tmp_path / "all.csv", long_table(values))), *SAID)
    assert "Imported 2 ordered pairs" in said
    assert "4 were there already" in said
    found = bare.frame("select * from analysis.expected_convergence where kind = 'step' and step = 0").iloc[0]
    kl = [values["small", seed, 0][1] for seed in ()] or [kl_of(("small", s, 0), ("small", s, 8)) for s in SEEDS]
    assert found["n_pairs"] == 3
    assert found["convergence"] == pytest.approx(-np.mean(kl), rel=1e-6)
    assert findings(bare.database) == {}


def test_other_values_of_a_pair_are_refused_and_both_files_named(bare: Bare, command: Command, tmp_path: Path) -> None:
    values = pairs_of_steps()
    run(command, str(write(tmp_path / "first.csv", long_table(values))), *SAID)
    values[PAIR] = values[PAIR].copy()
    values[PAIR][7] += 0.5
    said = refused(command, bare, str(write(tmp_path / "second.csv", long_table(values))), *SAID)
    assert "first.csv" in said
    assert "second.csv" in said
    assert "other values for 1 tokens" in said


def test_another_protocol_name_keeps_other_values_apart(bare: Bare, command: Command, tmp_path: Path) -> None:
    run(command, str(write(tmp_path / "first.csv", long_table({PAIR: kl_of(*PAIR)}))), *SAID)
    other = [*SAID[:3], "again", *SAID[4:5], "the same lab, a year later", *SAID[6:]]
    run(command, str(write(tmp_path / "second.csv", long_table({PAIR: 2 * kl_of(*PAIR)}))), *other)
    found = bare.frame("select protocol, convergence from analysis.expected_convergence where kind = 'step' order by 1")
    assert found["protocol"].tolist() == ["imported-again", "imported-lab"]
    assert found["convergence"][0] == pytest.approx(2 * found["convergence"][1], rel=1e-6)


def test_one_protocol_name_stands_for_one_way_to_measure(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = str(write(tmp_path / "kl.csv", long_table({PAIR: kl_of(*PAIR)})))
    run(command, path, *SAID)
    said = refused(command, bare, path, *SAID, "--origin", "somebody else")
    assert "origin 'another lab', not 'somebody else'" in said
    said = refused(command, bare, path, *SAID, "--protocol", "twin")
    assert "imported-lab says the same as imported-twin" in said


# --- what is wrong with a file ------------------------------------------------------------------------------------


def _with(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return change


BROKEN: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "no kl": (lambda t: t.drop(columns="kl"), "has no column kl"),
    "no model": (lambda t: t.drop(columns="q_model"), "has no column q_model"),
    "no position": (lambda t: t.drop(columns="position"), "neither a column token_id nor a column position"),
    "no rows": (lambda t: t.iloc[:0], "has no rows"),
    "a word": (_with("kl", 3, "much"), "Column kl has no number in line 5"),
    "an empty cell": (_with("kl", 3, None), "Column kl has no value in 1 rows, the first line 5"),
    "NaN": (_with("kl", 3, "NaN"), "Column kl has no value in 1 rows, the first line 5"),
    "infinite": (_with("kl", 3, "inf"), "that are infinite"),
    "negative": (_with("kl", 3, -0.25), "below 0, the least -0.25"),
    "half a step": (_with("p_step", 3, 0.5), "Column p_step has no whole number in line 5"),
    "a negative step": (_with("p_step", 3, -4), "Column p_step has no number from 0, and less than 2147483648, in li"),
    "a huge seed": (_with("q_seed", 3, 2**31), "Column q_seed has no number from 0, and less than 2147483648, in li"),
    "an infinite step": (
        _with("p_step", 3, "inf"),
        "Column p_step has no finite number, or one that is too great, in l",
    ),
    "an infinite position": (_with("position", 3, "-inf"), "Column position has no finite number"),
    "NUL": (_with("p_model", 3, "sm\0all"), "Column p_model has a NUL character in line 5"),
    "no seed": (_with("p_seed", 3, None), "Column p_seed has no whole number in line 5"),
    "no name": (_with("p_model", 3, None), "Column p_model is empty in line 5"),
    "a token twice": (_with("position", 3, 2), "Line 4 of"),
    "a token beyond": (_with("position", 3, N_TOKENS), "the first in line 5"),
    "a token before": (_with("position", 3, -1), "the first in line 5"),
    "itself": (lambda t: t.assign(q_step=t["p_step"]), "against itself"),
    "two columns of one name": (
        lambda t: pd.concat([t, t[["kl"]]], axis=1),
        "two columns named kl",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_refused_whole(bare: Bare, command: Command, tmp_path: Path, case: str) -> None:
    change, said = BROKEN[case]
    table = long_table({PAIR: kl_of(*PAIR)})
    path = tmp_path / "kl.csv"
    change(table).to_csv(path, index=False)
    assert said in refused(command, bare, str(path), *SAID)


def test_ids_of_another_corpus_are_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    table = long_table({PAIR: kl_of(*PAIR)}).rename(columns={"position": "token_id"})
    table["token_id"] += 1024
    said = refused(command, bare, str(write(tmp_path / "kl.csv", table)), *SAID)
    assert "600 rows" in said
    assert "corpus prose does not have" in said


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "kl.csv"
    text = long_table({PAIR: kl_of(*PAIR)}).to_csv(index=False, lineterminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    run(command, str(path), *SAID)
    np.testing.assert_allclose(stored(bare), kl_of(*PAIR), rtol=1e-7)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused(bare: Bare, command: Command, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "kl.csv"
    text = long_table({PAIR: kl_of(*PAIR)}).assign(p_model="petit modèle").to_csv(index=False)
    path.write_bytes(text.encode(encoding))
    assert "UTF-8" in refused(command, bare, str(path), *SAID)


def test_a_line_with_more_cells_is_refused_with_its_number(bare: Bare, command: Command, tmp_path: Path) -> None:
    lines = long_table({PAIR: kl_of(*PAIR)}).to_csv(index=False).splitlines()
    lines[4] += ",1"
    path = tmp_path / "kl.csv"
    path.write_text("\n".join(lines))
    assert "Row #5" in refused(command, bare, str(path), *SAID)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("kl.npy", b"no array", "is no npy file"),
        ("kl.npy", b"", "is no npy file"),
        ("kl.parquet", b"no table", "is no parquet file"),
        ("kl.csv", b"", "is no csv file"),
        ("kl.xlsx", b"", "is none of .npy, .parquet, .csv, .tsv"),
        ("absent.csv", None, "cannot be read"),
        ("absent.npy", None, "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    bare: Bare, command: Command, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    manifest = manifest_of(tmp_path, row=row)
    assert said in refused(command, bare, str(tmp_path / name), "--manifest", str(manifest))


@pytest.mark.parametrize("content", [f"seed = {'9' * 5000}", f"x = {'[' * 100_000}"])
def test_a_manifest_that_python_cannot_read_is_refused(
    bare: Bare, command: Command, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(content)
    assert f"Manifest {path} is" in refused(command, bare, str(path), *SAID)


def test_a_quote_that_is_never_closed_swallows_no_rows(bare: Bare, command: Command, tmp_path: Path) -> None:
    lines = long_table({PAIR: kl_of(*PAIR)}).to_csv(index=False).splitlines()
    lines[4] = f'"{lines[4]}'
    path = tmp_path / "kl.csv"
    path.write_text("\n".join(lines) + '"' + "," * lines[0].count(","))
    assert "Column p_model in line 5 of" in refused(command, bare, str(path), *SAID)


def test_numbers_of_rows_that_pandas_writes_are_no_data(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "kl.csv"
    long_table({PAIR: kl_of(*PAIR)}).to_csv(path)
    run(command, str(path), *SAID)
    np.testing.assert_allclose(stored(bare), kl_of(*PAIR), rtol=1e-7)


# --- which steps follow one another -------------------------------------------------------------------------------


def between(*pairs: tuple[int, int]) -> pd.DataFrame:
    """KL of one run between steps."""
    sides = [(("small", 0, p), ("small", 0, q)) for p, q in pairs]
    return long_table({side: kl_of(*side) for side in sides})


def kinds_of(bare: Bare) -> set[tuple[str, int, int]]:
    """Kind and steps of every comparison."""
    found = bare.frame("select kind, step, step_q from analysis.comparisons")
    return set(found.itertuples(index=False, name=None))


@pytest.mark.parametrize("later", [64, 5000])
def test_a_step_between_or_after_those_that_are_known_is_refused_unless_steps_are_listed(
    bare: Bare, command: Command, tmp_path: Path, later: int
) -> None:
    run(command, str(write(tmp_path / "first.csv", between((1, 1000)))), *SAID)
    path = str(write(tmp_path / "second.csv", between((1, later))))
    said = refused(command, bare, path, *SAID)
    assert "between steps 1 and 1000 is in the warehouse as kind" in said
    assert "say with steps in a manifest" in said
    run(command, path, "--manifest", str(manifest_of(tmp_path, steps=[1, 1000])))
    assert kinds_of(bare) == {("step", 1, 1000), ("final", 1, 1000), ("custom", 1, later)}


def test_steps_of_earlier_files_count_for_later_ones(bare: Bare, command: Command, tmp_path: Path) -> None:
    run(command, str(write(tmp_path / "first.csv", between((1, 64), (64, 1000)))), *SAID)
    run(command, str(write(tmp_path / "second.csv", between((1, 1000)))), *SAID)
    assert kinds_of(bare) == {("step", 1, 64), ("step", 64, 1000), ("final", 64, 1000), ("final", 1, 1000)}
    assert findings(bare.database) == {}


def test_small_negative_values_are_zero_where_the_manifest_says_so(
    bare: Bare, command: Command, tmp_path: Path
) -> None:
    kl = kl_of(*PAIR)
    kl[5] = -1e-6
    path = str(write(tmp_path / "kl.csv", long_table({PAIR: kl})))
    assert "set clip = " in refused(command, bare, path, *SAID)
    run(command, path, "--manifest", str(manifest_of(tmp_path, clip=1e-5)))
    assert stored(bare)[5] == 0
    assert findings(bare.database) == {}


def test_nan_is_not_measured_where_the_manifest_allows_it(bare: Bare, command: Command, tmp_path: Path) -> None:
    kl = kl_of(*PAIR)
    kl[5] = np.nan
    np.save(tmp_path / "kl.npy", [kl])
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    said = refused(command, bare, str(tmp_path / "kl.npy"), "--manifest", str(manifest_of(tmp_path, row=row)))
    assert "1 NaN among the positions" in said
    run(command, str(tmp_path / "kl.npy"), "--manifest", str(manifest_of(tmp_path, row=row, allow_nan=True)))
    assert np.flatnonzero(np.isnan(stored(bare))).tolist() == [5]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"corpsu": "prose"}, "Unknown key corpsu in"),
        ({"corpus": "poetry"}, "no corpus poetry (it has prose)"),
        ({"corpus": None}, "Nothing says corpus"),
        ({"origin": None}, "Nothing says origin"),
        ({"family": None}, "lacks p_family"),
        ({"row": None}, "does not say what p and q are"),
        ({"row": [{"model": "small", "step": 1}]}, "A [[row]] of the manifest"),
        ({"rows": {"models": ["small"], "steps": [1]}}, "both [rows] and [[row]]"),
        ({"rows": {"models": ["small"]}, "row": None}, "a table with models and steps"),
        ({"unit": "digits"}, "must be nats or bits"),
        ({"offset": "one"}, "must be a whole number"),
        ({"clip": 3}, "from 0, and less than 1"),
        ({"seed": -1}, "Key seed in"),
        ({"steps": [0, -8]}, "each a whole number from 0, and less than 2147483648, not [0, -8]"),
        ({"row": [{"p_model": "small", "p_step": -4, "q_model": "small", "q_step": 8}]}, "Key p_step in"),
        ({"rows": {"models": ["small"], "steps": [2**31]}, "row": None}, "Key steps in"),
        ({"constants": {"step": -4}}, "Key step in"),
        ({"window": 99999999999}, "must be a whole number from 1, and less than 2147483648"),
        ({"window": int("9" * 400)}, "must be a whole number from 1"),
        ({"measures": [["x"]]}, "must be a list of names, each text, not [['x']]"),
        ({"origin": "a\0b"}, "must be text without NUL characters"),
        ({"positions": f"0:{'9' * 5000}"}, "A:B, from position A to the one before B"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(
    bare: Bare, command: Command, tmp_path: Path, keys: dict[str, object], said: str
) -> None:
    np.save(tmp_path / "kl.npy", [kl_of(*PAIR)])
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    manifest = manifest_of(tmp_path, **{"row": row, **keys})
    assert said in refused(command, bare, str(tmp_path / "kl.npy"), "--manifest", str(manifest))


def test_as_many_rows_are_wanted_as_the_manifest_names(bare: Bare, command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "kl.npy", [kl_of(*PAIR)] * 2)
    row = [{"p_model": "small", "p_step": 0, "q_model": "small", "q_step": 8}]
    said = refused(command, bare, str(tmp_path / "kl.npy"), "--manifest", str(manifest_of(tmp_path, row=row)))
    assert "has 2 rows, but the manifest names 1" in said


def test_a_model_with_another_tokenizer_is_refused(bare: Bare, command: Command, tmp_path: Path) -> None:
    path = str(write(tmp_path / "kl.csv", long_table({PAIR: kl_of(*PAIR)})))
    with bare.database.connect() as connection:
        connection.execute(
            "insert into warehouse.tokenizer (name, sha256, length) values ('other', 'o', 5);"
            "insert into warehouse.model (family, name, objective, tokenizer_id) "
            "select 'toy', 'small', 'causal', tokenizer_id from warehouse.tokenizer where name = 'other'"
        )
    assert "with another tokenizer than the corpus" in refused(command, bare, path, *SAID)
