"""The locks: what runs is a part of what is tested, and brings no tool of development."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
CLIENTS = "tests/integration/api/clients"


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(found)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower().replace("_", "-") for one in requirements}


def test_what_runs_is_locked_without_tools_and_the_same_in_both():
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runs, develops = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runs.items() <= develops.items()
    assert names(described["project"]["dependencies"]) <= runs.keys()
    assert not names(described["dependency-groups"]["dev"]) & runs.keys()
    assert names(described["dependency-groups"]["dev"]) <= develops.keys()


def test_the_build_backend_is_pinned_and_nothing_is_fetched_to_build():
    assert "setuptools" in pins("requirements.lock")
    assert "--no-build-isolation" in (ROOT / "Dockerfile").read_text()
    assert "--no-build-isolation" in (ROOT / "scripts" / "environment.sh").read_text()


def test_every_pin_has_hashes():
    for lock in ("requirements.lock", "requirements-dev.lock", f"{CLIENTS}/requirements.lock"):
        for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text().strip()):
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_what_npm_installs_for_tests_is_pinned_with_hashes_and_names_no_host():
    packages = json.loads((ROOT / CLIENTS / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == json.loads((ROOT / CLIENTS / "package.json").read_text())["dependencies"]
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
