"""The demo's files as files of a user's own: checkpoints and texts, where the documents' studies look for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from warehouse.errors import WarehouseError


class InTheWay(WarehouseError):
    """A file of another content is where one of the demo's would be put."""


def export_files(checkpoints: Path, evaluation: Path, training: Path, folder: Path) -> list[Path]:
    """Copy checkpoints and texts into a folder as `checkpoints`, `corpus.txt` and `training.jsonl`; returns where.

    Blank lines stand between the documents of `corpus.txt`. What is there already with the same content is left alone.
    Raises InTheWay, before anything is written.
    """
    lines = evaluation.read_text("utf-8").splitlines()
    corpus = "\n\n".join(json.loads(line)["text"] for line in lines).encode()
    contents = {folder / "corpus.txt": corpus, folder / "training.jsonl": training.read_bytes()}
    copies = {folder / "checkpoints" / file.relative_to(checkpoints): file for file in _files(checkpoints)}
    _refuse_others(contents, copies)
    try:
        for target, content in contents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for target, file in copies.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    except OSError as error:
        raise InTheWay(f"Cannot write to {folder}: {error.strerror or error}; name another folder.") from error
    return [folder / "checkpoints", *contents]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _refuse_others(contents: dict[Path, bytes], copies: dict[Path, Path]) -> None:
    """Raise InTheWay for the first file that is there with another content."""
    for target in (*contents, *copies):
        if not target.exists():
            continue
        wanted = contents[target] if target in contents else copies[target].read_bytes()
        if not target.is_file() or target.read_bytes() != wanted:
            raise InTheWay(f"{target} is there already and is not the demo's: name another folder.")
