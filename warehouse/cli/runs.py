"""`warehouse runs`: which training runs are flagged as outliers, and left out of run set default."""

from __future__ import annotations

import click

from queries.cli.options import format_option

_family = click.option("--family", help="Family of the model, where several have one of this name.")

_FLAGGED = """
select family, model, seed, outlier as flagged, run_note as note, count(*) as checkpoints
from checkpoints
{where}
group by family, model, seed, outlier, run_note
order by family, model, seed
"""


@click.group()
def runs() -> None:
    """Flag training runs as outliers, or show which are."""


@runs.command()
@click.argument("model")
@click.argument("seed", type=int)
@click.option("--note", required=True, help="Why the run is an outlier.")
@_family
def flag(model: str, seed: int, note: str, family: str | None) -> None:
    """Leave the run SEED of MODEL out of run set default, and derive what it took part in again."""
    from warehouse.opening import open_database
    from warehouse.standing import flag_run, waiting_sums

    with open_database().engine().begin() as connection:
        flag_run(connection, family, model, seed, note)
        waiting = waiting_sums(connection, family, model)
    click.echo(f"Flagged: {model} seed {seed} is left out of run set default, and part of run set all.")
    say_waiting(waiting)


@runs.command()
@click.argument("model")
@click.argument("seed", type=int)
@_family
def unflag(model: str, seed: int, family: str | None) -> None:
    """Take the run SEED of MODEL into run set default again."""
    from warehouse.opening import open_database
    from warehouse.standing import unflag_run, waiting_sums

    with open_database().engine().begin() as connection:
        unflag_run(connection, family, model, seed)
        waiting = waiting_sums(connection, family, model)
    click.echo(f"Unflagged: {model} seed {seed} is part of run set default.")
    say_waiting(waiting)


@runs.command("list")
@click.option("--all", "everything", is_flag=True, help="Also runs that are not flagged.")
@format_option
def list_runs(everything: bool, form: str) -> None:
    """List flagged runs with the reason."""
    from queries.output import write
    from queries.run import run
    from warehouse.opening import open_database

    with open_database().read() as connection:
        write(run(connection, _FLAGGED.format(where="" if everything else "where outlier")), form)


def say_waiting(comparisons: int) -> None:
    """Say that sums were forgotten, if any were."""
    if comparisons:
        click.echo(
            f"Of kind cross, which keeps sums and no tokens, {comparisons} comparisons wait to be measured again: run "
            "the ingestion of their study."
        )
