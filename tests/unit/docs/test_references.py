"""What the pages name is there: files, tests, links, commands, limits, and the first call."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from relay_api.schemas.runs import RunIn
from relay_cli.main import app
from relay_core.domain.limits import Limits
from relay_core.settings import Settings

ROOT = Path(__file__).parents[3]
FRONT = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "AGENTS", "SECURITY")]
PAGES = [*FRONT, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
NAMED_FILE = re.compile(r"`((?:tests|src|docs|scripts|bench|unit|integration|acceptance)/[\w./-]+)`")
TEST_FILE = re.compile(r"`(?:[\w./-]+/)?(test_\w+\.py)(?:::(\w+))?`")
SETTING = re.compile(r"`RELAY_([A-Z_]+)`")
OF_THE_CLI = {"API_URL", "TARGET_TOKEN", "TOKEN"}
OF_THE_SCRIPTS = {"FUZZ_SECONDS"}
OF_STEPS = {"PROJECT_ID", "TASK_ID", "WORKSPACE_ID", "EXECUTION_ID", "BRANCH"}
README = (ROOT / "README.md").read_text()

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_links_lead_somewhere(page):
    local = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@every_page
def test_named_files_exist(page):
    named = NAMED_FILE.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "tests" / name).exists()] == []


@every_page
def test_named_tests_exist(page):
    """Also those named without their folder, as in the table of promises after the first mention."""
    for name, function in TEST_FILE.findall(page.read_text()):
        found = [path.read_text() for path in (ROOT / "tests").rglob(name)]
        assert found, f"{name} is named and not there"
        assert any(f"def {function}(" in text for text in found) or not function, f"{name}::{function}"


@every_page
def test_named_settings_exist(page):
    known = {name.upper() for name in Settings.model_fields} | OF_THE_CLI | OF_THE_SCRIPTS | OF_STEPS
    assert set(SETTING.findall(page.read_text())) - known == set()


def test_every_page_can_be_found():
    linked = {(page.parent / link).resolve() for page in PAGES for link in LINK.findall(page.read_text())}
    folders = {path for path in linked if path.is_dir()}
    assert [page for page in PAGES[len(FRONT) :] if page not in linked and page.parent not in folders] == []


def test_decisions_are_numbered_without_a_gap_and_short():
    found = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [page.name[:4] for page in found] == [f"{number:04}" for number in range(1, len(found) + 1)]
    for page in found:
        text = page.read_text()
        assert len(text.splitlines()) <= 40, page.name
        assert re.findall(r"^(?:## (.*)|Status: .*)$", text, re.MULTILINE) == [
            "",
            "Context",
            "Decision",
            "Consequences",
        ]


def test_the_first_call_is_one_that_the_api_takes():
    body = re.search(r"<<END\n(.*?)\nEND\n", README, re.DOTALL)
    assert body is not None
    run = RunIn.model_validate(json.loads(body.group(1).replace("$PWD", "/repo")))
    assert run.executor.command


def test_commands_of_the_readme_exist():
    group = typer.main.get_command(app)
    line = next(line for line in README.splitlines() if line.startswith("relay ps ·"))
    named = [words.split() for words in line.removeprefix("relay ").split(" · ")]
    for words in named:
        _, command, _ = group.resolve_command(typer.Context(group), words)
        if hasattr(command, "commands"):
            assert words[1] in command.commands


def test_limits_of_a_request_are_listed_with_their_defaults():
    page = (ROOT / "docs" / "limits.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| request, ([^|(]+?) (?:\(off\) )?\|", page, re.MULTILINE))
    assert set(rows) == {field.name for field in fields(Limits)}
    for name, shown in rows.items():
        number, _, unit = shown.partition(" ")
        factor = {"": 1, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
        assert float(number) * factor == getattr(Limits(), name), name
