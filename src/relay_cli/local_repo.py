"""Look at a repository on this machine: its root, and the work in it that is not committed."""

from pathlib import Path

from relay_cli.errors import CommandFailed
from relay_cli.local_git import run

NAMED_FILES = 5
"""Files that the warning about uncommitted work names."""


def find_root(path: Path) -> Path | None:
    """Return the root of the repository that a directory belongs to; None if no directory above is a repository.

    A bare repository is its own root.
    """
    for folder in (path, *path.parents):
        if (folder / ".git").exists() or ((folder / "HEAD").is_file() and (folder / "objects").is_dir()):
            return folder
    return None


def uncommitted(root: Path) -> list[str]:
    """Return the paths of changed and untracked files of a work tree; empty if git cannot tell.

    Args:
        root: root of the repository.
    """
    options = ("--no-optional-locks", "-c", "core.fsmonitor=false")  # the look writes nothing and starts no program
    try:
        done = run(root, *options, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    except CommandFailed:
        return []
    entries = done.stdout.decode(errors="replace").split("\0") if done.returncode == 0 else []
    return [entry[3:] for entry in entries if entry]


def uncommitted_warning(root: Path, files: list[str]) -> str | None:
    """Return a warning that a run does not see uncommitted files; None if there are none."""
    if not files:
        return None
    more = f" and {len(files) - NAMED_FILES} more" if len(files) > NAMED_FILES else ""
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    named = ", ".join(files[:NAMED_FILES])
    what = f"{count} of {root} with work that is not committed, which the run does not see: {named}{more}"
    return f"{what}; --with-changes sends it along"
