"""`relay retry | stop | resume`: repeat a failed step; stop and resume a workspace."""

from typing import Annotated

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import ExecutionId, WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.follow import get_run, steps_of
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.watching import go_on
from relay_core.console.output import note


def retry(
    execution: ExecutionId,
    agent: Annotated[
        bool,
        typer.Option("--agent", help="Confirm that a coding agent runs again, although it may have changed files."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the run to its end, or return at once (default).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Repeat a failed or killed execution in its workspace, and run the steps that follow it.

    Example: relay retry 5e70b1c2
    """
    body = {"run_agent_again": agent}
    api = connect()
    try:
        repeated = api.call("POST", f"/v1/executions/{execution}/retry", json=body)
    except CommandFailed as refused:
        if refused.code != "agent_not_confirmed":
            raise
        why = f"a coding agent may have changed files before it ended; to run it again: relay retry --agent {execution}"
        raise CommandFailed(why, refused.exit_code, refused.code) from refused
    if wait:
        steps = steps_of(api, get_run(api, repeated["run_id"]))
        before = [step["id"] for step in steps if step["created_at"] < repeated["created_at"]]
        go_on(api, repeated["run_id"], wait=True, as_json=as_json, shown=before)
    elif as_json:
        output.show(repeated, as_json=True)
    else:
        note(
            f"execution {repeated['id']} is {repeated['status']}; follow it with: relay logs -f {short(repeated['id'])}"
        )


def stop(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Kill the running executions of a workspace and stop its container.

    The files stay. Queued executions wait until `relay resume`.
    """
    _request("stop", workspace, as_json=as_json)


def resume(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Start the container of a stopped workspace again, and let its queued executions run."""
    _request("resume", workspace, as_json=as_json)


def _request(verb: str, workspace: str, *, as_json: bool) -> None:
    answer = connect().call("POST", f"/v1/workspaces/{workspace}/{verb}")
    if as_json:
        output.show(answer, as_json=True)
        return
    pending = answer["requested_state"]
    note(f"workspace {workspace} is {answer['state']}" + (f", soon {pending}" if pending else ""))
