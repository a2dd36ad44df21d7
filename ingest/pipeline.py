"""The way of a study through the warehouse: survey, setting, plan, and one block after another.

Everything may be repeated: what the ledger has is not computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection, Engine, text

from ingest.architecture import VocabularyTooSmall
from ingest.block import BlockRun, Outcome, Tools
from ingest.checkpoints import Attention, CheckpointLocation, CheckpointReader, find_checkpoints
from ingest.environment import choose_device, describe_environment
from ingest.plan import Block, Grid, plan_block, survey
from ingest.progress import TerminalMeter
from ingest.setting import (
    DifferentTokenizers,
    Setting,
    read_corpus,
    read_references,
    save_setting,
    wanted_layers,
)
from ingest.study import Study
from ingest.vocabulary import Vocabulary, load_vocabulary
from ingest.weights import read_json
from warehouse.database import Database
from warehouse.dimensions import save_environment
from warehouse.errors import WarehouseError
from warehouse.locks import claim_block
from warehouse.writer import Writer

ATTENTION: Attention = "sdpa"
#: Stored bytes of one value, its share of keys, pages and indexes included.
BYTES_PER_VALUE = 6


class NoRoot(WarehouseError):
    """The study does not say where its checkpoints are."""


@dataclass(frozen=True)
class Plan:
    """A study with everything found that it needs, before anything is written."""

    study: Study
    grids: list[Grid]
    vocabulary: Vocabulary = field(repr=False)

    @property
    def family(self) -> str:
        """The family of its models: the study's word for it, or else the name of the root folder."""
        assert self.study.root is not None
        return self.study.family or self.study.root.resolve().name

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

    Raises NoRoot, MissingRevision for what does not exist, DifferentTokenizers where models disagree, and
    VocabularyTooSmall where all checkpoints of a model lack ids of the tokenizer.
    """
    if study.root is None:
        raise NoRoot(f"Study {study.name} names no folder of checkpoints: set root in it, or pass --root FOLDER.")
    wanted_layers(study)
    grids = survey(study, find_checkpoints(study.root))
    vocabulary = _common_vocabulary(grids)
    for grid in grids:
        _require_width(grid, vocabulary.length)
    return Plan(study, grids, vocabulary)


def _common_vocabulary(grids: Sequence[Grid]) -> Vocabulary:
    first: tuple[CheckpointLocation, Vocabulary] | None = None
    for grid in grids:
        ordered = [grid.locations[cell] for cell in sorted(grid.locations)]
        # A checkpoint may be damaged, or left without the tokenizer that its neighbours have.
        location = next((each for each in ordered if (each.path / "tokenizer.json").is_file()), ordered[0])
        vocabulary = load_vocabulary(location.path)
        if first is not None and first[1].sha256 != vocabulary.sha256:
            raise DifferentTokenizers(
                f"The tokenizers of {first[0].model} and {grid.model} differ (sha256 {first[1].sha256[:12]} and "
                f"{vocabulary.sha256[:12]}), so their tokens cannot be compared: ingest them as two studies."
            )
        first = first or (location, vocabulary)
    assert first is not None
    return first[1]


def _require_width(grid: Grid, tokenizer_length: int) -> None:
    """Raise VocabularyTooSmall unless the config of some checkpoint may have as many ids as the tokenizer."""
    widths = []
    for location in grid.locations.values():
        try:
            width = read_json(location.path / "config.json").get("vocab_size")
        except WarehouseError:
            continue  # it is recorded as damaged when its turn comes
        if not isinstance(width, int) or width >= tokenizer_length:
            return
        widths.append(width)
    if widths:
        raise VocabularyTooSmall(
            f"The tokenizer has {tokenizer_length} ids and model {grid.model} only {max(widths)}: "
            "put the tokenizer that the model was trained with beside its checkpoints."
        )


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
    environment = describe_environment(chosen, ATTENTION)

    def save(connection: Connection) -> tuple[Setting, int]:
        setting = save_setting(connection, study, plan.grids[0].model, plan.vocabulary, corpus, references)
        return setting, save_environment(connection, environment)

    setting, environment_id = writer.commit(save)
    blocks = [writer.commit(partial(_plan_block, plan=plan, setting=setting, grid=grid)) for grid in plan.grids]
    total = sum(len(block.to_read()) for block in blocks)
    writer.require_room(_bytes_to_write(blocks, corpus.n_tokens))
    outcome = Outcome()
    with meter(total * corpus.n_tokens, total) as shown:
        tools = Tools(
            writer.commit, CheckpointReader(chosen, ATTENTION, study.protocol.dtype), shown, chosen, environment_id
        )
        for grid in plan.grids:
            outcome.add(_run_block(database, plan, setting, grid, tools))
    if outcome.evaluations or outcome.pairs:
        _analyze(engine)
    return Report(outcome, plan.n_checkpoints, corpus.n_tokens, time.monotonic() - started)


def _plan_block(connection: Connection, plan: Plan, setting: Setting, grid: Grid) -> Block:
    return plan_block(
        connection,
        plan.study,
        grid,
        family=plan.family,
        tokenizer_id=setting.tokenizer_id,
        corpus_id=setting.corpus_id,
        protocol_id=setting.protocol_id,
        reference_ids=list(setting.references),
    )


def _run_block(database: Database, plan: Plan, setting: Setting, grid: Grid, tools: Tools) -> Outcome:
    """Claim a model, so that another ingestion of it waits, and do what is still to do."""
    name = f"{setting.corpus_id}/{setting.protocol_id}/{plan.family}/{grid.model}"
    # Closing the connection gives the claim back. If the server is lost meanwhile so is the claim, and two ingestions
    # may do the same work; each still writes only what is not there.
    with database.connect(autocommit=True) as holder:
        if not claim_block(holder, name, wait=False):
            tools.meter.note(f"{grid.model} is being ingested by another process: waiting for it.")
            claim_block(holder, name, wait=True)
        block = tools.commit(partial(_plan_block, plan=plan, setting=setting, grid=grid))
        return BlockRun(plan.study, setting, block, tools).run()


def _bytes_to_write(blocks: Sequence[Block], n_tokens: int) -> int:
    scores = sum(len(block.to_score()) * (9 + len(block.reference_ids)) for block in blocks)
    pairs = sum(len(block.missing_pairs) + len(block.contrasts) for block in blocks)
    return (scores + pairs) * n_tokens * BYTES_PER_VALUE


def _analyze(engine: Engine) -> None:
    """Tell the planner what the tables hold now, outside the transactions that loaded them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for (table,) in connection.execute(text("select tablename from pg_tables where schemaname = 'warehouse'")):
            connection.execute(text(f'analyze warehouse."{table}"'))
