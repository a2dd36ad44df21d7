"""Derived corpora: which tokens are replaced, which stay, and which spans are made, by hand and by other means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.corpus import Corpus, load_corpus, load_items
from ingest.derived import UnderivableCorpus, derive, in_context, noised, truncated
from ingest.derived_spec import DerivedSpec
from ingest.vocabulary import Vocabulary, load_vocabulary
from tests.ingested import documents, write_documents
from tests.models import EOS_ID, save_tokenizer
from warehouse.items import Role


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, vocabulary: Vocabulary) -> Corpus:
    path = write_documents(tmp_path_factory.mktemp("text") / "letters.jsonl", documents())
    return load_corpus(path, vocabulary, name="letters")


def ids_of(corpus: Corpus) -> list[list[int]]:
    """The ids of each document."""
    return [corpus.ids[d.first_token : d.first_token + d.n_tokens].tolist() for d in corpus.documents]


@pytest.mark.parametrize("percent", [20, 50, 100])
def test_noise_replaces_a_share_of_each_documents_tokens_and_no_eos(
    base: Corpus, vocabulary: Vocabulary, percent: int
) -> None:
    made = noised(base, vocabulary, percent=percent, seed=3)
    for old, new in zip(ids_of(base), ids_of(made), strict=True):
        assert new[-1] == old[-1] == EOS_ID
        changed = sum(a != b for a, b in zip(old, new, strict=True))
        assert changed == int((len(old) - 1) * percent / 100 + 0.5)
        assert EOS_ID not in new[:-1]
    assert made.name == f"letters-noised-{percent}-seed-3"
    assert made.derivation == {"kind": "noised", "percent": percent, "seed": 3}
    assert made.base is base
    assert made.ids_sha256 != base.ids_sha256
    assert (made.byte_start == base.byte_start).all()


def test_noise_is_the_same_for_a_seed_grows_with_its_percentage_and_differs_by_seed(
    base: Corpus, vocabulary: Vocabulary
) -> None:
    some, more = (noised(base, vocabulary, percent=percent, seed=1).ids for percent in (20, 60))
    assert (noised(base, vocabulary, percent=20, seed=1).ids == some).all()
    replaced = some != base.ids
    assert (more[replaced] == some[replaced]).all()
    assert (more != base.ids).sum() > replaced.sum()
    assert (noised(base, vocabulary, percent=20, seed=2).ids != some).any()


def test_noise_takes_ids_and_places_evenly(base: Corpus, vocabulary: Vocabulary) -> None:
    pairs = [noised(base, vocabulary, percent=50, seed=seed).ids for seed in range(200)]
    changed = np.array(pairs) != base.ids
    text = base.ids != EOS_ID
    # Each place of a document with probability one half, each of 318 other ids as often: six standard errors.
    share = changed[:, text].mean(0)
    assert abs(share - 0.5).max() < 6 * np.sqrt(0.25 / 200) + 0.02
    drawn = np.bincount(np.array(pairs)[changed], minlength=vocabulary.length)
    assert drawn[EOS_ID] == 0
    mean = drawn[1:].mean()
    assert abs(drawn[1:] - mean).max() < 6 * np.sqrt(mean)


def test_the_published_stream_of_the_generator_decides(base: Corpus, vocabulary: Vocabulary) -> None:
    """The same by plain Python from the raw numbers, token by token."""
    raw = [int(number) for number in np.random.PCG64(5).random_raw(2 * base.n_tokens)]
    expected = base.ids.tolist()
    for document in base.documents:
        text = range(document.first_token, document.first_token + document.n_tokens - 1)
        for token in sorted(text, key=raw.__getitem__)[: int(len(text) * 0.4 + 0.5)]:
            others = [i for i in range(vocabulary.length) if i not in (EOS_ID, base.ids[token])]
            expected[token] = others[raw[base.n_tokens + token] % len(others)]
    assert noised(base, vocabulary, percent=40, seed=5).ids.tolist() == expected


def test_noised_items_stay_items(tmp_path: Path, vocabulary: Vocabulary) -> None:
    (tmp_path / "items.jsonl").write_text(
        json.dumps({"context": "Anna walked", "options": ["out", "the dog"], "correct": 1})
    )
    items = load_items(tmp_path / "items.jsonl", "options", vocabulary)
    made = derive(items, DerivedSpec("noised", percent=100, name="noise"), vocabulary)
    assert made.name == "noise"
    assert made.paradigms == items.paradigms
    assert [d.scored_from for d in made.documents] == [d.scored_from for d in items.documents]
    with pytest.raises(UnderivableCorpus, match=r"Corpus items holds items, .* not truncated"):
        derive(items, DerivedSpec("truncated", length=2), vocabulary)


def test_truncation_keeps_the_first_tokens_and_the_eos_where_there_is_room(base: Corpus) -> None:
    longest = max(document.n_tokens for document in base.documents)
    shortest = min(document.n_tokens for document in base.documents)
    made = truncated(base, length=shortest)
    assert ids_of(made) == [ids[:shortest] for ids in ids_of(base)]
    assert made.position.tolist() == list(range(shortest)) * len(base.documents)
    for old, new in zip(base.documents, made.documents, strict=True):
        assert new.name == old.name
        text = base.text[new.char_start : new.char_end]
        assert base.text[old.char_start : old.char_end].startswith(text)
        assert (new == replace(old, first_token=new.first_token)) == (old.n_tokens == shortest)
    assert ids_of(truncated(base, length=longest)) == ids_of(base)
    assert made.derivation == {"kind": "truncated", "length": shortest}


def test_spans_of_a_stretch_end_with_the_same_target(base: Corpus, vocabulary: Vocabulary) -> None:
    made = in_context(base, target=30, short_from=26, long_from=11)
    expected, texts = [], []
    for ids in ids_of(base):
        text = ids[:-1]
        for start in range(0, len(text) - 29, 30):
            stretch = text[start : start + 30]
            expected += [stretch[25:], stretch[10:]]
            texts += [b"".join(vocabulary.pieces[i] for i in span) for span in expected[-2:]]
    assert len(expected) > 2 * len(base.documents)
    assert ids_of(made) == expected
    assert [d.scored_from for d in made.documents] == [4, 19] * (len(expected) // 2)
    assert [d.name for d in made.documents[:2]] == ["in-context-learning/0/short", "in-context-learning/0/long"]
    encoded = base.text.encode()
    assert [encoded[d.byte_start : d.byte_end] for d in made.documents] == texts
    assert made.eos_policy == "none"
    (paradigm,) = made.paradigms
    assert (paradigm.kind, paradigm.roles[2:4]) == ("spans", (Role(1, "short", 2), Role(1, "long", 3)))


def test_the_published_spans_are_ids_450_and_100_to_500_before_501(tmp_path: Path, vocabulary: Vocabulary) -> None:
    (tmp_path / "long.txt").write_text("\x01" * 1100)
    base = load_corpus(tmp_path / "long.txt", vocabulary, eos_policy="none")
    assert base.n_tokens == 1100
    base = replace(base, ids=np.arange(1100, dtype=np.int32))
    made = derive(base, DerivedSpec("in-context"), vocabulary)
    # Numbered from 1 the k-th id is k - 1 here; the second stretch begins at 501.
    assert [(ids[0] + 1, ids[-2] + 1, ids[-1] + 1) for ids in ids_of(made)] == [
        (450, 500, 501),
        (100, 500, 501),
        (951, 1001, 1002),
        (601, 1001, 1002),
    ]


def test_a_text_too_short_for_a_span_is_refused(base: Corpus) -> None:
    with pytest.raises(UnderivableCorpus, match="No document of corpus letters has the 501 tokens"):
        in_context(base, target=501, short_from=450, long_from=100)
