"""The project's documents in Markdown, and the blocks of code in them.

As a program it writes the answers below SQL and commands anew, from a small demo that it makes for itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """What commands of the documents read, beside the files of the demo: those they show, and the project's studies."""
    (folder / "studies").symlink_to(ROOT / "studies")
    for block in blocks("toml"):
        (folder / block.code.split("\n")[0].removeprefix("# ")).write_text(block.code, "utf-8")


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
            for path in DOCUMENTS:
                path.write_text(answered(path.read_text("utf-8"), answer), "utf-8")
        finally:
            run("warehouse", "db", "stop")


if __name__ == "__main__":
    _main()
