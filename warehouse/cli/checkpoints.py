"""`warehouse checkpoints`: which checkpoints statistics leave out, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from queries.cli.options import format_option
from warehouse.cli.runs import say_waiting

_LEFT_OUT = """
select family, model, seed, step, status, reason, note
from checkpoints
where {where}
order by family, model, seed, step
"""


@click.group()
def checkpoints() -> None:
    """Leave checkpoints out of statistics, take them in again, or show which are left out."""


def _naming(command: Callable[..., Any]) -> Callable[..., Any]:
    for parameter in (
        click.option("--family", help="Family of the model, where several have one of this name."),
        click.argument("step", type=int),
        click.argument("seed", type=int),
        click.argument("model"),
    ):
        command = parameter(command)
    return command


@checkpoints.command()
@_naming
@click.option("--reason", required=True, help="Why the checkpoint is not to be trusted.")
def quarantine(model: str, seed: int, step: int, family: str | None, reason: str) -> None:
    """Leave a checkpoint, given as MODEL SEED STEP, out of statistics until it is released."""
    from warehouse import standing
    from warehouse.opening import open_database

    with open_database().engine().begin() as connection:
        standing.quarantine(connection, family, model, seed, step, reason)
        waiting = standing.waiting_sums(connection, family, model)
    click.echo(f"Quarantined: {model} seed {seed} step {step}. What it took part in was derived again.")
    say_waiting(waiting)


@checkpoints.command()
@_naming
def release(model: str, seed: int, step: int, family: str | None) -> None:
    """Take a checkpoint, given as MODEL SEED STEP, into statistics again, whatever the rules say of it."""
    from warehouse import standing
    from warehouse.opening import open_database

    with open_database().engine().begin() as connection:
        standing.release(connection, family, model, seed, step)
        waiting = standing.waiting_sums(connection, family, model)
    click.echo(f"Released: {model} seed {seed} step {step}. What it takes part in was derived again.")
    say_waiting(waiting)


@checkpoints.command("list")
@click.option("--all", "everything", is_flag=True, help="Also checkpoints with nothing to say about.")
@format_option
def list_checkpoints(everything: bool, form: str) -> None:
    """List checkpoints that are left out, with the reason, and those with a note."""
    from queries.output import write
    from queries.run import run
    from warehouse.opening import open_database

    where = "true" if everything else "status <> 'ok' or note is not null"
    with open_database().read() as connection:
        write(run(connection, _LEFT_OUT.format(where=where)), form)
