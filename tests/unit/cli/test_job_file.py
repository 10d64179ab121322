"""`relay init` and `relay lint`: a proposed file is valid, and each fault is printed with its line."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_cli.job_file.propose import as_toml, propose
from relay_cli.main import app
from relay_core.domain.job_file import parse

PACKAGE = json.dumps({"scripts": {"dev": "vite"}})
PROJECT = '[project]\nname = "x"\n[project.optional-dependencies]\ntest = ["pytest"]\n'


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    return tmp_path


def relay(*argv: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(argv))
    return done.exit_code, done.output + str(done.exception or "")


@pytest.mark.parametrize(
    ("files", "values"),
    [
        ({}, {}),
        ({"package.json": PACKAGE}, {"setup": "npm install --no-audit --no-fund", "dev_server": "npm run dev"}),
        ({"package.json": "{}", "package-lock.json": ""}, {"setup": "npm ci --no-audit --no-fund"}),
        ({"package.json": "no JSON", "yarn.lock": ""}, {"setup": "npx --yes yarn install --frozen-lockfile"}),
        ({"package.json": "[]", "pnpm-lock.yaml": ""}, {"setup": "npx --yes pnpm install --frozen-lockfile"}),
        (
            {"pyproject.toml": PROJECT},
            {"setup": "python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[test]'"},
        ),
        ({"pyproject.toml": "[tool.x]\n"}, {}),
        ({"uv.lock": ""}, {"setup": "pip install --quiet --user uv && uv sync"}),
        (
            {"requirements.txt": ""},
            {"setup": "python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt"},
        ),
        ({"Cargo.toml": ""}, {"image": "rust:1", "setup": "cargo fetch"}),
        ({"go.mod": "module x\n\ngo 1.22.1\n"}, {"image": "golang:1.22", "setup": "go mod download"}),
        ({"Makefile": "x := 1\nsetup: a\n\ttrue\ndev:\n"}, {"setup": "make setup", "dev_server": "make dev"}),
        ({"Makefile": "all:\n"}, {}),
        (
            {"Makefile": "deps:\n", "Gemfile": ""},
            {"image": "ruby:3", "setup": "make deps\nbundle install\n"},
        ),
    ],
)
def test_a_proposal_follows_the_files_and_is_valid(repo: Path, files: dict[str, str], values: dict[str, str]):
    for name, text in files.items():
        (repo / name).write_text(text)
    text = as_toml(propose(repo))
    parse(text.encode(), "relay.toml")
    assert tomllib.loads(text) == {**values, "limits": {}}


def test_init_writes_a_file_that_lint_accepts(repo: Path):
    (repo / "package.json").write_text(PACKAGE)
    (repo / "src").mkdir()
    assert relay("init", str(repo / "src"))[0] == 0
    assert (repo / "relay.toml").is_file()
    assert relay("lint", str(repo)) == (0, f"relay: {repo}/relay.toml has no faults\n")
    code, said = relay("init", str(repo))
    assert (code, "--force" in said) == (1, True)
    assert relay("init", str(repo), "--force")[0] == 0


def test_lint_prints_every_fault_with_its_line(repo: Path, monkeypatch: pytest.MonkeyPatch):
    (repo / ".relay").mkdir()
    (repo / ".relay/relay.toml").write_text('image = ""\ncaches = []\n')
    monkeypatch.chdir(repo)
    code, said = relay("lint")
    assert code == 1
    first, second = said.splitlines()[:2]
    assert first.startswith(".relay/relay.toml:1: image must be")
    assert second.startswith(".relay/relay.toml:2: caches is not a key of a job file: Relay has no caches yet")


@pytest.mark.parametrize(
    ("files", "words"),
    [([], "write one with `relay init`"), (["relay.toml", ".relay/relay.toml"], "remove one of them")],
)
def test_lint_wants_exactly_one_file(repo: Path, files: list[str], words: str):
    (repo / ".relay").mkdir()
    for name in files:
        (repo / name).touch()
    code, said = relay("lint", str(repo))
    assert (code, words in said) == (1, True)


@pytest.mark.parametrize("command", ["init", "lint"])
def test_a_directory_outside_of_a_repository_is_refused(tmp_path: Path, command: str):
    code, said = relay(command, str(tmp_path))
    assert (code, "is in no git repository" in said) == (1, True)
