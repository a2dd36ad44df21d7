"""What is fitted outside SQL, the learning rate of checkpoints, rank correlations of pairs, constants of trajectories.

Learning rates of what was planned before are filled in by the next plan of the same study, rank correlations of pairs
by `warehouse refresh`.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "warehouse"

#: Constants that the settings row gains: column to value and comment.
SETTINGS: dict[str, tuple[sa.Double | sa.Integer, float, str]] = {
    "trend_p_value": (sa.Double(), 0.05, "p value below which a token's trend is upward or downward"),
    "trend_tolerance": (sa.Double(), 0.05, "a stagnated token's ends lie within this share of their geometric mean"),
    "trend_min_steps": (sa.Integer(), 5, "least checkpoints for a trend"),
    "late_training": (sa.Double(), 0.75, "share of training after which confidence and variability are taken"),
    "late_min_steps": (sa.Integer(), 3, "least checkpoints for confidence and variability"),
    "fit_max_step": (sa.Integer(), 32000, "last step that cross-entropy fits take in"),
}


def upgrade() -> None:
    op.create_table(
        "fit",
        sa.Column("fit_id", sa.Integer(), sa.Identity(), nullable=False, comment="key"),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="regression, scaling or phases: which table has its results"
        ),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="name of the fit; fitting again under the same name replaces it"
        ),
        sa.Column(
            "family",
            sa.Text(),
            nullable=True,
            comment="family of models; NULL where the kind has fits across families",
        ),
        sa.Column("corpus_id", sa.Integer(), nullable=True, comment="corpus; NULL where none matters"),
        sa.Column("protocol_id", sa.Integer(), nullable=True, comment="protocol; NULL where none matters"),
        sa.Column(
            "settings",
            postgresql.JSONB(),
            nullable=False,
            comment="what was asked for: constants, thresholds, random seed",
        ),
        sa.Column(
            "versions",
            postgresql.JSONB(),
            nullable=False,
            comment="versions of this package and of the libraries that fitted",
        ),
        sa.Column("input_digest", sa.Text(), nullable=False, comment="SHA-256 of the numbers that were fitted"),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was fitted",
        ),
        sa.CheckConstraint("kind in ('regression', 'scaling', 'phases')", name=op.f("ck_fit_kind")),
        sa.ForeignKeyConstraint(["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_fit_corpus_id")),
        sa.ForeignKeyConstraint(["protocol_id"], ["warehouse.protocol.protocol_id"], name=op.f("fk_fit_protocol_id")),
        sa.PrimaryKeyConstraint("fit_id", name=op.f("pk_fit")),
        sa.UniqueConstraint(
            "kind",
            "name",
            "family",
            "corpus_id",
            "protocol_id",
            name=op.f("uq_fit_kind_name_family_corpus_id_protocol_id"),
            postgresql_nulls_not_distinct=True,
        ),
        schema=SCHEMA,
        comment="Something fitted outside SQL, with all that is needed to fit it again.",
    )
    op.create_table(
        "regression_coefficient",
        sa.Column("fit_id", sa.Integer(), nullable=False, comment="fit"),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False, comment="step of the compared models"),
        sa.Column(
            "predictor",
            sa.Text(),
            nullable=False,
            comment="intercept, log10_count, model, or a layer such as pos",
        ),
        sa.Column(
            "value",
            sa.Text(),
            nullable=False,
            comment="value of the predictor; empty for intercept and log10_count",
        ),
        sa.Column(
            "reference",
            sa.Text(),
            nullable=True,
            comment="value that coefficients of the predictor are differences from; NULL where there is none",
        ),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="observations of the step: tokens times models"),
        sa.Column("n_clusters", sa.Integer(), nullable=False, comment="clusters of the step: vocabulary ids"),
        sa.Column("n_with_value", sa.BigInteger(), nullable=False, comment="observations with the value"),
        sa.Column("n_clusters_with_value", sa.Integer(), nullable=False, comment="vocabulary ids with the value"),
        sa.Column(
            "coefficient",
            sa.Double(),
            nullable=True,
            comment="effect on KL, in nats; NULL where the predictor cannot be told from the others",
        ),
        sa.Column(
            "standard_error",
            sa.Double(),
            nullable=True,
            comment="its standard error, in nats; NULL below settings.min_clusters with the value",
        ),
        sa.Column(
            "p_value",
            sa.Double(),
            nullable=True,
            comment="two-sided p of coefficient / standard_error, from Student's t with n_clusters - 1 degrees",
        ),
        sa.Column(
            "r2",
            sa.Double(),
            nullable=True,
            comment="share of the variance of KL that the regression of the step explains",
        ),
        sa.ForeignKeyConstraint(
            ["fit_id"], ["warehouse.fit.fit_id"], name=op.f("fk_regression_coefficient_fit_id"), ondelete="cascade"
        ),
        sa.PrimaryKeyConstraint("fit_id", "step", "predictor", "value", name=op.f("pk_regression_coefficient")),
        schema=SCHEMA,
        comment="A coefficient of a regression of KL on properties of tokens, at one step.",
    )
    op.create_table(
        "scaling_fit",
        sa.Column("fit_id", sa.Integer(), nullable=False, comment="fit"),
        sa.Column("n_models", sa.Integer(), nullable=False, comment="models that were fitted"),
        sa.Column("n", sa.Integer(), nullable=False, comment="checkpoints that were fitted"),
        sa.Column("a", sa.Double(), nullable=False, comment="A of L = A / N^alpha + B / T^beta + E, in nats"),
        sa.Column("alpha", sa.Double(), nullable=False, comment="exponent of the number of parameters N"),
        sa.Column("b", sa.Double(), nullable=False, comment="B, in nats"),
        sa.Column("beta", sa.Double(), nullable=False, comment="exponent of the number of training tokens T"),
        sa.Column("e", sa.Double(), nullable=False, comment="E, loss that no model and no data remove, in nats"),
        sa.Column(
            "se_log_a",
            sa.Double(),
            nullable=True,
            comment="standard error of log A over sizes; NULL below three of them, and where all constants are free",
        ),
        sa.Column("se_alpha", sa.Double(), nullable=True, comment="standard error of alpha over sizes; NULL likewise"),
        sa.Column(
            "rms_residual",
            sa.Double(),
            nullable=True,
            comment="root mean square of log L - log L-hat over the fitted checkpoints",
        ),
        sa.ForeignKeyConstraint(
            ["fit_id"], ["warehouse.fit.fit_id"], name=op.f("fk_scaling_fit_fit_id"), ondelete="cascade"
        ),
        sa.PrimaryKeyConstraint("fit_id", name=op.f("pk_scaling_fit")),
        schema=SCHEMA,
        comment="A scaling law of the loss, as fitted.",
    )
    op.create_table(
        "phase_interval",
        sa.Column("fit_id", sa.Integer(), nullable=False, comment="fit"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="model"),
        sa.Column("boundary", sa.Text(), nullable=False, comment="uniform_end, peak or trough"),
        sa.Column(
            "n_documents", sa.Integer(), nullable=False, comment="documents of the text that samples were drawn from"
        ),
        sa.Column(
            "n_samples",
            sa.Integer(),
            nullable=False,
            comment="samples, each of as many documents, drawn with replacement",
        ),
        sa.Column(
            "step",
            sa.Integer(),
            nullable=True,
            comment="the step estimated from all documents; NULL where there is none",
        ),
        sa.Column("lower", sa.Integer(), nullable=True, comment="lower end of the interval: a measured step"),
        sa.Column("upper", sa.Integer(), nullable=True, comment="upper end of the interval: a measured step"),
        sa.Column(
            "confidence",
            sa.Double(),
            nullable=False,
            comment="share of the samples' boundaries within the interval",
        ),
        sa.Column("share", sa.Double(), nullable=False, comment="share of the samples that have such a boundary"),
        sa.CheckConstraint("boundary in ('uniform_end', 'peak', 'trough')", name=op.f("ck_phase_interval_boundary")),
        sa.ForeignKeyConstraint(
            ["fit_id"], ["warehouse.fit.fit_id"], name=op.f("fk_phase_interval_fit_id"), ondelete="cascade"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["warehouse.model.model_id"], name=op.f("fk_phase_interval_model_id")),
        sa.PrimaryKeyConstraint("fit_id", "model_id", "boundary", name=op.f("pk_phase_interval")),
        schema=SCHEMA,
        comment="How far a boundary between phases of training moves with the documents of the text.",
    )
    op.add_column(
        "checkpoint",
        sa.Column(
            "learning_rate",
            sa.Double(),
            nullable=True,
            comment="learning rate at the step, as the suite publishes it; NULL where it does not",
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "comparison_pair",
        sa.Column(
            "spearman",
            sa.Double(),
            nullable=True,
            comment="Spearman rank correlation of the two surprisals over tokens, ties at their mean rank",
        ),
        schema=SCHEMA,
    )
    for name, (kind, value, comment) in SETTINGS.items():
        # Filled with its value, which is then no default: whoever writes the row says it.
        column = sa.Column(name, kind, server_default=sa.text(str(value)), nullable=False, comment=comment)
        op.add_column("settings", column, schema=SCHEMA)
        op.alter_column("settings", name, server_default=None, schema=SCHEMA)


def downgrade() -> None:
    for name in SETTINGS:
        op.drop_column("settings", name, schema=SCHEMA)
    op.drop_column("comparison_pair", "spearman", schema=SCHEMA)
    op.drop_column("checkpoint", "learning_rate", schema=SCHEMA)
    for table in ("phase_interval", "scaling_fit", "regression_coefficient", "fit"):
        op.drop_table(table, schema=SCHEMA)
