"""`relay init | lint`: the job file of a repository, `relay.toml`."""

from pathlib import Path
from typing import Annotated

import typer

from relay_cli.errors import CommandFailed
from relay_cli.job_file.propose import as_toml, propose
from relay_core.console.output import note
from relay_core.domain.job_file import MAX_BYTES, PATHS, JobFileInvalid, parse

Folder = Annotated[Path, typer.Argument(help="The repository, or a directory in it; without it this directory.")]


def init(
    folder: Folder = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace the job file that is there.")] = False,
) -> None:
    """Write a job file, relay.toml, by looking at the files of a repository.

    Example: relay init && relay lint
    """
    root = _root(folder)
    target = root / PATHS[0]
    present = [name for name in PATHS if (root / name).exists()]
    if present and not force:
        raise CommandFailed(f"there is {root / present[0]} already; check it with `relay lint`, or replace it: --force")
    proposals = propose(root)
    text = as_toml(proposals)
    parse(text.encode(), str(target))
    target.write_text(text, encoding="utf-8")
    found = ", ".join(proposal.found for proposal in proposals) or "nothing that Relay knows; fill it in by hand"
    note(f"wrote {target} (found {found}); commit and push it: runs read it from their target branch")


def lint(folder: Folder = Path()) -> None:
    """Check the job file of a repository.

    Exit code 1: it has faults; each is printed with its file and line. The server checks its own rules on top of these
    when it clones: allowed images, largest limits, profiles.
    """
    root = _root(folder)
    present = [name for name in PATHS if (root / name).is_file()]
    if not present:
        raise CommandFailed(f"{root} has no {' and no '.join(PATHS)}; write one with `relay init`")
    if len(present) > 1:
        raise CommandFailed(f"{root} has {' and '.join(present)}; remove one of them")
    shown = str(root / present[0]) if folder != Path() or Path.cwd() != root else present[0]
    with (root / present[0]).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        parse(content, shown)
    except JobFileInvalid as error:
        for fault in error.faults:
            print(f"{shown}:{fault.line}: {fault.message}")
        raise typer.Exit(1) from None
    note(f"{shown} has no faults")


def _root(folder: Path) -> Path:
    """Return the root of the repository around a directory."""
    if not folder.is_dir():
        raise CommandFailed(f"there is no directory {folder}", 2)
    start = folder.resolve()
    for candidate in (start, *start.parents):
        if (candidate / ".git").exists():
            return candidate
    raise CommandFailed(f"{start} is in no git repository; job files belong into the root of one", 2)
