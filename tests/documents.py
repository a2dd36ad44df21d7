"""The project's documents in Markdown, and the blocks of code in them.

As a program it writes the answers below SQL and commands anew, from a small demo that it makes for itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.made_up import LAYERS, fill
from warehouse.database import READER, Database
from warehouse.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[1]
#: The README comes first: its commands build on one another.
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINES = r"((?:(?!```).*\n)*)"
_ANSWERED = re.compile(rf"^```(sql|bash)\n{_LINES}```\n\n```text\n{_LINES}```$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. answer: the block of text right below it, if there is one."""

    document: Path
    line: int
    language: str
    code: str
    answer: str | None = None

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    """The blocks of a language in all documents, or all blocks."""
    return [
        block for document in DOCUMENTS for block in _blocks(document) if language is None or block.language == language
    ]


def spans() -> Iterator[tuple[Path, str]]:
    """Code within sentences: (document, code)."""
    for document in DOCUMENTS:
        for span in _SPAN.findall(_FENCE.sub("", document.read_text("utf-8"))):
            yield document, " ".join(span.split())


def links() -> Iterator[tuple[Path, str]]:
    """Links from a document to files of the project: (document, target)."""
    for document in DOCUMENTS:
        for target in _LINK.findall(_FENCE.sub("", document.read_text("utf-8"))):
            if "://" not in target:
                yield document, target


def _blocks(document: Path) -> list[Block]:
    text = document.read_text("utf-8")
    found = list(_FENCE.finditer(text))
    ends = {match.end(): match for match in found}
    below = {
        before.start(): match[2]
        for match in found
        if match[1] == "text" and (before := ends.get(len(text[: match.start()].rstrip())))
    }
    return [
        Block(document, text[: match.start()].count("\n") + 1, match[1], match[2], below.get(match.start()))
        for match in found
    ]


def provide_inputs(folder: Path) -> None:
    """What commands of the documents read, beside the files of the demo: those they show, the project's studies, and a
    run as the trainer of transformers leaves it.
    """
    (folder / "studies").symlink_to(ROOT / "studies")
    (folder / "run").mkdir()
    for step in (24, 128):
        checkpoint = folder / "checkpoints" / "tiny-32d" / "seed0" / f"step{step}"
        (folder / "run" / f"checkpoint-{step}").symlink_to(checkpoint)
    for block in blocks("toml"):
        (folder / block.code.split("\n")[0].removeprefix("# ")).write_text(block.code, "utf-8")


def add_other_corpus(environment: Mapping[str, str]) -> None:
    """Put a corpus with another tokenizer, other models and the same layers into the database of an environment.

    A reader may have one, so that documents have to say which corpus they ask about. It comes after the demo, whose
    token ids stay what they are.
    """
    if "DATABASE_URL" in environment:
        database = Database(environment["DATABASE_URL"], environment["DATABASE_READ_URL"], embedded=False)
    else:
        server = EmbeddedServer(Path(environment["WAREHOUSE_HOME"]))
        database = Database(server.url(), server.url(READER), embedded=True)
    fill(
        database.engine(),
        name="other",
        n_tokens=1000,
        n_seeds=2,
        n_steps=3,
        layers=LAYERS,
        models=["other"],
        kinds=["seed", "step", "final"],
    )


def answered(text: str, answer: Callable[[str, str], str]) -> str:
    """A document's text with the answer below each block as ``answer``, given language and code, says it now."""
    return _ANSWERED.sub(
        lambda match: f"```{match[1]}\n{match[2]}```\n\n```text\n{answer(match[1], match[2])}```", text
    )


def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="tw-") as name:
        place = Path(name)
        place.chmod(0o755)  # as root the server has an account of its own
        folder = place / "work"
        folder.mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DATABASE_")}
        environment["WAREHOUSE_HOME"] = str(place / "home")

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, encoding="utf-8"
            )
            return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())

        def answer(language: str, code: str) -> str:
            return run("warehouse", "sql", code) if language == "sql" else run("bash", "-euo", "pipefail", "-c", code)

        run("warehouse", "demo", "--tiny", "--export", ".")
        try:
            provide_inputs(folder)
            add_other_corpus(environment)
            for path in DOCUMENTS:
                path.write_text(answered(path.read_text("utf-8"), answer), "utf-8")
        finally:
            run("warehouse", "db", "stop")


if __name__ == "__main__":
    _main()
