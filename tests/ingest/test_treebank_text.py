"""The text of a treebank as a corpus: what `# text` and SpaceAfter say, in the documents that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.texts import UnusableSplit, read_source
from tests.conftest import Outcome
from tests.contents import frame
from tests.models import tokenizer
from warehouse.database import Database


def word(number: int | str, form: str, upos: str = "NOUN", misc: str = "_") -> str:
    return f"{number}\t{form}\t_\t{upos}\t_\t_\t0\troot\t_\t{misc}\n"


TREEBANK = (
    "# newdoc id = weather\n# newpar\n# text = The river rose.\n"
    + word(1, "The", "DET")
    + word(2, "river")
    + word(3, "rose", "VERB", "SpaceAfter=No")
    + word(4, ".", "PUNCT", "SpaceAfter=No")
    + "\n"
    + word(1, "Don't", "_").replace("1\tDon't", "1-2\tDon't")
    + word(1, "Do", "AUX")
    + word(2, "n't", "PART")
    + word("2.1", "empty", "X")
    + word(3, "swim", "VERB", "SpaceAfter=No")
    + word(4, "!", "PUNCT")
    + "\n# newpar id = p2\n"
    + word(1, "A", "DET")
    + word(2, "lake")
    + "\n# text = It fell.\n"
    + word(1, "It", "PRON")
    + word(2, "fell", "VERB", "Gloss=x|SpaceAfter=No")
    + word(3, ".", "PUNCT")
    + "\n# newdoc\n"
    + word(1, "Morning")
    + "\n"
)


def test_sentences_stand_in_the_text_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "gold.conllu"
    path.write_text(TREEBANK, "utf-8")
    source = read_source(path, eos_text=None, split=None)
    texts = [source.text[part.start : part.end] for part in source.parts]
    assert texts == ["The river rose.Don't swim!\n\nA lake It fell.", "Morning"]
    assert [part.name for part in source.parts] == ["weather", None]
    path.write_text(TREEBANK.split("# newdoc id = weather\n")[1].split("\n# newdoc")[0], "utf-8")
    source = read_source(path, eos_text=None, split=None)
    assert [part.name for part in source.parts] == ["gold"]
    with pytest.raises(UnusableSplit):
        read_source(path, eos_text=None, split="line")


def test_a_treebank_is_added_as_text_and_annotates_itself(
    named_database: Database, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = tmp_path / "gold.conllu"
    path.write_text(TREEBANK, "utf-8")
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    done = command(
        *("corpus", "add", str(path), "--tokenizer", str(tmp_path / "tokenizer.json"), "--layer", "document"),
        *("--eos", "none"),
    )
    assert done.status == 0, done.errors
    assert "in 2 documents" in done.output
    done = command("annotate", "upos", str(path))
    assert done.status == 0, done.errors
    tokens = frame(
        named_database,
        "select trim(piece) as piece, value from analysis.tokens as t left join analysis.token_annotation as a "
        "on a.token_id = t.token_id and layer = 'upos' order by t.token_id",
    )
    told = {value for piece, value in tokens.itertuples(index=False) if piece in ("!", ".")}
    assert told == {"PUNCT"}


@pytest.mark.parametrize("part", ["dev", "test"])
def test_the_text_of_a_gold_treebank_has_all_its_sentences_and_nothing_else(shared_data: Path, part: str) -> None:
    path = shared_data / "UD_English-EWT" / f"en_ewt-ud-{part}.conllu"
    source = read_source(path, eos_text=None, split=None)
    lines = path.read_text("utf-8").split("\n")
    sentences = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]
    assert "".join(source.text.split()) == "".join("".join(sentences).split())
    names = [line.removeprefix("# newdoc id = ") for line in lines if line.startswith("# newdoc id = ")]
    assert [each.name for each in source.parts] == names
    place = 0
    for sentence in sentences:
        found = source.text.index(sentence, place)
        assert source.text[place:found] in ("", " ", "\n\n")
        place = found + len(sentence)
