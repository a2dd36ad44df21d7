"""Tables of whole sequences: items that documents belong to, sums by document, and what items say of a model.

This module may not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from warehouse.columns import SCHEMA, array, key, metadata, moment, number, reference, same_length, text_column

# --- items: what documents stand for ------------------------------------------------------------------------------

paradigm = Table(
    "paradigm",
    metadata,
    key("paradigm_id", "key"),
    reference("corpus_id", "corpus.corpus_id", comment="corpus"),
    text_column("name", "name of the paradigm, task or condition"),
    text_column("kind", "minimal_pairs: good and bad; options: correct and incorrect ones; spans: texts to score"),
    text_column("category", "wider group that the source names, such as a linguistic phenomenon", nullable=True),
    UniqueConstraint("corpus_id", "name"),
    CheckConstraint("kind in ('minimal_pairs', 'options', 'spans')", name="kind"),
    comment="A set of items of one kind, such as a paradigm of BLiMP.",
)

item = Table(
    "item",
    metadata,
    Column("paradigm_id", Integer, ForeignKey(f"{SCHEMA}.paradigm.paradigm_id"), primary_key=True, comment="paradigm"),
    Column("item", Integer, primary_key=True, autoincrement=False, comment="number within the paradigm, from 0"),
    Column("role", Text, primary_key=True, comment="good, bad; correct, incorrect-1, ...; or the name of a span"),
    Column("corpus_id", Integer, nullable=False, comment="corpus"),
    Column("document", Integer, nullable=False, comment="document of the corpus that plays the role"),
    ForeignKeyConstraint(["corpus_id", "document"], [f"{SCHEMA}.document.corpus_id", f"{SCHEMA}.document.document"]),
    Index(None, "corpus_id", "document"),
    comment="Which documents belong together, and as what: the sides of a minimal pair, the options of a question.",
)

# --- sums by document ---------------------------------------------------------------------------------------------

document_score_chunk = Table(
    "document_score_chunk",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("document_chunk", BigInteger, primary_key=True, autoincrement=False, comment="document / 256"),
    array("n_tokens", Integer(), "tokens that are summed: measured, from the document's scored_from on, EOS left out"),
    array("n_correct", Integer(), "those of rank 1; NULL where surprisal is, or a rank is not known", nullable=True),
    array("surprisal", REAL(), "sum of their surprisal, in nats; NULL where a token but the first was not measured"),
    array("eos_surprisal", REAL(), "surprisal of the document's EOS, in nats; NULL where there is none", nullable=True),
    array("entropy", REAL(), "sum of their entropy, in nats", nullable=True),
    same_length("n_tokens", "n_correct", "surprisal", "eos_surprisal", "entropy"),
    comment="Sums of scores over each of 256 consecutive documents, by one evaluation.",
)

document_divergence_chunk = Table(
    "document_divergence_chunk",
    metadata,
    Column("pair_id", Integer, primary_key=True, autoincrement=False, comment="ordered pair"),
    Column("document_chunk", BigInteger, primary_key=True, autoincrement=False, comment="document / 256"),
    array("n_tokens", Integer(), "tokens measured, from the document's scored_from on, EOS included"),
    array("kl", REAL(), "sum of their KL(p || q), in nats"),
    same_length("n_tokens", "kl"),
    comment="Sums of KL over each of 256 consecutive documents, for one ordered pair.",
)

# --- what items say of a model, derived from the sums -------------------------------------------------------------

paradigm_score = Table(
    "paradigm_score",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("paradigm_id", Integer, primary_key=True, autoincrement=False, comment="paradigm"),
    Column("n_items", Integer, nullable=False, comment="items all of whose roles were scored"),
    Column("n_correct", Integer, nullable=False, comment="items whose good or correct role is the most probable"),
    Column("n_correct_with_eos", Integer, comment="the same with EOS counted; NULL where there is none"),
    number("sum_margin", "sum of log p(good) less that of the best other role, in nats", nullable=False),
    number("sum_margin2", "sum of its squares", nullable=False),
    comment="How an evaluation fares on the items of a paradigm.",
)

paradigm_divergence = Table(
    "paradigm_divergence",
    metadata,
    Column("evaluation_p", Integer, primary_key=True, autoincrement=False, comment="evaluation that gives p"),
    Column("evaluation_q", Integer, primary_key=True, autoincrement=False, index=True, comment="that gives q"),
    Column("paradigm_id", Integer, primary_key=True, autoincrement=False, comment="paradigm"),
    Column("n_items", Integer, nullable=False, comment="items all of whose roles both have scored"),
    number("sum_kl", "sum over items of KL between the two distributions over roles, in nats", nullable=False),
    number("sum_kl_with_eos", "the same with EOS counted; NULL where there is none"),
    comment="How far apart two evaluations are on the items of a paradigm.",
)

# --- results by checkpoint ----------------------------------------------------------------------------------------

checkpoint_metric = Table(
    "checkpoint_metric",
    metadata,
    Column(
        "checkpoint_id",
        Integer,
        ForeignKey(f"{SCHEMA}.checkpoint.checkpoint_id"),
        primary_key=True,
        comment="checkpoint",
    ),
    Column("name", Text, primary_key=True, comment="task and metric, such as lambada_openai/perplexity"),
    Column("source", Text, primary_key=True, comment="where the result came from"),
    number("value", "the result", nullable=False),
    number("standard_error", "standard error that the source gives"),
    Column("n", Integer, comment="items it was measured on"),
    Column("higher_is_better", Boolean, comment="which way the metric improves; NULL where not known"),
    moment("imported_at", "when the result was imported"),
    comment="A benchmark result of a checkpoint, measured elsewhere.",
)
