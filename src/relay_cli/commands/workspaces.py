"""`relay retry | stop | resume`: repeat a failed step; stop and resume a workspace."""

from typing import Annotated
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import ExecutionId, WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note


def retry(
    execution: ExecutionId,
    agent: Annotated[
        bool,
        typer.Option("--agent", help="Confirm that a coding agent runs again, although it may have changed files."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Repeat a failed or killed execution in its workspace, and run the steps that follow it.

    Example: relay retry 0b8f8f4e-…
    """
    body = {"run_agent_again": agent}
    try:
        repeated = connect().call("POST", f"/v1/executions/{execution}/retry", json=body)
    except CommandFailed as refused:
        if refused.code != "agent_not_confirmed":
            raise
        why = f"a coding agent may have changed files before it ended; to run it again: relay retry --agent {execution}"
        raise CommandFailed(why, refused.exit_code, refused.code) from refused
    if as_json:
        output.show(repeated, as_json=True)
    else:
        note(f"execution {repeated['id']} is {repeated['status']}; follow it with: relay logs -f {repeated['id']}")


def stop(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Kill the running executions of a workspace and stop its container.

    The files stay. Queued executions wait until `relay resume`.
    """
    _request("stop", workspace, as_json=as_json)


def resume(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Start the container of a stopped workspace again, and let its queued executions run."""
    _request("resume", workspace, as_json=as_json)


def _request(verb: str, workspace: UUID, *, as_json: bool) -> None:
    answer = connect().call("POST", f"/v1/workspaces/{workspace}/{verb}")
    if as_json:
        output.show(answer, as_json=True)
        return
    pending = answer["requested_state"]
    note(f"workspace {workspace} is {answer['state']}" + (f", soon {pending}" if pending else ""))
