"""The demo's files as a user's own: copied whole, again without harm, and never over something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.demo import InTheWay, export_files


@pytest.fixture
def demo(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Checkpoints, evaluation text and training text, as a demo leaves them."""
    step = tmp_path / "demo" / "checkpoints" / "tiny" / "seed0" / "step0"
    step.mkdir(parents=True)
    (step / "model.safetensors").write_bytes(b"\0\1")
    evaluation, training = tmp_path / "demo" / "evaluation.jsonl", tmp_path / "demo" / "training.jsonl"
    evaluation.write_text('{"id": "a", "text": "One.\\nTwo."}\n{"id": "b", "text": "caf\\u00e9"}\n', "utf-8")
    training.write_text('{"id": "c", "text": "Three."}\n', "utf-8")
    return tmp_path / "demo" / "checkpoints", evaluation, training


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_checkpoints_and_texts_are_where_the_documents_look_for_them(
    demo: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "new" / "place"
    named = export_files(*demo, target)
    assert named == [target / "checkpoints", target / "corpus.txt", target / "training.jsonl"]
    expected = {
        "checkpoints/tiny/seed0/step0/model.safetensors": b"\0\1",
        "corpus.txt": "One.\nTwo.\n\ncafé".encode(),
        "training.jsonl": b'{"id": "c", "text": "Three."}\n',
    }
    assert contents(target) == expected
    export_files(*demo, target)
    assert contents(target) == expected


@pytest.mark.parametrize("name", ["corpus.txt", "training.jsonl", "checkpoints/tiny/seed0/step0/model.safetensors"])
def test_a_file_of_somebody_elses_is_not_written_over(demo: tuple[Path, Path, Path], tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InTheWay, match="is there already and is not the demo's"):
        export_files(*demo, tmp_path)
    assert contents(tmp_path) == before
