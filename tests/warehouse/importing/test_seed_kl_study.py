"""The 70m files of the seed-KL study, imported as a user would: what views say equals numpy on the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from tests.contents import findings, frame
from warehouse.cli import main
from warehouse.database import Database

STEPS = (128, 512, 4000, 8000, 16000, 32000, 64000, 128000, 143000)
MODELS = ("70m", "160m", "410m", "1b")
MEASURED = 2048
#: Means over columns 0..2047, to four digits: KL(earlier || later), KL(later || earlier).
PUBLISHED = {
    (128, 512): (2.1064, 1.7679),
    (512, 4000): (1.2701, 1.1635),
    (4000, 8000): (0.2005, 0.2013),
    (8000, 16000): (0.1826, 0.1854),
    (16000, 32000): (0.1814, 0.1780),
    (32000, 64000): (0.1841, 0.1891),
    (64000, 128000): (0.2143, 0.2131),
    (128000, 143000): (0.1261, 0.1240),
}
MANIFEST = f"""
corpus = "dialogue"
protocol = "seed-kl-study"
origin = "Seed-KL study, one pass without BOS"
family = "pythia-deduped"
window = 2048
bos = false
path = "{{folder}}/step{{{{step}}}}_kl.npy"
positions = "0:{MEASURED}"
offset = 1

[files]
models = ["70m"]
steps = {list(STEPS)}

[rows]
models = {json.dumps(MODELS)}
steps = {list(STEPS)}
skip_file = true
"""


@pytest.fixture(scope="module")
def study(shared_data: Path) -> Path:
    """The folder of the files."""
    return shared_data / "seed-kl-study" / "kl-pythia-70m-deduped"


@pytest.fixture(scope="module")
def files(study: Path) -> dict[tuple[int, str, int], NDArray[np.float64]]:
    """[4171] KL by step of p, and model and step of q, read row by row in the order of the study's own list."""
    config = json.loads((study / "kl_config.json").read_text())
    names = [name.removeprefix("EleutherAI/pythia-").removesuffix("-deduped") for name in config["model_names"]]
    steps = [int(revision.removeprefix("step")) for revision in config["revisions"]]
    everything = [(name, step) for name in names for step in steps]
    found = {}
    for p in steps:
        rows = iter(np.load(study / f"step{p}_kl.npy"))
        for name, step in everything:
            if (name, step) != ("70m", p):
                found[p, name, step] = next(rows)
        assert next(rows, None) is None
    return found


@pytest.fixture(scope="module")
def imported(
    module_database: Database, study: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A database with the text, its parts of speech and the KL."""
    folder = tmp_path_factory.mktemp("study")
    manifest = folder / "70m.toml"
    manifest.write_text(MANIFEST.format(folder=study))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", module_database.owner_url)
        patch.setenv("DATABASE_READ_URL", module_database.reader_url)
        patch.setenv("NLTK_DATA", str(shared_data / "nltk_data"))
        tokenizer = shared_data / "pythia" / "20B_tokenizer.json"
        text = ["corpus", "add", str(study / "input_text.txt"), "--tokenizer", str(tokenizer), "--name", "dialogue"]
        _run(*text, "--eos", "none", "--layer", "pos", "--layer", "word_start")
        _run("import", "kl", str(manifest))
    return module_database


def _run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ending:
        main(list(arguments))
    assert not ending.value.code


def _step_means(database: Database, kind: str) -> dict[tuple[int, int], float]:
    query = "select step, step_q, convergence, n_tokens from analysis.expected_convergence where kind = %s"
    table = frame(database, query, kind)
    assert (table["n_tokens"] == MEASURED).all()
    return {(row.step, row.step_q): row.convergence for row in table.itertuples()}


def test_the_text_is_cut_into_the_tokens_of_the_study(imported: Database, study: Path) -> None:
    pieces = frame(imported, "select piece from analysis.tokens order by token_id")["piece"]
    assert len(pieces) == len(json.loads((study / "input_text_tokenized.json").read_text())) == 4171


@pytest.mark.parametrize("kind", ["step", "step_reverse"])
def test_expected_convergence_is_minus_the_mean_of_the_files(imported: Database, files: Any, kind: str) -> None:
    found = _step_means(imported, kind)
    forward = kind == "step"
    assert set(found) == {pair if forward else pair[::-1] for pair in PUBLISHED}
    for (step, step_q), convergence in found.items():
        assert -convergence == pytest.approx(files[step, "70m", step_q][:MEASURED].mean(), abs=1e-6)
        earlier, later = sorted((step, step_q))
        assert round(-convergence, 4) == PUBLISHED[earlier, later][0 if forward else 1]


def test_column_i_is_about_token_i_plus_one_and_the_first_token_has_none(imported: Database, files: Any) -> None:
    query = """
    select token_id, kl from analysis.pairwise_kl
    where kind = 'step' and step = 512 order by token_id
    """
    kl = frame(imported, query)["kl"].to_numpy(float)
    column = files[512, "70m", 4000]
    assert len(kl) == 4171
    assert np.isnan(kl[0])
    # Single values, for the mean would be the same with a column more or less.
    for token in (1, 2, 7, 256, 257, 2047, 2048):
        assert kl[token] == pytest.approx(column[token - 1], rel=1e-6)
    assert np.isnan(kl[2049:]).all()


def test_every_pair_has_its_own_row_of_its_own_file(imported: Database, files: Any) -> None:
    query = """
    select step, model_q, step_q, avg(kl) as mean, count(kl) as n from analysis.pairwise_kl
    where kind in ('step', 'step_reverse', 'custom', 'final', 'final_reverse') group by 1, 2, 3
    """
    table = frame(imported, query)
    assert len(table) == len(files) == 315
    for row in table.itertuples():
        assert row.mean == pytest.approx(files[row.step, row.model_q, row.step_q][:MEASURED].mean(), rel=1e-6)


def test_pairs_of_other_models_and_of_steps_that_are_no_neighbours_are_custom(imported: Database) -> None:
    table = frame(imported, "select kind, model, step, model_q, step_q, n_pairs, complete from analysis.comparisons")
    assert set(table["kind"][table["model_q"] != "70m"]) == {"custom"}
    assert (table["model_q"] != "70m").sum() == 9 * 27
    assert table["kind"].value_counts().to_dict() == {
        "custom": 9 * 27 + 72 - 16 - 14,
        "step": 8,
        "step_reverse": 8,
        "final": 8,
        "final_reverse": 8,
    }
    assert (table["n_pairs"] == 1).all()
    assert table["complete"].all()


def test_relative_divergence_by_part_of_speech_is_a_ratio_of_means(imported: Database, files: Any) -> None:
    tags = frame(imported, "select value from analysis.token_annotation where layer = 'pos' order by token_id")["value"]
    query = """
    select value, sigma, n_tokens from analysis.relative_divergence
    where kind = 'step' and step = 512 and layer = 'pos'
    """
    found = frame(imported, query).set_index("value")
    kl = pd.Series(files[512, "70m", 4000][:MEASURED], index=range(1, MEASURED + 1))
    expected = kl.groupby(tags.iloc[1 : MEASURED + 1]).mean() / kl.mean()
    assert len(expected) > 20
    pd.testing.assert_series_equal(found["sigma"].sort_index(), expected.sort_index(), check_names=False, rtol=1e-6)
    assert found["n_tokens"].sum() == MEASURED


def _tests_by_tag(kl: pd.Series[float], tags: pd.Series[str]) -> pd.DataFrame:
    """log sigma of each tag, its error by residuals of chunks of 256 tokens, and its adjusted p, by scipy."""
    facts = pd.DataFrame({"kl": kl, "tag": tags.loc[kl.index], "chunk": kl.index // 256})
    x = facts["kl"] / facts["kl"].sum() - 1 / len(facts)
    rows = {}
    for tag, own in facts.groupby("tag"):
        n_clusters = own["chunk"].nunique()
        residuals = (own["kl"] / own["kl"].sum() - 1 / len(own)).groupby(own["chunk"]).sum()
        residuals = residuals.sub(x.groupby(facts["chunk"]).sum(), fill_value=0)
        error = np.sqrt(n_clusters / max(n_clusters - 1, 1) * (residuals**2).sum()) if n_clusters >= 5 else np.nan
        rows[tag] = (len(own), n_clusters, np.log(own["kl"].mean() / facts["kl"].mean()), error)
    found = pd.DataFrame.from_dict(rows, "index", columns=["n_tokens", "n_clusters", "log_sigma", "se_log_sigma"])
    p = 2 * scipy.stats.t.sf(abs(found["log_sigma"] / found["se_log_sigma"]), found["n_clusters"] - 1)
    found["q_value"] = np.nan
    found.loc[~np.isnan(p), "q_value"] = scipy.stats.false_discovery_control(p[~np.isnan(p)])
    return found


def test_determiners_are_tested_and_lie_off_one_at_three_steps_by_less_than_an_outlier(
    imported: Database, files: Any
) -> None:
    """On the slides determiners are outliers. Here they have 176 tokens in 8 chunks, enough for a test, and are not."""
    tags = frame(imported, "select value from analysis.token_annotation where layer = 'pos' order by token_id")["value"]
    columns = "n_tokens, n_clusters, log_sigma, se_log_sigma, q_value"
    q_values = {}
    for step, step_q in PUBLISHED:
        kl = pd.Series(files[step, "70m", step_q][:MEASURED], index=range(1, MEASURED + 1))
        expected = _tests_by_tag(kl, tags)
        query = f"select value, {columns} from relative_divergence where kind = 'step' and layer = 'pos' and step = %s"
        found = frame(imported, query, step).set_index("value").sort_index()
        pd.testing.assert_frame_equal(found, expected, check_names=False, check_dtype=False, rtol=1e-5, atol=1e-9)
        determiners = found.loc["DT"]
        assert (determiners["n_tokens"], determiners["n_clusters"]) == (176, 8)
        assert abs(determiners["log_sigma"]) < np.log(1.25)
        q_values[step] = float(determiners["q_value"])
    assert {step for step, q in q_values.items() if q <= 0.05} == {128, 512, 8000}
    outliers = frame(
        imported, "select distinct value from relative_divergence_outliers where layer = 'pos' and kind = 'step'"
    )
    assert "DT" not in set(outliers["value"])
    assert {"NN", "NNS", "JJ", "IN", "TO", "PRP"} <= set(outliers["value"])


def test_a_difference_between_steps_is_paired_by_chunk(imported: Database, files: Any) -> None:
    """The text is one document, so that chunks are what is independent; no two runs, so no error over seeds."""
    chunk = np.arange(1, MEASURED + 1) // 256
    steps = list(zip(STEPS[:-2], STEPS[1:-1], STEPS[2:], strict=True))
    query = """
    select found.* from analysis.convergence_difference_between('dialogue', '70m', %s, step_b => %s, kind => 'step')
        as found
    """
    for step, later, last in steps:
        x, y = files[step, "70m", later][:MEASURED], files[later, "70m", last][:MEASURED]
        [row] = frame(imported, query, step, later).to_dict("records")
        assert row["difference"] == pytest.approx(y.mean() - x.mean(), abs=1e-6)
        e = pd.Series((x - x.mean() - (y - y.mean())) / MEASURED).groupby(chunk).sum()
        assert row["se_document"] == pytest.approx(np.sqrt(len(e) / (len(e) - 1) * (e**2).sum()), rel=1e-5)
        assert (row["cluster"], row["df_document"], row["se_seed"]) == ("chunk", 8, None)
    assert len(steps) == 7


def test_nothing_is_wrong_with_what_was_imported(imported: Database) -> None:
    assert findings(imported) == {}


def test_imported_checkpoints_are_not_taken_for_scored_ones(imported: Database) -> None:
    assert frame(imported, "select * from analysis.evaluations").empty
    status = frame(imported, "select distinct status from warehouse.evaluation")["status"]
    assert list(status) == ["unscored"]
    protocol = frame(imported, "select protocol, origin from analysis.protocols")
    assert protocol.to_numpy().tolist() == [["imported-seed-kl-study", "Seed-KL study, one pass without BOS"]]
