"""Where the demo's English comes from, and which documents are kept from training.

Text is found, filtered and split here. Nothing here knows tokens, models or the database.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from warehouse.errors import WarehouseError

TextSource = Literal["python", "tiny"]

# Folders of the standard library that are not read; what some distributions of Python leave out is among them.
_NOT_DOCUMENTATION = frozenset({"test", "tests", "site-packages", "dist-packages", "__pycache__"})
_NOT_EVERYWHERE = frozenset({"_pyrepl", "distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"})
_EVALUATION_CHARACTERS = 44_000  # about 16,000 tokens of a vocabulary of 1024
_EVALUATION_DOCUMENT_CHARACTERS = range(800, 2_500)
_TINY_EVALUATION_EVERY = 4
_WORD = re.compile(r"[\"'“‘(]*[A-Za-z][A-Za-z'’-]*[)\"'”’.,;:!?]*")


class NoDemoText(WarehouseError):
    """This Python carries too little documentation to train the demo on."""


@dataclass(frozen=True)
class Document:
    """A named text of one or more paragraphs, separated by blank lines."""

    name: str
    text: str


@dataclass(frozen=True)
class Texts:
    """Documents to train on and documents no model sees, without a paragraph in common."""

    training: tuple[Document, ...]
    evaluation: tuple[Document, ...]

    def digest(self) -> str:
        """The sha256 of all names and texts and of the way they are split, in hexadecimal."""
        parts = [f"{part}\0{document.name}\0{document.text}\0" for part, document in self._parts()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _parts(self) -> Iterator[tuple[str, Document]]:
        for part, documents in (("training", self.training), ("evaluation", self.evaluation)):
            for document in documents:
                yield part, document


@cache  # reading the standard library takes seconds, and its text does not change while a program runs
def load_texts(source: TextSource) -> Texts:
    """The texts of a recipe: this Python's documentation (``python``) or the prose shipped beside this file (``tiny``).

    Raises NoDemoText where Python's documentation was left out of the installation.
    """
    return _tiny_texts() if source == "tiny" else _python_texts()


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph reads as English sentences rather than code, a table, a signature or a heading."""
    words = paragraph.split()
    if len(words) < 8 or not paragraph[0].isupper() or paragraph[-1] not in ".:!?":
        return False
    return sum(bool(_WORD.fullmatch(word)) for word in words) >= 0.8 * len(words)


def prose(text: str) -> list[str]:
    """The prose paragraphs of a documentation text, each on one line with single spaces."""
    return [paragraph for paragraph in _paragraphs(text) if is_prose(paragraph)]


def _paragraphs(text: str) -> list[str]:
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return [block for block in blocks if block]


def _python_texts() -> Texts:
    documents = _without_repeats([*_topic_documents(), *_module_documents(Path(sysconfig.get_path("stdlib")))])
    topics = [document for document in documents if document.name.startswith("topic ")]
    modules = [document for document in documents if document.name.startswith("module ")]
    held_out = {*_held_out(topics, _EVALUATION_CHARACTERS // 3), *_held_out(modules, 2 * _EVALUATION_CHARACTERS // 3)}
    evaluation = tuple(document for document in documents if document in held_out)
    training = tuple(document for document in documents if document not in held_out)
    if sum(len(document.text) for document in training) < 10 * _EVALUATION_CHARACTERS:
        raise NoDemoText(
            f"The Python at {sysconfig.get_path('stdlib')} carries too little documentation to train the demo on; "
            "use an interpreter with the sources of its standard library, or pass --tiny."
        )
    return Texts(training, evaluation)


def _tiny_texts() -> Texts:
    """Every fourth piece of ``tiny.txt`` is kept from training; a piece is a title after ``# `` and its paragraphs."""
    text = resources.files(__package__).joinpath("tiny.txt").read_text(encoding="utf-8")
    pieces = [piece.split("\n", 1) for piece in re.split(r"^# ", text, flags=re.MULTILINE)[1:]]
    documents = [Document(title.strip(), "\n\n".join(_paragraphs(body))) for title, body in pieces]
    evaluation = documents[_TINY_EVALUATION_EVERY - 1 :: _TINY_EVALUATION_EVERY]
    return Texts(tuple(document for document in documents if document not in evaluation), tuple(evaluation))


def _topic_documents() -> list[tuple[str, list[str]]]:
    """The help topics of ``pydoc``: a module of one dictionary, and importing it does nothing else."""
    from pydoc_data.topics import topics

    return [(f"topic {name}", prose(text)) for name, text in sorted(topics.items())]


def _module_documents(library: Path) -> Iterator[tuple[str, list[str]]]:
    """The docstrings of each module below ``library``, read from its source so that no module is imported."""
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if (_NOT_DOCUMENTATION | _NOT_EVERYWHERE).isdisjoint(relative.parts):
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            yield f"module {name}", [paragraph for text in _docstrings(path) for paragraph in prose(text)]


def _docstrings(path: Path) -> Iterator[str]:
    source = path.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return iter(())
    try:
        return _docstrings_below(ast.parse(source))
    except (SyntaxError, ValueError):  # templates and deliberately broken files live in the library too
        return iter(())


def _docstrings_below(node: ast.AST) -> Iterator[str]:
    """Docstrings in source order. Expressions hold none, and they are most of a tree: only statements are entered."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _docstrings_below(child)


def _without_repeats(documents: Iterable[tuple[str, list[str]]]) -> list[Document]:
    """Documents with each paragraph kept only where it first occurs.

    Help topics quote one another at length: a repeated paragraph would put held-out text into training.
    """
    seen: set[str] = set()
    kept = []
    for name, paragraphs in documents:
        new = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
        seen.update(new)
        if new:
            kept.append(Document(name, "\n\n".join(new)))
    return kept


def _held_out(documents: list[Document], characters: int) -> list[Document]:
    """Documents of medium length, in the order of their names' hashes, until they have ``characters`` together.

    Unlike a seeded shuffle, hashes of names keep the choice nearly the same when Python's documentation changes.
    """
    medium = [document for document in documents if len(document.text) in _EVALUATION_DOCUMENT_CHARACTERS]
    chosen: list[Document] = []
    for document in sorted(medium, key=lambda document: hashlib.sha256(document.name.encode()).digest()):
        if sum(len(other.text) for other in chosen) >= characters:
            break
        chosen.append(document)
    return chosen
