"""CoNLL-U: what sentences and words a file has, and which line is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from warehouse.conllu import BadConllu, ConlluSentence, read_conllu


def line(number: str, form: str, head: str = "_", **columns: str) -> str:
    """A line of ten columns."""
    c = {"lemma": "_", "upos": "_", "xpos": "_", "feats": "_", "deprel": "_", **columns}
    return "\t".join([number, form, c["lemma"], c["upos"], c["xpos"], c["feats"], head, c["deprel"], "_", "_"])


SENTENCE = [
    "# newdoc id = one",
    "# text = She didn't.",
    line("1", "She", "3", lemma="she", upos="PRON", xpos="PRP", feats="Case=Nom|Number=Sing", deprel="nsubj"),
    line("2-3", "didn't"),
    line("2", "did", "0", upos="AUX", deprel="root"),
    line("3", "n't", "2", upos="PART", deprel="advmod:neg"),
    line("3.1", "go", "_", upos="VERB"),
    line("4", ".", "2", upos="PUNCT", deprel="punct"),
]


def read(folder: Path, lines: list[str], ending: str = "\n") -> list[ConlluSentence]:
    file = folder / "a.conllu"
    file.write_bytes(ending.join(lines).encode())
    return list(read_conllu(file))


def test_a_sentence_has_its_words_with_values_and_lines(tmp_path: Path):
    [sentence] = read(tmp_path, SENTENCE)
    assert (sentence.line, sentence.text, sentence.begins_document) == (1, "She didn't.", True)
    assert [(word.line, word.form) for word in sentence.words] == [(3, "She"), (5, "did"), (6, "n't"), (8, ".")]
    assert sentence.words[0].values == {
        "lemma": "she",
        "upos": "PRON",
        "xpos": "PRP",
        "deprel": "nsubj",
        "head_distance": "2",
        "Case": "Nom",
        "Number": "Sing",
    }
    assert [word.values.get("head_distance") for word in sentence.words] == ["2", None, "-1", "-2"]
    assert sentence.words[2].values["deprel"] == "advmod:neg"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", [[], [""], ["", "", ""]])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(
    tmp_path: Path, ending: str, tail: list[str], mark: str
):
    lines = [mark + SENTENCE[0], *SENTENCE[1:], "", *SENTENCE[1:], *tail]
    first, second = read(tmp_path, lines, ending)
    assert [word.values for word in first.words] == [word.values for word in second.words]
    assert first.text == second.text == "She didn't."
    assert (first.begins_document, second.begins_document, second.line) == (True, False, 10)


def test_a_multiword_token_that_its_words_do_not_spell_is_one_word(tmp_path: Path):
    [sentence] = read(
        tmp_path,
        [
            line("1-2", "du"),
            line("1", "de", "3", upos="ADP", feats="A=x"),
            line("2", "le", "3", upos="DET", deprel="det"),
            line("3", "chat", "0", upos="NOUN"),
        ],
    )
    assert [(word.line, word.form) for word in sentence.words] == [(1, "du"), (4, "chat")]
    assert sentence.words[0].values == {"upos": "ADP+DET", "A": "x", "deprel": "det"}


def test_a_word_may_be_an_underscore_or_hold_a_space_or_a_hash(tmp_path: Path):
    [sentence] = read(tmp_path, [line("1", "_"), line("2", "1 000"), line("3", "#")])
    assert [word.form for word in sentence.words] == ["_", "1 000", "#"]


def test_an_empty_file_has_no_sentence(tmp_path: Path):
    assert read(tmp_path, []) == []
    assert read(tmp_path, ["# only a comment", ""]) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\tShe"], "line 1, has 2 columns"),
        ([line("1", "She"), "2 did"], "line 2, has 1 columns"),
        ([line("1", "")], "line 1, has no form"),
        ([line("2", "She")], "line 1, has word 2 where word 1"),
        ([line("1", "She"), line("1", "did")], "line 2, has word 1 where word 2"),
        ([line("x", "She")], "line 1, begins with 'x'"),
        ([line("1", "She", "2")], "line 1, has the head '2'"),
        ([line("1", "She", "1")], "line 1, has the head '1'"),
        ([line("1", "She", "-1"), line("2", "a")], "line 1, has the head '-1'"),
        ([line("1", "She", feats="Case")], "line 1, has features 'Case'"),
        ([line("1", "She", feats="A=b|A=c")], "line 1, has features"),
        ([line("1", "She", feats="upos=X")], "line 1, has a feature called upos"),
        ([line("1-2", "don't"), line("1", "do")], "line 1: the sentence ends before word 2"),
        ([line("2-3", "don't"), line("1", "do")], "line 1: the words 2-3 do not come next"),
        ([line("1-2", "ab"), line("1-2", "ab"), line("1", "a"), line("2", "b")], "line 2: the words 1-2"),
    ],
)
def test_a_line_that_is_not_conllu_is_named(tmp_path: Path, lines: list[str], message: str):
    with pytest.raises(BadConllu, match=message):
        read(tmp_path, lines)


def test_a_file_that_is_not_utf8_or_not_there_is_refused(tmp_path: Path):
    (tmp_path / "latin.conllu").write_bytes(line("1", "a").encode() + b"\n" + line("2", "é").encode("latin-1"))
    with pytest.raises(BadConllu, match="line 2, is not UTF-8"):
        list(read_conllu(tmp_path / "latin.conllu"))
    with pytest.raises(BadConllu, match="Cannot read"):
        list(read_conllu(tmp_path / "absent.conllu"))


@pytest.mark.parametrize(("part", "sentences", "documents"), [("dev", 2_001, 318), ("test", 2_077, 316)])
def test_a_treebank_is_read_whole(shared_data: Path, part: str, sentences: int, documents: int):
    """The words of each sentence spell its text, and their numbers of lines are those of the file."""
    file = shared_data / "UD_English-EWT" / f"en_ewt-ud-{part}.conllu"
    lines = file.read_text("utf-8").split("\n")
    read_sentences = list(read_conllu(file))
    assert (len(read_sentences), sum(s.begins_document for s in read_sentences)) == (sentences, documents)
    for sentence in read_sentences:
        assert sentence.text is not None
        assert "".join(word.form for word in sentence.words) == "".join(sentence.text.split())
        for word in sentence.words:
            own = lines[word.line - 1].split("\t")
            assert (own[1], own[3]) == (word.form, word.values["upos"])
            distance = None if own[6] == "0" else str(int(own[6]) - int(own[0]))
            assert word.values.get("head_distance") == distance
