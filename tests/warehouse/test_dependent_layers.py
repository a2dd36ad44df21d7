"""What follows a layer that is replaced or dropped: twins, groups, and which layers may stand beside each other."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ingest.tag_groups import tag_groups
from tests.contents import findings, frame
from tests.queries.measured import Measured
from tests.warehouse.test_annotate import Command, ids, layers, loaded, measured, succeed, write
from warehouse import annotating
from warehouse.annotations import load_layer, read_layer

__all__ = ["ids", "measured"]  # fixtures
GROUPS = "value,group\na,vowel\nb,other\nc,other\ne,vowel\n"


def letters(path: Path, ids: Any, text: str) -> str:
    """A file in which the tokens have the letters of a text, over and over."""
    values = [text[i % len(text)] for i in range(len(ids))]
    return write(path, pd.DataFrame({"token_id": ids, "value": values}))


def test_groups_and_twins_follow_the_layer_they_are_made_of(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    succeed(command("annotate", "letter", letters(tmp_path / "v.csv", ids, "abcea"), "--context"))
    groups = write(tmp_path / "groups.csv", GROUPS)
    succeed(command("annotate", "kind", groups, "--key", "value:letter", "--context"))
    further = write(tmp_path / "further.csv", "value,group\nvowel,1.5\nother,2.5\n")
    succeed(command("annotate", "number", further, "--key", "value:kind"))
    said = succeed(command("annotate", "letter", letters(tmp_path / "w.csv", ids, "bbbec"), "--replace")).output
    assert [line.split(" of corpus")[0] for line in said.splitlines()[:-1]] == [
        *("Layer letter", "Layer kind", "Layer number", "Layer kind.context", "Layer letter.context"),
    ]
    new = ["bbbec"[i % 5] for i in range(600)]
    group_of = {"a": "vowel", "b": "other", "c": "other", "e": "vowel"}
    assert loaded(measured, "kind")["value"].tolist() == [group_of[letter] for letter in new]
    assert loaded(measured, "number")["value_number"].tolist() == [1.5 if each == "e" else 2.5 for each in new]
    assert loaded(measured, "letter.context")["value"].tolist() == new[:-1]
    assert loaded(measured, "kind.context")["value"].tolist() == [group_of[letter] for letter in new[:-1]]
    assert findings(measured.database) == {}
    # And the summaries are those of the new values.
    tokens = frame(measured.database, "select * from token_convergence where kind = 'seed' and step = 16")
    expected = tokens.assign(value=[group_of[letter] for letter in new]).groupby("value")["convergence"].mean()
    shown = frame(
        measured.database,
        "select value, convergence from conditional_convergence "
        "where layer = 'kind' and kind = 'seed' and step = 16 order by value",
    )
    np.testing.assert_allclose(shown["convergence"], expected, rtol=1e-9)


def test_groups_that_come_with_the_package_follow_their_tags(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    tags = pd.DataFrame({"token_id": ids, "pos": ["NN", "VBD", "."] * 200})
    succeed(command("annotate", "pos", write(tmp_path / "pos.csv", tags), "--replace"))
    with measured.database.engine().begin() as connection:
        (corpus,) = annotating.corpora(connection)
        tagged = read_layer(connection, corpus.corpus_id, "pos")
        assert tagged is not None
        for name in ("pos.universal", "pos.group"):
            load_layer(connection, corpus.corpus_id, tag_groups(tagged, name))
    tags["pos"] = [".", "NN", "NN"] * 200
    succeed(command("annotate", "pos", write(tmp_path / "pos.csv", tags), "--replace"))
    assert loaded(measured, "pos.universal")["value"].tolist() == [".", "NOUN", "NOUN"] * 200
    assert loaded(measured, "pos.group")["value"].tolist() == ["noun", "noun"] * 200
    source = frame(measured.database, "select source from annotation_layers where layer = 'pos.universal'")
    assert source["source"].tolist() == ["pos.csv, column pos, by token_id; pos_universal.csv"]
    tags["pos"] = ["UH"] * 600
    refused = command("annotate", "pos", write(tmp_path / "pos.csv", tags), "--replace")
    assert refused.status == 2
    assert (
        "Of layer pos pos.group and pos.universal are made, whose groups say nothing of the new values UH: drop them "
        "first (`warehouse annotate pos.group --corpus prose --drop`)" in refused.errors
    )
    assert loaded(measured, "pos")["value"].tolist() == [".", "NN", "NN"] * 200


def test_a_layer_is_not_dropped_from_under_its_groups(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    succeed(command("annotate", "letter", letters(tmp_path / "v.csv", ids, "abce"), "--context"))
    succeed(command("annotate", "kind", write(tmp_path / "groups.csv", GROUPS), "--key", "value:letter"))
    refused = command("annotate", "letter", "--drop")
    assert refused.status == 2
    assert (
        "Of layer letter kind is made, whose groups it would leave without values: drop it first "
        "(`warehouse annotate kind --corpus prose --drop`)." in refused.errors
    )
    assert {"letter", "letter.context", "kind"} < {*layers(measured)}
    succeed(command("annotate", "kind", "--drop"))
    dropped = succeed(command("annotate", "letter", "--drop")).output
    assert dropped == "Dropped: layers letter and letter.context of corpus prose.\n"
    assert not {"letter", "letter.context", "kind"} & {*layers(measured)}


def test_the_command_that_a_refusal_names_drops_the_group_of_a_single_model(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    family, model = frame(measured.database, "select family, name from warehouse.model order by name limit 1").iloc[0]
    owner = ("--model", f"{family}/{model}")
    succeed(command("annotate", "letter", letters(tmp_path / "v.csv", ids, "abce"), *owner))
    succeed(command("annotate", "kind", write(tmp_path / "groups.csv", GROUPS), "--key", "value:letter", *owner))
    others = command("annotate", "letter", letters(tmp_path / "v.csv", ids, "xyz"), *owner, "--replace")
    for refused in (others, command("annotate", "letter", "--drop", *owner)):
        assert refused.status == 2
        said = refused.errors.split("`")[1]
    assert said == f"warehouse annotate kind --corpus prose --model {family}/{model} --drop"
    assert others.errors.split("`")[1] == said
    succeed(command(*shlex.split(said)[1:]))
    succeed(command("annotate", "letter", "--drop", *owner))


def test_a_layer_that_is_asked_for_under_the_wrong_owner_is_told_apart_from_none(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    model = frame(measured.database, "select family || '/' || name as name from warehouse.model order by name")["name"][
        0
    ]
    succeed(command("annotate", "own", letters(tmp_path / "v.csv", ids, "abce"), "--model", model))
    succeed(command("annotate", "shared", letters(tmp_path / "v.csv", ids, "abce")))
    refused = command("annotate", "own", "--drop")
    assert f"Layer own of corpus prose belongs to {model}: name the model with --model." in refused.errors
    refused = command("annotate", "shared", "--drop", "--model", model)
    assert "Layer shared of corpus prose is there for every model: leave out --model." in refused.errors
    assert {"own", "shared"} <= {*layers(measured)}


def test_a_group_without_tokens_goes_with_a_note(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    succeed(command("annotate", "letter", letters(tmp_path / "v.csv", ids, "ab")))
    group = write(tmp_path / "g.csv", "value,group\na,x\n")
    assert command("annotate", "only", group, "--key", "value:letter").status == 0
    said = command("annotate", "letter", letters(tmp_path / "v.csv", ids, "b"), "--replace")
    assert (said.status, said.errors) == (0, "Note: Dropped layer only: no token is in a group.\n")
    assert "only" not in layers(measured)


def test_a_layer_of_every_model_and_one_of_a_single_model_do_not_share_a_name(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    path = letters(tmp_path / "v.csv", ids, "ab")
    succeed(command("annotate", "own", path, "--model", "small"))
    refused = command("annotate", "own", path)
    assert refused.status == 2
    assert (
        "Layer own of corpus prose belongs to single models (toy/small): choose another name, or replace that of one "
        "with --model FAMILY/NAME --replace." in refused.errors
    )
    assert command("annotate", "own", path, "--replace").status == 2
    succeed(command("annotate", "own", path, "--model", "small", "--replace"))
    refused = command("annotate", "pos", path, "--model", "small")
    assert "Layer pos of corpus prose is there for every model: choose another name" in refused.errors
    succeed(command("annotate", "shared", path, "--context"))
    assert "own" in command("annotate", "own", path, "--context").errors
    assert frame(measured.database, "select layer from annotation_layers where layer = 'own'").shape == (1, 1)


def test_next_to_nothing_does_not_take_the_place_of_a_good_layer(
    measured: Measured, ids: Any, command: Command, tmp_path: Path
) -> None:
    succeed(command("annotate", "v", letters(tmp_path / "v.csv", ids, "ab")))
    foreign = pd.DataFrame({"token_id": [*ids[:299], *(ids[:301] + 10**6)], "value": "c"})
    path = write(tmp_path / "w.csv", foreign)
    refused = command("annotate", "v", path, "--allow-partial", "--replace")
    assert refused.status == 2
    assert (
        "Rows were left out, and layer v would have values on 299 tokens of corpus prose instead of 600: correct the "
        "rows, or pass --fewer if that is meant." in refused.errors
    )
    assert set(loaded(measured, "v")["value"]) == {"a", "b"}
    half = write(tmp_path / "x.csv", foreign.assign(token_id=[*ids[:300], *(ids[:300] + 10**6)]))
    assert command("annotate", "v", half, "--allow-partial", "--replace").status == 0
    succeed(command("annotate", "v", letters(tmp_path / "v.csv", ids, "ab"), "--replace"))
    assert command("annotate", "v", path, "--allow-partial", "--replace", "--fewer").status == 0
    assert loaded(measured, "v")["value"].tolist() == ["c"] * 299
