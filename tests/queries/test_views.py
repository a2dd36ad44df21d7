"""The views of the contract, against the arrays that were loaded and formulas written in numpy and pandas."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.queries.measured import PIECES, VOCABULARY, Measured, Member

COMPARISON = ["kind", "corpus", "protocol", "run_set", "family", "model", "step", "model_q", "step_q"]
EVALUATION = ["corpus", "protocol", "family", "model", "seed", "step"]


def ask(measured: Measured, query: str) -> pd.DataFrame:
    """Rows of a query, asked as the reader."""
    with measured.database.read() as connection:
        cursor = connection.execute(query.encode())
        assert cursor.description is not None
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def token_ids(measured: Measured) -> NDArray[np.int64]:
    return measured.first_token_id + np.arange(len(measured.documents))


def se_clusters(x: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    """The ratio estimator from residuals x - m, summed by cluster: another form of the sums in the warehouse."""
    residual = pd.Series(x - x.mean()).groupby(clusters).sum()
    d = len(residual)
    return float(np.sqrt(d / (d - 1) * (residual**2).sum()) / len(x)) if d >= 5 else np.nan


def jackknife(means: dict[tuple[int, int], float], touching: int) -> float:
    """Standard error over seeds from means of ordered pairs of seeds, leaving seeds out one by one."""
    seeds = sorted({seed for pair in means for seed in pair})
    n = len(seeds)
    left_out = np.array([np.mean([m for pair, m in means.items() if seed not in pair]) for seed in seeds])
    variance = (n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()
    if touching == 2 and n >= 4:
        y = {pair: (means[pair] + means[pair[::-1]]) / 2 for pair in combinations(seeds, 2)}
        mean = np.mean(list(y.values()))
        r = np.array([np.mean([v for pair, v in y.items() if seed in pair]) for seed in seeds])
        a = (n - 1) * (r - mean) / (n - 2)
        squares = sum((v - mean) ** 2 for v in y.values())
        variance -= 2 * (squares - (n - 2) * (a**2).sum()) / (n * (n - 3) / 2) / ((n - 1) * (n - 2))
    return float(np.sqrt(max(variance, 0)))


def expected_row(measured: Measured, row: Any, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """What a row of expected or conditional convergence should say, from pair arrays over the chosen tokens."""
    x = measured.mean(row.kind, row.model, row.step)
    chosen = chosen & np.isfinite(x)
    pairs = measured.members(row.kind, row.model, row.step)
    means = {(p[1], q[1]): float(measured.kl[p, q][chosen].astype(np.float64).mean()) for p, q in pairs}
    seed = jackknife(means, 2 if row.kind == "seed" else 1)
    document = se_clusters(x[chosen], measured.clusters[chosen])
    return {
        "n_tokens": int(chosen.sum()),
        "convergence": -x[chosen].mean(),
        "se_seed": seed,
        "se_document": document,
        "se_total": float(np.hypot(seed, document)),
        "sd_tokens": x[chosen].std(ddof=1),
        "n_pairs": len(pairs),
    }


def assert_says(row: Any, expected: dict[str, float]) -> None:
    actual = {name: np.nan if pd.isna(getattr(row, name)) else float(getattr(row, name)) for name in expected}
    assert actual == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_expected_convergence_and_its_errors_equal_their_definitions(measured: Measured) -> None:
    rows = ask(measured, "select * from expected_convergence")
    assert sorted(rows.kind.value_counts().to_dict().items()) == [("final", 4), ("seed", 6), ("step", 4)]
    for row in rows.itertuples():
        assert_says(row, expected_row(measured, row, np.ones(len(measured.documents), bool)))
        assert row.complete
        assert (row.n_seeds, row.df_seed, row.df_document) == (4, 3, row.n_clusters - 1)
        assert row.se_seed > 0


def test_conditional_convergence_and_its_errors_equal_their_definitions(measured: Measured) -> None:
    rows = ask(measured, "select * from conditional_convergence")
    assert set(rows.layer) == {"pos", "word_class"}
    for row in rows.itertuples():
        code = int(str(row.value).split()[-1])
        assert_says(row, expected_row(measured, row, measured.layers[str(row.layer)] == code))
        assert row.value_number == code


def test_sd_pairs_is_the_spread_of_the_pairs_means(measured: Measured) -> None:
    for row in ask(measured, "select * from expected_convergence").itertuples():
        pairs = measured.members(str(row.kind), str(row.model), int(row.step))  # type: ignore[arg-type]
        means = [np.nanmean(measured.kl[pair].astype(np.float64)) for pair in pairs]
        assert row.sd_pairs == pytest.approx(np.std(means, ddof=1), rel=1e-9)


def test_conditional_convergence_is_a_group_by_over_tokens_and_annotations(measured: Measured) -> None:
    tokens = ask(measured, "select * from token_convergence")
    annotation = ask(measured, "select layer, token_id, value from token_annotation where model is null")
    joined = tokens.merge(annotation, on="token_id").dropna(subset=["convergence"])
    grouped = joined.groupby([*COMPARISON, "layer", "value"]).convergence.agg(["mean", "size"])
    view = ask(measured, "select * from conditional_convergence").set_index([*COMPARISON, "layer", "value"])
    assert len(view) == len(grouped)
    both = view.join(grouped)
    np.testing.assert_allclose(both.convergence, both["mean"], rtol=1e-12)
    assert (both.n_tokens == both["size"]).all()


def test_expected_convergence_is_the_weighted_mean_of_a_complete_layer(measured: Measured) -> None:
    parts = ask(measured, "select * from conditional_convergence where layer = 'pos'")
    parts["total"] = parts.convergence * parts.n_tokens
    sums = parts.groupby(COMPARISON)[["total", "n_tokens"]].sum()
    whole = ask(measured, "select * from expected_convergence").set_index(COMPARISON)
    np.testing.assert_allclose((sums.total / sums.n_tokens)[whole.index], whole.convergence, rtol=1e-12)


def test_pairwise_kl_gives_every_pair_and_token_once(measured: Measured) -> None:
    rows = ask(measured, "select * from pairwise_kl where kind = 'seed' and model = 'small' and step = 16")
    assert len(rows) == 12 * len(measured.documents)
    for (p, q), part in rows.groupby(["seed_p", "seed_q"]):
        part = part.sort_values("token_id")
        np.testing.assert_array_equal(part.token_id, token_ids(measured))
        np.testing.assert_array_equal(part.kl, measured.kl[("small", p, 16), ("small", q, 16)].astype(np.float64))


def test_pairwise_kl_of_steps_says_which_step_is_q(measured: Measured) -> None:
    rows = ask(
        measured, "select * from pairwise_kl where kind = 'final' and model = 'large' and step = 0 and seed_p = 2"
    )
    assert set(rows.step_q) == {64}
    assert set(rows.seed_q) == {2}
    np.testing.assert_array_equal(
        rows.sort_values("token_id").kl, measured.kl[("large", 2, 0), ("large", 2, 64)].astype(np.float64)
    )


def test_token_convergence_is_minus_the_mean_over_pairs(measured: Measured) -> None:
    rows = ask(measured, "select * from token_convergence order by kind, model, step, token_id")
    for (kind, model, step), part in rows.groupby(["kind", "model", "step"]):
        np.testing.assert_array_equal(part.convergence, -measured.mean(kind, model, step))
        assert part.mixture_entropy.notna().all() == (kind == "seed")


def test_a_token_trajectory_is_its_row_in_every_comparison(measured: Measured) -> None:
    token = measured.first_token_id + 700
    rows = ask(measured, f"select * from token_trajectory({token})")
    whole = ask(measured, f"select * from token_convergence where token_id = {token}")
    keys = ["comparison_id"]
    pd.testing.assert_frame_equal(
        rows.sort_values(keys).reset_index(drop=True), whole.sort_values(keys).reset_index(drop=True)
    )
    assert len(rows) == 14


def test_token_scores_are_what_was_loaded(measured: Measured) -> None:
    rows = ask(measured, "select * from token_score where model = 'small' and seed = 1 and step = 64 order by token_id")
    np.testing.assert_array_equal(rows.token_id, token_ids(measured))
    np.testing.assert_array_equal(rows.chunk_id, rows.token_id // 256)
    for name, values in measured.scores["small", 1, 64].items():
        expected = np.where(values == -1, np.nan, values) if name == "rank" else values
        np.testing.assert_array_equal(rows[name].astype(float), expected.astype(float))
    assert rows.pad_logmass.isna().all()


def test_context_length_follows_half_overlapping_windows(measured: Measured) -> None:
    rows = ask(measured, "select context_length from token_score where model = 'small' and seed = 0 and step = 0")
    # Inputs 0..63 give targets 1..64, then 32..95 give 65..96, and so on; input 0 is BOS.
    expected = [t if t <= 64 else t - 32 * ((t - 33) // 32) for t in range(1, len(rows) + 1)]
    assert rows.context_length.tolist() == expected


def test_conditional_surprisal_equals_its_definition(measured: Measured) -> None:
    rows = ask(measured, "select * from conditional_surprisal")
    assert len(rows) == 2 * 4 * 3 * (6 + 2)
    for row in rows.itertuples():
        member: Member = (str(row.model), int(row.seed), int(row.step))  # type: ignore[arg-type]
        assert_says(row, expected_scores(measured, member, measured.layers[str(row.layer)], str(row.value)))


def expected_scores(measured: Measured, member: Member, codes: NDArray[Any], value: str) -> dict[str, float]:
    scores = measured.scores[member]
    chosen = (codes == int(value.split()[-1])) & np.isfinite(scores["surprisal"])
    surprisal = scores["surprisal"][chosen].astype(np.float64)
    return {
        "n_tokens": int(chosen.sum()),
        "surprisal": surprisal.mean(),
        "entropy": scores["entropy"][chosen].astype(np.float64).mean(),
        "accuracy": (scores["rank"][chosen] == 1).mean(),
        "se_document": se_clusters(surprisal, measured.clusters[chosen]),
        "sd_tokens": surprisal.std(ddof=1),
        "min_surprisal": surprisal.min(),
        "max_surprisal": surprisal.max(),
    }


def test_reference_divergence_gives_kl_to_uniform_and_to_the_reference(measured: Measured) -> None:
    rows = ask(measured, "select * from reference_divergence")
    assert len(rows) == 24
    for row in rows.itertuples():
        member: Member = (str(row.model), int(row.seed), int(row.step))  # type: ignore[arg-type]
        scores = {name: values.astype(np.float64) for name, values in measured.scores[member].items()}
        assert row.reference == "unigram"
        assert row.kl_uniform == pytest.approx(np.log(VOCABULARY) - np.nanmean(scores["entropy"]), rel=1e-9)
        assert row.cross_entropy == pytest.approx(np.nanmean(scores["surprisal"]), rel=1e-9)
        assert row.kl_reference == pytest.approx(measured.references[member].astype(np.float64).mean(), rel=1e-9)


def test_tokens_and_documents_lie_where_the_corpus_has_them(measured: Measured) -> None:
    rows = ask(measured, "select * from tokens order by token_id")
    np.testing.assert_array_equal(rows.token_id, token_ids(measured))
    np.testing.assert_array_equal(rows.vocab_id, measured.vocab_ids)
    np.testing.assert_array_equal(rows.document, measured.documents)
    assert rows.piece.tolist() == [PIECES[vocab_id] for vocab_id in measured.vocab_ids]
    documents = ask(measured, "select * from documents order by document")
    first = rows.groupby("document").token_id.agg(["min", "size"])
    np.testing.assert_array_equal(documents.first_token_id, first["min"])
    np.testing.assert_array_equal(documents.n_tokens, first["size"])
    np.testing.assert_array_equal(rows[rows.position == 0].token_id, first["min"])


def test_annotations_leave_out_totals_and_tokens_without_value(measured: Measured) -> None:
    rows = ask(measured, "select * from token_annotation order by layer, token_id")
    assert set(rows.layer) == {"pos", "word_class"}
    part = rows[rows.layer == "word_class"]
    has = measured.layers["word_class"] >= 0
    np.testing.assert_array_equal(part.token_id, token_ids(measured)[has])
    assert part.value.tolist() == [f"word_class {code}" for code in measured.layers["word_class"][has]]
    layers = ask(measured, "select * from annotation_layers order by layer")
    assert layers.layer.tolist() == ["pos", "word_class"]
    assert layers.n_tokens.tolist() == [len(measured.documents), int(has.sum())]
    assert layers.n_values.tolist() == [6, 2]


def test_comparisons_and_checkpoints_have_a_row_for_everything_planned(measured: Measured) -> None:
    rows = ask(measured, "select * from comparisons")
    assert len(rows) == 14
    assert rows.complete.all()
    assert rows[rows.kind == "step"].log2_step_ratio.dropna().tolist() == [2.0, 2.0]
    checkpoints = ask(measured, "select * from checkpoints")
    assert len(checkpoints) == 24
    assert set(checkpoints.status) == {"ok"}


def test_expected_surprisal_is_over_all_measured_tokens(measured: Measured) -> None:
    for row in ask(measured, "select * from expected_surprisal").itertuples():
        member: Member = (str(row.model), int(row.seed), int(row.step))  # type: ignore[arg-type]
        everything = np.zeros(len(measured.documents), np.int32)
        assert_says(row, expected_scores(measured, member, everything, "all 0"))
