"""Tables of what is derived from facts or belongs to them: comparisons, layers, summaries, constants.

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
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from warehouse.columns import SCHEMA, array, count, key, metadata, moment, number, reference, same_length, text_column

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
    count("n_correct", "tokens of rank 1; NULL where ranks are not known", nullable=True),
    number("sum_surprisal", "sum of surprisal, in nats", nullable=False),
    number("sum_surprisal2", "sum of its squares", nullable=False),
    number("min_surprisal", "least surprisal", nullable=False),
    number("max_surprisal", "greatest surprisal", nullable=False),
    number("sum_entropy", "sum of entropy, in nats; NULL where it is not known"),
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
    number("trend_p_value", "p value below which a token's trend is upward or downward", nullable=False),
    number("trend_tolerance", "a stagnated token's ends lie within this share of their geometric mean", nullable=False),
    Column("trend_min_steps", Integer, nullable=False, comment="least checkpoints for a trend"),
    number("late_training", "share of training after which confidence and variability are taken", nullable=False),
    Column("late_min_steps", Integer, nullable=False, comment="least checkpoints for confidence and variability"),
    Column("fit_max_step", Integer, nullable=False, comment="last step that cross-entropy fits take in"),
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
