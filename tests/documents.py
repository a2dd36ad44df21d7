"""The project's documents in Markdown, and the blocks of code in them.

As a program it writes the answers below SQL blocks anew, from a warehouse that holds the small demo.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The README comes first: its commands build on one another.
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANSWERED = re.compile(r"^```sql\n(.*?)```\n\n```text\n.*?^```$", re.MULTILINE | re.DOTALL)
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


def answered(text: str) -> str:
    """A document's text with the answers below its SQL blocks as `warehouse sql` gives them now."""
    return _ANSWERED.sub(lambda match: f"```sql\n{match[1]}```\n\n```text\n{_answer(match[1])}```", text)


def _answer(query: str) -> str:
    shown = subprocess.run(["warehouse", "sql", query], check=True, capture_output=True, encoding="utf-8").stdout
    return "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(answered(path.read_text("utf-8")), "utf-8")
