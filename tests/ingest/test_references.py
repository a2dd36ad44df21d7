"""Reference distributions: their counts, what is refused, and the published numbers."""

from __future__ import annotations

import csv
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ingest.corpus import load_corpus
from ingest.ngrams import count_ngrams
from ingest.references import (
    BrokenCounts,
    InfiniteDivergence,
    ReservedName,
    UnreadableCounts,
    WrongVocabularyLength,
    load_reference,
    make_reference,
    ngram_reference,
    reference_from_ids,
)
from ingest.vocabulary import load_vocabulary

COUNTS = [3.0, 0.0, 1.0, 4.0]


def save_csv(path: Path, header: list[str], rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_add_one_smoothing_is_the_hand_computed_distribution() -> None:
    reference = make_reference("small", COUNTS, 4, source="by hand")
    assert reference.probabilities() == pytest.approx([4 / 12, 1 / 12, 2 / 12, 5 / 12], abs=0, rel=1e-15)
    assert np.exp(reference.log_probabilities()).sum() == pytest.approx(1, rel=1e-12)
    assert reference.log_probabilities().dtype == np.float64


def test_entropy_and_kl_to_uniform_add_up_to_log_v() -> None:
    reference = make_reference("small", COUNTS, 4, source="by hand", smoothing="none")
    expected = -(3 / 8 * np.log(3 / 8) + 1 / 8 * np.log(1 / 8) + 1 / 2 * np.log(1 / 2))
    assert reference.entropy() == pytest.approx(expected, rel=1e-12)
    assert reference.kl_to_uniform() == pytest.approx(np.log(4) - expected, rel=1e-12)


def test_log_probabilities_without_smoothing_refuse_unseen_ids() -> None:
    with pytest.raises(InfiniteDivergence, match="'small' has no count for 1 ids"):
        make_reference("small", COUNTS, 4, source="by hand", smoothing="none").log_probabilities()
    seen = make_reference("seen", [1, 3], 2, source="by hand", smoothing="none")
    assert seen.log_probabilities() == pytest.approx(np.log([0.25, 0.75]), rel=1e-15)


def test_digest_is_of_the_counts_as_little_endian_float64() -> None:
    reference = make_reference("small", COUNTS, 4, source="by hand")
    assert reference.sha256 == hashlib.sha256(struct.pack("<4d", *COUNTS)).hexdigest()
    assert make_reference("other", [3, 0, 1, 5], 4, source="by hand").sha256 != reference.sha256


def test_a_reference_from_ids_counts_them() -> None:
    reference = reference_from_ids("text", np.array([3, 0, 3, 2, 0, 0, 3, 3], np.int32), 4, source="a corpus")
    assert reference.counts.tolist() == COUNTS
    with pytest.raises(WrongVocabularyLength, match=r"5 counts.* 4 ids"):
        reference_from_ids("text", np.array([4], np.int32), 4, source="a corpus")


def test_numpy_csv_and_parquet_files_give_the_same_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.array(COUNTS, np.int64))
    save_csv(tmp_path / "counts.csv", ["id", "count"], [(3, 4), (0, 3), (2, 1)])
    parquet.write_table(pa.table({"vocab_id": [0, 2, 3], "count": [3, 1, 4]}), tmp_path / "counts.parquet")
    for suffix in ("npy", "csv", "parquet"):
        reference = load_reference(tmp_path / f"counts.{suffix}", 4)
        assert reference.counts.tolist() == COUNTS
        assert reference.counts.dtype == np.float64
        assert reference.name == "counts"
        assert reference.source == str(tmp_path / f"counts.{suffix}")


@pytest.mark.parametrize("length", [3, 5])
def test_counts_of_another_length_are_refused_naming_both(tmp_path: Path, length: int) -> None:
    np.save(tmp_path / "counts.npy", COUNTS)
    with pytest.raises(WrongVocabularyLength, match=f"4 counts, but the vocabulary has {length} ids"):
        load_reference(tmp_path / "counts.npy", length)


@pytest.mark.parametrize("broken", [-1.0, np.nan, np.inf, 0.5, 6.4e-312])
def test_broken_counts_are_refused_with_their_ids_and_repaired_on_request(broken: float) -> None:
    counts = [3.0, broken, 1.0, broken]
    with pytest.raises(BrokenCounts, match=r"2 ids .*id 1: .*id 3: .*repair = true"):
        make_reference("broken", counts, 4, source="by hand")
    repaired = make_reference("broken", counts, 4, source="by hand", repair=True)
    assert repaired.counts.tolist() == [3, 0, 1, 0]
    assert repaired.source == "by hand, 2 broken counts set to 0"
    assert make_reference("sound", COUNTS, 4, source="by hand", repair=True).source == "by hand"


def test_repair_leaves_the_callers_counts_alone() -> None:
    counts = np.array([1.0, -1.0])
    make_reference("broken", counts, 2, source="by hand", repair=True)
    assert counts.tolist() == [1.0, -1.0]


@pytest.mark.parametrize("counts", [[0, 0], ["a", "b"], [0.5, 0.25], [1 + 2j, 1], [True, False], [None, 1]])
def test_counts_that_count_nothing_are_refused_even_with_repair(counts: list[Any]) -> None:
    with pytest.raises(BrokenCounts):
        make_reference("nothing", counts, 2, source="by hand", repair=True)


def test_an_unknown_smoothing_is_refused() -> None:
    with pytest.raises(BrokenCounts, match="add-one, none"):
        make_reference("small", COUNTS, 4, source="by hand", smoothing="kneser-ney")  # type: ignore[arg-type]


def test_tables_with_repeated_or_foreign_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCounts, match="id 2 more than once"):
        load_reference(save_csv(tmp_path / "a.csv", ["id", "count"], [(2, 1), (2, 1)]), 4)
    for outside in (4, -1):
        with pytest.raises(WrongVocabularyLength, match=f"id {outside}, .* 4 ids"):
            load_reference(save_csv(tmp_path / "a.csv", ["id", "count"], [(outside, 1)]), 4)


def test_tables_without_the_columns_or_with_other_than_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCounts, match=r"needs columns vocab_id and count; it has token, n"):
        load_reference(save_csv(tmp_path / "a.csv", ["token", "n"], [("a", 1)]), 4)
    with pytest.raises(UnreadableCounts, match="needs columns vocab_id and count"):
        load_reference(save_csv(tmp_path / "a.csv", ["id", "count", "count"], [(1, 1, 2)]), 4)
    with pytest.raises(UnreadableCounts, match="needs columns vocab_id and count"):
        load_reference(save_csv(tmp_path / "a.csv", ["id", "vocab_id", "count"], [(1, 2, 1)]), 4)
    for row in [("a", 1), (1, "many"), (1,), (1, 2, 5), ("1.5", 1), ("", 1)]:
        with pytest.raises(UnreadableCounts, match=r"a\.csv"):
            load_reference(save_csv(tmp_path / "a.csv", ["id", "count"], [row]), 4)


def test_marks_and_line_ends_of_other_systems_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_bytes("\ufeffvocab_id,count\r\n0,3\r\n2,1\r\n3,4\r\n".encode())
    assert load_reference(tmp_path / "counts.csv", 4).counts.tolist() == COUNTS
    (tmp_path / "counts.csv").write_bytes("vocab_id,count\n0,3\n".encode("utf-16"))
    with pytest.raises(UnreadableCounts, match=r"counts\.csv"):
        load_reference(tmp_path / "counts.csv", 4)


@pytest.mark.parametrize("column", [[0.5, 1.0], [None, 1], ["0", "1"]])
def test_ids_of_a_parquet_table_are_whole_numbers(tmp_path: Path, column: list[object]) -> None:
    parquet.write_table(pa.table({"vocab_id": column, "count": [1, 2]}), tmp_path / "counts.parquet")
    with pytest.raises(UnreadableCounts, match=r"counts\.parquet"):
        load_reference(tmp_path / "counts.parquet", 4)


@pytest.mark.parametrize("name", ["counts.npy", "counts.parquet", "counts.csv", "counts.txt"])
def test_files_that_hold_no_counts_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableCounts, match=name):
        load_reference(tmp_path / name, 4)
    (tmp_path / name).write_bytes(b"neither numbers nor a table")
    with pytest.raises(UnreadableCounts, match=name):
        load_reference(tmp_path / name, 4)


def test_the_published_counts_are_refused_and_repaired_give_the_published_entropies(shared_data: Path) -> None:
    file = shared_data / "seed-kl-study" / "pile_validation_token_counts.npy"
    with pytest.raises(BrokenCounts, match=r"256 ids .*id 1: 6\.43"):
        load_reference(file, 50_277)
    raw = load_reference(file, 50_277, smoothing="none", repair=True)
    smoothed = load_reference(file, 50_277, repair=True)
    assert (raw.entropy(), smoothed.entropy()) == pytest.approx((7.9137, 7.9144), abs=5e-5)
    assert (raw.kl_to_uniform(), smoothed.kl_to_uniform()) == pytest.approx((2.9116, 2.9109), abs=5e-5)
    assert np.log(len(raw.counts)) == pytest.approx(10.8253, abs=5e-5)
    uniform = np.full(50_277, 1 / 50_277)
    kl_from_uniform = (uniform * (np.log(uniform) - smoothed.log_probabilities())).sum()
    assert kl_from_uniform == pytest.approx(1.614, abs=5e-4)


def test_cross_entropy_of_the_studys_targets_is_the_published_one(shared_data: Path) -> None:
    study = shared_data / "seed-kl-study"
    vocabulary = load_vocabulary(shared_data / "pythia" / "20B_tokenizer.json")
    corpus = load_corpus(study / "sample4" / "input_text.txt", vocabulary)
    for smoothing in ("add-one", "none"):
        reference = load_reference(
            study / "pile_validation_token_counts.npy", vocabulary.length, smoothing=smoothing, repair=True
        )
        assert -np.log(reference.probabilities()[corpus.ids]).mean() == pytest.approx(7.9565, abs=5e-5)


def test_n_grams_of_a_text_have_its_counts_and_a_digest_of_the_text() -> None:
    ids, positions = np.array([1, 2, 0, 1, 2, 3], np.int32), np.array([0, 1, 2, 0, 1, 2], np.int32)
    model = count_ngrams(ids, positions, 4, 3, 2.0)
    bigram, trigram = (ngram_reference(f"{n}", ids, positions, n, model, source="a text") for n in (2, 3))
    assert (bigram.order, bigram.smoothing, bigram.weight, bigram.source) == (2, "interpolated", 2.0, "a text")
    assert bigram.counts.tolist() == [1, 2, 2, 1]
    assert (bigram.entropy(), trigram.entropy()) == model.entropies[1:]
    assert bigram.kl_to_uniform() == pytest.approx(np.log(4) - model.entropies[1])
    assert bigram.sha256 == trigram.sha256
    other = ngram_reference("2", ids, np.arange(6, dtype=np.int32), 2, model, source="one document")
    assert other.sha256 != bigram.sha256


def test_the_name_of_the_uniform_distribution_is_taken() -> None:
    with pytest.raises(ReservedName, match="cannot be called 'uniform'"):
        make_reference("uniform", [1, 2], 2, source="here")
