"""`warehouse corpus add`: a text with its tokens and layers, and no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.contents import findings, frame
from tests.models import tokenizer
from warehouse.database import Database

Command = Callable[..., Outcome]
TEXT = "The river rose in the night.\n\nBy morning the lower field was a lake."
LAYERS = ("--layer", "document", "--layer", "word_class")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[str, str]:
    """A text of two paragraphs, and a tokenizer."""
    (tmp_path / "river.txt").write_text(TEXT)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "river.txt"), str(tmp_path / "tokenizer.json")


def test_a_corpus_is_added_without_a_model(named_database: Database, command: Command, inputs: tuple[str, str]) -> None:
    done = command(
        "corpus", "add", inputs[0], "--tokenizer", inputs[1], "--eos", "none", "--split", "blank-line", *LAYERS
    )
    assert done.status == 0, done.errors
    tokens = frame(named_database, "select * from analysis.tokens order by token_id")
    expected = [i for part in TEXT.split("\n\n") for i in tokenizer().encode(part, add_special_tokens=False).ids]
    assert tokens["vocab_id"].tolist() == expected
    assert done.output == f"Corpus river has {len(expected)} tokens in 2 documents; new layers: document, word_class.\n"
    layers = frame(named_database, "select layer from analysis.annotation_layers")["layer"]
    assert set(layers) == {"document", "word_class"}
    assert frame(named_database, "select * from analysis.checkpoints").empty
    assert findings(named_database) == {}


def test_the_same_text_again_adds_nothing_but_layers(
    named_database: Database, command: Command, inputs: tuple[str, str]
) -> None:
    add = ("corpus", "add", inputs[0], "--tokenizer", inputs[1], "--name", "river")
    assert command(*add, "--layer", "document").status == 0
    again = command(*add, "--layer", "document", "--layer", "word_class")
    assert again.output.endswith("; new layers: word_class.\n")
    assert command(*add, *LAYERS).output.endswith("in 1 document.\n")
    assert len(frame(named_database, "select * from warehouse.corpus")) == 1


def test_another_text_of_the_same_name_is_refused(
    named_database: Database, command: Command, inputs: tuple[str, str], tmp_path: Path
) -> None:
    assert command("corpus", "add", inputs[0], "--tokenizer", inputs[1], "--name", "river", *LAYERS).status == 0
    (tmp_path / "other.txt").write_text("Another text.")
    done = command("corpus", "add", str(tmp_path / "other.txt"), "--tokenizer", inputs[1], "--name", "river")
    assert done.status == 2
    assert "Corpus river is in the warehouse with other tokens" in done.errors


@pytest.mark.parametrize(
    ("change", "said"),
    [(("--layer", "poss"), "did you mean pos"), (("--tokenizer", "nowhere"), "nowhere"), (("--eos", "maybe"), "--eos")],
)
def test_what_cannot_be_added_is_refused(
    named_database: Database, command: Command, inputs: tuple[str, str], change: tuple[str, str], said: str
) -> None:
    done = command("corpus", "add", inputs[0], "--tokenizer", inputs[1], *change)
    assert done.status == 2
    assert said in done.errors
    assert frame(named_database, "select * from warehouse.corpus").empty
