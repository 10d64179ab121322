"""Propose the job file of a repository from the files in its root. Nothing of the repository is executed."""

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20
"""Files beyond this size are not read."""


@dataclass(frozen=True)
class Proposal:
    """The values that one tool of a repository suggests.

    Attributes:
        found: the file that suggests it.
        image: an image with the tool, if Relay's base image lacks it.
    """

    found: str
    setup: str
    dev_server: str | None = None
    image: str | None = None


def propose(root: Path) -> list[Proposal]:
    """Return what the files in the root of a repository suggest; empty if Relay knows none of them."""
    return [found for look in _LOOKS if (found := look(root)) is not None]


def as_toml(proposals: Sequence[Proposal]) -> str:
    """Return the text of a job file with the proposals."""
    seen = ", ".join(proposal.found for proposal in proposals) or "no file that Relay knows"
    lines = [
        "# How Relay runs this repository: https://toml.io syntax. A request's own values take precedence.",
        f"# Proposed by `relay init` from: {seen}. Check it with `relay lint`.",
        "",
    ]
    images = [proposal.image for proposal in proposals if proposal.image]
    if images:
        lines += [f"# With an agent, use an image that holds both: relay image build AGENT --from {images[0]}"]
        lines += [_value("image", images[0]), ""]
    else:
        lines += ['# image = "relay-base:latest"   # without it: the image of the agent, or the server\'s default', ""]
    setup = "\n".join(proposal.setup for proposal in proposals)
    lines += ["# Runs before the agent.", _value("setup", setup) if setup else '# setup = "…"', ""]
    server = next((proposal.dev_server for proposal in proposals if proposal.dev_server), None)
    lines += ["# Starts on request; it must listen on $HOST and $PORT."]
    lines += [_value("dev_server", server) if server else '# dev_server = "…"', ""]
    lines += ['# cleanup = "…"               # runs after the agent', '# working_dir = "services/api"', ""]
    lines += ["[limits]", '# memory_bytes = "4g"', '# timeout_seconds = "30m"', ""]
    lines += ["# [executor]", '# name = "claude-code"', '# model = "…"', ""]
    return "\n".join(lines)


def _value(key: str, text: str) -> str:
    if "\n" in text:
        return f"{key} = '''\n{text}\n'''"
    return f"{key} = {json.dumps(text, ensure_ascii=False)}"


def _node(root: Path) -> Proposal | None:
    package = _read(root, "package.json", json.loads)
    if package is None:
        return None
    scripts = package.get("scripts")
    manager, install = next(
        (found for lock, *found in _NODE_LOCKS if (root / lock).is_file()), ("npm", "npm install --no-audit --no-fund")
    )
    names = scripts if isinstance(scripts, dict) else {}
    server = next((f"{manager} run {name}" for name in ("dev", "start", "serve") if name in names), None)
    return Proposal("package.json", install, server)


_NODE_LOCKS = (
    ("pnpm-lock.yaml", "npx --yes pnpm", "npx --yes pnpm install --frozen-lockfile"),
    ("yarn.lock", "npx --yes yarn", "npx --yes yarn install --frozen-lockfile"),
    ("package-lock.json", "npm", "npm ci --no-audit --no-fund"),
)
"""File → the package manager whose lock file it is, and the command that installs what it names."""


def _python(root: Path) -> Proposal | None:
    in_venv = "python3 -m venv .venv && .venv/bin/pip install --quiet"
    if (root / "uv.lock").is_file():
        return Proposal("uv.lock", "pip install --quiet --user uv && uv sync")
    if (root / "poetry.lock").is_file():
        return Proposal("poetry.lock", "pip install --quiet --user poetry && poetry install")
    project = _read(root, "pyproject.toml", tomllib.loads)
    if project is not None and ("project" in project or "build-system" in project):
        options = _table(_table(project, "project"), "optional-dependencies")
        groups = _table(project, "dependency-groups")
        extra = next((f"[{name}]" for name in ("test", "tests", "dev") if name in options), "")
        group = next((f" --group {name}" for name in ("test", "tests", "dev") if name in groups), "")
        return Proposal("pyproject.toml", f"{in_venv}{group} -e '.{extra}'")
    for name in ("requirements-dev.txt", "requirements.txt"):
        if (root / name).is_file():
            return Proposal(name, f"{in_venv} -r {name}")
    return Proposal("setup.py", f"{in_venv} -e .") if (root / "setup.py").is_file() else None


def _rust(root: Path) -> Proposal | None:
    return Proposal("Cargo.toml", "cargo fetch", image="rust:1") if (root / "Cargo.toml").is_file() else None


def _go(root: Path) -> Proposal | None:
    if not (root / "go.mod").is_file():
        return None
    found = re.search(r"^go (\d+\.\d+)", _text(root, "go.mod") or "", re.MULTILINE)
    return Proposal("go.mod", "go mod download", image=f"golang:{found[1] if found else '1'}")


def _ruby(root: Path) -> Proposal | None:
    return Proposal("Gemfile", "bundle install", image="ruby:3") if (root / "Gemfile").is_file() else None


def _make(root: Path) -> Proposal | None:
    targets = re.findall(r"^([A-Za-z0-9_-]+)\s*:(?!=)", _text(root, "Makefile") or "", re.MULTILINE)
    target = next((name for name in ("setup", "deps", "bootstrap", "install-dev") if name in targets), None)
    server = next((f"make {name}" for name in ("dev", "serve") if name in targets), None)
    return Proposal("Makefile", f"make {target}", server) if target else None


_LOOKS: tuple[Callable[[Path], Proposal | None], ...] = (_make, _node, _python, _rust, _go, _ruby)


def _read(root: Path, name: str, load: Callable[[str], Any]) -> dict[str, Any] | None:
    text = _text(root, name)
    if text is None:
        return None
    try:
        found = load(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _text(root: Path, name: str) -> str | None:
    path = root / name
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    return path.read_text(errors="replace")
