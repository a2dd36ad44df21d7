"""What the documents say is so: every command and SQL block is run, every answer, link and section is looked up."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import click
import psycopg
import pytest
from psycopg import sql

from ingest.derived_spec import DerivedSpec
from ingest.study import KINDS, CorpusSpec, CustomSpec, LearningRateSpec, ProtocolSpec, ReferenceSpec, Study
from ingest.suite import Schedule, Suite, SuiteModel
from tests.conftest import database_at
from tests.documents import ROOT, Block, add_other_corpus, answered, blocks, links, provide_inputs, spans
from warehouse.cli import warehouse

LANGUAGES = {"sql", "bash", "toml", "text", ""}
# Commands that would install or train for minutes are looked up instead of run.
PRELUDE = f'set -euo pipefail\nmake() {{ command make --directory={ROOT} --dry-run "$@" > /dev/null; }}\n'
LARGEST_IMAGE = 150_000  # bytes


@dataclass(frozen=True)
class Place:
    """A folder with what the README supposes, and the environment of somebody who runs the small demo there."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with nothing on its standard input."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture(scope="module")
def place(reachable_directory: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """The small demo, ingested: into an embedded server of its own, or with DATABASE_URL into a database there.

    Another corpus stands beside it.
    """
    home = reachable_directory / "docs"
    environment = {
        **os.environ,
        "WAREHOUSE_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if "DATABASE_URL" in os.environ:
        environment |= _new_database(request.getfixturevalue("server_url"), request.getfixturevalue("template"))
    folder = reachable_directory / "work"
    folder.mkdir()
    place = Place(folder, environment)
    demo = place.run("warehouse", "demo", "--tiny", "--export", ".")
    try:
        assert demo.returncode == 0, demo.stderr
        provide_inputs(folder)
        add_other_corpus(environment)
        yield place
    finally:
        if "DATABASE_URL" not in os.environ:
            place.run("warehouse", "db", "stop")


def _new_database(server_url: str, template: str) -> dict[str, str]:
    name = f"docs_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    database = database_at(server_url, name)
    return {"DATABASE_URL": database.owner_url, "DATABASE_READ_URL": database.reader_url}


def test_every_block_says_its_language_and_none_is_unknown() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES


@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_every_sql_block_gives_the_answer_below_it(place: Place, block: Block) -> None:
    result = place.run("warehouse", "sql", block.code)
    assert result.returncode == 0, result.stderr
    if block.answer is not None:
        assert _lines(result.stdout) == _lines(block.answer)


def test_the_readme_answers_five_questions() -> None:
    with_answer = [block for block in blocks("sql") if block.document.name == "README.md" and block.answer]
    assert len(with_answer) >= 5
    assert all(len(_lines(block.answer or "")) > 2 for block in with_answer)


def test_every_question_of_the_cookbook_has_an_answer_and_there_are_thirty() -> None:
    _, *questions = (ROOT / "docs" / "cookbook.md").read_text("utf-8").split("\n### ")
    assert len(questions) >= 30
    question = re.compile(r".*\?\n.*\n```\n\n```text\n([^\n]+\n){3}", re.DOTALL)
    assert [text.split("\n")[0] for text in questions if not question.match(text)] == []


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_every_command_block_runs_and_ends_with_the_answer_below_it(place: Place, block: Block) -> None:
    if "make" in block.code and not shutil.which("make"):
        pytest.skip("there is no make on this machine")
    result = place.run("bash", "-c", PRELUDE + block.code)
    assert result.returncode == 0, result.stdout + result.stderr
    if block.answer is not None:
        answer = _lines(block.answer)
        assert _lines(result.stdout)[-len(answer) :] == answer


def test_an_answer_is_written_below_its_block_and_nowhere_else() -> None:
    text = "```sql\nselect 1\n```\n\nSaid.\n\n```bash\nls\n```\n\n```text\nold\n```\n"
    assert answered(text, lambda language, code: f"{language}: {code}") == text.replace("old\n", "bash: ls\n")


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_every_toml_block_names_its_file_and_is_toml(block: Block) -> None:
    assert re.match(r"# [\w.-]+\.toml\n", block.code)
    assert tomllib.loads(block.code)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").split("\n")]


# What is named in sentences


def _commands_in_sentences() -> list[tuple[str, str]]:
    return sorted({(document.name, span) for document, span in spans() if re.match(r"warehouse( |$)", span)})


@pytest.mark.parametrize(("document", "span"), _commands_in_sentences())
def test_every_command_in_a_sentence_exists_with_its_options(document: str, span: str) -> None:
    words = shlex.split(span.replace("…", ""))[1:]
    command: click.Command = warehouse
    context = click.Context(command)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"{document} names {span}"
        command = found
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("target", sorted({span for _, span in spans() if re.fullmatch(r"make [a-z-]+", span)}))
def test_every_target_of_make_in_a_sentence_exists(target: str) -> None:
    assert re.search(rf"^{target.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("document", "target"), [(str(d.relative_to(ROOT)), t) for d, t in links()])
def test_every_link_within_the_project_leads_somewhere(document: str, target: str) -> None:
    assert ((ROOT / document).parent / target.split("#")[0]).exists()


def test_paths_in_sentences_exist() -> None:
    paths = {span for _, span in spans() if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)+\.\w+", span) and "NAME" not in span}
    paths = {path for path in paths if path.split("/")[0] in {p.name for p in ROOT.iterdir()} - {".venv"}}
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists() and "NNNN" not in path] == []


def test_images_are_small_enough_to_clone() -> None:
    sizes = {image.name: image.stat().st_size for image in (ROOT / "docs" / "images").iterdir()}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > LARGEST_IMAGE} == {}


# The parts of the project that a document must follow


@pytest.mark.parametrize("package", ["warehouse", "ingest", "queries"])
def test_the_map_of_modules_names_every_module(package: str) -> None:
    rows = (ROOT / "docs" / "architecture.md").read_text("utf-8").split(f"| `{package}/` |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([^`]+)`", rows))
    modules = {path.relative_to(ROOT / package).with_suffix("") for path in (ROOT / package).rglob("*.py")}
    missing = {str(module) for module in modules if module.name != "__init__"} - named
    assert {name for name in missing if Path(name).name not in named} == set()


def test_every_section_of_the_methods_that_code_cites_exists() -> None:
    sections = set(re.findall(r"^## §(\d)", (ROOT / "docs" / "methods.md").read_text("utf-8"), re.MULTILINE))
    cited = {
        number
        for package in ("warehouse", "ingest", "queries")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".sql")
        for number in re.findall(r"methods(?:\.md)?,? §(\d)", path.read_text("utf-8"), re.IGNORECASE)
    }
    assert cited
    assert cited <= sections


def test_every_key_of_a_study_is_explained() -> None:
    explained = (ROOT / "docs" / "studies.md").read_text("utf-8").split("## A larger example")[0]
    kinds = (Study, CorpusSpec, ProtocolSpec, CustomSpec, LearningRateSpec, ReferenceSpec)
    keys = {field.name for kind in kinds for field in fields(kind)} - {"corpus", "protocol", "references", "custom"}
    sequences = (ROOT / "docs" / "sequences.md").read_text("utf-8")
    assert {field.name for field in fields(DerivedSpec) if f"`{field.name}`" not in sequences} == set()
    assert {key for key in keys if f"`{key}`" not in explained} == set()
    assert {kind for kind in KINDS if f"`{kind}`" not in explained} == set()


def test_every_key_of_a_suite_is_explained() -> None:
    explained = (ROOT / "docs" / "studies.md").read_text("utf-8").split("## Suites")[1].split("## The hub")[0]
    keys = {field.name for kind in (Suite, SuiteModel, Schedule) for field in fields(kind)} - {"name", "schedule"}
    assert {key for key in keys if not re.search(rf"`\[*{key}(\.NAME)?\]*`", explained)} == set()


def test_every_decision_is_listed_with_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text("utf-8")
    for record in sorted(folder.glob("0*.md")):
        title = record.read_text("utf-8").split("\n")[0].removeprefix("# ")
        assert f"[{title}]({record.name})" in listed


def test_every_dependency_is_pinned_and_every_pin_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in wanted}
    assert {name.lower() for name in names} - {pin.split("==")[0].lower() for pin in pins} == set()


def test_every_direct_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    reasons = (ROOT / "docs" / "decisions" / "0010-dependencies.md").read_text("utf-8")
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in wanted}
    assert {name for name in names if f"`{name}`" not in reasons} == set()
