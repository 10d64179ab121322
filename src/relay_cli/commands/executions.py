"""`relay ps | show | logs | kill | diff`: executions, their logs and their changes."""

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import ExecutionId, id_argument, id_option
from relay_cli.conversation import ConversationWriter
from relay_cli.follow import follow_conversation, follow_log, has_conversation
from relay_cli.output import Json
from relay_core.console.output import LogWriter, log_writers, note


def ps(
    status: Annotated[
        str | None, typer.Option(help="Only executions with this status: queued, running, completed, failed or killed.")
    ] = None,
    workspace: Annotated[UUID | None, id_option("Only executions of this workspace, by its id.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """List executions, newest first.

    Example: relay ps --status running
    """
    path = f"/v1/workspaces/{workspace}/executions" if workspace else "/v1/executions"
    items = connect().items(path, limit, status=status)
    columns = ("id", "run_reason", "status", "reason", "exit_code", "started_at", "workspace_id")
    output.show_list(items, columns, as_json=as_json)


def show(execution: ExecutionId, as_json: Json = False) -> None:
    """Show one execution: status, reason, git state before and after, log sizes."""
    output.show(connect().call("GET", f"/v1/executions/{execution}"), as_json=as_json)


def logs(
    execution: ExecutionId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more output until the execution ends.")
    ] = False,
    stream: Annotated[
        str | None, typer.Option(help="Print only this stream: stdout, stderr or all (both, in order).")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print an agent's output as bytes, not as a conversation.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print size and sha256 of each stream, for programs.")
    ] = False,
) -> None:
    """Print the log of an execution.

    The log of a coding agent is shown as a conversation, unless --raw or --stream is given.

    On a terminal, control sequences in the log are dropped; a file or pipe gets the exact bytes.

    Example: relay logs -f 0b8f8f4e-…
    """
    api = connect()
    found = api.call("GET", f"/v1/executions/{execution}")
    writers = log_writers()
    if as_json:
        output.show(found["logs"], as_json=True)
    elif has_conversation(found) and not raw and stream is None:
        if follow:
            follow_conversation(api, str(execution), writers["stdout"])
        else:
            _show_conversation(api, execution, writers["stdout"])
    elif follow:
        follow_log(api, str(execution), writers, stream or "all")
    else:
        for piece in api.body(f"/v1/executions/{execution}/logs", params={"stream": stream or "all"}):
            writers["stdout"].write(piece)


def _show_conversation(api: Api, execution: UUID, writer: LogWriter) -> None:
    conversation = ConversationWriter(writer)
    for entry in api.items_by_position(f"/v1/executions/{execution}/conversation"):
        conversation.show(entry)
    conversation.end()


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
    workspace: Annotated[UUID, id_argument("Id of a workspace, or of an execution with --execution.")],
    execution: Annotated[
        bool, typer.Option("--execution", help="Print what one execution changed; the id is the execution's.")
    ] = False,
    repo: Annotated[
        str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts of each repository, for programs.")] = False,
) -> None:
    """Print what a workspace (or one execution) changed, as a patch for `git apply`.

    This also works when the workspace's container no longer exists.

    Example: relay diff 0b8f8f4e-… --repo app | git apply
    """
    path = f"/v1/{'executions' if execution else 'workspaces'}/{workspace}/diff"
    api = connect()
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


def diff_notes(repos: list[dict[str, Any]]) -> Iterator[str]:
    """Yield notes about a diff that its patch does not show: masked secrets, omitted files, a patch that was cut.

    Args:
        repos: the field `items` of the API's answer to a diff request, one item for each repository.
    """
    if len(repos) > 1:
        names = ", ".join(repo["name"] for repo in repos)
        yield f"the patches of {names} follow one another; --repo NAME prints one that `git apply` takes"
    for repo in repos:
        if repo["masked"]:
            yield (
                f"{repo['name']}: secrets are masked in the patch of {', '.join(repo['masked'])}: "
                "it does not make these files what they are in the workspace"
            )
        if (repo["stat"] or {}).get("truncated"):
            yield f"{repo['name']}: the patch was too long and is cut, so it does not apply"
        for omitted in repo["omitted"]:
            yield f"{repo['name']}: {omitted['path']}: {omitted['why']}"
