"""References on the whole way: several orders of one text, counts of a file, and those that a study names later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.reference_option import with_references
from ingest.setting import UnknownLayer
from ingest.study import BadStudy, ReferenceSpec, Study
from tests import float64
from tests.conftest import Outcome
from tests.contents import findings
from tests.ingested import Ingested, SilentMeter, ingest, reads_counted, rows, small_cells
from tests.models import EOS_ID, TEXT, tokenizer
from tests.oracle import Oracle, V, assert_close
from warehouse.database import Database
from warehouse.dimensions import ConflictingInputs

Documents = list[list[int]]


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A text of six documents, one a line."""
    path = tmp_path / "training.txt"
    path.write_text(TEXT, "utf-8")
    return path


def orders_of(text: Path, *orders: int, weight: float = 0.5) -> tuple[ReferenceSpec, ...]:
    named = {1: "unigram", 2: "bigram", 3: "trigram", 4: "four", 5: "five"}
    return tuple(ReferenceSpec(named[n], text=text, order=n, weight=weight, split="line") for n in orders)


def training_documents() -> Documents:
    return [[*tokenizer().encode(line).ids, EOS_ID] for line in TEXT.splitlines()]


def interpolated(grams: Counter[tuple[int, ...]], context: tuple[int, ...], weight: float) -> Any:
    """[V] P_n(.|context) by its definition."""
    counts = np.array([float(grams[*context, v]) for v in range(V)])
    if not context:
        return (counts + 1) / (counts.sum() + V)
    return (counts + weight * interpolated(grams, context[1:], weight)) / (counts.sum() + weight)


def expected_kl(oracle: Oracle, cell: tuple[str, int, int], positions: list[int], order: int) -> Any:
    """[T] KL to an order of the training text, from full distributions."""
    grams = Counter(
        tuple(document[start : start + n])
        for document in training_documents()
        for n in range(1, order + 1)
        for start in range(len(document) - n + 1)
    )
    targets = oracle.targets.tolist()
    seen = [tuple(targets[t - min(place, order - 1) : t]) for t, place in enumerate(positions)]
    log_q = np.log(np.stack([interpolated(grams, context, 0.5) for context in seen]))
    return float64.kl(oracle.log_p(*cell), log_q)


def kl_of(database: Database, reference: str, cell: tuple[str, int, int]) -> Any:
    query = """
    select unnest(chunk.kl) from warehouse.reference_chunk as chunk
    inner join analysis.evaluations as e using (evaluation_id)
    inner join warehouse.reference_distribution as r using (reference_id)
    where r.name = %s and e.model = %s and e.seed = %s and e.step = %s
    order by chunk.chunk_id
    """
    return np.array([kl for (kl,) in rows(database, query, reference, *cell)])


def test_orders_of_one_text_are_several_references_with_the_kl_of_float64(
    database: Database, study: Study, training: Path
) -> None:
    wanted = replace(study, references=orders_of(training, 1, 2, 3, 5))
    report = ingest(database, wanted)
    oracle = Oracle(Ingested(database, wanted, report))
    positions = [place for (place,) in rows(database, "select position from analysis.tokens order by token_id")]
    assert positions.count(0) == 10
    for order, name in {1: "unigram", 2: "bigram", 3: "trigram", 5: "five"}.items():
        cell = ("small", 1, 4)
        assert_close(kl_of(database, name, cell), expected_kl(oracle, cell, positions, order))
    assert findings(database) == {}


def test_the_view_shows_order_smoothing_and_weight_and_the_mean(
    database: Database, study: Study, training: Path
) -> None:
    wanted = replace(study, seeds=(0,), steps=(1,), kinds=(), references=orders_of(training, 1, 3))
    ingest(database, wanted)
    query = """
    select reference, ngram_order, smoothing, smoothing_weight, kl_reference, reference_entropy
    from analysis.reference_divergence order by ngram_order
    """
    (unigram, trigram) = rows(database, query)
    assert unigram[:4] == ("unigram", 1, "add-one", None)
    assert trigram[:4] == ("trigram", 3, "interpolated", 0.5)
    for row in (unigram, trigram):
        assert row[4] == pytest.approx(kl_of(database, row[0], ("small", 0, 1)).mean(), rel=1e-6)
    assert trigram[5] < unigram[5]


def test_frequency_counts_by_unigrams_and_each_reference_has_a_layer_of_its_own(
    database: Database, study: Study, training: Path
) -> None:
    assert study.corpus.path is not None
    (own,) = orders_of(study.corpus.path, 3)
    trigram, counted = replace(own, split=None), ReferenceSpec("counted", text=training, split="line")
    layers = ("frequency", "frequency.counted", "frequency.trigram")
    wanted = replace(study, seeds=(0,), steps=(1,), kinds=(), layers=layers, references=(trigram, counted))
    ingest(database, wanted)
    query = """
    select vocab_id, value_number from analysis.token_annotation
    inner join analysis.tokens using (corpus, token_id) where layer = %s order by token_id
    """
    corpus = Counter(vocab_id for vocab_id, _ in rows(database, query, "frequency.trigram"))
    text = Counter(i for document in training_documents() for i in document)
    for layer, counts in {"frequency": text, "frequency.counted": text, "frequency.trigram": corpus}.items():
        found = rows(database, query, layer)
        assert len(found) == corpus.total() > 0
        assert all(number == counts[vocab_id] for vocab_id, number in found)
    with pytest.raises(UnknownLayer, match=r"did you mean frequency\.counted\?"):
        ingest(database, replace(wanted, layers=("frequency.count",)))


def test_another_weight_or_order_under_a_name_is_refused_with_both(
    database: Database, study: Study, training: Path
) -> None:
    few = replace(study, seeds=(0,), steps=(1,), kinds=())
    (bigram,) = orders_of(training, 2)
    ingest(database, replace(few, references=(bigram,)))
    with pytest.raises(ConflictingInputs, match=r"order 2, smoothing interpolated with weight 0\.5; not .* weight 2\)"):
        ingest(database, replace(few, references=(replace(bigram, weight=2.0),)))
    with pytest.raises(ConflictingInputs, match=r"order 2, .*; not .*order 3, "):
        ingest(database, replace(few, references=(replace(bigram, order=3),)))
    with pytest.raises(ConflictingInputs, match=r"smoothing interpolated with weight 0\.5; not .* smoothing add-one\)"):
        ingest(database, replace(few, references=(replace(bigram, order=1),)))


# --- named later -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where readouts are kept."""
    folder = tmp_path / "home" / "readouts"
    monkeypatch.setattr("ingest.pipeline.kept_readouts", lambda: folder)
    monkeypatch.setattr("ingest.kept.kept_readouts", lambda: folder)
    return folder


def notes_of(database: Database, study: Study, **options: Any) -> list[str]:
    """What an ingestion says."""
    meters: list[SilentMeter] = []

    def meter(tokens: int, checkpoints: int) -> SilentMeter:
        meters.append(SilentMeter(tokens, checkpoints))
        return meters[-1]

    ingest(database, study, meter, **options)
    return meters[0].notes


def dry_run(study: Study, more: str, command: Callable[..., Outcome], folder: Path) -> list[str]:
    """What a dry run of a study with one more reference says of references."""
    assert study.corpus.path is not None
    file = folder / "study.toml"
    file.write_text(
        f"root = '{study.root}'\nfamily = '{study.family}'\nseeds = {list(study.seeds)}\nsteps = {list(study.steps)}\n"
        f"[corpus]\npath = '{study.corpus.path}'\nname = '{study.corpus.name}'\n"
        f"[protocol]\nwindow = {study.protocol.window}\n"
        f"[references.unigram]\ntext = '{study.corpus.path}'\n"
    )
    told = command("ingest", str(file), "--dry-run", *(["--reference", more] if more else []))
    assert (told.status, told.errors) == (0, "")
    return [line for line in told.output.splitlines() if line.startswith("Reference")]


def test_a_reference_named_later_says_what_is_read_again_and_reads_that(
    named_database: Database, study: Study, training: Path, kept: Path, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert dry_run(study, "", command, tmp_path) == []
    assert notes_of(named_database, study) == []
    assert notes_of(named_database, study) == []
    assert dry_run(study, "", command, tmp_path) == []
    said = "Reference trigram is new to 9 measured checkpoints: small seeds 0, 1, 2 steps 0, 1, 4 are read again."
    assert dry_run(study, f"trigram={training},order=3,weight=0.5,split=line", command, tmp_path) == [said]
    more = replace(study, references=(*study.references, *orders_of(training, 3)))
    with reads_counted() as read:
        assert notes_of(named_database, more) == [said]
    assert sorted(read) == small_cells()
    with reads_counted() as read:
        assert notes_of(named_database, more) == []
    assert read == []


def test_a_reference_named_later_reads_nothing_where_readouts_were_kept(
    named_database: Database, study: Study, training: Path, kept: Path, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    ingest(named_database, study, keep_readouts=True)
    said = "Reference trigram is new to 9 measured checkpoints: none is read again, since all their readouts were kept."
    more = replace(study, references=(*study.references, *orders_of(training, 3)))
    assert dry_run(study, f"trigram={training},order=3,weight=0.5,split=line", command, tmp_path) == [said]
    with reads_counted() as read:
        assert notes_of(named_database, more) == [said]
    assert read == []
    assert rows(named_database, "select count(*) from warehouse.reference_evaluation") == [(18,)]
    assert findings(named_database) == {}


def test_only_what_lacks_the_reference_and_was_not_kept_is_read_again(
    named_database: Database, study: Study, training: Path, kept: Path, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    ingest(named_database, study, keep_readouts=True)
    digest = """
    select evaluation.input_digest from warehouse.evaluation
    inner join warehouse.checkpoint using (checkpoint_id)
    inner join warehouse.run using (run_id)
    where run.seed = %s and checkpoint.step = %s
    """
    for seed, step in ((0, 1), (2, 4)):
        [(key,)] = rows(named_database, digest, seed, step)
        (kept / f"{key}.safetensors").unlink()
    both = orders_of(training, 2, 3)
    ingest(named_database, replace(study, seeds=(1,), kinds=(), references=(*study.references, *both)))
    said = (
        "References bigram and trigram are new to 6 measured checkpoints: small seed 0 step 1; small seed 2 step 4 "
        "are read again, and not 4 more, whose readouts were kept."
    )
    with reads_counted() as read:
        assert notes_of(named_database, replace(study, references=(*study.references, *both))) == [said]
    assert sorted(read) == [("small", 0, 1), ("small", 2, 4)]


def test_a_dry_run_without_a_warehouse_to_ask_says_nothing_of_it(
    study: Study,
    training: Path,
    command: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    assert dry_run(study, f"more={training}", command, tmp_path) == []
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "nowhere"))
    assert dry_run(study, f"more={training}", command, tmp_path) == []
    assert not (tmp_path / "nowhere").exists()


# --- options ---------------------------------------------------------------------------------------------------------


def test_an_option_adds_a_reference_and_replaces_one_of_its_name() -> None:
    first, second = ReferenceSpec("unigram", text=Path("a.txt")), ReferenceSpec("pile", counts=Path("b.npy"))
    study = Study("toys", references=(first, second))
    added = with_references(study, ["trigram=c.txt,order=3,weight=0.5", "unigram=d.csv,repair=true,smoothing=none"])
    assert added.references == (
        ReferenceSpec("unigram", counts=Path("d.csv"), repair=True, smoothing="none"),
        second,
        ReferenceSpec("trigram", text=Path("c.txt"), order=3, weight=0.5),
    )
    assert with_references(study, []).references == (first, second)


def test_a_comma_that_is_no_key_belongs_to_the_file() -> None:
    (spec,) = with_references(Study("toys"), ["u=one, two.txt,order=2"]).references
    assert (spec.text, spec.order) == (Path("one, two.txt"), 2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("u", "must be NAME=FILE"),
        ("u=", "must be NAME=FILE"),
        ("=a.txt", "must be NAME=FILE"),
        ("u=a.txt,ordr=3", "did you mean order"),
        ("u=a.txt,order=many", "a whole number"),
        ("u=a.txt,order=7", "order 7"),
        ("u=a.npy,order=2", "counted from a text"),
        ("u=a.txt,smoothing=none,order=2", "drop smoothing"),
        ("u=a.txt,smoothing=three", "references.smoothing three"),
    ],
)
def test_an_option_that_makes_no_sense_says_what_would(entry: str, message: str) -> None:
    with pytest.raises(BadStudy, match=message):
        with_references(Study("toys"), [entry]).with_options()
