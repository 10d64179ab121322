"""`relay retry | stop | resume`: what failed, once more; a workspace at rest."""

from typing import Annotated
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.runs import ExecutionId
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note

WorkspaceId = Annotated[UUID, typer.Argument(help="Id of a workspace.", show_default=False)]


def retry(
    execution: ExecutionId,
    agent: Annotated[
        bool, typer.Option("--agent", help="Run a coding agent again; it may have changed files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Repeat a failed or killed execution in its workspace, with the steps that were to follow it.

    Example: relay retry 0b8f8f4e-…
    """
    body = {"run_agent_again": agent}
    try:
        made = connect().call("POST", f"/v1/executions/{execution}/retry", json=body)
    except CommandFailed as refused:
        if refused.code != "agent_not_confirmed":
            raise
        why = f"a coding agent may have changed files before it ended; to run it again: relay retry --agent {execution}"
        raise CommandFailed(why, refused.exit_code, refused.code) from refused
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"execution {made['id']} is {made['status']}; follow it with: relay logs -f {made['id']}")


def stop(workspace: WorkspaceId, as_json: Json = False) -> None:
    """End what runs in a workspace and stop its container; files stay, what is queued waits."""
    _asked("stop", workspace, as_json=as_json)


def resume(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Let a stopped workspace's container run again, and what is queued in it."""
    _asked("resume", workspace, as_json=as_json)


def _asked(what: str, workspace: UUID, *, as_json: bool) -> None:
    answer = connect().call("POST", f"/v1/workspaces/{workspace}/{what}")
    if as_json:
        output.show(answer, as_json=True)
        return
    pending = answer["requested_state"]
    note(f"workspace {workspace} is {answer['state']}" + (f", soon {pending}" if pending else ""))
