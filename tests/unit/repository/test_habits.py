"""Files for contributors: they name tools, scripts and pages that exist."""

import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def test_the_index_lists_every_decision_once_and_in_order():
    folder = ROOT / "docs" / "adr"
    rows = re.findall(
        r"^\| \[(\d+)\]\((\d{4}-[\w-]+\.md)\) \| (.+\.) \|$", (folder / "README.md").read_text(), re.MULTILINE
    )
    assert [name for _, name, _ in rows] == sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(number) for number, _, _ in rows] == [int(name[:4]) for _, name, _ in rows]


def test_hooks_run_tools_that_are_here_and_fetch_nothing():
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    for hook in HOOKS[0]["hooks"]:
        tool, *words = hook["entry"].split()
        assert hook["language"] == "system"
        assert os.access(ROOT / tool, os.X_OK), tool
        assert [word for word in words if word.startswith("scripts/") and not (ROOT / word).is_file()] == []


def test_every_target_of_the_makefile_has_help_and_calls_something_that_is_here():
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert targets
    recipes = dict(re.findall(r"^(\w+): ## .+\n\t@?(\S+)", text, re.MULTILINE))
    assert list(recipes) == targets[1].split()
    programs = {name: program for name, program in recipes.items() if name != "help"}
    assert {name: program for name, program in programs.items() if not os.access(ROOT / program, os.X_OK)} == {}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_issue_templates_have_a_name_and_a_purpose(template):
    _, head, body = template.read_text().split("---\n", 2)
    assert set(yaml.safe_load(head)) == {"name", "about", "labels"}
    assert body.strip()


def test_the_page_for_agents_fits_on_a_screen():
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= 50
