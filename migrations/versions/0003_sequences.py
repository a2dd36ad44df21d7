"""Items and sums over documents, derived corpora, n-gram references, and what was measured elsewhere.

Going back is refused by the old constraints where there are rows of the new kinds. Sums over the documents of what was
measured before are not filled in here: `warehouse refresh` computes them from the facts.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "warehouse"

#: What columns say of themselves: (table, column) to the comment before and after.
COMMENTS = {
    ("evaluation", "status"): (
        "planned or complete; all its facts are visible when complete, none before",
        "planned, complete, or unscored; all its scores are visible when complete, none before; an unscored one stands "
        "for a checkpoint of which only KL was imported",
    ),
    ("protocol", "windows"): (
        "concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids",
        "concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids; "
        "imported: measured elsewhere",
    ),
    ("protocol", "window"): (
        "longest window, in tokens; a model's context length caps it",
        "longest window, in tokens; a model's context length caps it; NULL if not known",
    ),
    ("protocol", "bos"): ("the sequence begins with BOS", "the sequence begins with BOS; NULL if not known"),
    ("protocol", "tf32"): (
        "TensorFloat-32 multiplication allowed",
        "TensorFloat-32 multiplication allowed; NULL if not known",
    ),
    ("reference_distribution", "entropy"): (
        "entropy of the smoothed distribution, in nats",
        "entropy of the smoothed distribution, in nats; of n-grams the mean over the contexts of the text",
    ),
    ("reference_distribution", "sha256"): (
        "SHA-256 of the counts as little-endian float64",
        "SHA-256 of the counts as little-endian float64; of n-grams that of the text's ids and document starts",
    ),
    ("reference_distribution", "smoothing"): (
        "add-one or none",
        "add-one, none, or interpolated with the next lower order",
    ),
    ("score_summary", "n_correct"): ("tokens of rank 1", "tokens of rank 1; NULL where ranks are not known"),
    ("score_summary", "sum_entropy"): (
        "sum of entropy, in nats",
        "sum of entropy, in nats; NULL where it is not known",
    ),
}
TYPES = {
    "status": sa.Text(),
    "windows": sa.Text(),
    "window": sa.Integer(),
    "bos": sa.Boolean(),
    "tf32": sa.Boolean(),
    "entropy": sa.Double(),
    "sha256": sa.Text(),
    "smoothing": sa.Text(),
    "n_correct": sa.BigInteger(),
    "sum_entropy": sa.Double(),
}
#: Checks whose lists grow: (table, constraint) to the condition before and after.
CHECKS = {
    ("evaluation", "status"): (
        "status in ('planned', 'complete')",
        "status in ('planned', 'complete', 'unscored')",
    ),
    ("protocol", "windows"): (
        "windows in ('concatenated', 'documents', 'truncated')",
        "windows in ('concatenated', 'documents', 'truncated', 'imported')",
    ),
    ("reference_distribution", "smoothing"): (
        "smoothing in ('add-one', 'none')",
        "smoothing in ('add-one', 'none', 'interpolated')",
    ),
}
#: Columns that may now be unknown.
UNKNOWN = {
    "protocol": ("window", "bos", "tf32"),
    "score_chunk": ("entropy", "rank", "top_vocab_id", "top_surprisal"),
    "score_summary": ("n_correct", "sum_entropy"),
}
PROTOCOL_KEY = ["windows", "window", "bos", "vocabulary", "dtype", "tf32"]
OLD_PROTOCOL_UNIQUE = "uq_protocol_windows_window_bos_vocabulary_dtype_tf32"
NEW_PROTOCOL_UNIQUE = "uq_protocol_windows_window_bos_vocabulary_dtype_tf32_origin"


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column, schema=SCHEMA)
    op.create_foreign_key(
        op.f("fk_corpus_derived_from"),
        "corpus",
        "corpus",
        ["derived_from"],
        ["corpus_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
    )
    _set_nullable(True)
    _restate(after=True)
    op.drop_constraint(op.f(OLD_PROTOCOL_UNIQUE), "protocol", schema=SCHEMA)
    op.create_unique_constraint(
        op.f(NEW_PROTOCOL_UNIQUE),
        "protocol",
        [*PROTOCOL_KEY, "origin"],
        schema=SCHEMA,
        postgresql_nulls_not_distinct=True,
    )
    op.create_check_constraint(
        op.f("ck_protocol_origin"), "protocol", "(windows = 'imported') = (origin is not null)", schema=SCHEMA
    )
    op.create_check_constraint(
        op.f("ck_protocol_known"),
        "protocol",
        "windows = 'imported' or (\"window\" is not null and bos is not null and tf32 is not null)",
        schema=SCHEMA,
    )
    _create_items()
    _create_document_sums()
    _create_results()


def downgrade() -> None:
    for table in (
        "checkpoint_metric",
        "paradigm_divergence",
        "paradigm_score",
        "document_divergence_chunk",
        "document_score_chunk",
        "item",
        "paradigm",
    ):
        op.drop_table(table, schema=SCHEMA)
    for name in ("known", "origin"):
        op.drop_constraint(op.f(f"ck_protocol_{name}"), "protocol", schema=SCHEMA)
    op.drop_constraint(op.f(NEW_PROTOCOL_UNIQUE), "protocol", schema=SCHEMA)
    op.create_unique_constraint(op.f(OLD_PROTOCOL_UNIQUE), "protocol", PROTOCOL_KEY, schema=SCHEMA)
    _restate(after=False)
    _set_nullable(False)
    op.drop_constraint(op.f("fk_corpus_derived_from"), "corpus", schema=SCHEMA)
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name, schema=SCHEMA)


def _columns() -> dict[str, list[sa.Column]]:
    """The columns that tables gain. A column belongs to one table object, so they are made anew."""
    return {
        "corpus": [
            sa.Column("derived_from", sa.Integer(), nullable=True, comment="corpus that this one was made from"),
            sa.Column(
                "derivation",
                postgresql.JSONB(),
                nullable=True,
                comment="how it was made from that one: what was done, and with which seed",
            ),
        ],
        "document": [
            sa.Column(
                "scored_from",
                sa.Integer(),
                server_default=sa.text("0"),
                nullable=False,
                comment="position of the first token that sums over the document count; those before it are context",
            ),
            sa.Column(
                "n_words",
                sa.Integer(),
                nullable=True,
                comment="runs of characters other than white space; NULL where the text was not at hand",
            ),
        ],
        "reference_distribution": [
            sa.Column(
                "smoothing_weight",
                sa.Double(),
                nullable=True,
                comment="counts that the next lower order stands for; NULL where nothing is interpolated",
            )
        ],
        "protocol": [
            sa.Column(
                "origin", sa.Text(), nullable=True, comment="who measured under it, and how; NULL for this program"
            )
        ],
    }


def _set_nullable(nullable: bool) -> None:
    for table, columns in UNKNOWN.items():
        for column in columns:
            op.alter_column(table, column, nullable=nullable, schema=SCHEMA)


def _restate(*, after: bool) -> None:
    for (table, name), conditions in CHECKS.items():
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, schema=SCHEMA)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, conditions[after], schema=SCHEMA)
    for (table, column), comments in COMMENTS.items():
        op.alter_column(table, column, comment=comments[after], existing_type=TYPES[column], schema=SCHEMA)


def _create_items() -> None:
    op.create_table(
        "paradigm",
        sa.Column("paradigm_id", sa.Integer(), sa.Identity(), nullable=False, comment="key"),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the paradigm, task or condition"),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="minimal_pairs: good and bad; options: correct and incorrect ones; spans: texts to score",
        ),
        sa.Column(
            "category",
            sa.Text(),
            nullable=True,
            comment="wider group that the source names, such as a linguistic phenomenon",
        ),
        sa.CheckConstraint("kind in ('minimal_pairs', 'options', 'spans')", name=op.f("ck_paradigm_kind")),
        sa.ForeignKeyConstraint(["corpus_id"], ["warehouse.corpus.corpus_id"], name=op.f("fk_paradigm_corpus_id")),
        sa.PrimaryKeyConstraint("paradigm_id", name=op.f("pk_paradigm")),
        sa.UniqueConstraint("corpus_id", "name", name=op.f("uq_paradigm_corpus_id_name")),
        schema=SCHEMA,
        comment="A set of items of one kind, such as a paradigm of BLiMP.",
    )
    op.create_table(
        "item",
        sa.Column("paradigm_id", sa.Integer(), nullable=False, comment="paradigm"),
        sa.Column(
            "item", sa.Integer(), autoincrement=False, nullable=False, comment="number within the paradigm, from 0"
        ),
        sa.Column(
            "role", sa.Text(), nullable=False, comment="good, bad; correct, incorrect-1, ...; or the name of a span"
        ),
        sa.Column("corpus_id", sa.Integer(), nullable=False, comment="corpus"),
        sa.Column("document", sa.Integer(), nullable=False, comment="document of the corpus that plays the role"),
        sa.ForeignKeyConstraint(
            ["corpus_id", "document"],
            ["warehouse.document.corpus_id", "warehouse.document.document"],
            name=op.f("fk_item_corpus_id_document"),
        ),
        sa.ForeignKeyConstraint(["paradigm_id"], ["warehouse.paradigm.paradigm_id"], name=op.f("fk_item_paradigm_id")),
        sa.PrimaryKeyConstraint("paradigm_id", "item", "role", name=op.f("pk_item")),
        schema=SCHEMA,
        comment="Which documents belong together, and as what: the sides of a minimal pair, the options of a question.",
    )
    op.create_index(op.f("ix_item_corpus_id_document"), "item", ["corpus_id", "document"], unique=False, schema=SCHEMA)


def _same_length(table: str, first: str, *others: str) -> sa.CheckConstraint:
    condition = " and ".join(f"cardinality({other}) = cardinality({first})" for other in others)
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_same_length"))


def _create_document_sums() -> None:
    arrays = {
        "n_tokens": (
            sa.Integer(),
            False,
            "tokens that are summed: measured, from the document's scored_from on, EOS left out",
        ),
        "n_correct": (sa.Integer(), True, "those of rank 1; NULL where surprisal is, or a rank is not known"),
        "surprisal": (
            sa.REAL(),
            False,
            "sum of their surprisal, in nats; NULL where a token but the first was not measured",
        ),
        "eos_surprisal": (
            sa.REAL(),
            True,
            "surprisal of the document's EOS, in nats; NULL where there is none",
        ),
        "entropy": (sa.REAL(), True, "sum of their entropy, in nats"),
    }
    op.create_table(
        "document_score_chunk",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("document_chunk", sa.BigInteger(), autoincrement=False, nullable=False, comment="document / 256"),
        *(
            sa.Column(name, sa.ARRAY(of), nullable=nullable, comment=comment)
            for name, (of, nullable, comment) in arrays.items()
        ),
        _same_length("document_score_chunk", *arrays),
        sa.PrimaryKeyConstraint("evaluation_id", "document_chunk", name=op.f("pk_document_score_chunk")),
        schema=SCHEMA,
        comment="Sums of scores over each of 256 consecutive documents, by one evaluation.",
    )
    op.create_table(
        "document_divergence_chunk",
        sa.Column("pair_id", sa.Integer(), autoincrement=False, nullable=False, comment="ordered pair"),
        sa.Column("document_chunk", sa.BigInteger(), autoincrement=False, nullable=False, comment="document / 256"),
        sa.Column(
            "n_tokens",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="tokens measured, from the document's scored_from on, EOS included",
        ),
        sa.Column("kl", sa.ARRAY(sa.REAL()), nullable=False, comment="sum of their KL(p || q), in nats"),
        _same_length("document_divergence_chunk", "n_tokens", "kl"),
        sa.PrimaryKeyConstraint("pair_id", "document_chunk", name=op.f("pk_document_divergence_chunk")),
        schema=SCHEMA,
        comment="Sums of KL over each of 256 consecutive documents, for one ordered pair.",
    )
    for table, names in (("document_score_chunk", arrays), ("document_divergence_chunk", ("n_tokens", "kl"))):
        for name in names:
            op.execute(f"alter table warehouse.{table} alter column {name} set storage external")


def _create_results() -> None:
    op.create_table(
        "paradigm_score",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("paradigm_id", sa.Integer(), autoincrement=False, nullable=False, comment="paradigm"),
        sa.Column("n_items", sa.Integer(), nullable=False, comment="items all of whose roles were scored"),
        sa.Column(
            "n_correct",
            sa.Integer(),
            nullable=False,
            comment="items whose good or correct role is the most probable",
        ),
        sa.Column(
            "n_correct_with_eos",
            sa.Integer(),
            nullable=True,
            comment="the same with EOS counted; NULL where there is none",
        ),
        sa.Column(
            "sum_margin",
            sa.Double(),
            nullable=False,
            comment="sum of log p(good) less that of the best other role, in nats",
        ),
        sa.Column("sum_margin2", sa.Double(), nullable=False, comment="sum of its squares"),
        sa.PrimaryKeyConstraint("evaluation_id", "paradigm_id", name=op.f("pk_paradigm_score")),
        schema=SCHEMA,
        comment="How an evaluation fares on the items of a paradigm.",
    )
    op.create_table(
        "paradigm_divergence",
        sa.Column("evaluation_p", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation that gives p"),
        sa.Column("evaluation_q", sa.Integer(), autoincrement=False, nullable=False, comment="that gives q"),
        sa.Column("paradigm_id", sa.Integer(), autoincrement=False, nullable=False, comment="paradigm"),
        sa.Column("n_items", sa.Integer(), nullable=False, comment="items all of whose roles both have scored"),
        sa.Column(
            "sum_kl",
            sa.Double(),
            nullable=False,
            comment="sum over items of KL between the two distributions over roles, in nats",
        ),
        sa.Column(
            "sum_kl_with_eos", sa.Double(), nullable=True, comment="the same with EOS counted; NULL where there is none"
        ),
        sa.PrimaryKeyConstraint("evaluation_p", "evaluation_q", "paradigm_id", name=op.f("pk_paradigm_divergence")),
        schema=SCHEMA,
        comment="How far apart two evaluations are on the items of a paradigm.",
    )
    op.create_index(
        op.f("ix_paradigm_divergence_evaluation_q"),
        "paradigm_divergence",
        ["evaluation_q"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_table(
        "checkpoint_metric",
        sa.Column("checkpoint_id", sa.Integer(), nullable=False, comment="checkpoint"),
        sa.Column("name", sa.Text(), nullable=False, comment="task and metric, such as lambada_openai/perplexity"),
        sa.Column("source", sa.Text(), nullable=False, comment="where the result came from"),
        sa.Column("value", sa.Double(), nullable=False, comment="the result"),
        sa.Column("standard_error", sa.Double(), nullable=True, comment="standard error that the source gives"),
        sa.Column("n", sa.Integer(), nullable=True, comment="items it was measured on"),
        sa.Column(
            "higher_is_better",
            sa.Boolean(),
            nullable=True,
            comment="which way the metric improves; NULL where not known",
        ),
        sa.Column(
            "imported_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the result was imported",
        ),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["warehouse.checkpoint.checkpoint_id"],
            name=op.f("fk_checkpoint_metric_checkpoint_id"),
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", "name", "source", name=op.f("pk_checkpoint_metric")),
        schema=SCHEMA,
        comment="A benchmark result of a checkpoint, measured elsewhere.",
    )
