"""Comparisons across models and listed ones, windows by document and truncated, top-k, and what is judged by hand.

Going back is refused by the old constraints where there are rows of the new kinds.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "warehouse"

# Checks whose lists grow: (table, constraint) to what is allowed before and after.
OLD_CHECKS = {
    ("comparison", "kind"): "kind in ('seed', 'step', 'step_reverse', 'final', 'final_reverse')",
    ("protocol", "windows"): "windows in ('concatenated')",
}
NEW_CHECKS = {
    ("comparison", "kind"): (
        "kind in ('seed', 'step', 'step_reverse', 'final', 'final_reverse', 'size', 'matched', 'cross', 'custom')"
    ),
    ("protocol", "windows"): "windows in ('concatenated', 'documents', 'truncated')",
}
OLD_COMMENTS = {
    ("comparison", "kind"): "seed, step, step_reverse, final or final_reverse",
    ("protocol", "windows"): "concatenated: the corpus is one sequence",
}
NEW_COMMENTS = {
    ("comparison", "kind"): "seed, step, step_reverse, final, final_reverse, size, matched, cross or custom",
    ("protocol", "windows"): (
        "concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids"
    ),
}

# What the column would hold had it been there when the comparisons were derived.
FILL_SURPRISAL_DIFFERENCE = """
update warehouse.comparison as comparison
set surprisal_difference = found.difference
from (
    select
        member.comparison_id,
        sum(p.mean_surprisal - q.mean_surprisal order by run_p.seed, run_q.seed) / count(*) as difference
    from warehouse.comparison_member as member
    inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
    inner join warehouse.evaluation as p on pair.evaluation_p = p.evaluation_id
    inner join warehouse.checkpoint as checkpoint_p on p.checkpoint_id = checkpoint_p.checkpoint_id
    inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
    inner join warehouse.evaluation as q on pair.evaluation_q = q.evaluation_id
    inner join warehouse.checkpoint as checkpoint_q on q.checkpoint_id = checkpoint_q.checkpoint_id
    inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
    group by member.comparison_id
) as found
where comparison.comparison_id = found.comparison_id and comparison.kind <> 'seed'
"""


def _columns() -> dict[str, list[sa.Column]]:
    """The columns that tables gain. A column belongs to one table object, so they are made anew."""
    return {
        "checkpoint": [
            sa.Column("note", sa.Text(), nullable=True, comment="what is remarkable about it, and no fault"),
            sa.Column(
                "released",
                sa.Boolean(),
                server_default=sa.text("false"),
                nullable=False,
                comment="judged good by hand: the rules leave it alone",
            ),
        ],
        "evaluation": [
            sa.Column(
                "top_k",
                sa.Integer(),
                server_default=sa.text("0"),
                nullable=False,
                comment="most probable entries kept for each token",
            )
        ],
        "comparison_pair": [
            sa.Column(
                "token_facts",
                sa.Boolean(),
                server_default=sa.text("true"),
                nullable=False,
                comment="the KL of every token is kept; else only its mean, and the sums of comparisons",
            )
        ],
        "comparison": [
            sa.Column(
                "surprisal_difference",
                sa.Double(),
                nullable=True,
                comment="mean over pairs of the mean surprisal of p less that of q, in nats",
            )
        ],
    }


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column, schema=SCHEMA)
    _replace_checks(NEW_CHECKS)
    op.create_check_constraint(
        op.f("ck_comparison_run_set"), "comparison", "run_set in ('default', 'all')", schema=SCHEMA
    )
    _comment(NEW_COMMENTS)
    op.execute(FILL_SURPRISAL_DIFFERENCE)
    op.create_table(
        "top_chunk",
        sa.Column("evaluation_id", sa.Integer(), autoincrement=False, nullable=False, comment="evaluation"),
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="token_id / 256"),
        sa.Column("k", sa.Integer(), nullable=False, comment="entries of each token"),
        sa.Column(
            "vocab_ids",
            sa.ARRAY(sa.Integer()),
            nullable=False,
            comment="the k most probable entries of the first token, then of the next",
        ),
        sa.Column(
            "log_probabilities", sa.ARRAY(sa.REAL()), nullable=False, comment="log of their probabilities, in nats"
        ),
        sa.CheckConstraint(
            "cardinality(log_probabilities) = cardinality(vocab_ids)", name=op.f("ck_top_chunk_same_length")
        ),
        sa.CheckConstraint("k > 0 and cardinality(vocab_ids) % k = 0", name=op.f("ck_top_chunk_k")),
        sa.PrimaryKeyConstraint("evaluation_id", "chunk_id", name=op.f("pk_top_chunk")),
        schema=SCHEMA,
        comment="The most probable entries of the vocabulary for 256 consecutive tokens by one evaluation.",
    )
    op.create_index(op.f("ix_top_chunk_chunk_id"), "top_chunk", ["chunk_id"], unique=False, schema=SCHEMA)
    for name in ("vocab_ids", "log_probabilities"):
        op.execute(f"alter table warehouse.top_chunk alter column {name} set storage external")
    op.create_table(
        "custom_pair",
        sa.Column("comparison_id", sa.Integer(), nullable=False, comment="comparison of kind custom"),
        sa.Column("evaluation_p", sa.Integer(), nullable=False, comment="evaluation that gives p"),
        sa.Column("evaluation_q", sa.Integer(), nullable=False, comment="evaluation that gives q"),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["warehouse.comparison.comparison_id"], name=op.f("fk_custom_pair_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_p"], ["warehouse.evaluation.evaluation_id"], name=op.f("fk_custom_pair_evaluation_p")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_q"], ["warehouse.evaluation.evaluation_id"], name=op.f("fk_custom_pair_evaluation_q")
        ),
        sa.PrimaryKeyConstraint("comparison_id", "evaluation_p", "evaluation_q", name=op.f("pk_custom_pair")),
        schema=SCHEMA,
        comment="Which pairs a comparison of kind custom wants: those that a study lists.",
    )


def downgrade() -> None:
    op.drop_table("custom_pair", schema=SCHEMA)
    op.drop_table("top_chunk", schema=SCHEMA)
    op.drop_constraint(op.f("ck_comparison_run_set"), "comparison", schema=SCHEMA)
    _comment(OLD_COMMENTS)
    _replace_checks(OLD_CHECKS)
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name, schema=SCHEMA)


def _replace_checks(checks: dict[tuple[str, str], str]) -> None:
    for (table, name), condition in checks.items():
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, schema=SCHEMA)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition, schema=SCHEMA)


def _comment(comments: dict[tuple[str, str], str]) -> None:
    for (table, column), comment in comments.items():
        op.alter_column(table, column, comment=comment, existing_type=sa.Text(), existing_nullable=False, schema=SCHEMA)
