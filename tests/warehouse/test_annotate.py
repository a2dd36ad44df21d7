"""`warehouse annotate` and `warehouse annotations`, as a user types them, on a warehouse of made-up measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Outcome
from tests.contents import findings, frame
from tests.queries.measured import Measured, measure
from warehouse.database import Database

Command = Callable[..., Outcome]
LETTERS = np.array(["vowel", "consonant", None], object)


@pytest.fixture
def measured(named_database: Database) -> Measured:
    """One model of three seeds and two steps, which commands open."""
    return measure(named_database, models=("small",), steps=(0, 16), n_tokens=600)


@pytest.fixture(scope="module")
def unchanged(module_database: Database) -> Measured:
    """The same for all tests in which nothing is loaded."""
    return measure(module_database, models=("small",), steps=(0, 16), n_tokens=600)


@pytest.fixture
def named_unchanged(unchanged: Measured, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """That one, which commands open."""
    monkeypatch.setenv("DATABASE_URL", unchanged.database.owner_url)
    monkeypatch.setenv("DATABASE_READ_URL", unchanged.database.reader_url)
    return unchanged


@pytest.fixture
def ids(measured: Measured) -> Any:
    """The token ids of the corpus."""
    return measured.first_token_id + np.arange(len(measured.documents))


def write(path: Path, table: pd.DataFrame | str) -> str:
    if isinstance(table, str):
        path.write_text(table, "utf-8")
    else:
        table.to_csv(path, index=False)
    return str(path)


def loaded(measured: Measured, layer: str) -> pd.DataFrame:
    """The layer's tokens as the views tell them."""
    return frame(measured.database, "select * from token_annotation where layer = %s order by token_id", layer)


def layers(measured: Measured) -> list[str]:
    return list(frame(measured.database, "select layer from annotation_layers order by 1")["layer"])


def succeed(outcome: Outcome) -> Outcome:
    assert (outcome.status, outcome.errors) == (0, "")
    return outcome


def test_a_layer_by_token_id_is_in_the_views_at_once(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    table = pd.DataFrame({"token_id": ids, "letter": LETTERS[np.arange(600) % 3]})
    said = succeed(command("annotate", "letter", write(tmp_path / "letters.csv", table))).output.splitlines()
    assert said == [
        "Layer letter of corpus prose: 2 values on 400 of 600 tokens (consonant 200, vowel 200).",
        "Ask: warehouse sql \"select * from conditional_convergence where layer = 'letter'\"",
    ]
    tokens = frame(measured.database, "select * from token_convergence where kind = 'seed' and step = 16")
    expected = tokens.merge(table.dropna(), on="token_id").groupby("letter")["convergence"].agg(["mean", "size"])
    shown = frame(
        measured.database,
        "select value, convergence, n_tokens, se_total from conditional_convergence "
        "where layer = 'letter' and kind = 'seed' and step = 16 order by value",
    )
    assert shown["value"].tolist() == expected.index.tolist()
    np.testing.assert_allclose(shown["convergence"], expected["mean"], rtol=1e-9)
    assert shown["n_tokens"].tolist() == expected["size"].tolist()
    assert (shown["se_total"] > 0).all()
    assert findings(measured.database) == {}


@pytest.mark.parametrize("named", ["number", "name"])
def test_a_layer_by_document_and_position(
    measured: Measured, ids: Any, command: Command, tmp_path: Path, named: str
) -> None:
    tokens = frame(measured.database, "select token_id, document, position from tokens").sample(frac=1, random_state=1)
    document = tokens["document"] if named == "number" else "document " + tokens["document"].astype(str)
    table = pd.DataFrame({"document": document, "position": tokens["position"], "odd": tokens["token_id"] % 2 == 1})
    succeed(command("annotate", "odd", write(tmp_path / "odd.csv", table)))
    assert loaded(measured, "odd")["value"].tolist() == ["True" if i % 2 else "False" for i in ids]


def test_a_key_that_is_said_decides_among_several(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    table = pd.DataFrame({"token_id": ids, "vocab_id": ids - ids[0], "start": 0, "end": 4, "v": (ids - ids[0]) % 7})
    path = write(tmp_path / "v.csv", table[:40])
    succeed(command("annotate", "v", path))
    assert loaded(measured, "v")["token_id"].tolist() == ids[:40].tolist()
    succeed(command("annotate", "v", path, "--key", "vocab_id", "--replace"))
    assert loaded(measured, "v")["value"].tolist() == (measured.vocab_ids % 7).astype(str).tolist()
    refused = command("annotate", "v", path, "--key", "word", "--replace")
    assert "it has the columns token_id, vocab_id, start, end, v, and needs word, or form." in refused.errors


def test_a_layer_by_vocabulary_id(measured: Measured, command: Command, tmp_path: Path) -> None:
    table = pd.DataFrame({"vocab_id": np.arange(30), "length": np.arange(30) % 4})
    said = succeed(command("annotate", "length", write(tmp_path / "lengths.csv", table))).output
    tokens = frame(measured.database, "select token_id, vocab_id from tokens").merge(table).sort_values("token_id")
    assert f"4 values on {len(tokens)} of 600 tokens" in said
    found = loaded(measured, "length")
    assert found["token_id"].tolist() == tokens["token_id"].tolist()
    assert found["value"].tolist() == tokens["length"].astype(str).tolist()


def test_numbers_are_binned_by_quantiles_and_kept(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    norms = np.random.default_rng(3).normal(100, 15, 600)
    norms[[5, 50]] = np.nan
    table = pd.DataFrame({"token_id": ids, "value": norms})
    succeed(command("annotate", "concreteness", write(tmp_path / "norms.csv", table)))
    found = loaded(measured, "concreteness").set_index("token_id")
    assert sorted(set(ids) - set(found.index)) == [ids[5], ids[50]]
    np.testing.assert_allclose(found["value_number"], norms[found.index - ids[0]], rtol=1e-6)
    sizes = found.groupby("value").size()
    assert len(sizes) == 10
    assert set(sizes) <= {59, 60}
    inside = (found["lower"].fillna(-np.inf) <= norms[found.index - ids[0]]) & (
        norms[found.index - ids[0]] < found["upper"].fillna(np.inf)
    )
    assert inside.all()


def test_numbers_are_binned_at_given_edges(measured: Measured, ids: Any, command: Command, tmp_path: Path) -> None:
    table = pd.DataFrame({"token_id": ids, "value": np.arange(600) / 100})
    path = write(tmp_path / "n.csv", table)
    succeed(command("annotate", "n", path, "--edges", "1,2,4"))
    assert loaded(measured, "n").groupby("value").size().to_dict() == {
        "<1": 100,
        "[1,2)": 100,
        "[2,4)": 200,
        ">=4": 200,
    }
    succeed(command("annotate", "n", path, "--quantiles", "3", "--replace"))
    assert loaded(measured, "n").groupby("value").size().tolist() == [200, 200, 200]
    succeed(command("annotate", "n", path, "--categorical", "--replace"))
    assert loaded(measured, "n")["value"].nunique() == 600
    assert loaded(measured, "n")["value_number"].isna().all()


def test_few_numbers_are_values_themselves(measured: Measured, ids: Any, command: Command, tmp_path: Path) -> None:
    table = pd.DataFrame({"token_id": ids, "value": np.arange(600) % 3 - 1})
    succeed(command("annotate", "sign", write(tmp_path / "n.csv", table)))
    found = loaded(measured, "sign")
    assert found["value"].tolist()[:3] == ["-1", "0", "1"]
    assert found["value_number"].tolist()[:3] == [-1, 0, 1]


def test_a_layer_may_belong_to_one_model(measured: Measured, ids: Any, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", pd.DataFrame({"token_id": ids, "value": "a"}))
    for name in ("toy/small", "small"):
        succeed(command("annotate", "own", path, "--model", name, "--replace"))
    assert set(loaded(measured, "own")["model"]) == {"small"}
    assert succeed(command("annotate", "own", "--drop", "--model", "small")).output == (
        "Dropped: layer own of corpus prose.\n"
    )
    assert "own" not in layers(measured)


# --- rows that are about no token ------------------------------------------------------------------------------------


def test_rows_about_no_token_are_counted_shown_and_refused(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    wrong = ["-1", str(ids[-1] + 1), "many", "", "1.5"]
    lines = [*(f"{i},a" for i in ids[:10]), *(f"{each},b" for each in wrong)]
    path = write(tmp_path / "v.csv", "token_id,value\n" + "\n".join(lines) + "\n")
    refused = command("annotate", "v", path)
    assert (refused.status, refused.output) == (2, "")
    assert refused.errors == (
        "Error: Cannot use 5 of 15 rows of v.csv: 3 have no whole number as token_id: line 14 (token_id many), "
        "line 15 (token_id empty), line 16 (token_id 1.5); 2 have a token_id that corpus prose lacks "
        f"(its ids are {ids[0]} to {ids[-1]}): line 12 (token_id -1), line 13 (token_id {ids[-1] + 1}). "
        "Correct them, or pass --allow-partial to leave them out.\n"
    )
    assert "v" not in layers(measured)
    allowed = command("annotate", "v", path, "--allow-partial")
    assert allowed.status == 0
    assert allowed.errors.startswith("Note: Left out 5 of 15 rows of v.csv: 3 have no whole number")
    assert loaded(measured, "v")["token_id"].tolist() == ids[:10].tolist()


def test_only_the_first_of_many_are_shown(measured: Measured, command: Command, tmp_path: Path) -> None:
    table = pd.DataFrame({"token_id": np.arange(10**6, 10**6 + 5000), "value": "a"})
    refused = command("annotate", "v", write(tmp_path / "v.csv", table), "--allow-partial")
    assert refused.status == 2
    assert "v.csv gives no token of corpus prose a value, since rows have a token_id that corpus" in refused.errors
    refused = command("annotate", "v", write(tmp_path / "v.csv", table))
    assert "line 2 (token_id 1000000)" in refused.errors
    assert "line 6 (token_id 1000004) and 4,995 more." in refused.errors
    assert len(refused.errors) < 500


def test_a_document_or_position_that_is_not_there_is_told(measured: Measured, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", "document,position,value\n0,0,a\n99,0,a\n0,5000,a\n0,-1,a\n0,x,a\n")
    said = command("annotate", "v", path).errors
    assert "1 have no whole number as position: line 6 (document 0, position x)" in said
    assert "1 name a document that corpus prose lacks: line 3 (document 99, position 0)" in said
    assert "2 have a position beyond their document, whose tokens count from 0: line 4" in said


def test_rows_that_contradict_each_other_are_always_refused(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    path = write(tmp_path / "v.csv", f"token_id,value\n{ids[0]},a\n{ids[1]},a\n{ids[0]},b\n{ids[2]},a\n{ids[2]},a\n")
    for options in ([], ["--allow-partial"]):
        refused = command("annotate", "v", path, *options)
        assert refused.status == 2
        assert (
            f"v.csv has several rows for one token_id: line 2 (token_id {ids[0]}), line 4 (token_id {ids[0]}), "
            "and the like for 1 more; keep one row of each."
        ) in refused.errors
    path = write(tmp_path / "v.csv", "vocab_id,value\n3,a\n3,a\n")
    assert (
        "several rows for one vocab_id: line 2 (vocab_id 3), line 3 (vocab_id 3)"
        in command("annotate", "v", path).errors
    )


def test_numbers_with_a_few_words_among_them_are_not_guessed_at(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    values = [str(i / 7) for i in range(599)] + ["NA"]
    path = write(tmp_path / "v.csv", pd.DataFrame({"token_id": ids, "value": values}))
    said = command("annotate", "v", path).errors
    assert "Most values of value in v.csv are numbers, but not line 601 (value NA): correct them" in said
    assert (
        "1 have what is no finite number as value: line 601 (value NA)"
        in command("annotate", "v", path, "--numeric").errors
    )
    assert command("annotate", "v", path, "--numeric", "--allow-partial").status == 0
    assert len(loaded(measured, "v")) == 599


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("token_id,a,b\n0,1,2\n", [], "v.csv has the columns a, b to take values from: say which with --column."),
        ("token_id,a,b\n0,1,2\n", ["--column", "c"], "v.csv has no column c; it has token_id, a, b."),
        ("token_id\n0\n", [], "v.csv has no column with values: say which with --column."),
        ("tok,value\n0,a\n", [], "v.csv does not say which tokens its rows are about: it has the columns tok, value"),
        ("document,position,word,value\n0,0,a,b\n", [], "v.csv may be keyed by position or word: say which with --key"),
        ("token_id,value\n0,\n1,\n", [], "v.csv gives no token of corpus prose a value: its values are empty."),
        ("token_id,value\n0,1e300\n", [], "A value of 1e+300 is too large: numbers are kept in single precision."),
        ("token_id,value\n0,a\n", ["--key", "tokens"], "There is no key tokens; choose token_id, position, span"),
        ("token_id,value\n0,a\n", ["--corpus", "pros"], "There is no corpus pros; nearest is prose."),
        ("token_id,value\n0,a\n", ["--model", "smal"], "There is no model smal; nearest is toy/small."),
        ("token_id,value\n0,a\n", ["--edges", "1,x"], "--edges 1,x is not a list of numbers such as 0,1,2,4."),
        ("token_id,value\n0,a\n", ["--edges", "2,1"], "--edges 2,1 must be finite and ascend"),
        ("token_id,value\n0,a\n", ["--edges", "1", "--quantiles", "3"], "Give --edges or --quantiles, not both."),
        ("token_id,value\n0,a\n", ["--edges", "1", "--categorical"], "--edges and --quantiles are for numbers"),
        ("token_id,value\n0,a\n", ["--drop"], "Give one of FILE, --from-table and --drop."),
        ("value,group\nx,y\n", ["--key", "value:pso"], "Corpus prose has no layer pso; nearest is pos."),
        ("value,group\nx,y\n", ["--key", "value:pos"], "No value of v.csv is one of layer pos, whose values are pos 0"),
        ("char_start,char_end,value\n0,4,a\n3,6,b\n", [], "v.csv has spans that overlap: line 2 (char_start 0"),
        ("document,start,end,value\n99,0,4,a\n", [], "1 name a document that corpus prose lacks: line 2 (start 0"),
        ("start,end,value\n0,,a\n", [], "1 have no whole number as start or end: line 2 (start 0, end empty)"),
        ("document,start,end,value\n0,0,9999,a\n", [], "1 reach beyond the text that corpus prose has of them: line 2"),
        ("char_start,char_end,value\n4,4,a\n", [], "1 have an end that is not after the start: line 2"),
        ("char_start,char_end,value\n0,99999,a\n", [], "1 reach beyond the text that corpus prose has of them: line 2"),
        ("word,value\nthe,a\n", [], "The tokens of corpus prose do not spell its text"),
        ("word,value\nthe,a\n", ["--text", "v.csv"], "v.csv is not the text of corpus prose (sha256"),
        ("word,value\nthe,a\n", ["--text", "none"], "Cannot read none: No such file or directory."),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_sentence(
    named_unchanged: Measured,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = layers(named_unchanged)
    write(tmp_path / "v.csv", text)
    outcome = command("annotate", "v", "v.csv", *options)
    assert (outcome.status, outcome.output) == (2, "")
    assert said in outcome.errors
    assert "Traceback" not in outcome.errors
    assert layers(named_unchanged) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["annotate", "v"], "Give a FILE with the annotations, or --from-table"),
        (["annotate", "v", "none.csv"], "There is no file none.csv."),
        (["annotate", "v", "--drop"], "Corpus prose has no layer v; nearest are"),
        (["annotate", "v", "--context"], "Corpus prose has no layer v; nearest are"),
        (["annotate", " v", "none.csv"], "Give the layer a name that begins and ends with a letter or a sign."),
        (["annotate", "all", "--drop"], "The layer all carries the totals: it stays as it is; choose another name."),
        (["annotations", "poss"], "There is no layer poss; nearest is pos."),
        (["annotations", "pos", "--corpus", "other"], "There is no layer pos; there is none yet."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    named_unchanged: Measured,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command(*arguments)
    assert (outcome.status, outcome.output) == (2, "")
    assert said in outcome.errors


# --- replacing, twins, groups, tables --------------------------------------------------------------------------------


def test_a_layer_is_replaced_as_a_whole_or_not_at_all(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    first = write(tmp_path / "v.csv", pd.DataFrame({"token_id": ids, "value": "a"}))
    second = write(tmp_path / "w.csv", pd.DataFrame({"token_id": ids[:9], "value": "b"}))
    third = write(tmp_path / "x.csv", pd.DataFrame({"token_id": [*ids[:9], 10**9], "value": "c"}))
    succeed(command("annotate", "v", first))
    refused = command("annotate", "v", second)
    assert refused.status == 2
    assert "Corpus prose has a layer v already: replace it with --replace, or choose another name." in refused.errors
    assert command("annotate", "v", third, "--replace").status == 2
    assert loaded(measured, "v")["value"].tolist() == ["a"] * 600
    succeed(command("annotate", "v", second, "--replace"))
    assert loaded(measured, "v")["value"].tolist() == ["b"] * 9
    assert findings(measured.database) == {}


def test_the_twin_has_the_value_of_the_token_before_and_follows_its_layer(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    values = np.arange(600) / 10
    table = pd.DataFrame({"token_id": ids, "value": values})
    said = succeed(command("annotate", "v", write(tmp_path / "v.csv", table), "--context")).output.splitlines()
    assert said[1].startswith("Layer v.context of corpus prose: 10 values on 599 of 600 tokens")
    twin = loaded(measured, "v.context")
    assert twin["token_id"].tolist() == ids[1:].tolist()
    np.testing.assert_allclose(twin["value_number"], values[:-1], rtol=1e-6)
    table["value"] = values[::-1]
    succeed(command("annotate", "v", write(tmp_path / "v.csv", table), "--replace"))
    np.testing.assert_allclose(loaded(measured, "v.context")["value_number"], values[::-1][:-1], rtol=1e-6)
    succeed(command("annotate", "word_class", "--context"))
    base, twin = loaded(measured, "word_class"), loaded(measured, "word_class.context")
    assert dict(zip(twin["token_id"] - 1, twin["value"], strict=True)) == {
        token: value for token, value in zip(base["token_id"], base["value"], strict=True) if token < ids[-1]
    }
    assert "has a layer word_class.context already" in command("annotate", "word_class", "--context").errors
    assert findings(measured.database) == {}


def test_a_twin_begins_anew_with_each_document_where_models_read_documents(
    measured: Measured, ids: Any, command: Command
) -> None:
    with measured.database.connect() as connection:
        connection.execute("update warehouse.protocol set windows = 'documents'")
    succeed(command("annotate", "pos", "--context"))
    firsts = frame(measured.database, "select first_token_id from documents")["first_token_id"]
    assert sorted(set(ids) - set(loaded(measured, "pos.context")["token_id"])) == firsts.tolist()
    assert len(firsts) > 2


def test_values_of_a_layer_are_grouped_by_a_file(measured: Measured, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "groups.csv", "value,group\npos 0,low\npos 1,low\npos 3,high\npos 9,high\n")
    outcome = command("annotate", "half", path, "--key", "value:pos")
    assert outcome.status == 0
    assert outcome.errors.splitlines() == [
        "Note: Layer pos has no such value: line 5 (value pos 9).",
        "Note: These values of pos have no group: pos 2, pos 4, pos 5.",
    ]
    expected = loaded(measured, "pos").assign(
        group=lambda t: t["value"].map({"pos 0": "low", "pos 1": "low", "pos 3": "high"})
    )
    found = loaded(measured, "half")
    assert found["value"].tolist() == expected["group"].dropna().tolist()
    assert found["token_id"].tolist() == expected.dropna(subset="group")["token_id"].tolist()


def test_a_table_of_the_users_own_becomes_a_layer(measured: Measured, ids: Any, command: Command) -> None:
    with measured.database.connect() as connection:
        connection.execute('create table public."My norms" (token_id bigint, score float8, sure boolean, note text)')
        connection.execute(
            'insert into public."My norms" select id, 0.1 * id, id %% 2 = 0, case when id %% 3 = 0 then '
            "e'one, \"two\"\\nthree' end from unnest(%s::bigint[]) as id",
            [ids.tolist()],
        )
    succeed(command("annotate", "score", "--from-table", "public.My norms.score"))
    np.testing.assert_allclose(loaded(measured, "score")["value_number"], 0.1 * ids, rtol=1e-6)
    succeed(command("annotate", "sure", "--from-table", "My norms.sure"))
    assert loaded(measured, "sure")["value"].tolist() == ["false" if i % 2 else "true" for i in ids]
    succeed(command("annotate", "note", "--from-table", "My norms.note"))
    assert set(loaded(measured, "note")["value"]) == {'one, "two"\nthree'}
    sources = frame(measured.database, "select source from annotation_layers where layer = 'score'")["source"].tolist()
    assert sources == ["table public.My norms, column score, by token_id"]
    for name, said in (
        ("public.My norms.scor", "public.My norms has no column scor; it has token_id, score, sure, note."),
        ("public.none.score", "There is no table public.none in this database."),
        ("nowhere.none.score", "There is no table nowhere.none in this database."),
        ("score", "score does not name a column: write it as schema.table.column."),
    ):
        refused = command("annotate", "again", "--from-table", name)
        assert refused.status == 2
        assert said in refused.errors


def test_ids_tell_the_corpus_and_ids_of_another_corpus_are_told(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    with measured.database.connect() as connection:
        connection.execute("""
            insert into warehouse.corpus (name, tokenizer_id, first_token_id, n_tokens, n_documents, n_characters,
                n_bytes, source, text_sha256, token_sha256, eos_policy, cluster)
            select 'verse', tokenizer_id, 1024, 5, 0, 20, 20, source, 'v', 'v', eos_policy, cluster
            from warehouse.corpus
        """)
    path = write(tmp_path / "v.csv", pd.DataFrame({"token_id": [*ids[:9], 1025], "value": "a"}))
    said = command("annotate", "v", path).errors
    assert f"1 have a token_id that corpus prose lacks (its ids are 0 to {ids[-1]}; some are of corpus verse)" in said
    path = write(tmp_path / "v.csv", "vocab_id,value\n1,a\n")
    assert "There are several corpora (prose, verse): say which with --corpus." in command("annotate", "v", path).errors
    succeed(command("annotate", "v", path, "--corpus", "prose"))


# --- what is listed --------------------------------------------------------------------------------------------------


def test_layers_are_listed_with_coverage_and_source(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "norms.parquet"
    pd.DataFrame({"token_id": ids[:150], "x": np.arange(150.0)}).to_parquet(path)
    succeed(command("annotate", "norm", str(path), "--edges", "50,100", "--model", "small"))
    listed = json.loads(succeed(command("annotations", "--format", "json")).output)
    assert [row["layer"] for row in listed] == ["norm", "pos", "word_class"]
    assert listed[0] == {
        "corpus": "prose",
        "layer": "norm",
        "model": "small",
        "kind": "numeric",
        "values": 3,
        "tokens": 150,
        "coverage": 0.25,
        "source": "norms.parquet, column x, by token_id",
    }
    assert json.loads(command("annotations", "--corpus", "none", "--format", "json").output) == []
    assert succeed(command("annotations", "norm", "--format", "csv")).output.splitlines() == [
        "corpus,model,value,tokens,lower,upper",
        "prose,small,<50,50,,50.0",
        'prose,small,"[50,100)",50,50.0,100.0',
        "prose,small,>=100,50,100.0,",
    ]


def test_a_layer_of_many_values_says_where_it_is_shown(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    measured = measure(named_database, models=("small",), steps=(0,), n_tokens=1300)
    ids = measured.first_token_id + np.arange(1300)
    table = pd.DataFrame({"token_id": ids, "value": [f"it's {i % 1001}" for i in range(1300)]})
    outcome = command("annotate", "it's", write(tmp_path / "v.csv", table))
    assert outcome.errors == (
        "Note: Layer it's has 1,001 values; conditional views show layers of up to 1,000, token_annotation shows it.\n"
    )
    assert outcome.output.endswith("\"select * from token_annotation where layer = 'it''s'\"\n")
    assert loaded(measured, "it's")["value"].tolist() == table["value"].tolist()


@pytest.mark.parametrize(("value", "n"), [("x", 1001), ("\N{GRINNING FACE}", 700)])
def test_a_value_too_long_for_an_index_is_refused_with_its_line(
    measured: Measured, ids: Any, command: Command, tmp_path: Path, value: str, n: int
) -> None:
    random = np.random.default_rng(4)
    fits = "".join(chr(code) for code in random.integers(0x4E00, 0x9FFF, 833))
    table = pd.DataFrame({"token_id": ids[:3], "v": ["a", fits, value * n]})
    refused = command("annotate", "v", write(tmp_path / "v.csv", table))
    assert refused.status == 2
    assert "are longer than 1,000 characters or 2,500 bytes: line 4 (v " in refused.errors
    succeed(command("annotate", "v", write(tmp_path / "v.csv", table[:2])))
    assert loaded(measured, "v")["value"].tolist() == ["a", fits]


@pytest.mark.parametrize("first", ["1", "null", '"a"', "true", "1" * 400])
@pytest.mark.parametrize("second", ["1e400", "-Infinity"])
def test_a_number_of_json_that_is_infinite_is_no_category(
    measured: Measured, ids: Any, command: Command, tmp_path: Path, first: str, second: str
) -> None:
    lines = [f'{{"token_id": {ids[row]}, "v": {value}}}\n' for row, value in enumerate((first, second))]
    path = tmp_path / "v.jsonl"
    path.write_text("".join(lines))
    refused = command("annotate", "v", str(path))
    assert refused.status == 2
    assert "line 2" in refused.errors
    assert "finite" in refused.errors
    assert "v" not in layers(measured)


def test_text_that_double_precision_cannot_hold_is_a_fault_among_numbers_only(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    table = pd.DataFrame({"token_id": ids[:2], "v": ["1", "1e400"]})
    assert "line 3 (v 1e400)" in command("annotate", "v", write(tmp_path / "v.csv", table)).errors
    table["v"] = ["ab12f", "1e400"]
    succeed(command("annotate", "v", write(tmp_path / "v.csv", table)))
    assert loaded(measured, "v")["value"].tolist() == ["ab12f", "1e400"]


def test_a_twin_that_would_be_empty_is_dropped_when_its_layer_is_replaced(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    table = pd.DataFrame({"token_id": ids, "value": "a"})
    succeed(command("annotate", "v", write(tmp_path / "v.csv", table), "--context"))
    last = write(tmp_path / "v.csv", table[-1:])
    assert "comes after one with a value" in command("annotate", "v", last, "--replace", "--context").errors
    assert "v.context" in layers(measured)
    said = command("annotate", "v", last, "--replace")
    assert said.status == 0
    assert said.errors == "Note: Dropped layer v.context: no token comes after one with a value.\n"
    assert "v.context" not in layers(measured)
    assert loaded(measured, "v")["token_id"].tolist() == [ids[-1]]
    assert findings(measured.database) == {}


# --- what may or may not be a value ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["NaN", "nan", "NA", "None", "null", "N/A", "<NA>"])
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_a_word_for_missing_among_categories_is_neither_guessed_nor_loaded(
    named_unchanged: Measured, command: Command, tmp_path: Path, form: str, word: str
) -> None:
    path = tmp_path / f"v.{form}"
    save(path, pd.DataFrame({"token_id": named_unchanged.first_token_id + np.arange(3), "tag": ["a", word, "b"]}))
    outcome = command("annotate", "v", str(path))
    assert outcome.status == 2
    place = {"jsonl": "line 2", "parquet": "row 2"}.get(form, "line 3")
    assert f"means a value or none as tag: {place} (tag {word}); pass --missing" in outcome.errors
    assert "v" not in layers(named_unchanged)


def save(path: Path, table: pd.DataFrame) -> None:
    if path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_user_says_which_words_stand_for_no_value(
    measured: Measured, ids: Any, command: Command, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"v.{form}"
    save(path, pd.DataFrame({"token_id": ids[:5], "tag": ["a", "NaN", "b", "NA", None]}))
    succeed(command("annotate", "v", str(path), "--missing", "NaN"))
    assert loaded(measured, "v")["value"].tolist() == ["a", "b", "NA"]
    succeed(command("annotate", "v", str(path), "--missing", "NaN", "--missing", "NA", "--replace"))
    assert loaded(measured, "v")["value"].tolist() == ["a", "b"]
    succeed(command("annotate", "v", str(path), "--missing", "", "--replace"))
    assert loaded(measured, "v")["value"].tolist() == ["a", "NaN", "b", "NA"]


def test_a_number_may_stand_for_no_value_and_nan_among_numbers_does(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    for form in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"v.{form}"
        save(path, pd.DataFrame({"token_id": ids[:4], "x": [1.5, -999.0, np.nan, 2.5]}))
        options = ["--missing", "-999.0" if form == "csv" else "-999"]
        succeed(command("annotate", "v", str(path), *options, *["--replace"] * (form != "csv")))
        assert loaded(measured, "v")["value_number"].tolist() == [1.5, 2.5]
    write(tmp_path / "w.csv", f"token_id,x\n{ids[0]},1.5\n{ids[1]},NaN\n{ids[2]},NA\n{ids[3]},4\n")
    assert "not line 4 (x NA)" in command("annotate", "w", str(tmp_path / "w.csv")).errors
    succeed(command("annotate", "w", str(tmp_path / "w.csv"), "--missing", "NA"))
    assert loaded(measured, "w")["value_number"].tolist() == [1.5, 4.0]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("token_id;x\n0;3,14\n1;2,5\n", [], "v.csv has numbers with a comma as x: line 2 (x 3,14), line 3 (x 2,5)"),
        ('token_id,x\n0,"3,14"\n1,2.5\n', [], "line 2 (x 3,14); write decimals with a point"),
        ('token_id,x\n0,"1,234"\n1,7\n', [], "line 2 (x 1,234)"),
        ('token_id,x\n0,"-1.234,5"\n1,7\n', [], "line 2 (x -1.234,5)"),
        ("token_id;x\n0;3,14\n", ["--numeric", "--allow-partial"], "line 2 (x 3,14)"),
        ("token_id;x\n0;3,14\n1;NN\n2;2\n", ["--numeric", "--allow-partial"], "line 2 (x 3,14); write"),
        ("token_id,x\n0,3,14\n", [], "v.csv, line 2, has 3 columns and the header has 2: quote what holds the"),
    ],
)
def test_numbers_with_a_comma_are_told_with_their_lines(
    named_unchanged: Measured, command: Command, tmp_path: Path, text: str, options: list[str], said: str
) -> None:
    outcome = command("annotate", "v", write(tmp_path / "v.csv", text), *options)
    assert outcome.status == 2
    assert said in outcome.errors
    assert "decimals with a point" in outcome.errors


def test_names_with_a_comma_may_be_categories(measured: Measured, ids: Any, command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", f'token_id,x\n{ids[0]},"1,2"\n{ids[1]},one\n{ids[2]},two\n')
    succeed(command("annotate", "v", path))
    assert loaded(measured, "v")["value"].tolist() == ["1,2", "one", "two"]
    path = write(tmp_path / "w.csv", f'token_id,x\n{ids[0]},"1,2"\n{ids[1]},"3,4"\n')
    succeed(command("annotate", "w", path, "--categorical"))
    assert loaded(measured, "w")["value"].tolist() == ["1,2", "3,4"]
