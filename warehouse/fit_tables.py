"""Tables of what a command fits because SQL cannot: regressions, scaling laws, intervals of phases.

This module may not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from warehouse.columns import SCHEMA, key, metadata, moment, number, reference, text_column


def _of_fit() -> Column[int]:
    """The fit that a row belongs to and goes with."""
    target = ForeignKey(f"{SCHEMA}.fit.fit_id", ondelete="cascade")
    return Column("fit_id", Integer, target, primary_key=True, comment="fit")


fit = Table(
    "fit",
    metadata,
    key("fit_id", "key"),
    text_column("kind", "regression, scaling or phases: which table has its results"),
    text_column("name", "name of the fit; fitting again under the same name replaces it"),
    text_column("family", "family of models; NULL where the kind has fits across families", nullable=True),
    reference("corpus_id", "corpus.corpus_id", nullable=True, comment="corpus; NULL where none matters"),
    reference("protocol_id", "protocol.protocol_id", nullable=True, comment="protocol; NULL where none matters"),
    Column("settings", JSONB, nullable=False, comment="what was asked for: constants, thresholds, random seed"),
    Column("versions", JSONB, nullable=False, comment="versions of this package and of the libraries that fitted"),
    text_column("input_digest", "SHA-256 of the numbers that were fitted"),
    moment("made_at", "when it was fitted"),
    UniqueConstraint("kind", "name", "family", "corpus_id", "protocol_id", postgresql_nulls_not_distinct=True),
    CheckConstraint("kind in ('regression', 'scaling', 'phases')", name="kind"),
    comment="Something fitted outside SQL, with all that is needed to fit it again.",
)

regression_coefficient = Table(
    "regression_coefficient",
    metadata,
    _of_fit(),
    Column("step", Integer, primary_key=True, autoincrement=False, comment="step of the compared models"),
    Column("predictor", Text, primary_key=True, comment="intercept, log10_count, model, or a layer such as pos"),
    Column("value", Text, primary_key=True, comment="value of the predictor; empty for intercept and log10_count"),
    text_column(
        "reference",
        "value that coefficients of the predictor are differences from; NULL where there is none",
        nullable=True,
    ),
    Column("n", BigInteger, nullable=False, comment="observations of the step: tokens times models"),
    Column("n_clusters", Integer, nullable=False, comment="clusters of the step: vocabulary ids"),
    Column("n_with_value", BigInteger, nullable=False, comment="observations with the value"),
    Column("n_clusters_with_value", Integer, nullable=False, comment="vocabulary ids with the value"),
    number("coefficient", "effect on KL, in nats; NULL where the predictor cannot be told from the others"),
    number("standard_error", "its standard error, in nats; NULL below settings.min_clusters with the value"),
    number("p_value", "two-sided p of coefficient / standard_error, from Student's t with n_clusters - 1 degrees"),
    number("r2", "share of the variance of KL that the regression of the step explains"),
    comment="A coefficient of a regression of KL on properties of tokens, at one step.",
)

scaling_fit = Table(
    "scaling_fit",
    metadata,
    _of_fit(),
    Column("n_models", Integer, nullable=False, comment="models that were fitted"),
    Column("n", Integer, nullable=False, comment="checkpoints that were fitted"),
    number("a", "A of L = A / N^alpha + B / T^beta + E, in nats", nullable=False),
    number("alpha", "exponent of the number of parameters N", nullable=False),
    number("b", "B, in nats", nullable=False),
    number("beta", "exponent of the number of training tokens T", nullable=False),
    number("e", "E, loss that no model and no data remove, in nats", nullable=False),
    number(
        "se_log_a", "standard error of log A over sizes; NULL below three of them, and where all constants are free"
    ),
    number("se_alpha", "standard error of alpha over sizes; NULL likewise"),
    number("rms_residual", "root mean square of log L - log L-hat over the fitted checkpoints"),
    comment="A scaling law of the loss, as fitted.",
)

phase_interval = Table(
    "phase_interval",
    metadata,
    _of_fit(),
    Column(
        "model_id",
        Integer,
        ForeignKey(f"{SCHEMA}.model.model_id"),
        primary_key=True,
        comment="model",
    ),
    Column("boundary", Text, primary_key=True, comment="uniform_end, peak or trough"),
    Column("n_documents", Integer, nullable=False, comment="documents of the text that samples were drawn from"),
    Column("n_samples", Integer, nullable=False, comment="samples, each of as many documents, drawn with replacement"),
    Column("step", Integer, comment="the step estimated from all documents; NULL where there is none"),
    Column("lower", Integer, comment="lower end of the interval: a measured step"),
    Column("upper", Integer, comment="upper end of the interval: a measured step"),
    Column("confidence", Double, nullable=False, comment="share of the samples' boundaries within the interval"),
    number("share", "share of the samples that have such a boundary", nullable=False),
    CheckConstraint("boundary in ('uniform_end', 'peak', 'trough')", name="boundary"),
    comment="How far a boundary between phases of training moves with the documents of the text.",
)
