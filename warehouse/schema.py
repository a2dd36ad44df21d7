"""The tables of schema ``warehouse``: what is stored, at which grain.

Facts hold 256 consecutive tokens a row as arrays; views in schema ``analysis`` are the public contract.
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
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from warehouse.columns import SCHEMA, array, count, key, moment, number, reference, same_length, text_column

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


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
    number("entropy", "entropy of the smoothed distribution, in nats", nullable=False),
    text_column("smoothing", "add-one or none"),
    text_column("source", "where the counts came from"),
    text_column("sha256", "SHA-256 of the counts as little-endian float64"),
    array("counts", Double(), "count of each vocabulary id"),
    moment("created_at", "when the reference was loaded"),
    UniqueConstraint("tokenizer_id", "name"),
    CheckConstraint("smoothing in ('add-one', 'none')", name="smoothing"),
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
        "concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids",
    ),
    Column("window", Integer, nullable=False, comment="longest window, in tokens; a model's context length caps it"),
    Column("bos", Boolean, nullable=False, comment="the sequence begins with BOS"),
    text_column("vocabulary", "tokenizer: ids of the tokenizer, renormalised; model: the padded width"),
    text_column("dtype", "number format of weights and activations"),
    Column("tf32", Boolean, nullable=False, comment="TensorFloat-32 multiplication allowed"),
    UniqueConstraint("windows", "window", "bos", "vocabulary", "dtype", "tf32"),
    CheckConstraint("windows in ('concatenated', 'documents', 'truncated')", name="windows"),
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

# --- facts: immutable units ---------------------------------------------------------------------------------------

evaluation = Table(
    "evaluation",
    metadata,
    key("evaluation_id", "key"),
    reference("checkpoint_id", "checkpoint.checkpoint_id", comment="checkpoint"),
    reference("corpus_id", "corpus.corpus_id", comment="corpus"),
    reference("protocol_id", "protocol.protocol_id", comment="protocol"),
    reference("environment_id", "environment.environment_id", nullable=True, comment="where it was computed"),
    text_column("status", "planned or complete; all its facts are visible when complete, none before"),
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
    CheckConstraint("status in ('planned', 'complete')", name="status"),
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
    array("entropy", REAL(), "entropy of the prediction, in nats"),
    array("rank", Integer(), "1 + entries with a strictly greater logit"),
    array("top_vocab_id", Integer(), "most probable entry, the lowest id on a tie"),
    array("top_surprisal", REAL(), "-log p of the most probable entry, in nats"),
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

# --- derived from all visible pairs -------------------------------------------------------------------------------

comparison = Table(
    "comparison",
    metadata,
    key("comparison_id", "key"),
    text_column("kind", "seed, step, step_reverse, final, final_reverse, size, matched, cross or custom"),
    reference("corpus_id", "corpus.corpus_id", comment="corpus"),
    reference("protocol_id", "protocol.protocol_id", comment="protocol"),
    text_column("run_set", "default leaves out runs flagged as outliers"),
    reference("model_id", "model.model_id", comment="model that gives p"),
    Column("step", Integer, nullable=False, comment="step that gives p"),
    reference("model_q_id", "model.model_id", comment="model that gives q"),
    Column("step_q", Integer, nullable=False, comment="step that gives q"),
    Column("n_pairs", Integer, nullable=False, server_default=text("0"), comment="ordered pairs measured"),
    Column("n_pairs_expected", Integer, nullable=False, comment="ordered pairs wanted; complete when all are measured"),
    array("seeds", Integer(), "seeds that take part", nullable=True),
    array("seed_pairs", Integer(), "pairs touching each seed, in the order of seeds", nullable=True),
    number("sd_pairs", "standard deviation of the pairs' mean KL, in nats"),
    number("surprisal_difference", "mean over pairs of the mean surprisal of p less that of q, in nats"),
    UniqueConstraint("kind", "corpus_id", "protocol_id", "run_set", "model_id", "step", "model_q_id", "step_q"),
    CheckConstraint(
        "kind in ('seed', 'step', 'step_reverse', 'final', 'final_reverse', 'size', 'matched', 'cross', 'custom')",
        name="kind",
    ),
    CheckConstraint("run_set in ('default', 'all')", name="run_set"),
    comment="The pairs that answer one question at one step, over all seeds.",
)

custom_pair = Table(
    "custom_pair",
    metadata,
    *(
        Column(name, Integer, ForeignKey(f"{SCHEMA}.{target}"), primary_key=True, comment=comment)
        for name, target, comment in (
            ("comparison_id", "comparison.comparison_id", "comparison of kind custom"),
            ("evaluation_p", "evaluation.evaluation_id", "evaluation that gives p"),
            ("evaluation_q", "evaluation.evaluation_id", "evaluation that gives q"),
        )
    ),
    comment="Which pairs a comparison of kind custom wants: those that a study lists.",
)

comparison_member = Table(
    "comparison_member",
    metadata,
    Column(
        "comparison_id",
        Integer,
        ForeignKey(f"{SCHEMA}.comparison.comparison_id"),
        primary_key=True,
        comment="comparison",
    ),
    Column(
        "pair_id",
        Integer,
        ForeignKey(f"{SCHEMA}.comparison_pair.pair_id"),
        primary_key=True,
        index=True,
        comment="ordered pair",
    ),
    comment="Which pairs a comparison averages.",
)

convergence_chunk = Table(
    "convergence_chunk",
    metadata,
    Column("comparison_id", Integer, primary_key=True, autoincrement=False, comment="comparison"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    array("kl", REAL(), "mean KL over the ordered pairs, in nats; convergence is its negative"),
    array("mixture_entropy", REAL(), "entropy of the mean of the seeds' predictions, in nats", nullable=True),
    same_length("kl", "mixture_entropy"),
    comment="Mean KL of 256 consecutive tokens over the pairs of a comparison.",
)

# --- annotations and summaries ------------------------------------------------------------------------------------

annotation_layer = Table(
    "annotation_layer",
    metadata,
    key("layer_id", "key"),
    reference("corpus_id", "corpus.corpus_id", comment="corpus"),
    reference("model_id", "model.model_id", nullable=True, comment="model the layer belongs to; NULL for every model"),
    Column("is_total", Boolean, nullable=False, comment="the layer of all tokens, which carries the totals"),
    Column("summarised", Boolean, nullable=False, comment="summaries are kept; not for layers of over 1,000 values"),
    text_column("name", "name of the layer"),
    text_column("kind", "categorical or numeric"),
    text_column("source", "where the values came from"),
    text_column("description", "what the values mean", nullable=True),
    moment("created_at", "when the layer was loaded"),
    UniqueConstraint("corpus_id", "name", "model_id", postgresql_nulls_not_distinct=True),
    CheckConstraint("kind in ('categorical', 'numeric')", name="kind"),
    comment="A named annotation of the tokens of a corpus.",
)

annotation_category = Table(
    "annotation_category",
    metadata,
    Column("layer_id", Integer, ForeignKey(f"{SCHEMA}.annotation_layer.layer_id"), primary_key=True, comment="layer"),
    Column("category_id", Integer, primary_key=True, autoincrement=False, comment="number within the layer, from 0"),
    count("n_tokens", "tokens with the value"),
    number("value_number", "the value as a number"),
    number("lower", "lower bound of a numeric bin, included"),
    number("upper", "upper bound of a numeric bin, excluded"),
    text_column("value", "the value"),
    UniqueConstraint("layer_id", "value"),
    comment="A value of a layer.",
)

annotation_chunk = Table(
    "annotation_chunk",
    metadata,
    Column("layer_id", Integer, primary_key=True, autoincrement=False, comment="layer"),
    Column("chunk_id", BigInteger, primary_key=True, autoincrement=False, index=True, comment="token_id / 256"),
    array("category_ids", Integer(), "category of each token; NULL where the layer says nothing"),
    array("numbers", REAL(), "number of each token", nullable=True),
    same_length("category_ids", "numbers"),
    comment="Annotation of 256 consecutive tokens.",
)

_CLUSTER_SUMS = {
    "clusters": "clusters (documents or chunks) with such tokens",
    "cluster_xx": "sum over clusters of X_vd^2; X_vd sums the value's tokens of cluster d",
    "cluster_xn": "sum over clusters of X_vd N_vd; N_vd counts the value's tokens of cluster d",
    "cluster_nn": "sum over clusters of N_vd^2",
}

convergence_summary = Table(
    "convergence_summary",
    metadata,
    Column("comparison_id", Integer, primary_key=True, autoincrement=False, comment="comparison"),
    Column("layer_id", Integer, primary_key=True, autoincrement=False, index=True, comment="layer"),
    Column("category_id", Integer, primary_key=True, autoincrement=False, comment="value of the layer"),
    Column("clusters", Integer, nullable=False, comment=_CLUSTER_SUMS["clusters"]),
    count("n", "tokens"),
    number("sum_kl", "sum of the tokens' mean KL, in nats", nullable=False),
    number("sum_kl2", "sum of its squares", nullable=False),
    number("min_kl", "least mean KL of a token", nullable=False),
    number("max_kl", "greatest mean KL of a token", nullable=False),
    *(number(name, _CLUSTER_SUMS[name], nullable=False) for name in ("cluster_xx", "cluster_xn", "cluster_nn")),
    number("cross_xx", "sum over clusters of X_vd X_d; X_d sums all tokens of cluster d", nullable=False),
    number("cross_xn", "sum over clusters of X_vd N_d; N_d counts all tokens of cluster d", nullable=False),
    number("cross_nx", "sum over clusters of N_vd X_d", nullable=False),
    number("cross_nn", "sum over clusters of N_vd N_d", nullable=False),
    number("pair_square_sum", "sum over unordered pairs of seeds of the squared sum of KL in both directions"),
    array("seed_sums", Double(), "sum of KL over the pairs touching each seed, in the order of comparison.seeds"),
    comment="Mergeable sums of a comparison for the tokens with one value.",
)

score_summary = Table(
    "score_summary",
    metadata,
    Column("evaluation_id", Integer, primary_key=True, autoincrement=False, comment="evaluation"),
    Column("layer_id", Integer, primary_key=True, autoincrement=False, index=True, comment="layer"),
    Column("category_id", Integer, primary_key=True, autoincrement=False, comment="value of the layer"),
    Column("clusters", Integer, nullable=False, comment=_CLUSTER_SUMS["clusters"]),
    count("n", "tokens"),
    count("n_correct", "tokens of rank 1"),
    number("sum_surprisal", "sum of surprisal, in nats", nullable=False),
    number("sum_surprisal2", "sum of its squares", nullable=False),
    number("min_surprisal", "least surprisal", nullable=False),
    number("max_surprisal", "greatest surprisal", nullable=False),
    number("sum_entropy", "sum of entropy, in nats", nullable=False),
    *(number(name, _CLUSTER_SUMS[name], nullable=False) for name in ("cluster_xx", "cluster_xn", "cluster_nn")),
    comment="Mergeable sums of an evaluation for the tokens with one value.",
)

# --- constants ----------------------------------------------------------------------------------------------------

phase_definition = Table(
    "phase_definition",
    metadata,
    Column("definition", Text, primary_key=True, comment="whose boundaries"),
    Column("position", SmallInteger, primary_key=True, autoincrement=False, comment="order of the phase, from 1"),
    text_column("phase", "name of the phase"),
    Column("first_step", Integer, nullable=False, comment="published first step"),
    Column("last_step", Integer, comment="published last step; NULL for the end of training"),
    text_column("source", "publication"),
    comment="Published phases of training, drawn by eye.",
)

settings = Table(
    "settings",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true"), comment="there is one row"),
    number("outlier_q_value", "largest q value of an outlier", nullable=False),
    number("outlier_ratio", "least ratio sigma (or its inverse) of an outlier", nullable=False),
    Column("outlier_min_tokens", Integer, nullable=False, comment="least tokens of an outlier"),
    Column("min_clusters", Integer, nullable=False, comment="least clusters for a standard error or an outlier"),
    Column("robust_min_values", Integer, nullable=False, comment="least values of a layer for a robust score"),
    number(
        "phase_change", "least rise or fall that makes a phase, as a share of the curve's greatest KL", nullable=False
    ),
    number("phase_uniform", "share of the rise below which training is still uniform", nullable=False),
    Column("phase_min_steps", Integer, nullable=False, comment="least steps for estimated phases"),
    CheckConstraint("only_row", name="only_row"),
    comment="Thresholds of the analyses, in one row.",
)

views_state = Table(
    "views_state",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true"), comment="there is one row"),
    text_column("digest", "SHA-256 of the view files that made schema analysis"),
    text_column("package_version", "version of the package that made them"),
    Column("made_at", DateTime(timezone=True), server_default=text("now()"), nullable=False, comment="when"),
    CheckConstraint("only_row", name="only_row"),
    comment="Which views are installed.",
)
