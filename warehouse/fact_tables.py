"""Tables of facts: evaluations and pairs, and their values in chunks of 256 tokens as arrays.

This module may not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from warehouse.columns import SCHEMA, array, count, key, metadata, number, reference, same_length, text_column

# --- facts: immutable units ---------------------------------------------------------------------------------------

evaluation = Table(
    "evaluation",
    metadata,
    key("evaluation_id", "key"),
    reference("checkpoint_id", "checkpoint.checkpoint_id", comment="checkpoint"),
    reference("corpus_id", "corpus.corpus_id", comment="corpus"),
    reference("protocol_id", "protocol.protocol_id", comment="protocol"),
    reference("environment_id", "environment.environment_id", nullable=True, comment="where it was computed"),
    text_column(
        "status",
        "planned, complete, or unscored; all its scores are visible when complete, none before; an unscored one stands "
        "for a checkpoint of which only KL was imported",
    ),
    text_column("input_digest", "SHA-256 of weights, token ids, tokenizer and protocol", nullable=True),
    Column("window", Integer, comment="window used, in tokens"),
    Column(
        "top_k", Integer, nullable=False, server_default=text("0"), comment="most probable entries kept for each token"
    ),
    number("seconds", "time taken to read and score"),
    number("mean_surprisal", "mean surprisal over tokens, in nats"),
    number("anisotropy", "mean cosine between the final hidden states of two tokens"),
    Column("measured_at", DateTime(timezone=True), comment="when it was computed"),
    UniqueConstraint("checkpoint_id", "corpus_id", "protocol_id"),
    CheckConstraint("status in ('planned', 'complete', 'unscored')", name="status"),
    CheckConstraint("status = 'planned' or input_digest is not null", name="complete"),
    comment="A checkpoint scored on a corpus: the ledger, and an immutable unit.",
)

SCORES = (
    "surprisal",
    "entropy",
    "rank",
    "top_vocab_id",
    "top_surprisal",
    "space_logmass",
    "punct_logmass",
    "eos_logmass",
    "pad_logmass",
)

score_chunk = Table(
    "score_chunk",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    array("surprisal", REAL(), "-log p of the token, in nats"),
    array("entropy", REAL(), "entropy of the prediction, in nats", nullable=True),
    array("rank", Integer(), "1 + entries with a strictly greater logit", nullable=True),
    array("top_vocab_id", Integer(), "most probable entry, the lowest id on a tie", nullable=True),
    array("top_surprisal", REAL(), "-log p of the most probable entry, in nats", nullable=True),
    array("space_logmass", REAL(), "log of the mass on entries that start with white space", nullable=True),
    array("punct_logmass", REAL(), "log of the mass on unspaced punctuation", nullable=True),
    array("eos_logmass", REAL(), "log of the mass on EOS", nullable=True),
    array("pad_logmass", REAL(), "log of the mass on ids beyond the tokenizer", nullable=True),
    same_length(*SCORES),
    comment="Scores of 256 consecutive tokens by one evaluation.",
)

top_chunk = Table(
    "top_chunk",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    Column("k", Integer, nullable=False, comment="entries of each token"),
    array("vocab_ids", Integer(), "the k most probable entries of the first token, then of the next"),
    array("log_probabilities", REAL(), "log of their probabilities, in nats"),
    same_length("vocab_ids", "log_probabilities"),
    CheckConstraint("k > 0 and cardinality(vocab_ids) % k = 0", name="k"),
    comment="The most probable entries of the vocabulary for 256 consecutive tokens by one evaluation.",
)

reference_evaluation = Table(
    "reference_evaluation",
    metadata,
    Column(
        "evaluation_id",
        Integer,
        ForeignKey(f"{SCHEMA}.evaluation.evaluation_id"),
        primary_key=True,
        comment="evaluation",
    ),
    Column(
        "reference_id",
        Integer,
        ForeignKey(f"{SCHEMA}.reference_distribution.reference_id"),
        primary_key=True,
        comment="reference",
    ),
    count("n_tokens", "tokens measured"),
    number("mean_kl", "mean KL(model || reference) over tokens, in nats", nullable=False),
    comment="An evaluation held against a reference: an immutable unit.",
)

reference_chunk = Table(
    "reference_chunk",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("reference_id", Integer, primary_key=True, autoincrement=False, comment="reference"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    array("kl", REAL(), "KL(model || reference), in nats"),
    comment="KL to a reference of 256 consecutive tokens.",
)

comparison_pair = Table(
    "comparison_pair",
    metadata,
    key("pair_id", "key"),
    reference("evaluation_p", "evaluation.evaluation_id", comment="evaluation that gives p"),
    reference("evaluation_q", "evaluation.evaluation_id", comment="evaluation that gives q"),
    reference("environment_id", "environment.environment_id", comment="where it was computed"),
    count("n_tokens", "tokens measured"),
    number("mean_kl", "mean KL(p || q) over tokens, in nats", nullable=False),
    number("pearson", "Pearson correlation of the two surprisals over tokens"),
    number("spearman", "Spearman rank correlation of the two surprisals over tokens, ties at their mean rank"),
    number("top1_agreement", "share of tokens with the same most probable entry"),
    Column(
        "token_facts",
        Boolean,
        nullable=False,
        server_default=text("true"),
        comment="the KL of every token is kept; else only its mean, and the sums of comparisons",
    ),
    UniqueConstraint("evaluation_p", "evaluation_q"),
    Index(None, "evaluation_q"),
    comment="An ordered pair of evaluations: an immutable unit.",
)

divergence_chunk = Table(
    "divergence_chunk",
    metadata,
    Column("pair_id", Integer, primary_key=True, autoincrement=False, comment="ordered pair"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    array("kl", REAL(), "KL(p || q), in nats"),
    comment="KL of 256 consecutive tokens for one ordered pair.",
)
