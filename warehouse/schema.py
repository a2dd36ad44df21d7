"""The tables of schema ``warehouse``: what is stored, at which grain.

Facts hold 256 consecutive tokens a row as arrays; views in schema ``analysis`` are the public contract.
This module may not know how rows are written or read.
"""

from __future__ import annotations

from warehouse.columns import SCHEMA, metadata
from warehouse.derived_tables import (
    annotation_category,
    annotation_chunk,
    annotation_layer,
    comparison,
    comparison_member,
    convergence_chunk,
    convergence_summary,
    custom_pair,
    phase_definition,
    score_summary,
    settings,
    views_state,
)
from warehouse.dimension_tables import (
    checkpoint,
    corpus,
    document,
    environment,
    model,
    protocol,
    reference_distribution,
    run,
    token_chunk,
    tokenizer,
    vocabulary,
)
from warehouse.fact_tables import (
    SCORES,
    comparison_pair,
    divergence_chunk,
    evaluation,
    reference_chunk,
    reference_evaluation,
    score_chunk,
    top_chunk,
)
from warehouse.fit_tables import fit, phase_interval, regression_coefficient, scaling_fit
from warehouse.sequence_tables import (
    checkpoint_metric,
    document_divergence_chunk,
    document_score_chunk,
    item,
    paradigm,
    paradigm_divergence,
    paradigm_score,
)

__all__ = [
    "SCHEMA",
    "SCORES",
    "annotation_category",
    "annotation_chunk",
    "annotation_layer",
    "checkpoint",
    "checkpoint_metric",
    "comparison",
    "comparison_member",
    "comparison_pair",
    "convergence_chunk",
    "convergence_summary",
    "corpus",
    "custom_pair",
    "divergence_chunk",
    "document",
    "document_divergence_chunk",
    "document_score_chunk",
    "environment",
    "evaluation",
    "fit",
    "item",
    "metadata",
    "model",
    "paradigm",
    "paradigm_divergence",
    "paradigm_score",
    "phase_definition",
    "phase_interval",
    "protocol",
    "reference_chunk",
    "reference_distribution",
    "reference_evaluation",
    "regression_coefficient",
    "run",
    "scaling_fit",
    "score_chunk",
    "score_summary",
    "settings",
    "token_chunk",
    "tokenizer",
    "top_chunk",
    "views_state",
    "vocabulary",
]
