"""Rows put straight into the tables: what a view needs to say something, without models or text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]


def insert(connection: Connection, table: str, **values: object) -> int:
    """Insert one row into a table of schema warehouse; its first column, which is the key where there is one."""
    statement = sql.SQL("insert into {} ({}) values ({}) returning *").format(
        sql.Identifier("warehouse", table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    row = connection.execute(statement, list(values.values())).fetchone()
    assert row is not None
    return int(row[0])


def insert_many(connection: Connection, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Copy rows that name the same columns into a table."""
    rows = list(rows)
    copy = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier("warehouse", table), sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    )
    with connection.cursor() as cursor, cursor.copy(copy) as stream:
        for row in rows:
            stream.write_row(list(row.values()))


@dataclass(frozen=True)
class Text:
    """Keys of a corpus with its layer of all tokens, and of a protocol."""

    tokenizer_id: int
    corpus_id: int
    protocol_id: int
    total_layer: int


def add_text(connection: Connection, name: str = "prose", *, n_tokens: int = 1000, cluster: str = "document") -> Text:
    """A corpus with its layer of all tokens. The tokenizer has 1,000 ids; the protocol reads exactly those."""
    tokenizer = insert(connection, "tokenizer", name=f"{name}-tokenizer", sha256=name, length=1000)
    corpus = insert(
        connection,
        "corpus",
        name=name,
        tokenizer_id=tokenizer,
        first_token_id=256 * 1000 * tokenizer,
        n_tokens=n_tokens,
        n_documents=10,
        n_characters=4 * n_tokens,
        n_bytes=4 * n_tokens,
        source="made up",
        text_sha256=name,
        token_sha256=name,
        eos_policy="none",
        cluster=cluster,
    )
    protocol = insert(
        connection,
        "protocol",
        name=f"{name}-protocol",
        windows="concatenated",
        # Protocols must differ in something.
        window=2048 + tokenizer,
        bos=True,
        vocabulary="tokenizer",
        dtype="float32",
        tf32=False,
    )
    layer = add_layer(connection, corpus, "all", {"all": n_tokens}, is_total=True)
    return Text(tokenizer, corpus, protocol, layer)


def add_layer(
    connection: Connection, corpus_id: int, name: str, values: Mapping[str, int], *, is_total: bool = False
) -> int:
    """A layer whose categories are numbered in the order of `values`: value to number of tokens."""
    layer = insert(
        connection,
        "annotation_layer",
        corpus_id=corpus_id,
        name=name,
        kind="categorical",
        source="made up",
        is_total=is_total,
        summarised=True,
    )
    for number, (value, n_tokens) in enumerate(values.items()):
        insert(connection, "annotation_category", layer_id=layer, category_id=number, value=value, n_tokens=n_tokens)
    return layer


def add_model(connection: Connection, text: Text, name: str, *, family: str = "simulated") -> int:
    """A causal model with the tokenizer of a text and eight ids of padding."""
    return insert(
        connection,
        "model",
        family=family,
        name=name,
        tokenizer_id=text.tokenizer_id,
        vocabulary_width=1008,
        objective="causal",
    )


def add_comparison(connection: Connection, text: Text, model_id: int, step: int, **values: object) -> int:
    """A complete comparison of three seeds of a model at a step, unless `values` say otherwise."""
    row: dict[str, object] = {
        "kind": "seed",
        "corpus_id": text.corpus_id,
        "protocol_id": text.protocol_id,
        "run_set": "default",
        "model_id": model_id,
        "step": step,
        "model_q_id": model_id,
        "step_q": step,
        "n_pairs": 6,
        "n_pairs_expected": 6,
        "seeds": [0, 1, 2],
        "seed_pairs": [4, 4, 4],
        "sd_pairs": 0.01,
    }
    return insert(connection, "comparison", **row | values)


def summary(comparison_id: int, layer_id: int, category_id: int = 0, **sums: object) -> dict[str, object]:
    """A row of convergence_summary; sums not given are those of one token without divergence."""
    names = "sum_kl sum_kl2 min_kl max_kl cluster_xx cluster_xn cluster_nn cross_xx cross_xn cross_nx cross_nn"
    keys = {"comparison_id": comparison_id, "layer_id": layer_id, "category_id": category_id}
    return keys | {"clusters": 1, "n": 1} | dict.fromkeys(names.split(), 0.0) | {"seed_sums": [0.0] * 3} | sums


def add_curve(
    connection: Connection, text: Text, model_id: int, steps: Sequence[int], kl: Sequence[float], **values: object
) -> None:
    """Expected convergence of a model, as comparisons whose only token has exactly this mean KL, in nats."""
    comparisons = [add_comparison(connection, text, model_id, step, **values) for step in steps]
    insert_many(
        connection,
        "convergence_summary",
        (
            summary(comparison, text.total_layer, sum_kl=value)
            for comparison, value in zip(comparisons, kl, strict=True)
        ),
    )


def add_run(connection: Connection, model_id: int, seed: int, *, outlier: bool = False) -> int:
    """A training run of a model."""
    return insert(connection, "run", model_id=model_id, seed=seed, outlier=outlier)


def add_evaluation(
    connection: Connection, text: Text, run_id: int, step: int, *, surprisal: float, entropy: float, n: int = 10
) -> int:
    """A checkpoint and its complete evaluation on a text, as totals over n tokens; means are in nats."""
    checkpoint = insert(
        connection, "checkpoint", run_id=run_id, step=step, source="made up", revision=f"step{step}", status="ok"
    )
    evaluation = insert(
        connection,
        "evaluation",
        checkpoint_id=checkpoint,
        corpus_id=text.corpus_id,
        protocol_id=text.protocol_id,
        status="complete",
        input_digest=f"{run_id}-{step}",
    )
    names = "n_correct sum_surprisal2 min_surprisal max_surprisal cluster_xx cluster_xn cluster_nn"
    sums: dict[str, object] = {"evaluation_id": evaluation, "layer_id": text.total_layer, "category_id": 0}
    sums |= {"clusters": 1, "n": n, "sum_surprisal": n * surprisal, "sum_entropy": n * entropy}
    insert(connection, "score_summary", **sums, **dict.fromkeys(names.split(), 0))
    return evaluation


def add_reference(connection: Connection, text: Text, name: str) -> int:
    """A reference distribution over the tokenizer of a text."""
    return insert(
        connection,
        "reference_distribution",
        name=name,
        tokenizer_id=text.tokenizer_id,
        total=1.0,
        entropy=1.0,
        smoothing="add-one",
        source="made up",
        sha256=name,
        counts=[1.0],
    )


TRAINING_STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
#: Mean KL of seeds of a small and a medium model, in nats: four phases each.
TRAINING = {
    "small": [0.407] * 6 + [0.33, 0.22, 0.144, 0.30, 0.469, 0.417],
    "medium": [0.400] * 5 + [0.36, 0.28, 0.222, 0.33, 0.443, 0.37, 0.305],
}
N_DOCUMENTS = 10


def add_training(connection: Connection, text: Text, models: Sequence[str], values: Sequence[str]) -> None:
    """Models of TRAINING, the first the smallest: comparisons of three seeds, a layer `word_class`, one run scored.

    Cross-entropy falls from 7 nats by step / 250, entropy from 6.9 by step / 300; KL to unigram is 1 + step / 1000.
    """
    layer = add_layer(connection, text.corpus_id, "word_class", dict.fromkeys(values, 1))
    unigram = add_reference(connection, text, "unigram")
    for number, model in enumerate(models):
        model_id = add_model(connection, text, model)
        connection.execute("update warehouse.model set parameters = %s where model_id = %s", [1000 + number, model_id])
        run = add_run(connection, model_id, 0)
        for step, kl in zip(TRAINING_STEPS, TRAINING[model], strict=True):
            comparison = add_comparison(connection, text, model_id, step)
            parts = [(text.total_layer, 0, 1000), *((layer, place, 300 - place) for place in range(len(values)))]
            insert_many(connection, "convergence_summary", [_sums(comparison, *part, kl) for part in parts])
            evaluation = add_evaluation(connection, text, run, step, surprisal=7 - step / 250, entropy=6.9 - step / 300)
            insert(
                connection,
                "reference_evaluation",
                evaluation_id=evaluation,
                reference_id=unigram,
                n_tokens=10,
                mean_kl=1 + step / 1000,
            )


def _sums(comparison: int, layer: int, category: int, n: int, kl: float) -> dict[str, object]:
    """Sums of a summary whose documents differ by a tenth and whose seeds by a twentieth."""
    sizes = np.full(N_DOCUMENTS, n / N_DOCUMENTS)
    totals = kl * sizes * np.linspace(0.9, 1.1, N_DOCUMENTS)
    return summary(
        comparison,
        layer,
        category,
        n=n,
        clusters=N_DOCUMENTS,
        sum_kl=float(totals.sum()),
        sum_kl2=1.5 * n * kl * kl,
        cluster_xx=float(totals @ totals),
        cluster_xn=float(totals @ sizes),
        cluster_nn=float(sizes @ sizes),
        seed_sums=[4 * n * kl * factor for factor in (0.95, 1.0, 1.05)],
    )
