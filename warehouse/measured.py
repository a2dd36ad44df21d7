"""What the warehouse has of a family's checkpoints, by their names: for questions that come before anything is written.

Reads tables; knows nothing of models or studies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

_MEASURED = """
select
    model.name,
    run.seed,
    checkpoint.step,
    evaluation.input_digest,
    array_remove(array_agg(reference_distribution.name), null)
from warehouse.evaluation
inner join warehouse.checkpoint on evaluation.checkpoint_id = checkpoint.checkpoint_id
inner join warehouse.run on checkpoint.run_id = run.run_id
inner join warehouse.model on run.model_id = model.model_id
inner join warehouse.corpus on evaluation.corpus_id = corpus.corpus_id
inner join warehouse.protocol on evaluation.protocol_id = protocol.protocol_id
left join warehouse.reference_evaluation
    on evaluation.evaluation_id = reference_evaluation.evaluation_id
left join warehouse.reference_distribution
    on reference_evaluation.reference_id = reference_distribution.reference_id
where
    evaluation.status = 'complete'
    and model.family = %(family)s
    and corpus.name = %(corpus)s
    and protocol.name = %(protocol)s
group by evaluation.evaluation_id, model.name, run.seed, checkpoint.step
"""


@dataclass(frozen=True)
class Measured:
    """A checkpoint that was scored. references: names of those it was held against."""

    model: str
    seed: int
    step: int
    input_digest: str
    references: frozenset[str]


def measured_checkpoints(connection: Connection, family: str, corpus: str, protocol: str) -> list[Measured]:
    """The checkpoints of a family that were scored on a corpus under a protocol, all by their names."""
    names = {"family": family, "corpus": corpus, "protocol": protocol}
    return [
        Measured(model, seed, step, digest, frozenset(references))
        for model, seed, step, digest, references in connection.execute(_MEASURED, names)
    ]
