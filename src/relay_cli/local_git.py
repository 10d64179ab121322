"""Run the git of this machine in a repository of the person who calls `relay`."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from relay_cli.errors import CommandFailed

_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Variables that git sets for its hooks and aliases; with them, git would look at another repository."""


class GitFailed(CommandFailed):
    """Git ended with an error; the message is git's."""


def run(
    repo: Path, *argv: str, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """Run git in a repository, and return its result whatever its exit code is.

    Args:
        repo: a directory of the repository.
        argv: arguments of git.
        env: environment variables to add.
        stdin: standard input of git.

    Raises:
        CommandFailed: there is no program git.
    """
    try:
        return subprocess.run(
            ("git", "-C", str(repo), *argv), env=_environment(env), input=stdin, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise CommandFailed("this command needs git; install it") from None


def git(repo: Path, *argv: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
    """Run git in a repository, and return its output without the last line break.

    Raises:
        GitFailed: git ended with an error.
        CommandFailed: there is no program git.
    """
    done = run(repo, *argv, env=env, stdin=stdin)
    if done.returncode:
        raise GitFailed(f"git {argv[0] if not argv[0].startswith('-') else ''}: {complaint(done.stderr)}")
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def on_terminal(repo: Path, *argv: str) -> int:
    """Run git with the terminal of this command, so that it can show progress and ask; return its exit code."""
    try:
        return subprocess.run(("git", "-C", str(repo), *argv), env=_environment(None), check=False).returncode
    except FileNotFoundError:
        raise CommandFailed("this command needs git; install it") from None


def complaint(errors: bytes) -> str:
    """Return the error lines of git, at most five, as one text."""
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[:5]) or "it gave no reason"


def root_of(path: Path) -> Path | None:
    """Return the root of the repository that a directory is in: that of its work tree, or the bare repository itself.

    Returns:
        None if the directory is in no repository.
    """
    if not path.is_dir():
        return None
    done = run(path, "rev-parse", "--is-bare-repository", "--absolute-git-dir")
    if done.returncode:
        return None
    bare, git_dir = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n").split("\n", 1)
    return Path(git_dir) if bare == "true" else Path(git(path, "rev-parse", "--show-toplevel"))


def is_bare(repo: Path) -> bool:
    """Return whether a repository has no work tree."""
    return git(repo, "rev-parse", "--is-bare-repository") == "true"


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    return {**kept, "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0", **(more or {})}
