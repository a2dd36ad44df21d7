"""The way of a study through the warehouse: survey, setting, plan, and one block after another.

Everything may be repeated: what the ledger has is not computed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from ingest.architecture import ArchitectureFacts, VocabularyTooSmall
from ingest.block import CohortRun
from ingest.checkpoints import Attention, CheckpointReader
from ingest.cohort import Block, Cohort, Inputs, plan_cohort
from ingest.compiled import choose_path
from ingest.environment import choose_device, describe_environment
from ingest.estimate import BYTES_PER_VALUE, SCORES
from ingest.kept import is_kept, kept_readouts
from ingest.locations import CheckpointLocation
from ingest.options import RunOptions
from ingest.plan import Grid, cohorts, models_compared, require_partners, survey
from ingest.prefetch import Prefetch
from ingest.progress import TerminalMeter
from ingest.readings import Outcome, Tools
from ingest.rereading import Rereading, rereading
from ingest.setting import (
    DifferentTokenizers,
    Setting,
    make_layers,
    missing_layers,
    read_corpus,
    require_ids,
    require_layers,
    save_layer,
    save_setting,
    wanted_layers,
)
from ingest.shelf import Shelf, default_memory
from ingest.source import Source, open_source
from ingest.study import BadStudy, Study
from ingest.study_references import read_references
from ingest.usual import usual_facts, usual_width
from ingest.vocabulary import Vocabulary, load_vocabulary
from ingest.weight_files import read_json
from warehouse.claims import claim
from warehouse.database import Database
from warehouse.dimensions import save_environment
from warehouse.errors import WarehouseError
from warehouse.retries import persist
from warehouse.writer import Writer

ATTENTION: Attention = "sdpa"


@dataclass(frozen=True)
class Plan:
    """A study with everything found that it needs, before anything is written.

    usual: the sizes that most checkpoints of a model state, where they do not agree.
    """

    study: Study
    source: Source = field(repr=False)
    grids: list[Grid]
    vocabulary: Vocabulary = field(repr=False)
    usual: Mapping[str, ArchitectureFacts] = field(default_factory=dict)

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


def prepare(study: Study, options: RunOptions | None = None) -> Plan:
    """Find the study's checkpoints and their tokenizer.

    Raises NoRoot, MissingRevision for what does not exist, DifferentTokenizers where models disagree,
    VocabularyTooSmall where all checkpoints of a model lack ids of the tokenizer, and BadStudy for more top entries
    than ids, for models of different widths under vocabulary `model`, and for kinds between models without two.
    """
    options = options or RunOptions()
    wanted_layers(study)
    source = open_source(study, evict=options.evict, allow_pickle=options.allow_pickle, reserve=options.reserve)
    grids = survey(study, source.locate())
    require_partners(study, grids)
    vocabulary = _common_vocabulary(source, grids)
    require_ids(study, vocabulary)
    for grid in grids:
        _require_width(grid, vocabulary.length)
    if study.protocol.vocabulary == "model":
        _require_equal_widths(study, source, grids)
    usual = {grid.model: usual_facts(_folders(grid)) for grid in grids}
    return Plan(study, source, grids, vocabulary, {model: facts for model, facts in usual.items() if facts is not None})


def _folders(grid: Grid) -> list[Path]:
    """Where those of a model's checkpoints are that lie in folders of the user's."""
    return [location.path for location in _ordered(grid) if location.path is not None]


def _require_equal_widths(study: Study, source: Source, grids: Sequence[Grid]) -> None:
    """Raise BadStudy where models of differing numbers of logits would be compared over all of them."""
    widths = {grid.model: usual_width(_folders(grid) or [source.tokenizer(_ordered(grid))]) for grid in grids}
    for kind, models in models_compared(study, grids).items():
        for one, other in sorted(models):
            if None not in (widths[one], widths[other]) and widths[one] != widths[other]:
                raise BadStudy(
                    f"Kind {kind} of study {study.name} compares {one} with {widths[one]} logits and {other} with "
                    f"{widths[other]}, which vocabulary model cannot: set vocabulary to tokenizer, or drop the kind."
                )


def _ordered(grid: Grid) -> list[CheckpointLocation]:
    """The locations of a model's checkpoints that are wanted, or else of any."""
    wanted = [grid.locations[cell] for cell in grid.cells() if cell in grid.locations]
    return wanted or sorted(grid.locations.values())


def _common_vocabulary(source: Source, grids: Sequence[Grid]) -> Vocabulary:
    first: tuple[Grid, Vocabulary] | None = None
    for grid in grids:
        vocabulary = load_vocabulary(source.tokenizer(_ordered(grid)))
        if first is not None and first[1].sha256 != vocabulary.sha256:
            raise DifferentTokenizers(
                f"The tokenizers of {first[0].model} and {grid.model} differ (sha256 {first[1].sha256[:12]} and "
                f"{vocabulary.sha256[:12]}), so their tokens cannot be compared: ingest them as two studies."
            )
        first = first or (grid, vocabulary)
    assert first is not None
    return first[1]


def _require_width(grid: Grid, tokenizer_length: int) -> None:
    """Raise VocabularyTooSmall unless the config of some checkpoint may have as many ids as the tokenizer."""
    widths = []
    for location in grid.locations.values():
        if location.path is None:
            return  # it is looked at when it has been downloaded
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
    options: RunOptions | None = None,
    *,
    meter: Callable[[int, int], TerminalMeter] = TerminalMeter,
) -> Report:
    """Measure whatever a study wants and the warehouse lacks.

    meter: made with the tokens and the checkpoints to read. Raises what reading its inputs raises, and NoRoom; a
    checkpoint that fails alone is in the report.
    """
    started = time.monotonic()
    options = options or RunOptions()
    plan = prepare(study, options)
    corpus = read_corpus(study, plan.vocabulary)
    references = read_references(study, plan.vocabulary)
    require_layers(study)
    device = choose_device(options.device)
    engine = database.engine()
    writer = Writer(database, engine, options.reserve)
    path = choose_path(device, corpus.n_tokens, plan.vocabulary.length, allowed=options.compiled)
    environment = describe_environment(device, ATTENTION, path)

    def save(connection: Connection) -> tuple[Setting, int]:
        setting = save_setting(connection, study, plan.grids[0].model, plan.vocabulary, corpus, references)
        return setting, save_environment(connection, environment)

    setting, environment_id = writer.commit(save)
    # Tagging takes its time, so that no transaction waits for it.
    names = writer.commit(partial(missing_layers, study=study, corpus_id=setting.corpus_id))
    for layer in make_layers(corpus, plan.vocabulary, references, names):
        writer.commit(partial(save_layer, corpus_id=setting.corpus_id, layer=layer))
    inputs = _inputs(plan, setting)
    planned = [
        writer.commit(partial(plan_cohort, study=study, grids=grids, inputs=inputs))
        for grids in cohorts(study.kinds, plan.grids)
    ]
    total = sum(len(cohort.to_read()) for cohort in planned)
    writer.require_room(_bytes_to_write(planned, corpus.n_tokens))
    outcome = Outcome()
    with ExitStack() as stack:
        shown = stack.enter_context(meter(total * corpus.n_tokens, total))
        if added := _rereading(planned, setting):
            shown.note(str(added))
        prefetch = Prefetch(plan.source.fetch, done=plan.source.done, allow_pickle=options.allow_pickle, device=device)
        tools = Tools(
            writer.commit,
            CheckpointReader(device, ATTENTION, study.protocol.dtype),
            stack.enter_context(prefetch),
            stack.enter_context(_shelf(device, options)),
            shown,
            outcome,
            device,
            environment_id,
            path,
        )
        for cohort, blocks in _dealt(planned, options):
            _run_cohort(database, CohortRun(study, setting, cohort, tools), blocks, _name(setting, cohort), tools)
    if outcome.evaluations or outcome.pairs:
        persist(database, partial(_analyze, engine))
    return Report(outcome, plan.n_checkpoints, corpus.n_tokens, time.monotonic() - started)


def _inputs(plan: Plan, setting: Setting) -> Inputs:
    return Inputs(
        plan.source,
        setting.tokenizer_id,
        setting.corpus_id,
        setting.protocol_id,
        frozenset(setting.references),
        plan.usual,
    )


def _rereading(planned: Sequence[Cohort], setting: Setting) -> Rereading:
    """What references that are new to some measured checkpoints take."""
    folder, names = kept_readouts(), {key: reference.name for key, reference in setting.references.items()}
    digests = {cell: entry.input_digest for cohort in planned for cell, entry in cohort.entries.items()}
    lacking = [each for cohort in planned for each in cohort.lacking_references().items()]
    named = {cell: {names[key] for key in keys} for cell, keys in lacking}
    return rereading(named, lambda cell: is_kept(folder, digests[cell] or ""))


def _shelf(device: str, options: RunOptions) -> Shelf:
    memory = default_memory(device) if options.memory is None else options.memory
    return Shelf(memory, kept_readouts(), keeping=options.keep_readouts, device=device, reserve=options.reserve)


# --- sharing the work ---------------------------------------------------------------------------------------------


def _dealt(planned: Sequence[Cohort], options: RunOptions) -> Iterator[tuple[Cohort, list[Block]]]:
    """Each cohort with those of its blocks that are this rank's."""
    number = 0
    for cohort in planned:
        blocks = cohort.blocks()
        yield cohort, [b for n, b in enumerate(blocks, number) if n % options.world_size == options.rank]
        number += len(blocks)


def _run_cohort(database: Database, run: CohortRun, blocks: Sequence[Block], name: str, tools: Tools) -> None:
    """Do the blocks that nobody else does, then wait for the others, in case whoever has them gives up."""
    wait = False
    while blocks := [block for block in blocks if not _run_block(database, run, block, name, tools, wait=wait)]:
        wait = True
    if run.is_across():
        with claim(database, f"{name}/across", wait=True):
            run.across()
    run.finish()


def _run_block(database: Database, run: CohortRun, block: Block, name: str, tools: Tools, *, wait: bool) -> bool:
    """Do a block; False if another process is at it and wait is not set, or took it while the server was lost."""
    if not run.lacks(block):
        return True
    with claim(database, f"{name}/{block.key}", wait=wait) as claimed:
        if not claimed:
            tools.meter.note(f"{block} is being ingested by another process: it comes last.")
            return False
        return run.run(block, claimed.renew)


def _name(setting: Setting, cohort: Cohort) -> str:
    models = ",".join(cohort.grids)
    return f"{setting.corpus_id}/{setting.protocol_id}/{cohort.inputs.source.family}/{models}"


def _bytes_to_write(planned: Sequence[Cohort], n_tokens: int) -> int:
    values = sum(
        len(cohort.to_score()) * (SCORES + len(cohort.inputs.reference_ids) + 2 * cohort.top_k)
        + len(cohort.missing - cohort.bare)
        + sum(contrast.kind != "cross" for contrast in cohort.contrasts.values())
        for cohort in planned
    )
    return values * n_tokens * BYTES_PER_VALUE


def _analyze(engine: Engine) -> None:
    """Tell the planner what the tables hold now, outside the transactions that loaded them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for (table,) in connection.execute(text("select tablename from pg_tables where schemaname = 'warehouse'")):
            connection.execute(text(f'analyze warehouse."{table}"'))
