"""`relay kill | diff`: ends an execution; prints what a run, workspace or execution changed."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import ExecutionId, id_argument
from relay_cli.output import Json
from relay_cli.results import left_out
from relay_core.console.output import log_writers, note


def kill(execution: ExecutionId, as_json: Json = False) -> None:
    """Kill an execution and all its processes.

    An execution that has ended already is not changed.
    """
    killed = connect().call("POST", f"/v1/executions/{execution}/kill")
    if as_json:
        output.show(killed, as_json=True)
    else:
        asked = "asked to end it; " if killed["status"] == "running" else ""
        note(f"{asked}the execution is {killed['status']}")


def diff(
    identity: Annotated[str, id_argument("Id of a run or workspace, or of an execution with --execution.")],
    execution: Annotated[
        bool, typer.Option("--execution", help="Print what one execution changed; the id is the execution's.")
    ] = False,
    repo: Annotated[
        str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts of each repository, for programs.")] = False,
) -> None:
    """Print what a run, a workspace or one execution changed, as a patch for `git apply`.

    Of a run it is what its steps changed; of a workspace, what all its runs changed since it was made. This also works
    when the workspace's container no longer exists.

    Example: relay diff 3f2a91bc --repo app | git apply
    """
    api = connect()
    path = _path(api, identity, execution=execution)
    params = {} if repo is None else {"repo": repo}
    summary = api.call("GET", path, params=params)
    if as_json:
        output.show(summary, as_json=True)
        return
    for line in diff_notes(summary["items"]):
        note(line)
    writer = log_writers()["stdout"]
    for piece in api.body(path, params=params, headers={"Accept": "text/x-diff"}):
        writer.write(piece)


def _path(api: Api, identity: str, *, execution: bool) -> str:
    """Return the path of the diff of an execution, of a run, or of the workspace of anything else."""
    if execution:
        return f"/v1/executions/{identity}/diff"
    run = api.find(f"/v1/runs/{identity}")
    of_run = run is not None and run["id"].startswith(identity)
    return f"/v1/{'runs' if of_run else 'workspaces'}/{identity}/diff"


def diff_notes(repos: list[dict[str, Any]]) -> Iterator[str]:
    """Yield notes about a diff that its patch does not show: masked secrets, omitted files, a patch that was cut.

    Args:
        repos: the field `items` of the API's answer to a diff request, one item for each repository.
    """
    if len(repos) > 1:
        names = ", ".join(repo["name"] for repo in repos)
        yield f"the patches of {names} follow one another; --repo NAME prints one that `git apply` takes"
    for repo in repos:
        if repo["stat"] is None:
            yield f"{repo['name']}: no state of it is recorded; agents and cleanup scripts leave one when they end"
        if repo["masked"]:
            yield (
                f"{repo['name']}: secrets are masked in the patch of {', '.join(repo['masked'])}: "
                "it does not make these files what they are in the workspace"
            )
        if (repo["stat"] or {}).get("truncated"):
            yield f"{repo['name']}: the patch was too long and is cut, so it does not apply"
        for omitted in repo["omitted"]:
            yield f"{repo['name']}: {omitted['path']}: {omitted['why']}"
        if repo["excluded"]:
            yield f"{repo['name']}: {left_out(repo['excluded'])}"
