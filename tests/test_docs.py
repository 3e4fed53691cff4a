"""The documentation names real things, and the command-line page is what the commands say."""

import ast
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from mlrpl_cli.app import COMMANDS
from mlrpl_cli.commands.results import RESULTS
from mlrpl_cli.core.config import TrainConfig
from scripts import make_json_docs, make_options_docs
from scripts.make_cli_docs import page

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
REFERENCE = re.compile(r"`([\w/]+\.py):(\w+)`")
BASES = (ROOT, ROOT / "mlrpl_cli" / "core")


def references() -> list[tuple[str, str, str]]:
    return [(page.name, *match) for page in PAGES for match in REFERENCE.findall(page.read_text(encoding="utf-8"))]


def definitions(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


@pytest.mark.parametrize(("document", "file", "name"), references())
def test_a_function_that_the_docs_name_exists(document, file, name):
    found = [base / file for base in BASES if (base / file).is_file()]
    assert found, f"{document} names {file}"
    assert name in definitions(found[0])


def test_the_docs_name_functions_at_all():
    assert len(references()) > 30


def test_links_between_pages_lead_somewhere():
    for document in [*PAGES, ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_command_line_page_is_what_the_commands_say():
    """Run `make docs` when this fails."""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == page()


def test_the_page_of_json_and_its_schema_are_what_the_types_of_results_say():
    """Run `make docs` when this fails. Every command has a section."""
    assert make_json_docs.PAGE.read_text(encoding="utf-8") == make_json_docs.page()
    assert json.loads(make_json_docs.SCHEMA.read_text(encoding="utf-8")) == make_json_docs.schema()
    assert RESULTS.keys() == COMMANDS.keys()


def test_the_page_of_options_is_what_their_fields_say():
    """Run `make docs` when this fails. No option is without a meaning, and none without what it takes."""
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert text == make_options_docs.page()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == list(asdict(TrainConfig()))
    assert all(row[2] and len(row[4]) > 10 for row in rows)


def test_every_command_has_a_section():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"## mlrpl {name}\n" not in text] == []
