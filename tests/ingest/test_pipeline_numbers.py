"""What the warehouse says after an ingestion, against float64 recomputed from the saved checkpoints by other code."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests import float64
from tests.ingested import RECIPES, SEEDS, STEPS, Ingested, rows
from tests.models import EOS_ID, tokenizer
from tests.oracle import Oracle, V, assert_close, scores

CELLS = [(model, seed, step) for model in RECIPES for seed in SEEDS for step in STEPS]


@pytest.fixture(scope="module")
def oracle(ingested: Ingested) -> Oracle:
    return Oracle(ingested)


def test_the_study_spans_certain_and_uncertain_predictions(ingested: Ingested) -> None:
    least, greatest = rows(ingested.database, "select min(surprisal), max(surprisal) from analysis.token_score")[0]
    assert least < 1e-3
    assert greatest > 20


def test_200_random_kl_values_match_float64(ingested: Ingested, oracle: Oracle) -> None:
    query = """
    select kind, model, step, step_q, seed_p, seed_q, token_id, kl from analysis.pairwise_kl
    order by kind, model, step, step_q, seed_p, seed_q, token_id
    """
    drawn = random.Random(1).sample(rows(ingested.database, query), 200)
    assert {row[0] for row in drawn} == {"seed", "step", "step_reverse", "final", "final_reverse"}
    expected = [
        float64.kl(oracle.log_p(model, p, step)[[token]], oracle.log_p(model, q, step_q)[[token]])[0]
        for _, model, step, step_q, p, q, token, _ in drawn
    ]
    assert_close(np.array([row[-1] for row in drawn]), np.array(expected))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_scores_of_every_token_match_float64(ingested: Ingested, oracle: Oracle, cell: tuple[str, int, int]) -> None:
    log_p = oracle.log_p(*cell)
    surprisal, entropy, top_surprisal = scores(ingested, "surprisal, entropy, top_surprisal", cell)
    assert_close(surprisal, -oracle.of_targets(log_p))
    assert_close(entropy, float64.entropy(log_p))
    assert_close(top_surprisal, -log_p.max(1))


@pytest.mark.parametrize("cell", CELLS[::5], ids=str)
def test_masses_of_vocabulary_classes_match_float64(
    ingested: Ingested, oracle: Oracle, cell: tuple[str, int, int]
) -> None:
    log_p = oracle.log_p(*cell)
    full = float64.log_softmax(oracle.logits(*cell))
    pieces = [tokenizer().decode([i], skip_special_tokens=False) for i in range(V)]
    space = np.array([piece[:1].isspace() for piece in pieces])
    # Half a character decodes to U+FFFD, which is a symbol and no punctuation.
    punctuation = np.array(
        [
            i != EOS_ID and all(unicodedata.category(c)[0] in "PS" for c in p) and "�" not in p
            for i, p in enumerate(pieces)
        ]
    )
    space_mass, punct_mass, eos_mass, pad_mass = scores(
        ingested, "space_logmass, punct_logmass, eos_logmass, pad_logmass", cell
    )
    assert_close(space_mass, np.log(np.exp(log_p[:, space]).sum(1)))
    assert_close(punct_mass, np.log(np.exp(log_p[:, punctuation]).sum(1)))
    assert_close(eos_mass, log_p[:, EOS_ID])
    assert_close(pad_mass, np.log(np.exp(full[:, V:]).sum(1)))


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_ranks_and_top_entries_match_float64_but_for_ties(
    ingested: Ingested, oracle: Oracle, cell: tuple[str, int, int]
) -> None:
    log_p = oracle.log_p(*cell)
    rank, top = scores(ingested, "rank, top_vocab_id", cell)
    own = oracle.of_targets(log_p)[:, None]
    others = np.arange(V) != oracle.targets[:, None]
    near = ((np.abs(log_p - own) < 1e-5) & others).any(1)
    assert ((rank == 1 + (log_p > own).sum(1)) | near).all()
    assert near.mean() < 0.01
    second, first = np.sort(log_p, 1)[:, -2:].T
    assert ((top == log_p.argmax(1)) | (first - second < 1e-5)).all()


@pytest.mark.parametrize("cell", CELLS[::5], ids=str)
def test_kl_to_a_reference_matches_float64(ingested: Ingested, oracle: Oracle, cell: tuple[str, int, int]) -> None:
    counts = np.bincount(oracle.targets, minlength=V) + 1.0
    expected = float64.kl(oracle.log_p(*cell), np.log(counts / counts.sum())[None])
    query = """
    select unnest(chunk.kl) from warehouse.reference_chunk as chunk
    inner join warehouse.evaluation using (evaluation_id)
    inner join warehouse.checkpoint using (checkpoint_id)
    inner join warehouse.run using (run_id)
    inner join warehouse.model using (model_id)
    where model.name = %s and run.seed = %s and checkpoint.step = %s order by chunk.chunk_id
    """
    assert_close(np.array(rows(ingested.database, query, *cell))[:, 0], expected)


@pytest.mark.parametrize("model", RECIPES)
@pytest.mark.parametrize("step", STEPS)
def test_entropy_of_the_seeds_mean_prediction_matches_float64(
    ingested: Ingested, oracle: Oracle, model: str, step: int
) -> None:
    mean = np.mean([np.exp(oracle.log_p(model, seed, step)) for seed in SEEDS], axis=0)
    query = """
    select mixture_entropy from analysis.token_convergence
    where kind = 'seed' and model = %s and step = %s order by token_id
    """
    stored = np.array(rows(ingested.database, query, model, step))[:, 0]
    assert_close(stored, float64.entropy(np.log(mean)))


def test_statistics_of_pairs_match_numpy(ingested: Ingested, oracle: Oracle) -> None:
    query = """
    select distinct p.model, p.seed, p.step, q.seed, q.step, pair.mean_kl, pair.pearson, pair.spearman,
        pair.top1_agreement
    from warehouse.comparison_pair as pair
    inner join analysis.evaluations as p on p.evaluation_id = pair.evaluation_p
    inner join analysis.evaluations as q on q.evaluation_id = pair.evaluation_q
    """
    stored = rows(ingested.database, query)
    assert len(stored) == 2 * (4 * 4 * 3 + 4 * 2 * 5)
    for model, seed_p, step_p, seed_q, step_q, mean_kl, pearson, spearman, agreement in random.Random(2).sample(
        stored, 20
    ):
        p, q = oracle.log_p(model, seed_p, step_p), oracle.log_p(model, seed_q, step_q)
        assert mean_kl == pytest.approx(float64.kl(p, q).mean(), rel=1e-5)
        assert pearson == pytest.approx(np.corrcoef(oracle.of_targets(p), oracle.of_targets(q))[0, 1], abs=1e-5)
        # Two float64 surprisals that are one in float32 are a tie there.
        assert spearman == pytest.approx(spearmanr(oracle.of_targets(p), oracle.of_targets(q)).statistic, abs=1e-5)
        assert agreement == pytest.approx((p.argmax(1) == q.argmax(1)).mean(), abs=1 / len(p))


@pytest.mark.parametrize("model", RECIPES)
def test_checkpoints_say_what_transformers_says(ingested: Ingested, model: str) -> None:
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(ingested.root / model / "seed2" / "step4")
    head = loaded.get_output_embeddings().weight.detach().double().numpy()
    query = """
    select status, parameters, hidden_size, vocabulary_width, context_length, head_singular_values
    from analysis.checkpoints where model = %s and seed = 2 and step = 4
    """
    ((status, parameters, hidden, width, context, spectrum),) = rows(ingested.database, query, model)
    shape = RECIPES[model].shape
    assert (status, hidden, width, context) == ("ok", shape.hidden, shape.width, shape.context)
    assert parameters == sum(p.numel() for p in loaded.parameters())
    np.testing.assert_allclose(spectrum, np.linalg.svd(head, compute_uv=False), rtol=1e-5)
