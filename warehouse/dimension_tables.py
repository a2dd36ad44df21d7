"""Tables of what was read and what was scored: tokenizers, corpora, references, models, protocols.

This module may not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from warehouse.columns import SCHEMA, array, count, key, metadata, moment, number, reference, same_length, text_column

# --- what was read: tokenizers, corpora, references -------------------------------------------------------------

tokenizer = Table(
    "tokenizer",
    metadata,
    key("tokenizer_id", "key"),
    text_column("name", "name of the tokenizer, as the model calls it"),
    Column("sha256", Text, nullable=False, unique=True, comment="SHA-256 of the tokenizer file"),
    Column("length", Integer, nullable=False, comment="number of vocabulary ids, added tokens included"),
    Column("bos_id", Integer, comment="vocabulary id that begins a sequence"),
    Column("eos_id", Integer, comment="vocabulary id that ends a document"),
    comment="A tokenizer, identified by its file.",
)

vocabulary = Table(
    "vocabulary",
    metadata,
    Column(
        "tokenizer_id", Integer, ForeignKey(f"{SCHEMA}.tokenizer.tokenizer_id"), primary_key=True, comment="tokenizer"
    ),
    Column("vocab_id", Integer, primary_key=True, autoincrement=False, comment="id in the vocabulary"),
    Column("starts_with_space", Boolean, nullable=False, comment="the piece starts with white space"),
    Column("is_punctuation", Boolean, nullable=False, comment="the piece is unspaced punctuation"),
    Column("is_special", Boolean, nullable=False, comment="a control token such as the end of text"),
    text_column("piece", "the piece as text; bytes that are no UTF-8 show as the replacement character"),
    Column("bytes", LargeBinary, nullable=False, comment="the piece as bytes"),
    comment="The pieces of a tokenizer.",
)

corpus = Table(
    "corpus",
    metadata,
    key("corpus_id", "key"),
    Column("name", Text, nullable=False, unique=True, comment="name of the corpus"),
    reference("tokenizer_id", "tokenizer.tokenizer_id", comment="tokenizer that made the tokens"),
    Column("first_token_id", BigInteger, nullable=False, unique=True, comment="first token_id, a multiple of 256"),
    count("n_tokens", "tokens, the EOS of documents included"),
    Column("n_documents", Integer, nullable=False, comment="documents"),
    count("n_characters", "characters of the text"),
    count("n_bytes", "bytes of the text as UTF-8"),
    text_column("source", "where the text came from"),
    text_column("licence", "licence of the text", nullable=True),
    text_column("text_sha256", "SHA-256 of the text as UTF-8"),
    text_column("token_sha256", "SHA-256 of the token ids as little-endian int32"),
    text_column("eos_policy", "after-document: every document ends with EOS; none: no EOS"),
    text_column("cluster", "what standard errors take as independent: document, or chunk where documents are few"),
    reference("derived_from", "corpus.corpus_id", nullable=True, comment="corpus that this one was made from"),
    Column("derivation", JSONB, comment="how it was made from that one: what was done, and with which seed"),
    moment("created_at", "when the corpus was loaded"),
    CheckConstraint("first_token_id % 256 = 0", name="first_token_id"),
    CheckConstraint("eos_policy in ('after-document', 'none')", name="eos_policy"),
    CheckConstraint("cluster in ('document', 'chunk')", name="cluster"),
    comment="A text, cut into tokens by one tokenizer.",
)

document = Table(
    "document",
    metadata,
    Column("corpus_id", Integer, ForeignKey(f"{SCHEMA}.corpus.corpus_id"), primary_key=True, comment="corpus"),
    Column("document", Integer, primary_key=True, autoincrement=False, comment="number within the corpus, from 0"),
    count("first_token_id", "token_id of its first token"),
    count("n_tokens", "tokens, its EOS included"),
    count("char_start", "offset of its first character in the text of the corpus"),
    count("char_end", "offset after its last character"),
    count("byte_start", "offset of its first byte in the text of the corpus"),
    count("byte_end", "offset after its last byte"),
    Column(
        "scored_from",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="position of the first token that sums over the document count; those before it are context",
    ),
    Column(
        "n_words",
        Integer,
        comment="runs of characters other than white space; NULL where the text was not at hand",
    ),
    text_column("name", "name of the document"),
    comment="A document of a corpus.",
)

token_chunk = Table(
    "token_chunk",
    metadata,
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, comment="token_id / 256"),
    Column("corpus_id", Integer, nullable=False, index=True, comment="corpus"),
    array("vocab_ids", Integer(), "vocabulary ids"),
    array("documents", Integer(), "number of the document of each token"),
    array("positions", Integer(), "position of each token in its document, from 0"),
    array("char_starts", Integer(), "offset of the first character in the text of the corpus"),
    array("char_ends", Integer(), "offset after the last character"),
    array("byte_starts", Integer(), "offset of the first byte in the text of the corpus"),
    array("byte_ends", Integer(), "offset after the last byte"),
    same_length("vocab_ids", "documents", "positions", "char_starts", "char_ends", "byte_starts", "byte_ends"),
    comment="256 consecutive tokens of a corpus.",
)

reference_distribution = Table(
    "reference_distribution",
    metadata,
    key("reference_id", "key"),
    text_column("name", "name of the reference"),
    reference("tokenizer_id", "tokenizer.tokenizer_id", comment="tokenizer whose ids are counted"),
    Column(
        "ngram_order", SmallInteger, nullable=False, server_default=text("1"), comment="n of the n-gram; 1 is unigram"
    ),
    number("total", "sum of the counts", nullable=False),
    number("smoothing_weight", "counts that the next lower order stands for; NULL where nothing is interpolated"),
    number(
        "entropy",
        "entropy of the smoothed distribution, in nats; of n-grams the mean over the contexts of the text",
        nullable=False,
    ),
    text_column("smoothing", "add-one, none, or interpolated with the next lower order"),
    text_column("source", "where the counts came from"),
    text_column(
        "sha256",
        "SHA-256 of the counts as little-endian float64; of n-grams that of the text's ids and document starts",
    ),
    array("counts", Double(), "count of each vocabulary id"),
    moment("created_at", "when the reference was loaded"),
    UniqueConstraint("tokenizer_id", "name"),
    CheckConstraint("smoothing in ('add-one', 'none', 'interpolated')", name="smoothing"),
    comment="A named distribution over the vocabulary, such as the unigram counts of a corpus.",
)

# --- what was scored: models, runs, checkpoints, protocols ------------------------------------------------------

model = Table(
    "model",
    metadata,
    key("model_id", "key"),
    text_column("family", "suite of models, such as pythia"),
    text_column("name", "name of the model within its family"),
    reference("tokenizer_id", "tokenizer.tokenizer_id", nullable=True, comment="tokenizer of the model"),
    count("parameters", "parameters, embeddings included", nullable=True),
    count("parameters_without_embeddings", "parameters other than input and output embeddings", nullable=True),
    Column("hidden_size", Integer, comment="width d of the hidden states"),
    Column("layers", Integer, comment="transformer layers"),
    Column("vocabulary_width", Integer, comment="width V of the output head, padding included"),
    Column("context_length", Integer, comment="longest input, in tokens"),
    text_column("architecture", "class of the model in transformers", nullable=True),
    text_column("objective", "causal or masked"),
    UniqueConstraint("family", "name"),
    CheckConstraint("objective in ('causal', 'masked')", name="objective"),
    comment="An architecture of one size.",
)

run = Table(
    "run",
    metadata,
    key("run_id", "key"),
    reference("model_id", "model.model_id", comment="model"),
    Column("seed", Integer, nullable=False, comment="seed of the training run"),
    Column("outlier", Boolean, nullable=False, server_default=text("false"), comment="left out of run set default"),
    text_column("note", "why the run is flagged", nullable=True),
    UniqueConstraint("model_id", "seed"),
    comment="One training run of a model.",
)

checkpoint = Table(
    "checkpoint",
    metadata,
    key("checkpoint_id", "key"),
    reference("run_id", "run.run_id", comment="training run"),
    Column("step", Integer, nullable=False, comment="optimiser steps taken"),
    count("tokens_seen", "training tokens seen", nullable=True),
    number("flops", "training compute, 6 x parameters x tokens seen"),
    number("learning_rate", "learning rate at the step, as the suite publishes it; NULL where it does not"),
    text_column("source", "folder or repository"),
    text_column("revision", "revision of the repository, or the path within the folder"),
    text_column("weights_sha256", "SHA-256 of the weights", nullable=True),
    text_column(
        "status", "ok, missing, duplicate, suspect, quarantined or failed; NULL before it was read", nullable=True
    ),
    text_column("reason", "why the status is not ok", nullable=True),
    text_column("note", "what is remarkable about it, and no fault", nullable=True),
    Column(
        "released",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="judged good by hand: the rules leave it alone",
    ),
    array("head_singular_values", REAL(), "singular values of the output head, descending", nullable=True),
    UniqueConstraint("run_id", "step"),
    CheckConstraint("status in ('ok', 'missing', 'duplicate', 'suspect', 'quarantined', 'failed')", name="status"),
    comment="A model as it was at one step of a training run.",
)

protocol = Table(
    "protocol",
    metadata,
    key("protocol_id", "key"),
    Column("name", Text, nullable=False, unique=True, comment="name of the protocol"),
    text_column(
        "windows",
        "concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids; "
        "imported: measured elsewhere",
    ),
    Column("window", Integer, comment="longest window, in tokens; a model's context length caps it; NULL if not known"),
    Column("bos", Boolean, comment="the sequence begins with BOS; NULL if not known"),
    text_column("vocabulary", "tokenizer: ids of the tokenizer, renormalised; model: the padded width"),
    text_column("dtype", "number format of weights and activations"),
    Column("tf32", Boolean, comment="TensorFloat-32 multiplication allowed; NULL if not known"),
    text_column("origin", "who measured under it, and how; NULL for this program", nullable=True),
    UniqueConstraint(
        "windows", "window", "bos", "vocabulary", "dtype", "tf32", "origin", postgresql_nulls_not_distinct=True
    ),
    CheckConstraint("windows in ('concatenated', 'documents', 'truncated', 'imported')", name="windows"),
    CheckConstraint("(windows = 'imported') = (origin is not null)", name="origin"),
    CheckConstraint(
        "windows = 'imported' or (\"window\" is not null and bos is not null and tf32 is not null)", name="known"
    ),
    CheckConstraint("vocabulary in ('tokenizer', 'model')", name="vocabulary"),
    comment="What changes a measured quantity by design. Different protocols never mix.",
)

environment = Table(
    "environment",
    metadata,
    key("environment_id", "key"),
    Column("sha256", Text, nullable=False, unique=True, comment="SHA-256 of the description"),
    Column("description", JSONB, nullable=False, comment="device, kernels, library versions, tile, threads"),
    comment="Where and with what an evaluation was computed: provenance, never identity.",
)
