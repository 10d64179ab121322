"""`relay serve`: the dev server of a workspace."""

import time
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.browser import show_page
from relay_cli.client import Api, connect
from relay_cli.commands.ids import WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.flags import in_flags
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import plural
from relay_core.console.output import note
from relay_core.retry import Backoff

PAUSES = Backoff(first_seconds=0.05, last_seconds=1.0)
"""Pauses between two requests that check whether the dev server answers."""


def serve(
    workspace: WorkspaceId,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the dev servers of the workspace instead.")] = False,
    repo: Annotated[
        str | None, typer.Option(help="Repository, by its name in the workspace; needed if it has several.")
    ] = None,
    script: Annotated[
        str | None, typer.Option(help="Script of the server; without it the one that `relay run --dev-server` gave.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the server's page in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Start the dev server of a workspace, wait until it answers, and print its address.

    A server that runs already is not started again. It runs until `relay serve --stop`, also after this command.

    Example: relay serve 3f2a91bc --open

    Example: relay serve 3f2a91bc --stop
    """
    api = connect()
    if stop:
        _stop(api, workspace, as_json=as_json)
        return
    found = api.call("GET", f"/v1/workspaces/{workspace}")
    live = found["dev_server"]
    if live is None or repo or script:
        body = {name: value for name, value in {"repo": repo, "script": script}.items() if value is not None}
        started = api.call("POST", f"/v1/workspaces/{workspace}/dev-server", json=body)
    else:
        note("the workspace has a dev server already")
        started = api.call("GET", f"/v1/executions/{live['execution_id']}")
    answering = _answering(api, started)
    if as_json:
        output.show(answering, as_json=True)
        return
    show_page(answering["dev_server"]["url"], only_print=not open_it)
    note(f"the dev server runs until: relay serve {short(found['id'])} --stop")


def _answering(api: Api, execution: dict[str, Any]) -> dict[str, Any]:
    pauses = PAUSES.pauses()
    while not (execution["dev_server"] or {}).get("url"):
        if execution["status"] in {"completed", "failed", "killed"}:
            why = in_flags(execution["error_reason"] or execution["status"])
            raise CommandFailed(f"the dev server ended: {why}; see relay logs {short(execution['id'])}")
        time.sleep(next(pauses))
        execution = api.call("GET", f"/v1/executions/{execution['id']}")
    return execution


def _stop(api: Api, workspace: str, *, as_json: bool) -> None:
    stopped = api.call("DELETE", f"/v1/workspaces/{workspace}/dev-server")["items"]
    if as_json:
        output.show_list(stopped, (), as_json=True)
    else:
        note(f"asked {plural(len(stopped), 'dev server')} to end" if stopped else "no dev server runs there")
