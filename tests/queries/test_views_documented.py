"""The contract: which views there are, their columns in order, and a comment with the meaning of each."""

from __future__ import annotations

import re

import pytest

from queries.files import ROOT, definitions, header
from tests.queries.measured import Measured

COMPARISON = "kind, corpus, protocol, run_set, family, model, step, model_q, step_q"
EVALUATION = "corpus, protocol, family, model, seed, step"
RUN = "corpus, protocol, family, model, seed"

CONTRACT = {
    "checkpoints": "family, model, seed, step, parameters, revision, status, reason, tokens_seen, flops, learning_rate",
    "tokens": "corpus, token_id, chunk_id, document, position, vocab_id, piece, char_start, char_end",
    "comparisons": f"{COMPARISON}, n_pairs, complete",
    "token_score": f"{EVALUATION}, token_id, surprisal, entropy, rank, top_vocab_id, top_surprisal",
    "pairwise_kl": f"{COMPARISON}, seed_p, seed_q, token_id, kl",
    "token_convergence": f"{COMPARISON}, token_id, convergence, n_pairs",
    "expected_convergence": (
        f"{COMPARISON}, n_tokens, n_pairs, convergence, se_seed, se_document, se_total, sd_pairs, sd_tokens, complete"
    ),
    "conditional_convergence": f"{COMPARISON}, layer, value, n_tokens, convergence, se_seed, se_document, se_total",
    "conditional_surprisal": f"{EVALUATION}, layer, value, n_tokens, surprisal, entropy, accuracy, se_document",
    "relative_divergence": (
        f"{COMPARISON}, layer, value, n_tokens, sigma, log_sigma, se_log_sigma, z, p_value, q_value, robust_score"
    ),
    "relative_divergence_outliers": (
        f"{COMPARISON}, layer, value, n_tokens, sigma, log_sigma, se_log_sigma, z, p_value, q_value, robust_score, "
        "n_clusters, df, n_pairs, complete, mean_kl, total_mean_kl"
    ),
    "cross_entropy_points": (
        f"{COMPARISON}, layer, value, n_tokens, mean_kl, cross_entropy, cross_entropy_q, ratio, difference, n_pairs"
    ),
    "cross_entropy_fit": (
        "corpus, protocol, run_set, family, layer, value, predictor, alpha, intercept, r2, n, se_alpha, df, n_models"
    ),
    "cross_entropy_difference": f"{COMPARISON}, n_tokens, mean_kl, surprisal_difference, se_seed, se_document",
    "cross_entropy_frontier": (
        "corpus, protocol, run_set, family, decile, max_kl, max_surprisal_difference, n_comparisons"
    ),
    "reference_divergence": f"{EVALUATION}, reference, kl_uniform, kl_reference, cross_entropy",
    "phase_boundaries": "definition, corpus, protocol, family, model, phase",
    "phase_statistics": (
        "definition, corpus, protocol, family, model, phase, first_step, last_step, convergence_change, "
        "slope_per_log2_step, reconverged_fraction, divergence_reduction, first_learning_rate, last_learning_rate"
    ),
    "phase_intervals": (
        "name, corpus, protocol, family, model, boundary, step, lower, upper, share, confidence, n_documents, "
        "n_samples, seed, made_at"
    ),
    "conditional_phases": (
        "definition, corpus, protocol, family, model, layer, value, n_tokens, phase, first_step, last_step, "
        "converges, diverges, reconverges, convergence_change, slope_per_log2_step, reconverged_fraction, "
        "divergence_reduction"
    ),
    "break_points": (
        "family, model, seed, metric, source, corpus, protocol, run_set, break_step, acceleration, value, "
        "standard_error"
    ),
    "training_curves": (
        "family, model, seed, metric, source, corpus, protocol, run_set, step, value, standard_error, "
        "higher_is_better, outlier"
    ),
    "sequence_score": (
        f"{EVALUATION}, document, name, log_probability, log_probability_with_eos, n_tokens, n_words, n_bytes, "
        "surprisal_per_token, surprisal_per_word, surprisal_per_byte, bits_per_byte"
    ),
    "sequence_divergence": f"{COMPARISON}, seed_p, seed_q, document, name, n_tokens, sum_kl, kl",
    "minimal_pairs": (
        f"{EVALUATION}, paradigm, category, item, log_probability_good, log_probability_bad, margin, is_correct"
    ),
    "minimal_pair_accuracy": f"{EVALUATION}, paradigm, category, n_items, accuracy, se_accuracy",
    "task_convergence": (
        "corpus, protocol, run_set, family, model, step, paradigm, n_items, n_pairs, n_seeds, convergence, se_seed"
    ),
    "task_convergence_exact": "corpus, protocol, run_set, family, model, step, paradigm, n_items, convergence, se_item",
    "option_perplexity": f"{EVALUATION}, paradigm, category, n_items, perplexity_correct, perplexity_incorrect",
    "in_context_learning_score": f"{EVALUATION}, paradigm, n_items, score, se_score",
    "regression_coefficients": (
        "name, corpus, protocol, family, kind, step, predictor, value, reference, coefficient, standard_error, lower, "
        "upper, p_value, r2, n, n_clusters"
    ),
    "fits": "kind, name, family, corpus, protocol, settings, versions, input_digest, made_at",
    "token_annotation": "corpus, layer, model, token_id, value, value_number",
    "token_trend": f"{RUN}, token_id, trend, slope, p_value, autocorrelation, n_steps, start_step",
    "trend_shares": f"{RUN}, trend, n_tokens, share, shuffled_share, autocorrelation, n_classified",
    "trend_overlap": (
        "corpus, protocol, family, model, other_model, seed, trend, n_tokens, n_shared, share, expected_share"
    ),
    "token_learning": f"{RUN}, token_id, age_of_acquisition, confidence, variability, forgettability",
    "age_of_acquisition": f"{RUN}, token_id, age_of_acquisition",
    "confidence": f"{RUN}, token_id, confidence",
    "variability": f"{RUN}, token_id, variability",
    "forgettability": f"{RUN}, token_id, forgettability",
    "token_cross_run_distance": "corpus, protocol, family, model, seed_p, seed_q, token_id, distance, n_steps",
    "cross_run_distance": "corpus, protocol, family, model, seed_p, seed_q, distance, n_tokens",
    "words": "corpus, document, token_id, word, n_pieces, char_start, char_end",
    "seed_agreement": f"{COMPARISON}, seed_p, seed_q, n_tokens, kl, pearson, spearman, top1_agreement",
    "mean_seed_agreement": f"{COMPARISON}, pearson, se_pearson, spearman, se_spearman, top1_agreement",
    "vocabulary_convergence": f"{COMPARISON}, vocab_id, piece, n_tokens, convergence, se_document, place, percentile",
    "jensen_shannon": "corpus, protocol, run_set, family, model, step, token_id, divergence",
    "expected_jensen_shannon": "corpus, protocol, run_set, family, model, step, n_tokens, divergence, se_document",
    "bits_per_byte": f"{EVALUATION}, bits_per_byte, se_document, n_bytes, n_tokens",
    "mean_reference_divergence": (
        "corpus, protocol, run_set, family, model, step, reference, kl_uniform, kl_reference, cross_entropy, n_seeds, "
        "n_seeds_reference"
    ),
    "reference_step": "corpus, protocol, run_set, family, model, reference, step, kl_reference, step_after",
    "metric_against_loss": (
        "family, model, seed, step, name, source, value, corpus, protocol, cross_entropy, perplexity, bits_per_byte"
    ),
    "expected_surprisal_exact": f"{EVALUATION}, n_tokens, surprisal, se_surprisal, entropy, se_entropy, accuracy",
    "reference_divergence_exact": f"{EVALUATION}, reference, n_tokens, kl_reference, se_document",
    "word_score": f"{EVALUATION}, token_id, document, word, n_pieces, surprisal, corrected_surprisal",
    "saturation": (
        "family, model, seed, metric, source, corpus, protocol, run_set, best_step, best_value, final_step, "
        "final_value, final_to_best, steps_since_best"
    ),
    "scaling_fits": "name, family, corpus, protocol, metric, source, a, alpha, b, beta, e, se_log_a, se_alpha",
    "scaling_losses": "corpus, protocol, metric, source, family, model, seed, step, loss, standard_error",
    "scaling_excess": (
        "fit, corpus, protocol, metric, source, family, model, seed, step, loss, predicted_loss, excess, se_excess"
    ),
    "head_spectrum": "family, model, seed, step, singular_entropy",
    "representation_geometry": f"{EVALUATION}, anisotropy, singular_entropy",
    "w_error": "family, model, seed, step, d, w_error",
}

FILES = [file for file in definitions() if file.kind == "view"]


def columns(measured: Measured) -> dict[str, list[tuple[str, str | None]]]:
    """Columns of every view in order, with their comments."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    with measured.database.read() as connection:
        for view, column, comment in connection.execute(
            """
            select relname, attname, col_description(attrelid, attnum)
            from pg_attribute inner join pg_class on pg_class.oid = attrelid
            where relnamespace = 'analysis'::regnamespace and relkind = 'v' and attnum > 0
            order by relname, attnum
            """
        ):
            found.setdefault(view, []).append((column, comment))
    return found


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_of_the_contract_has_its_columns_in_order(measured: Measured, view: str) -> None:
    wanted = CONTRACT[view].split(", ")
    assert [name for name, _ in columns(measured)[view] if name in wanted] == wanted


def test_every_view_and_column_says_what_it_means(measured: Measured) -> None:
    silent = [
        f"{view}.{column}" for view, parts in columns(measured).items() for column, comment in parts if not comment
    ]
    assert silent == []
    with measured.database.read() as connection:
        rows = connection.execute(
            """
            select relname from pg_class
            where relnamespace = 'analysis'::regnamespace and relkind = 'v' and obj_description(oid, 'pg_class') is null
            union all
            select proname from pg_proc
            where pronamespace = 'analysis'::regnamespace and obj_description(oid, 'pg_proc') is null
            """
        ).fetchall()
    assert rows == []


@pytest.mark.parametrize(
    "function",
    ["token_trend_with", "trend_shares_with", "trend_overlap_with", "subset_trajectory", "double_descent"],
)
def test_the_comment_of_a_function_with_settings_names_them_and_every_column(measured: Measured, function: str) -> None:
    with measured.database.read() as connection:
        query = "select proargnames, obj_description(oid, 'pg_proc') from pg_proc where proname = %s"
        [(names, comment)] = connection.execute(query, [function]).fetchall()
    assert [name for name in names if not re.search(rf"\b{name}\b", comment)] == []


def test_every_file_makes_the_one_object_of_its_name(measured: Measured) -> None:
    with measured.database.read() as connection:
        rows = connection.execute(
            """
            select 'view', relname from pg_class where relnamespace = 'analysis'::regnamespace and relkind = 'v'
            union all
            select 'function', proname from pg_proc where pronamespace = 'analysis'::regnamespace
            """
        ).fetchall()
    assert sorted(rows) == sorted((file.kind, file.name) for file in definitions())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_view_file_opens_with_purpose_and_grain(file) -> None:  # type: ignore[no-untyped-def]
    said = header(file.text)
    assert "Grain:" in said
    assert not said.startswith("Grain:")


def test_numbers_with_a_unit_say_it(measured: Measured) -> None:
    unit = re.compile(r"\b(nats|NULL|share|error|degrees)\b")
    for view, parts in columns(measured).items():
        for column, comment in parts:
            if re.match(r"(se_|sd_|kl|surprisal|entropy|convergence$|min_|max_)", column):
                assert unit.search(comment or ""), f"{view}.{column}: {comment}"


@pytest.mark.parametrize("folder", ["checks", "refresh"])
def test_every_check_and_refresh_file_opens_with_its_meaning(folder: str) -> None:
    paths = sorted((ROOT / folder).glob("*.sql"))
    assert paths
    for path in paths:
        assert header(path.read_text(encoding="utf-8")).endswith("."), path.name
