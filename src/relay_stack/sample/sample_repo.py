"""Create the git repository of the sample job."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_stack.errors import StackProblem

FILES = Path(__file__).with_name("sample_files")
PROMPT = "Let the page say who made it, and test that."
SERVED_TEXT = "Made by a job of Relay."
"""Text that the dev server's page contains after the agent's change."""


@dataclass(frozen=True)
class SampleRepo:
    """The sample repository, and the request for the run on it."""

    path: Path

    def request(self) -> dict[str, Any]:
        """Return the body of `POST /v1/runs` for the sample job."""
        repo = {
            "url": self.path.as_uri(),
            "target_branch": "main",
            "setup_script": _script("setup.sh"),
            "cleanup_script": _script("cleanup.sh"),
            "dev_server_script": _script("serve.sh"),
        }
        executor = {"name": "shell", "command": _script("agent.sh")}
        return {"repos": [repo], "prompt": PROMPT, "executor": executor, "title": "Sample job"}


def sample_folder(data_dir: Path) -> Path:
    """Return the folder for the sample repository, next to the data directory.

    It is not inside the data directory, because repositories there cannot be cloned. If no folder can be created next
    to the data directory, it is a new temporary folder.
    """
    beside = data_dir.with_name(f"{data_dir.name}-sample")
    if beside.is_dir() or os.access(data_dir.parent, os.W_OK):
        return beside
    return Path(tempfile.mkdtemp(prefix="relay-sample-"))


def make_sample_repo(folder: Path) -> SampleRepo:
    """Create a repository with one commit at `folder/page`, unless it exists, and return it.

    Raises:
        StackProblem: git is missing or failed.
    """
    path = folder / "page"
    if (path / ".git").is_dir():
        return SampleRepo(path)
    fresh = folder / "page.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in ("page.py", "test_page.py", "README.md"):
        shutil.copyfile(FILES / f"{name}.txt", fresh / name)
    shutil.copyfile(FILES / "gitignore.txt", fresh / ".gitignore")
    _git(fresh, "init", "--quiet", "--initial-branch=main")
    _git(fresh, "add", "--all")
    _git(fresh, "commit", "--quiet", "--message", "A page that greets")
    fresh.rename(path)
    return SampleRepo(path)


def _script(name: str) -> str:
    return (FILES / name).read_text()


def _git(folder: Path, *arguments: str) -> None:
    # Without the user's configuration, which may set hooks, signing and templates.
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ("-c", "user.name=Sample", "-c", "user.email=sample@localhost")
    try:
        done = subprocess.run(
            ("git", *identity, "-C", str(folder), *arguments),
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise StackProblem("git is needed, and not found. On Debian and Ubuntu, as root: apt-get install git") from None
    if done.returncode != 0:
        raise StackProblem(f"Cannot make the sample repository in {folder}: {done.stderr.strip()}")
