"""`scripts/test` prepares a container engine only for tests that may need one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
ENVIRONMENT = """
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
note() { echo "$*" >&2; }
ensure_environment() { :; }
"""
PROGRAM = '#!/bin/sh\necho "$(basename "$0") $*" >>"$RECORD"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose programs only record that they were called."""
    root = tmp_path / "relay"
    for folder in ("scripts", "tests/unit/core", "tests/integration", ".venv/bin"):
        (root / folder).mkdir(parents=True)
    shutil.copy(SCRIPTS / "test", root / "scripts")
    (root / "scripts/environment.sh").write_text(ENVIRONMENT)
    for name in ("python", "pytest"):
        (root / ".venv/bin" / name).write_text(PROGRAM)
        (root / ".venv/bin" / name).chmod(0o755)
    (root / "tests/unit/core/test_a.py").touch()
    return root


def called(root: Path, *argv: str) -> list[str]:
    """Call `scripts/test`; the commands that it ran."""
    record = root / "record"
    subprocess.run([root / "scripts/test", *argv], env={**os.environ, "RECORD": str(record)}, check=True)
    return record.read_text().splitlines()


@pytest.mark.parametrize(
    "argv",
    [
        ("tests/unit",),
        ("tests/unit/", "-k", "chain"),
        ("-x", "tests/unit/core/test_a.py::test_one[a/b]", "tests/unit/core"),
        ("./tests/integration/../unit",),
    ],
)
def test_unit_tests_need_no_engine(checkout: Path, argv: tuple[str, ...]) -> None:
    assert called(checkout, *argv) == ["pytest " + " ".join(argv)]


@pytest.mark.parametrize("argv", [("-k", "chain"), ("tests/unit", "tests/integration"), ("tests",), ("tests/unit/..",)])
def test_other_tests_get_one(checkout: Path, argv: tuple[str, ...]) -> None:
    commands = called(checkout, *argv)
    assert "python -m relay_stack prepare" in commands
    assert "pytest " + " ".join(argv) in commands
