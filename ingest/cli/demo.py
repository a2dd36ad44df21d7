"""`warehouse demo`: train small models, ingest them like any others, and show what can be asked."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.demo import Recipe
    from ingest.study import Study
    from warehouse.database import Database

QUESTIONS = {
    "Where do the phases of training begin and end, and does the larger model reconverge more?": """
        select model, phase, first_step, last_step, round(convergence_change::numeric, 3) as convergence_change,
            round(divergence_reduction::numeric, 3) as divergence_reduction
        from phase_statistics
        where corpus = '{corpus}' and definition = 'estimated'
        order by model, first_step
    """,
    "How alike do the seeds predict function words and content words, at the end?": """
        select model, value, n_tokens, round(convergence::numeric, 3) as convergence,
            round(se_total::numeric, 3) as se_total
        from conditional_convergence
        where corpus = '{corpus}' and kind = 'seed' and layer = 'word_class' and step = {last}
        order by model, value
    """,
    "When is the unigram distribution what the models are closest to?": """
        select model, step, round(kl_reference::numeric, 3) as kl_to_unigram
        from reference_step
        where corpus = '{corpus}' and reference = 'unigram'
        order by model
    """,
    "Which tokens do the seeds of the larger model disagree on most, at the end?": """
        select t.document, t.piece, round(c.convergence::numeric, 3) as convergence
        from token_convergence as c
        inner join tokens as t using (corpus, token_id)
        where corpus = '{corpus}' and c.kind = 'seed' and c.model = '{model}' and c.step = {last}
        order by c.convergence
        limit 5
    """,
}


@click.command()
@click.option("--tiny", is_flag=True, help="A smaller one, in seconds, from a text written for the project.")
@click.option(
    "--export",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also put its checkpoints and texts there, for studies of your own.",
)
def demo(tiny: bool, target: Path | None) -> None:
    """Train two sizes x three seeds of small GPT-NeoX models, ingest every checkpoint, and show what can be asked.

    Everything lies under WAREHOUSE_HOME. What was trained or measured before is not done again.
    """
    from ingest.cli.ingest import require_success, run, summary
    from ingest.demo import STANDARD, TINY
    from warehouse.home import ensure_home, home
    from warehouse.opening import open_database

    ensure_home(home())
    recipe = TINY if tiny else STANDARD
    folder = home() / "demo"
    database = open_database()  # before the training: a database that cannot be had should not cost minutes
    study = _study(recipe, folder, _train(recipe, folder))
    report = run(study)
    click.echo(summary(report))
    _show_answers(database, recipe, study)
    _show_size(database)
    _show_figures(database, study, folder / "figures")
    if target is not None:
        _export(study, target)
    _show_ways_on(database)
    require_success(report)


def _train(recipe: Recipe, folder: Path) -> Path:
    """The folder of the recipe's checkpoints, trained if they are not there."""
    from ingest.demo import train_all

    with _training_bar(recipe) as progress:
        return train_all(recipe, folder, progress)


@contextmanager
def _training_bar(recipe: Recipe) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=None, visible=False)

        def show(done: int, total: int) -> None:
            if bar.disable and done == 0:
                console.print(f"Training {len(recipe.runs)} runs of {recipe.steps[-1]} steps.", highlight=False)
            bar.update(task, completed=done, total=total, visible=True)

        yield show


def _study(recipe: Recipe, folder: Path, checkpoints: Path) -> Study:
    """The study in the package, told where this recipe's checkpoints and texts are."""
    import tomllib

    from ingest.demo import write_corpus
    from ingest.demo.recipe import FINAL_LEARNING_RATE
    from ingest.study import LearningRateSpec, ReferenceSpec, parse_study

    table = tomllib.loads((files("ingest") / "demo" / "study.toml").read_text("utf-8"))
    study = parse_study({"name": _name(recipe), **table}, where="the demo's study", folder=folder)
    corpus = checkpoints.parent / "evaluation.jsonl"
    training = write_corpus(recipe, corpus)
    return study.with_options(
        root=checkpoints,
        family=recipe.name,
        tokens_per_step=recipe.batch_size * recipe.sequence_length,
        learning_rate=LearningRateSpec(
            recipe.peak_learning_rate, recipe.warmup_steps, recipe.steps[-1], FINAL_LEARNING_RATE
        ),
        corpus_path=corpus,
        corpus_name=_name(recipe),
        references=(ReferenceSpec("unigram", text=training),),
    )


def _name(recipe: Recipe) -> str:
    """What the demo's corpus is called."""
    return "demo" if recipe.name == "neox" else f"demo-{recipe.name}"


def _show_answers(database: Database, recipe: Recipe, study: Study) -> None:
    from textwrap import dedent

    from queries.output import write
    from queries.run import run as ask

    for question, sql in QUESTIONS.items():
        asked = dedent(sql).strip().format(corpus=study.corpus.name, last=recipe.steps[-1], model=recipe.models[-1])
        click.echo(f"\n{question}\n")
        click.echo(f'warehouse sql "{asked}"\n')
        with database.read() as connection:
            write(ask(connection, asked), "table")


def _show_size(database: Database) -> None:
    """Bytes on disk of one KL value, indexes included."""
    with database.read() as connection:
        row = connection.execute(
            """
            select pg_total_relation_size('warehouse.divergence_chunk'), sum(cardinality(kl))
            from warehouse.divergence_chunk
            """
        ).fetchone()
    if row and row[1]:
        click.echo(
            f"\n{row[1]:,} KL values on {row[0] / 1e6:.1f} MB: {row[0] / row[1]:.2f} bytes each, indexes included."
        )


def _show_figures(database: Database, study: Study, folder: Path) -> None:
    """Draw the three figures, and say where they are."""
    from queries.figures import conditional, convergence, phases, style
    from queries.figures.choice import Choice

    folder.mkdir(parents=True, exist_ok=True)
    choice = Choice(corpus=study.corpus.name)
    for name, draw in (("convergence", convergence.draw), ("conditional", conditional.draw), ("phases", phases.draw)):
        path = folder / f"{study.name}-{name}.png"
        try:
            with database.read() as reader:
                style.save(draw(reader, choice).figure(), path)
        except style.MissingMatplotlib as missing:
            click.echo(f"No figures: {missing}")
            return
        click.echo(f"Figure: {path}")


def _export(study: Study, target: Path) -> None:
    from ingest.demo import export_files

    (reference,) = study.references
    assert study.root is not None
    assert study.corpus.path is not None
    assert reference.text is not None
    files = export_files(Path(study.root), study.corpus.path, reference.text, target)
    click.echo(f"Files: {', '.join(map(str, files))}")


def _show_ways_on(database: Database) -> None:
    click.echo('\nAsk on: warehouse views lists what can be asked; warehouse sql "select ..." asks it.')
    if database.embedded:
        click.echo("With psql: warehouse db psql; other clients as the reader: warehouse db url --reader.")
        click.echo("The server keeps running; warehouse db stop ends it.")
