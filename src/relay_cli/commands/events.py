"""`relay events`: what happened, as the API records it."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from relay_cli import completion
from relay_cli.client import Api, check, connect
from relay_cli.commands.ids import parse_id
from relay_cli.outage import UNAVAILABLE, Outage
from relay_cli.rendering.names import short
from relay_cli.rendering.units import local_time
from relay_core.console import server_sent_events as sse
from relay_core.console.terminal_text import safe_line

Events = Iterator[Mapping[str, Any]]


def events(
    workspace: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Id of a workspace, or of a run or step in it; without it the events of all workspaces.",
            show_default=False,
            autocompletion=completion.workspaces,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Wait for further events until Ctrl-C; without an id, show only those from now on."
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="With --follow and no id: begin with the first event.")
    ] = False,
    kind: Annotated[
        str | None, typer.Option(help="Only events whose kind begins so, for example execution or clone.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")] = False,
) -> None:
    """Print events in their order: time, workspace, step, kind and what happened.

    Example: relay events -f

    Example: relay events -f 3f2a91bc
    """
    api = connect()
    base = "/v1/events" if workspace is None else f"/v1/workspaces/{parse_id(workspace)}/events"
    only_new = workspace is None and not everything
    found = followed(api, base, only_new=only_new) if follow else listed(api, base)
    for event in found:
        if kind is None or event["kind"].startswith(kind):
            print(json.dumps(event) if as_json else line(event), flush=True)


def line(event: Mapping[str, Any]) -> str:
    """Return an event as one line: time, workspace, step, kind, and the texts and numbers of its payload."""
    told = ", ".join(
        f"{name} {value}"
        for name, value in event["payload"].items()
        if value not in (None, "", [], {}) and _plain(value)
    )
    step = short(event["operation_id"])
    subject = short(event["workspace_id"] or event["subject_id"])
    head = f"{local_time(event['created_at'])}  {subject:<8}  {step:<8}  {event['kind']:<24}"
    return safe_line(f"{head}  {told}").rstrip()


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def listed(api: Api, base: str) -> Events:
    """Yield all events so far.

    Args:
        api: client of the API.
        base: path of the list of events.
    """
    after: str | int | None = None
    while True:
        page = api.call("GET", base, params={} if after is None else {"after": after})
        yield from page["items"]
        if not page["items"]:
            return
        after = page["next_after"]


def followed(api: Api, base: str, *, only_new: bool = False) -> Events:
    """Return all events and then each one as it happens; they continue after an outage of the API.

    Args:
        api: client of the API.
        base: path of the list of events; their stream is below it.
        only_new: leave out the events before this call; only the list of all workspaces' events can.

    Raises:
        WatchLost: the outage lasted longer than GIVE_UP_SECONDS.
    """
    start = api.call("GET", base, params={"after": "now"})["next_after"] if only_new else None
    return _followed(api, base, start)


def _followed(api: Api, base: str, last: str | None) -> Events:
    outage = Outage(api, "relay events -f")
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with api.http.stream("GET", f"{base}/stream", headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                check(answer)
                outage.end()
                for event in sse.parse(answer.iter_lines()):
                    last = event.id or last
                    yield event.data
        except UNAVAILABLE as error:
            outage.wait(error)
