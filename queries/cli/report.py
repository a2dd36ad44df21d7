"""`warehouse report`: one page about a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write: .html.")
@click.option("--corpus", help="Corpus, where several were measured.")
@click.option("--protocol", help="Protocol, where there are several.")
@click.option("--family", help="Family of models, where there are several.")
@click.option("--model", "models", multiple=True, help="Report on this model only; may be repeated.")
@click.option("--layer", "layers", multiple=True, help="Annotation layer to have figures of; may be repeated.")
@click.option(
    "--definition", default="estimated", show_default=True, help="Whose phases to shade: fehlauer-2025, slides, ..."
)
def report(out: Path, layers: tuple[str, ...], definition: str, **chosen: Any) -> None:
    """Write one page about a corpus: figures, tables, where they come from, and the SQL behind each.

    The page is a single file that needs no network. Without --layer the first eight layers have figures.
    """
    from queries.figures import style
    from queries.figures.choice import Choice
    from queries.report import contents
    from warehouse.opening import open_database

    style.check_output(out, ("html",))
    with open_database().read() as reader:
        page = contents.write(reader, Choice(**chosen), layers, definition)
    style.write_file(out, page.encode())
    click.echo(out)
