"""All that a warehouse says, by natural keys, so that two databases can be compared whatever their ids."""

from __future__ import annotations

import pandas as pd

from queries.check import run_checks
from warehouse.database import Database

#: Ids that mean the same in every database.
_LASTING = {"token_id", "chunk_id", "vocab_id", "top_vocab_id"}
#: When and where something was done, and in how long.
_INCIDENTAL = {"seconds", "measured_at", "created_at", "source"}

_VIEWS = (
    *("tokens", "documents", "checkpoints", "evaluations", "comparisons", "token_annotation"),
    *("convergence_by_value", "surprisal_by_value", "relative_divergence", "reference_divergence"),
    *("sequence_score", "sequence_divergence"),
)
_FACTS = {
    "score_chunk": """
        select e.model, e.seed, e.step, chunk.*
        from warehouse.score_chunk as chunk inner join analysis.evaluations as e using (evaluation_id)
    """,
    "divergence_chunk": """
        select
            p.model, p.seed, p.step, q.model as model_q, q.seed as seed_q, q.step as step_q,
            pair.mean_kl, pair.pearson, pair.spearman, chunk.*
        from warehouse.divergence_chunk as chunk
        inner join warehouse.comparison_pair as pair using (pair_id)
        inner join analysis.evaluations as p on p.evaluation_id = pair.evaluation_p
        inner join analysis.evaluations as q on q.evaluation_id = pair.evaluation_q
    """,
    "reference_chunk": """
        select e.model, e.seed, e.step, r.name as reference, chunk.*
        from warehouse.reference_chunk as chunk
        inner join analysis.evaluations as e using (evaluation_id)
        inner join warehouse.reference_distribution as r using (reference_id)
    """,
    "convergence_chunk": """
        select c.kind, c.run_set, c.model, c.step, c.model_q, c.step_q, chunk.*
        from warehouse.convergence_chunk as chunk inner join analysis.comparisons as c using (comparison_id)
    """,
    "convergence_summary": """
        select c.kind, c.run_set, c.model, c.step, c.model_q, c.step_q, layer.name as layer, category.value, summary.*
        from warehouse.convergence_summary as summary
        inner join analysis.comparisons as c using (comparison_id)
        inner join warehouse.annotation_layer as layer using (layer_id)
        inner join warehouse.annotation_category as category using (layer_id, category_id)
    """,
}
_QUERIES = {
    **_FACTS,
    **{view: f"select * from analysis.{view}" for view in _VIEWS},
    # The run and step of final surprisal, unlike a path, are the same wherever it was made.
    "annotation_layers": "select *, case layer when 'final_surprisal' then source end as origin "
    "from analysis.annotation_layers",
}


def frame(database: Database, query: str, *parameters: object) -> pd.DataFrame:
    """The result of a query."""
    with database.connect() as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def contents(database: Database, model: str | None = None) -> dict[str, pd.DataFrame]:
    """Every contract view and derived table, without ids and times, in the order of its keys; perhaps of one model."""
    return {name: _comparable(frame(database, query), model) for name, query in _QUERIES.items()}


def _comparable(table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    if model is not None and "model" in table:
        table = table[table["model"].isna() | (table["model"] == model)]
    dropped = [name for name in table if name in _INCIDENTAL or (name.endswith("_id") and name not in _LASTING)]
    table = table.drop(columns=dropped)
    lists = [name for name in table if any(isinstance(value, list) for value in table[name])]
    keys = [name for name in table if table[name].dtype != float and name not in lists]
    # Rows of equal keys would come in the order of a plan.
    assert not table.duplicated(keys).any(), keys
    return table.sort_values(keys, key=lambda column: column.map(repr)).reset_index(drop=True)


def assert_same(actual: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    """Facts, and sums of them, are the same to the last bit; what views compute from them, to rounding."""
    for name, table in expected.items():
        assert len(table) > 0, name
        pd.testing.assert_frame_equal(actual[name], table, check_exact=name in _FACTS, rtol=1e-12, obj=name)


def findings(database: Database) -> dict[str, int]:
    """The integrity checks that found something."""
    with database.read() as connection:
        return {finding.check: finding.rows for finding in run_checks(connection) if finding.rows}
