"""`relay fetch | push | apply`: results of a workspace in a clone on this machine."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_cli import completion, results
from relay_cli.client import connect
from relay_cli.errors import CommandFailed
from relay_cli.local_git import git, on_terminal
from relay_cli.output import Json
from relay_cli.results import Source, Wanted, left_out
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

Id = Annotated[
    str | None,
    typer.Argument(
        metavar="ID",
        help="Id of a run, workspace or execution; without it the newest workspace of the repository here.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
Repo = Annotated[str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")]
Branch = Annotated[str | None, typer.Option(help="Name of the branch here; without it the name in the workspace.")]
Into = Annotated[
    Path | None, typer.Option(help="The clone; without it the repository here, or the one at the run's path.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a branch of that name that has other commits.")]


def fetch(
    workspace: Id = None,
    repo: Repo = None,
    branch: Branch = None,
    into: Into = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Get the commits of a run as a branch of the local clone.

    Work tree, index and other branches stay as they are.

    Example: relay fetch && git merge vk-1a2b3c4d-fix-the-test
    """
    fetched = _fetched(Wanted(workspace, repo, into, branch, force))
    if as_json:
        print(json.dumps([branch for _, branch in fetched if branch is not None], indent=2))


def push(
    workspace: Id = None,
    repo: Repo = None,
    branch: Branch = None,
    into: Into = None,
    remote: Annotated[
        str | None, typer.Option(help="Remote to push to; without it the one the run cloned, or origin.")
    ] = None,
    force: Force = False,
) -> None:
    """Get the commits of a run as a branch of the local clone, and push it with your own git.

    Example: relay push 1a2b3c4d
    """
    for source, fetched in _fetched(Wanted(workspace, repo, into, branch, force)):
        if fetched is None:
            continue
        place = remote or source.clone.remote or _only_remote(source)
        ref = f"refs/heads/{fetched['branch']}"
        code = on_terminal(source.clone.root, "push", place, f"{ref}:{ref}")
        if code:
            raise CommandFailed(f"git push ended with code {code}; the branch is in {source.clone.root}")


def apply(
    workspace: Id = None,
    repo: Repo = None,
    into: Into = None,
    three_way: Annotated[
        bool,
        typer.Option("--3way", help="Merge files that differ, with conflict markers; this changes the index, too."),
    ] = False,
) -> None:
    """Apply the changes of a run to the work tree of the local clone: all of them, or none.

    Example: relay apply 1a2b3c4d
    """
    wanted = Wanted(workspace, repo, into)
    api = connect()
    for source in results.sources(api, wanted, Path.cwd()):
        files = results.apply(api, source, three_way=three_way)
        count = "1 file" if files == 1 else f"{files} files"
        note(f"{source.name}: nothing changed" if files == 0 else f"{source.name}: changed {count} of {_root(source)}")


def _fetched(wanted: Wanted) -> list[tuple[Source, dict[str, Any] | None]]:
    api = connect()
    found = []
    for source in results.sources(api, wanted, Path.cwd()):
        branch = results.fetch(api, source, wanted)
        found.append((source, branch))
        for line in _told(source, branch):
            note(line)
    return found


def _told(source: Source, branch: dict[str, Any] | None) -> list[str]:
    if branch is None:
        return [f"{source.name}: nothing changed, so there is no branch to get"]
    commits = "1 commit" if branch["commits"] == 1 else f"{branch['commits']} commits"
    name = safe_line(branch["branch"])
    lines = [f"{source.name}: {commits} in {_root(source)} as branch {name}; to merge: git merge {name}"]
    if source.state["excluded"]:
        lines.append(f"{source.name}: {left_out(source.state['excluded'])}")
    if branch["uncommitted"]:
        lines.append(f"{source.name}: its last commit holds what was not committed in the workspace")
    return lines


def _root(source: Source) -> str:
    return safe_line(str(source.clone.root))


def _only_remote(source: Source) -> str:
    """Return `origin`, or the clone's only remote.

    Raises:
        CommandFailed: the clone has no remote, or several and none is called origin.
    """
    names = git(source.clone.root, "remote").split()
    if "origin" in names or len(names) == 1:
        return "origin" if "origin" in names else names[0]
    where = f"{_root(source)} has no remote to push to" if not names else f"name one of its remotes: {', '.join(names)}"
    raise CommandFailed(f"{where}; give one with --remote", 2)
