"""The way of a study through the warehouse: survey, setting, plan, and one block after another.

Everything may be repeated: what the ledger has is not computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
from sqlalchemy import Connection, Engine, text

from ingest.block import BlockRun, Outcome, Tools
from ingest.checkpoints import CheckpointLocation, CheckpointReader, find_checkpoints
from ingest.environment import choose_device, describe_environment
from ingest.plan import Block, Grid, plan_block, survey
from ingest.progress import TerminalMeter
from ingest.setting import Setting, read_corpus, read_references, save_setting, wanted_layers
from ingest.study import Study
from ingest.vocabulary import Vocabulary, load_vocabulary
from warehouse.database import Database
from warehouse.dimensions import save_environment
from warehouse.errors import WarehouseError
from warehouse.locks import claim_block, release_block
from warehouse.writer import Writer

ATTENTION = "sdpa"
#: Stored bytes of one value, its share of keys, pages and indexes included.
BYTES_PER_VALUE = 6


class DifferentTokenizers(WarehouseError):
    """Models that should be compared were trained with different tokenizers."""


class NoRoot(WarehouseError):
    """The study does not say where its checkpoints are."""


@dataclass(frozen=True)
class Plan:
    """A study with everything found that it needs, before anything is written."""

    study: Study
    grids: list[Grid]
    vocabulary: Vocabulary = field(repr=False)

    @property
    def n_checkpoints(self) -> int:
        """Checkpoints wanted."""
        return sum(len(grid.seeds) * len(grid.steps) for grid in self.grids)


@dataclass(frozen=True)
class Report:
    """What an ingestion did: its outcome, its size and its time."""

    outcome: Outcome
    n_wanted: int
    n_tokens: int
    seconds: float


def prepare(study: Study) -> Plan:
    """Find the study's checkpoints and their tokenizer.

    Raises NoRoot, MissingRevision for what does not exist, DifferentTokenizers where models disagree.
    """
    if study.root is None:
        raise NoRoot(f"Study {study.name} names no folder of checkpoints: set root in it, or pass --root FOLDER.")
    wanted_layers(study)
    grids = survey(study, find_checkpoints(study.root))
    return Plan(study, grids, _common_vocabulary(grids))


def _common_vocabulary(grids: Sequence[Grid]) -> Vocabulary:
    first: tuple[CheckpointLocation, Vocabulary] | None = None
    for grid in grids:
        location = grid.locations[min(grid.locations)]
        vocabulary = load_vocabulary(location.path)
        if first is not None and first[1].sha256 != vocabulary.sha256:
            raise DifferentTokenizers(
                f"The tokenizers of {first[0].model} and {grid.model} differ (sha256 {first[1].sha256[:12]} and "
                f"{vocabulary.sha256[:12]}), so their tokens cannot be compared: ingest them as two studies."
            )
        first = first or (location, vocabulary)
    assert first is not None
    return first[1]


def ingest(
    database: Database,
    study: Study,
    *,
    device: str = "auto",
    reserve: int = 1_000_000_000,
    meter: Callable[[int, int], TerminalMeter] = TerminalMeter,
) -> Report:
    """Measure whatever a study wants and the warehouse lacks.

    device: cpu, cuda or auto. reserve: bytes that must stay free on the embedded server's disk. meter: made with the
    tokens and the checkpoints to read. Raises what reading its inputs raises, and NoRoom; a checkpoint that fails alone
    is in the report.
    """
    started = time.monotonic()
    plan = prepare(study)
    corpus = read_corpus(study, plan.vocabulary)
    references = read_references(study, plan.vocabulary)
    chosen = choose_device(device)
    engine = database.engine()
    writer = Writer(database, engine, reserve)
    with engine.begin() as connection:
        name = plan.grids[0].locations[min(plan.grids[0].locations)].path.parents[1].name
        setting = save_setting(connection, study, name, plan.vocabulary, corpus, references)
        environment_id = save_environment(connection, describe_environment(chosen, ATTENTION))
    blocks = _plan(engine, plan, setting)
    total = sum(len(block.to_read()) for block in blocks)
    writer.require_room(_bytes_to_write(blocks, corpus.n_tokens))
    outcome = Outcome()
    with meter(total * corpus.n_tokens, total) as shown:
        tools = Tools(engine, writer.commit, CheckpointReader(chosen, "sdpa"), shown, chosen, environment_id)
        for grid in plan.grids:
            outcome.add(_run_block(engine, plan, setting, grid, tools))
    if outcome.evaluations or outcome.pairs:
        _analyze(engine)
    return Report(outcome, plan.n_checkpoints, corpus.n_tokens, time.monotonic() - started)


def _plan(engine: Engine, plan: Plan, setting: Setting) -> list[Block]:
    with engine.begin() as connection:
        return [_plan_block(connection, plan, setting, grid) for grid in plan.grids]


def _plan_block(connection: Connection, plan: Plan, setting: Setting, grid: Grid) -> Block:
    assert plan.study.root is not None
    return plan_block(
        connection,
        plan.study,
        grid,
        family=plan.study.family or plan.study.root.resolve().name,
        tokenizer_id=setting.tokenizer_id,
        corpus_id=setting.corpus_id,
        protocol_id=setting.protocol_id,
        reference_ids=list(setting.references),
    )


def _run_block(engine: Engine, plan: Plan, setting: Setting, grid: Grid, tools: Tools) -> Outcome:
    """Claim a model, so that another ingestion of it waits, and do what is still to do."""
    name = f"{setting.corpus_id}/{setting.protocol_id}/{plan.study.family}/{grid.model}"
    with engine.connect() as holder:
        raw = holder.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        raw.autocommit = True
        if not claim_block(raw, name, wait=False):
            tools.meter.note(f"{grid.model} is being ingested by another process: waiting for it.")
            claim_block(raw, name, wait=True)
        try:
            with engine.begin() as connection:
                block = _plan_block(connection, plan, setting, grid)
            return BlockRun(plan.study, setting, block, tools).run()
        finally:
            if not raw.closed:
                release_block(raw, name)


def _bytes_to_write(blocks: Sequence[Block], n_tokens: int) -> int:
    scores = sum(len(block.to_score()) * (9 + len(block.reference_ids)) for block in blocks)
    pairs = sum(len(block.missing_pairs) + len(block.contrasts) for block in blocks)
    return (scores + pairs) * n_tokens * BYTES_PER_VALUE


def _analyze(engine: Engine) -> None:
    """Tell the planner what the tables hold now, outside the transactions that loaded them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for (table,) in connection.execute(text("select tablename from pg_tables where schemaname = 'warehouse'")):
            connection.execute(text(f'analyze warehouse."{table}"'))
