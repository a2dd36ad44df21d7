"""Tables of the warehouse: dimensions, facts in chunks of 256 tokens, summaries, constants.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Arrays of facts are read whole and hardly compress: stored as they are, also where they leave their row.
EXTERNAL = {
    "token_chunk": ("vocab_ids", "documents", "positions", "char_starts", "char_ends", "byte_starts", "byte_ends"),
    "score_chunk": (
        "surprisal",
        "entropy",
        "rank",
        "top_vocab_id",
        "top_surprisal",
        "space_logmass",
        "punct_logmass",
        "eos_logmass",
        "pad_logmass",
    ),
    "reference_chunk": ("kl",),
    "divergence_chunk": ("kl",),
    "convergence_chunk": ("kl", "mixture_entropy"),
    "annotation_chunk": ("category_ids", "numbers"),
}

# Boundaries as published: (definition, position, phase, first step, last step, source).
PHASES = [
    ("fehlauer-2025", 1, "uniform", 0, 16, "Fehlauer, Mahowald and Pimentel 2025"),
    ("fehlauer-2025", 2, "sharp_convergence", 16, 256, "Fehlauer, Mahowald and Pimentel 2025"),
    ("fehlauer-2025", 3, "sharp_divergence", 256, 2000, "Fehlauer, Mahowald and Pimentel 2025"),
    ("fehlauer-2025", 4, "slow_reconvergence", 2000, None, "Fehlauer, Mahowald and Pimentel 2025"),
    ("slides", 1, "uniform", 0, 8, "Fehlauer, slides on convergence and divergence"),
    ("slides", 2, "functional_universality", 8, 64, "Fehlauer, slides on convergence and divergence"),
    ("slides", 3, "unigram_transition", 64, 1000, "Fehlauer, slides on convergence and divergence"),
    ("slides", 4, "contextual_learning", 1000, None, "Fehlauer, slides on convergence and divergence"),
]

SETTINGS = {
    "outlier_q_value": 0.05,
    "outlier_ratio": 1.25,
    "outlier_min_tokens": 30,
    "min_clusters": 5,
    "robust_min_values": 8,
    "phase_change": 0.10,
    "phase_uniform": 0.05,
    "phase_min_steps": 5,
}


def _same_length(first: str, *others: str) -> str:
    return " and ".join(f"cardinality({other}) = cardinality({first})" for other in others)


def upgrade() -> None:
    op.create_table(
        "annotation_chunk",
        sa.Column("layer_id", sa.Integer(), autoincrement=False, nullable=False, comment="layer"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column(
            "category_ids",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="category of each token; NULL where the layer says nothing",
        ),
        sa.Column("numbers", sa.ARRAY(sa.REAL()), nullable=True, comment="number of each token"),
        sa.CheckConstraint(
            "cardinality(numbers) = cardinality(category_ids)", name=op.f("ck_annotation_chunk_same_length")
        ),
        sa.PrimaryKeyConstraint("layer_id", "chunk_id", name=op.f("pk_annotation_chunk")),
        schema="warehouse",
        comment="Annotation of 256 consecutive tokens.",
    )
    op.create_index(
        op.f("ix_annotation_chunk_chunk_id"), "annotation_chunk", ["chunk_id"], unique=False, schema="warehouse"
    )
    op.create_table(
        "convergence_chunk",
        sa.Column("comparison_id", sa.Integer(), autoincrement=False, nullable=False, comment="comparison"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column(
            "kl",
            sa.ARRAY(sa.REAL()),
            nullable=False,
            comment="mean KL over the ordered pairs, in nats; convergence is its negative",
        ),
        sa.Column(
            "mixture_entropy",
            sa.ARRAY(sa.REAL()),
            nullable=True,
            comment="entropy of the mean of the seeds' predictions, in nats",
        ),
        sa.CheckConstraint(
            "cardinality(mixture_entropy) = cardinality(kl)", name=op.f("ck_convergence_chunk_same_length")
        ),
        sa.PrimaryKeyConstraint("comparison_id", "chunk_id", name=op.f("pk_convergence_chunk")),
        schema="warehouse",
        comment="Mean KL of 256 consecutive tokens over the pairs of a comparison.",
    )
    op.create_index(
        op.f("ix_convergence_chunk_chunk_id"), "convergence_chunk", ["chunk_id"], unique=False, schema="warehouse"
    )
    op.create_table(
        "convergence_summary",
        sa.Column("comparison_id", sa.Integer(), autoincrement=False, nullable=False, comment="comparison"),
        sa.Column("layer_id", sa.Integer(), autoincrement=False, nullable=False, comment="layer"),
        sa.Column("category_id", sa.Integer(), autoincrement=False, nullable=False, comment="value of the layer"),
        sa.Column("clusters", sa.Integer(), nullable=False, comment="clusters (documents or chunks) with such tokens"),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="tokens"),
        sa.Column("sum_kl", sa.Double(), nullable=False, comment="sum of the tokens' mean KL, in nats"),
        sa.Column("sum_kl2", sa.Double(), nullable=False, comment="sum of its squares"),
        sa.Column("min_kl", sa.Double(), nullable=False, comment="least mean KL of a token"),
        sa.Column("max_kl", sa.Double(), nullable=False, comment="greatest mean KL of a token"),
        sa.Column(
            "cluster_xx",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd^2; X_vd sums the value's tokens of cluster d",
        ),
        sa.Column(
            "cluster_xn",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd N_vd; N_vd counts the value's tokens of cluster d",
        ),
        sa.Column("cluster_nn", sa.Double(), nullable=False, comment="sum over clusters of N_vd^2"),
        sa.Column(
            "cross_xx",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd X_d; X_d sums all tokens of cluster d",
        ),
        sa.Column(
            "cross_xn",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd N_d; N_d counts all tokens of cluster d",
        ),
        sa.Column("cross_nx", sa.Double(), nullable=False, comment="sum over clusters of N_vd X_d"),
        sa.Column("cross_nn", sa.Double(), nullable=False, comment="sum over clusters of N_vd N_d"),
        sa.Column(
            "pair_square_sum",
            sa.Double(),
            nullable=True,
            comment="sum over unordered pairs of seeds of the squared sum of KL in both directions",
        ),
        sa.Column(
            "seed_sums",
            sa.ARRAY(sa.Double()),
            nullable=False,
            comment="sum of KL over the pairs touching each seed, in the order of comparison.seeds",
        ),
        sa.PrimaryKeyConstraint("comparison_id", "layer_id", "category_id", name=op.f("pk_convergence_summary")),
        schema="warehouse",
        comment="Mergeable sums of a comparison for the tokens with one value.",
    )
    op.create_index(
        op.f("ix_convergence_summary_layer_id"), "convergence_summary", ["layer_id"], unique=False, schema="warehouse"
    )
    op.create_table(
        "divergence_chunk",
        sa.Column("pair_id", sa.Integer(), autoincrement=False, nullable=False, comment="ordered pair"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column("kl", sa.ARRAY(sa.REAL()), nullable=False, comment="KL(p || q), in nats"),
        sa.PrimaryKeyConstraint("pair_id", "chunk_id", name=op.f("pk_divergence_chunk")),
        schema="warehouse",
        comment="KL of 256 consecutive tokens for one ordered pair.",
    )
    op.create_index(
        op.f("ix_divergence_chunk_chunk_id"), "divergence_chunk", ["chunk_id"], unique=False, schema="warehouse"
    )
    op.create_table(
        "environment",
        sa.Column("environment_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the description"),
        sa.Column(
            "description",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="device, kernels, library versions, tile, threads",
        ),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("pk_environment")),
        sa.UniqueConstraint("sha256", name=op.f("uq_environment_sha256")),
        schema="warehouse",
        comment="Where and with what an evaluation was computed: provenance, never identity.",
    )
    op.create_table(
        "phase_definition",
        sa.Column("definition", sa.Text(), nullable=False, comment="whose boundaries"),
        sa.Column(
            "position", sa.SmallInteger(), autoincrement=False, nullable=False, comment="order of the phase, from 1"
        ),
        sa.Column("phase", sa.Text(), nullable=False, comment="name of the phase"),
        sa.Column("first_step", sa.Integer(), nullable=False, comment="published first step"),
        sa.Column(
            "last_step", sa.Integer(), nullable=True, comment="published last step; NULL for the end of training"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="publication"),
        sa.PrimaryKeyConstraint("definition", "position", name=op.f("pk_phase_definition")),
        schema="warehouse",
        comment="Published phases of training, drawn by eye.",
    )
    op.create_table(
        "protocol",
        sa.Column("protocol_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the protocol"),
        sa.Column("windows", sa.Text(), nullable=False, comment="concatenated: the corpus is one sequence"),
        sa.Column(
            "window",
            sa.Integer(),
            nullable=False,
            comment="longest window, in tokens; a model's context length caps it",
        ),
        sa.Column("bos", sa.Boolean(), nullable=False, comment="the sequence begins with BOS"),
        sa.Column(
            "vocabulary",
            sa.Text(),
            nullable=False,
            comment="tokenizer: ids of the tokenizer, renormalised; model: the padded width",
        ),
        sa.Column("dtype", sa.Text(), nullable=False, comment="number format of weights and activations"),
        sa.Column("tf32", sa.Boolean(), nullable=False, comment="TensorFloat-32 multiplication allowed"),
        sa.CheckConstraint("vocabulary in ('tokenizer', 'model')", name=op.f("ck_protocol_vocabulary")),
        sa.CheckConstraint("windows in ('concatenated')", name=op.f("ck_protocol_windows")),
        sa.PrimaryKeyConstraint("protocol_id", name=op.f("pk_protocol")),
        sa.UniqueConstraint("name", name=op.f("uq_protocol_name")),
        sa.UniqueConstraint(
            "windows",
            "window",
            "bos",
            "vocabulary",
            "dtype",
            "tf32",
            name=op.f("uq_protocol_windows_window_bos_vocabulary_dtype_tf32"),
        ),
        schema="warehouse",
        comment="What changes a measured quantity by design. Different protocols never mix.",
    )
    op.create_table(
        "reference_chunk",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("reference_id", sa.Integer(), autoincrement=False, nullable=False, comment="reference"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column("kl", sa.ARRAY(sa.REAL()), nullable=False, comment="KL(model || reference), in nats"),
        sa.PrimaryKeyConstraint("evaluation_id", "reference_id", "chunk_id", name=op.f("pk_reference_chunk")),
        schema="warehouse",
        comment="KL to a reference of 256 consecutive tokens.",
    )
    op.create_index(
        op.f("ix_reference_chunk_chunk_id"), "reference_chunk", ["chunk_id"], unique=False, schema="warehouse"
    )
    op.create_table(
        "score_chunk",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column("surprisal", sa.ARRAY(sa.REAL()), nullable=False, comment="-log p of the token, in nats"),
        sa.Column("entropy", sa.ARRAY(sa.REAL()), nullable=False, comment="entropy of the prediction, in nats"),
        sa.Column("rank", sa.ARRAY(sa.Integer()), nullable=False, comment="1 + entries with a strictly greater logit"),
        sa.Column(
            "top_vocab_id",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="most probable entry, the lowest id on a tie",
        ),
        sa.Column(
            "top_surprisal", sa.ARRAY(sa.REAL()), nullable=False, comment="-log p of the most probable entry, in nats"
        ),
        sa.Column(
            "space_logmass",
            sa.ARRAY(sa.REAL()),
            nullable=True,
            comment="log of the mass on entries that start with white space",
        ),
        sa.Column(
            "punct_logmass", sa.ARRAY(sa.REAL()), nullable=True, comment="log of the mass on unspaced punctuation"
        ),
        sa.Column("eos_logmass", sa.ARRAY(sa.REAL()), nullable=True, comment="log of the mass on EOS"),
        sa.Column(
            "pad_logmass", sa.ARRAY(sa.REAL()), nullable=True, comment="log of the mass on ids beyond the tokenizer"
        ),
        sa.CheckConstraint(
            _same_length(
                "surprisal",
                "entropy",
                "rank",
                "top_vocab_id",
                "top_surprisal",
                "space_logmass",
                "punct_logmass",
                "eos_logmass",
                "pad_logmass",
            ),
            name=op.f("ck_score_chunk_same_length"),
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "chunk_id", name=op.f("pk_score_chunk")),
        schema="warehouse",
        comment="Scores of 256 consecutive tokens by one evaluation.",
    )
    op.create_index(op.f("ix_score_chunk_chunk_id"), "score_chunk", ["chunk_id"], unique=False, schema="warehouse")
    op.create_table(
        "score_summary",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("layer_id", sa.Integer(), autoincrement=False, nullable=False, comment="layer"),
        sa.Column("category_id", sa.Integer(), autoincrement=False, nullable=False, comment="value of the layer"),
        sa.Column("clusters", sa.Integer(), nullable=False, comment="clusters (documents or chunks) with such tokens"),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="tokens"),
        sa.Column("n_correct", sa.BigInteger(), nullable=False, comment="tokens of rank 1"),
        sa.Column("sum_surprisal", sa.Double(), nullable=False, comment="sum of surprisal, in nats"),
        sa.Column("sum_surprisal2", sa.Double(), nullable=False, comment="sum of its squares"),
        sa.Column("min_surprisal", sa.Double(), nullable=False, comment="least surprisal"),
        sa.Column("max_surprisal", sa.Double(), nullable=False, comment="greatest surprisal"),
        sa.Column("sum_entropy", sa.Double(), nullable=False, comment="sum of entropy, in nats"),
        sa.Column(
            "cluster_xx",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd^2; X_vd sums the value's tokens of cluster d",
        ),
        sa.Column(
            "cluster_xn",
            sa.Double(),
            nullable=False,
            comment="sum over clusters of X_vd N_vd; N_vd counts the value's tokens of cluster d",
        ),
        sa.Column("cluster_nn", sa.Double(), nullable=False, comment="sum over clusters of N_vd^2"),
        sa.PrimaryKeyConstraint("evaluation_id", "layer_id", "category_id", name=op.f("pk_score_summary")),
        schema="warehouse",
        comment="Mergeable sums of an evaluation for the tokens with one value.",
    )
    op.create_index(op.f("ix_score_summary_layer_id"), "score_summary", ["layer_id"], unique=False, schema="warehouse")
    op.create_table(
        "settings",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="there is one row"),
        sa.Column("outlier_q_value", sa.Double(), nullable=False, comment="largest q value of an outlier"),
        sa.Column(
            "outlier_ratio", sa.Double(), nullable=False, comment="least ratio sigma (or its inverse) of an outlier"
        ),
        sa.Column("outlier_min_tokens", sa.Integer(), nullable=False, comment="least tokens of an outlier"),
        sa.Column(
            "min_clusters", sa.Integer(), nullable=False, comment="least clusters for a standard error or an outlier"
        ),
        sa.Column(
            "robust_min_values", sa.Integer(), nullable=False, comment="least values of a layer for a robust score"
        ),
        sa.Column(
            "phase_change",
            sa.Double(),
            nullable=False,
            comment="least rise or fall that makes a phase, as a share of the curve's greatest KL",
        ),
        sa.Column(
            "phase_uniform",
            sa.Double(),
            nullable=False,
            comment="share of the rise below which training is still uniform",
        ),
        sa.Column("phase_min_steps", sa.Integer(), nullable=False, comment="least steps for estimated phases"),
        sa.CheckConstraint("only_row", name=op.f("ck_settings_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_settings")),
        schema="warehouse",
        comment="Thresholds of the analyses, in one row.",
    )
    op.create_table(
        "token_chunk",
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("vocab_ids", sa.ARRAY(sa.Integer()), nullable=False, comment="vocabulary ids"),
        sa.Column("documents", sa.ARRAY(sa.Integer()), nullable=False, comment="number of the document of each token"),
        sa.Column(
            "positions",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="position of each token in its document, from 0",
        ),
        sa.Column(
            "char_starts",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="offset of the first character in the text of the corpus",
        ),
        sa.Column("char_ends", sa.ARRAY(sa.Integer()), nullable=False, comment="offset after the last character"),
        sa.Column(
            "byte_starts",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="offset of the first byte in the text of the corpus",
        ),
        sa.Column("byte_ends", sa.ARRAY(sa.Integer()), nullable=False, comment="offset after the last byte"),
        sa.CheckConstraint(
            _same_length("vocab_ids", "documents", "positions", "char_starts", "char_ends", "byte_starts", "byte_ends"),
            name=op.f("ck_token_chunk_same_length"),
        ),
        sa.PrimaryKeyConstraint("chunk_id", name=op.f("pk_token_chunk")),
        schema="warehouse",
        comment="256 consecutive tokens of a corpus.",
    )
    op.create_index(op.f("ix_token_chunk_corpus_id"), "token_chunk", ["corpus_id"], unique=False, schema="warehouse")
    op.create_table(
        "tokenizer",
        sa.Column("tokenizer_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the tokenizer, as the model calls it"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the tokenizer file"),
        sa.Column("length", sa.Integer(), nullable=False, comment="number of vocabulary ids, added tokens included"),
        sa.Column("bos_id", sa.Integer(), nullable=True, comment="vocabulary id that begins a sequence"),
        sa.Column("eos_id", sa.Integer(), nullable=True, comment="vocabulary id that ends a document"),
        sa.PrimaryKeyConstraint("tokenizer_id", name=op.f("pk_tokenizer")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokenizer_sha256")),
        schema="warehouse",
        comment="A tokenizer, identified by its file.",
    )
    op.create_table(
        "views_state",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="there is one row"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the view files that made schema analysis"),
        sa.Column("package_version", sa.Text(), nullable=False, comment="version of the package that made them"),
        sa.Column(
            "made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.CheckConstraint("only_row", name=op.f("ck_views_state_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_views_state")),
        schema="warehouse",
        comment="Which views are installed.",
    )
    op.create_table(
        "corpus",
        sa.Column("corpus_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the corpus"),
        sa.Column("tokenizer_id", sa.Integer(), nullable=False, comment="tokenizer that made the tokens"),
        sa.Column("first_token_id", sa.BigInteger(), nullable=False, comment="first token_id, a multiple of 256"),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False, comment="tokens, the EOS of documents included"),
        sa.Column("n_documents", sa.Integer(), nullable=False, comment="documents"),
        sa.Column("n_characters", sa.BigInteger(), nullable=False, comment="characters of the text"),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False, comment="bytes of the text as UTF-8"),
        sa.Column("source", sa.Text(), nullable=False, comment="where the text came from"),
        sa.Column("licence", sa.Text(), nullable=True, comment="licence of the text"),
        sa.Column("text_sha256", sa.Text(), nullable=False, comment="SHA-256 of the text as UTF-8"),
        sa.Column("token_sha256", sa.Text(), nullable=False, comment="SHA-256 of the token ids as little-endian int32"),
        sa.Column(
            "eos_policy",
            sa.Text(),
            nullable=False,
            comment="after-document: every document ends with EOS; none: no EOS",
        ),
        sa.Column(
            "cluster",
            sa.Text(),
            nullable=False,
            comment="what standard errors take as independent: document, or chunk where documents are few",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the corpus was loaded",
        ),
        sa.CheckConstraint("cluster in ('document', 'chunk')", name=op.f("ck_corpus_cluster")),
        sa.CheckConstraint("eos_policy in ('after-document', 'none')", name=op.f("ck_corpus_eos_policy")),
        sa.CheckConstraint("first_token_id % 256 = 0", name=op.f("ck_corpus_first_token_id")),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["warehouse.tokenizer.tokenizer_id"], name=op.f("fk_corpus_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("corpus_id", name=op.f("pk_corpus")),
        sa.UniqueConstraint("first_token_id", name=op.f("uq_corpus_first_token_id")),
        sa.UniqueConstraint("name", name=op.f("uq_corpus_name")),
        schema="warehouse",
        comment="A text, cut into tokens by one tokenizer.",
    )
    op.create_table(
        "model",
        sa.Column("model_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("family", sa.Text(), nullable=False, comment="suite of models, such as pythia"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the model within its family"),
        sa.Column("tokenizer_id", sa.Integer(), nullable=True, comment="tokenizer of the model"),
        sa.Column("parameters", sa.BigInteger(), nullable=True, comment="parameters, embeddings included"),
        sa.Column(
            "parameters_without_embeddings",
            sa.BigInteger(),
            nullable=True,
            comment="parameters other than input and output embeddings",
        ),
        sa.Column("hidden_size", sa.Integer(), nullable=True, comment="width d of the hidden states"),
        sa.Column("layers", sa.Integer(), nullable=True, comment="transformer layers"),
        sa.Column(
            "vocabulary_width", sa.Integer(), nullable=True, comment="width V of the output head, padding included"
        ),
        sa.Column("context_length", sa.Integer(), nullable=True, comment="longest input, in tokens"),
        sa.Column("architecture", sa.Text(), nullable=True, comment="class of the model in transformers"),
        sa.Column("objective", sa.Text(), nullable=False, comment="causal or masked"),
        sa.CheckConstraint("objective in ('causal', 'masked')", name=op.f("ck_model_objective")),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["warehouse.tokenizer.tokenizer_id"], name=op.f("fk_model_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model")),
        sa.UniqueConstraint("family", "name", name=op.f("uq_model_family_name")),
        schema="warehouse",
        comment="An architecture of one size.",
    )
    op.create_table(
        "reference_distribution",
        sa.Column("reference_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the reference"),
        sa.Column("tokenizer_id", sa.Integer(), nullable=False, comment="tokenizer whose ids are counted"),
        sa.Column(
            "ngram_order",
            sa.SmallInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="n of the n-gram; 1 is unigram",
        ),
        sa.Column("total", sa.Double(), nullable=False, comment="sum of the counts"),
        sa.Column("entropy", sa.Double(), nullable=False, comment="entropy of the smoothed distribution, in nats"),
        sa.Column("smoothing", sa.Text(), nullable=False, comment="add-one or none"),
        sa.Column("source", sa.Text(), nullable=False, comment="where the counts came from"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the counts as little-endian float64"),
        sa.Column("counts", sa.ARRAY(sa.Double()), nullable=False, comment="count of each vocabulary id"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the reference was loaded",
        ),
        sa.CheckConstraint("smoothing in ('add-one', 'none')", name=op.f("ck_reference_distribution_smoothing")),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["warehouse.tokenizer.tokenizer_id"], name=op.f("fk_reference_distribution_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("reference_id", name=op.f("pk_reference_distribution")),
        sa.UniqueConstraint("tokenizer_id", "name", name=op.f("uq_reference_distribution_tokenizer_id_name")),
        schema="warehouse",
        comment="A named distribution over the vocabulary, such as the unigram counts of a corpus.",
    )
    op.create_table(
        "vocabulary",
        sa.Column("tokenizer_id", sa.Integer(), nullable=False, comment="tokenizer"),
        sa.Column("vocab_id", sa.Integer(), autoincrement=False, nullable=False, comment="id in the vocabulary"),
        sa.Column("starts_with_space", sa.Boolean(), nullable=False, comment="the piece starts with white space"),
        sa.Column("is_punctuation", sa.Boolean(), nullable=False, comment="the piece is unspaced punctuation"),
        sa.Column("is_special", sa.Boolean(), nullable=False, comment="a control token such as the end of text"),
        sa.Column(
            "piece",
            sa.Text(),
            nullable=False,
            comment="the piece as text; bytes that are no UTF-8 show as the replacement character",
        ),
        sa.Column("bytes", sa.LargeBinary(), nullable=False, comment="the piece as bytes"),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["warehouse.tokenizer.tokenizer_id"], name=op.f("fk_vocabulary_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("tokenizer_id", "vocab_id", name=op.f("pk_vocabulary")),
        schema="warehouse",
        comment="The pieces of a tokenizer.",
    )
    op.create_table(
        "annotation_layer",
        sa.Column("layer_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("model_id", sa.Integer(), nullable=True, comment="model the layer belongs to; NULL for every model"),
        sa.Column(
            "is_total", sa.Boolean(), nullable=False, comment="the layer of all tokens, which carries the totals"
        ),
        sa.Column(
            "summarised",
            sa.Boolean(),
            nullable=False,
            comment="summaries are kept; not for layers of over 1,000 values",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the layer"),
        sa.Column("kind", sa.Text(), nullable=False, comment="categorical or numeric"),
        sa.Column("source", sa.Text(), nullable=False, comment="where the values came from"),
        sa.Column("description", sa.Text(), nullable=True, comment="what the values mean"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the layer was loaded",
        ),
        sa.CheckConstraint("kind in ('categorical', 'numeric')", name=op.f("ck_annotation_layer_kind")),
        sa.ForeignKeyConstraint(
            ["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_annotation_layer_corpus_id")
        ),
        sa.ForeignKeyConstraint(["model_id"], ["warehouse.model.model_id"], name=op.f("fk_annotation_layer_model_id")),
        sa.PrimaryKeyConstraint("layer_id", name=op.f("pk_annotation_layer")),
        sa.UniqueConstraint(
            "corpus_id",
            "name",
            "model_id",
            name=op.f("uq_annotation_layer_corpus_id_name_model_id"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="warehouse",
        comment="A named annotation of the tokens of a corpus.",
    )
    op.create_table(
        "comparison",
        sa.Column("comparison_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("kind", sa.Text(), nullable=False, comment="seed, step, step_reverse, final or final_reverse"),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("protocol_id", sa.Integer(), nullable=False, comment="protocol"),
        sa.Column("run_set", sa.Text(), nullable=False, comment="default leaves out runs flagged as outliers"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="model that gives p"),
        sa.Column("step", sa.Integer(), nullable=False, comment="step that gives p"),
        sa.Column("model_q_id", sa.Integer(), nullable=False, comment="model that gives q"),
        sa.Column("step_q", sa.Integer(), nullable=False, comment="step that gives q"),
        sa.Column(
            "n_pairs", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="ordered pairs measured"
        ),
        sa.Column(
            "n_pairs_expected",
            sa.Integer(),
            nullable=False,
            comment="ordered pairs wanted; complete when all are measured",
        ),
        sa.Column("seeds", sa.ARRAY(sa.Integer()), nullable=True, comment="seeds that take part"),
        sa.Column(
            "seed_pairs",
            sa.ARRAY(sa.Integer()),
            nullable=True,
            comment="pairs touching each seed, in the order of seeds",
        ),
        sa.Column("sd_pairs", sa.Double(), nullable=True, comment="standard deviation of the pairs' mean KL, in nats"),
        sa.CheckConstraint(
            "kind in ('seed', 'step', 'step_reverse', 'final', 'final_reverse')", name=op.f("ck_comparison_kind")
        ),
        sa.ForeignKeyConstraint(["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_comparison_corpus_id")),
        sa.ForeignKeyConstraint(["model_id"], ["warehouse.model.model_id"], name=op.f("fk_comparison_model_id")),
        sa.ForeignKeyConstraint(["model_q_id"], ["warehouse.model.model_id"], name=op.f("fk_comparison_model_q_id")),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["warehouse.protocol.protocol_id"], name=op.f("fk_comparison_protocol_id")
        ),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_comparison")),
        sa.UniqueConstraint(
            "kind",
            "corpus_id",
            "protocol_id",
            "run_set",
            "model_id",
            "step",
            "model_q_id",
            "step_q",
            name=op.f("uq_comparison_kind_corpus_id_protocol_id_run_set_model_id_step_model_q_id_step_q"),
        ),
        schema="warehouse",
        comment="The pairs that answer one question at one step, over all seeds.",
    )
    op.create_table(
        "document",
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column(
            "document", sa.Integer(), autoincrement=False, nullable=False, comment="number within the corpus, from 0"
        ),
        sa.Column("first_token_id", sa.BigInteger(), nullable=False, comment="token_id of its first token"),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False, comment="tokens, its EOS included"),
        sa.Column(
            "char_start",
            sa.BigInteger(),
            nullable=False,
            comment="offset of its first character in the text of the corpus",
        ),
        sa.Column("char_end", sa.BigInteger(), nullable=False, comment="offset after its last character"),
        sa.Column(
            "byte_start", sa.BigInteger(), nullable=False, comment="offset of its first byte in the text of the corpus"
        ),
        sa.Column("byte_end", sa.BigInteger(), nullable=False, comment="offset after its last byte"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the document"),
        sa.ForeignKeyConstraint(["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_document_corpus_id")),
        sa.PrimaryKeyConstraint("corpus_id", "document", name=op.f("pk_document")),
        schema="warehouse",
        comment="A document of a corpus.",
    )
    op.create_table(
        "run",
        sa.Column("run_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="model"),
        sa.Column("seed", sa.Integer(), nullable=False, comment="seed of the training run"),
        sa.Column(
            "outlier",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="left out of run set default",
        ),
        sa.Column("note", sa.Text(), nullable=True, comment="why the run is flagged"),
        sa.ForeignKeyConstraint(["model_id"], ["warehouse.model.model_id"], name=op.f("fk_run_model_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        sa.UniqueConstraint("model_id", "seed", name=op.f("uq_run_model_id_seed")),
        schema="warehouse",
        comment="One training run of a model.",
    )
    op.create_table(
        "annotation_category",
        sa.Column("layer_id", sa.Integer(), nullable=False, comment="layer"),
        sa.Column(
            "category_id", sa.Integer(), autoincrement=False, nullable=False, comment="number within the layer, from 0"
        ),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False, comment="tokens with the value"),
        sa.Column("value_number", sa.Double(), nullable=True, comment="the value as a number"),
        sa.Column("lower", sa.Double(), nullable=True, comment="lower bound of a numeric bin, included"),
        sa.Column("upper", sa.Double(), nullable=True, comment="upper bound of a numeric bin, excluded"),
        sa.Column("value", sa.Text(), nullable=False, comment="the value"),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["warehouse.annotation_layer.layer_id"], name=op.f("fk_annotation_category_layer_id")
        ),
        sa.PrimaryKeyConstraint("layer_id", "category_id", name=op.f("pk_annotation_category")),
        sa.UniqueConstraint("layer_id", "value", name=op.f("uq_annotation_category_layer_id_value")),
        schema="warehouse",
        comment="A value of a layer.",
    )
    op.create_table(
        "checkpoint",
        sa.Column("checkpoint_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("run_id", sa.Integer(), nullable=False, comment="training run"),
        sa.Column("step", sa.Integer(), nullable=False, comment="optimiser steps taken"),
        sa.Column("tokens_seen", sa.BigInteger(), nullable=True, comment="training tokens seen"),
        sa.Column("flops", sa.Double(), nullable=True, comment="training compute, 6 x parameters x tokens seen"),
        sa.Column("source", sa.Text(), nullable=False, comment="folder or repository"),
        sa.Column(
            "revision", sa.Text(), nullable=False, comment="revision of the repository, or the path within the folder"
        ),
        sa.Column("weights_sha256", sa.Text(), nullable=True, comment="SHA-256 of the weights"),
        sa.Column(
            "status",
            sa.Text(),
            nullable=True,
            comment="ok, missing, duplicate, suspect, quarantined or failed; NULL before it was read",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="why the status is not ok"),
        sa.Column(
            "head_singular_values",
            sa.ARRAY(sa.REAL()),
            nullable=True,
            comment="singular values of the output head, descending",
        ),
        sa.CheckConstraint(
            "status in ('ok', 'missing', 'duplicate', 'suspect', 'quarantined', 'failed')",
            name=op.f("ck_checkpoint_status"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["warehouse.run.run_id"], name=op.f("fk_checkpoint_run_id")),
        sa.PrimaryKeyConstraint("checkpoint_id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("run_id", "step", name=op.f("uq_checkpoint_run_id_step")),
        schema="warehouse",
        comment="A model as it was at one step of a training run.",
    )
    op.create_table(
        "evaluation",
        sa.Column("evaluation_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False, comment="checkpoint"),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("protocol_id", sa.Integer(), nullable=False, comment="protocol"),
        sa.Column("environment_id", sa.Integer(), nullable=True, comment="where it was computed"),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="planned or complete; all its facts are visible when complete, none before",
        ),
        sa.Column(
            "input_digest", sa.Text(), nullable=True, comment="SHA-256 of weights, token ids, tokenizer and protocol"
        ),
        sa.Column("window", sa.Integer(), nullable=True, comment="window used, in tokens"),
        sa.Column("seconds", sa.Double(), nullable=True, comment="time taken to read and score"),
        sa.Column("mean_surprisal", sa.Double(), nullable=True, comment="mean surprisal over tokens, in nats"),
        sa.Column(
            "anisotropy",
            sa.Double(),
            nullable=True,
            comment="mean cosine between the final hidden states of two tokens",
        ),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=True, comment="when it was computed"),
        sa.CheckConstraint("status = 'planned' or input_digest is not null", name=op.f("ck_evaluation_complete")),
        sa.CheckConstraint("status in ('planned', 'complete')", name=op.f("ck_evaluation_status")),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["warehouse.checkpoint.checkpoint_id"], name=op.f("fk_evaluation_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_evaluation_corpus_id")),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["warehouse.environment.environment_id"], name=op.f("fk_evaluation_environment_id")
        ),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["warehouse.protocol.protocol_id"], name=op.f("fk_evaluation_protocol_id")
        ),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "checkpoint_id", "corpus_id", "protocol_id", name=op.f("uq_evaluation_checkpoint_id_corpus_id_protocol_id")
        ),
        schema="warehouse",
        comment="A checkpoint scored on a corpus: the ledger, and an immutable unit.",
    )
    op.create_table(
        "comparison_pair",
        sa.Column("pair_id", sa.Integer(), sa.Identity(always=False), nullable=False, comment="key"),
        sa.Column("evaluation_p", sa.Integer(), nullable=False, comment="evaluation that gives p"),
        sa.Column("evaluation_q", sa.Integer(), nullable=False, comment="evaluation that gives q"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="where it was computed"),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False, comment="tokens measured"),
        sa.Column("mean_kl", sa.Double(), nullable=False, comment="mean KL(p || q) over tokens, in nats"),
        sa.Column(
            "pearson", sa.Double(), nullable=True, comment="Pearson correlation of the two surprisals over tokens"
        ),
        sa.Column(
            "top1_agreement", sa.Double(), nullable=True, comment="share of tokens with the same most probable entry"
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["warehouse.environment.environment_id"], name=op.f("fk_comparison_pair_environment_id")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_p"], ["warehouse.evaluation.evaluation_id"], name=op.f("fk_comparison_pair_evaluation_p")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_q"], ["warehouse.evaluation.evaluation_id"], name=op.f("fk_comparison_pair_evaluation_q")
        ),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_comparison_pair")),
        sa.UniqueConstraint("evaluation_p", "evaluation_q", name=op.f("uq_comparison_pair_evaluation_p_evaluation_q")),
        schema="warehouse",
        comment="An ordered pair of evaluations: an immutable unit.",
    )
    op.create_index(
        op.f("ix_comparison_pair_evaluation_q"), "comparison_pair", ["evaluation_q"], unique=False, schema="warehouse"
    )
    op.create_table(
        "reference_evaluation",
        sa.Column("evaluation_id", sa.Integer(), nullable=False, comment="evaluation"),
        sa.Column("reference_id", sa.Integer(), nullable=False, comment="reference"),
        sa.Column("n_tokens", sa.BigInteger(), nullable=False, comment="tokens measured"),
        sa.Column("mean_kl", sa.Double(), nullable=False, comment="mean KL(model || reference) over tokens, in nats"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["warehouse.evaluation.evaluation_id"],
            name=op.f("fk_reference_evaluation_evaluation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["reference_id"],
            ["warehouse.reference_distribution.reference_id"],
            name=op.f("fk_reference_evaluation_reference_id"),
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "reference_id", name=op.f("pk_reference_evaluation")),
        schema="warehouse",
        comment="An evaluation held against a reference: an immutable unit.",
    )
    op.create_table(
        "comparison_member",
        sa.Column("comparison_id", sa.Integer(), nullable=False, comment="comparison"),
        sa.Column("pair_id", sa.Integer(), nullable=False, comment="ordered pair"),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["warehouse.comparison.comparison_id"], name=op.f("fk_comparison_member_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["warehouse.comparison_pair.pair_id"], name=op.f("fk_comparison_member_pair_id")
        ),
        sa.PrimaryKeyConstraint("comparison_id", "pair_id", name=op.f("pk_comparison_member")),
        schema="warehouse",
        comment="Which pairs a comparison averages.",
    )
    op.create_index(
        op.f("ix_comparison_member_pair_id"), "comparison_member", ["pair_id"], unique=False, schema="warehouse"
    )

    for table, columns in EXTERNAL.items():
        for column in columns:
            op.execute(f"alter table warehouse.{table} alter column {column} set storage external")
    names = ("definition", "position", "phase", "first_step", "last_step", "source")
    phases = sa.table("phase_definition", *(sa.column(name) for name in names), schema="warehouse")
    op.bulk_insert(phases, [dict(zip(names, row, strict=True)) for row in PHASES])
    settings = sa.table("settings", *(sa.column(name) for name in SETTINGS), schema="warehouse")
    op.bulk_insert(settings, [SETTINGS])


def downgrade() -> None:
    for table in (
        "comparison_member",
        "reference_evaluation",
        "comparison_pair",
        "evaluation",
        "checkpoint",
        "annotation_category",
        "run",
        "document",
        "comparison",
        "annotation_layer",
        "vocabulary",
        "reference_distribution",
        "model",
        "corpus",
        "views_state",
        "tokenizer",
        "token_chunk",
        "settings",
        "score_summary",
        "score_chunk",
        "reference_chunk",
        "protocol",
        "phase_definition",
        "environment",
        "divergence_chunk",
        "convergence_summary",
        "convergence_chunk",
        "annotation_chunk",
    ):
        op.drop_table(table, schema="warehouse")
