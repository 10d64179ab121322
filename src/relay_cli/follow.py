"""Following a run: the log of each step as it comes, to the end that the API tells (and nothing else)."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from relay_cli.client import Api, check
from relay_cli.conversation import ConversationWriter
from relay_cli.outage import AWAY, BACKOFF, Outage, steadily
from relay_core.console import server_sent_events as sse
from relay_core.console.output import LogWriter, note
from relay_core.domain.agents.executors import EXECUTORS

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.05, 2.0
"""Between two looks at a step that is queued."""
END = "end"
"""In the place of an event's id: the log was shown to its end."""
KILLED_EXIT_CODE = 130
"""As a shell says of a program ended by Ctrl-C."""


Shown = dict[str, str]
"""How far each execution's log was shown: the id of the last event, by execution; kept over an interruption."""


def follow_log(
    api: Api, execution_id: str, writers: Mapping[str, LogWriter], stream: str = "all", shown: Shown | None = None
) -> dict[str, Any]:
    """Show a log to its end, across dropped connections; returns what the API says of the execution then."""

    def take(event: sse.ServerEvent) -> None:
        writers[event.data["stream"]].write(base64.b64decode(event.data["b64"]))

    path = f"/v1/executions/{execution_id}/logs/stream"
    return _followed(api, path, {"stream": stream}, take, (execution_id, {} if shown is None else shown))


def follow_conversation(api: Api, execution_id: str, writer: LogWriter, shown: Shown | None = None) -> None:
    """Show what an agent says to its end, across dropped connections."""
    conversation = ConversationWriter(writer)
    path = f"/v1/executions/{execution_id}/conversation/stream"
    try:
        place = (execution_id, {} if shown is None else shown)
        _followed(api, path, {}, lambda event: conversation.show(event.data), place)
    finally:
        conversation.end()


def _followed(
    api: Api, path: str, params: dict[str, str], take: Callable[[sse.ServerEvent], None], place: tuple[str, Shown]
) -> dict[str, Any]:
    execution_id, shown = place
    outage = Outage(api, _see_log(execution_id))
    while True:
        try:
            for event in _events(api, path, params, shown.get(execution_id), outage):
                if event.name == "end":
                    ended: dict[str, Any] = event.data
                    return ended
                take(event)
                shown[execution_id] = event.id or shown.get(execution_id, "")
        except AWAY as error:
            outage.wait(error)
        else:
            time.sleep(BACKOFF.first_seconds)  # it was ended in an orderly way, and is taken up again


def _see_log(execution_id: str) -> str:
    return f"relay logs -f {execution_id}"


def _events(api: Api, path: str, params: dict[str, str], last: str | None, outage: Outage) -> Iterator[sse.ServerEvent]:
    headers = {"Last-Event-ID": last} if last else {}
    with api.http.stream("GET", path, params=params, headers=headers) as answer:
        if answer.is_error:
            answer.read()
        check(answer)
        outage.over()
        yield from sse.parse(answer.iter_lines())


def follow_chain(api: Api, workspace_id: str, writers: Mapping[str, LogWriter], shown: Shown) -> dict[str, Any]:
    """Show every step of a workspace's chain in turn; returns the execution that decided how it ended.

    Interrupted, it goes on with the same ``shown`` where it was.
    """
    seen: set[str] = set()
    decisive: dict[str, Any] = {}
    while True:
        fresh = [one for one in _chain(api, workspace_id) if one["id"] not in seen]
        if not fresh:
            return decisive
        for one in fresh:
            seen.add(one["id"])
            decisive = worse(decisive, show_step(api, one, writers, shown))


def _chain(api: Api, workspace_id: str) -> list[dict[str, Any]]:
    path = f"/v1/workspaces/{workspace_id}/executions"
    see_also = f"relay ps --workspace {workspace_id}"
    found = steadily(api, see_also, lambda: list(api.items(path)))
    return [one for one in found if one["run_reason"] != "dev_server"]


def _look(api: Api, execution_id: str) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        found: dict[str, Any] = api.call("GET", f"/v1/executions/{execution_id}")
        return found

    return steadily(api, _see_log(execution_id), ask)


def show_step(api: Api, execution: dict[str, Any], writers: Mapping[str, LogWriter], shown: Shown) -> dict[str, Any]:
    """Show one step; returns it as it is after its end. One whose end was shown before is not shown again."""
    if shown.get(execution["id"]) == END:
        return execution
    name = execution["run_reason"] + (f" of {execution['repo']}" if execution.get("repo") else "")
    if execution["id"] not in shown:
        note(f"{name} …")
        shown[execution["id"]] = ""
    await_start(api, execution)
    began = time.monotonic()
    if has_conversation(execution):
        follow_conversation(api, execution["id"], writers["stdout"], shown)
    else:
        follow_log(api, execution["id"], writers, shown=shown)
    shown[execution["id"]] = END
    ended = _look(api, execution["id"])
    why = f": {ended['error_reason']}" if ended.get("error_reason") else ""
    note(f"{name} {ended['status']} after {time.monotonic() - began:.1f} s{why}")
    return ended


def await_start(api: Api, execution: dict[str, Any]) -> None:
    """Return once a step is no longer queued; say what it waits for, once."""
    told = False
    pause = FIRST_LOOK_SECONDS
    while execution["status"] == "queued":
        execution = _look(api, execution["id"])
        waits = (execution.get("queue") or {}).get("waits")
        if waits and not told:
            note(f"waits: {waits}")
            told = True
        if execution["status"] == "queued":
            time.sleep(pause)
            pause = min(LAST_LOOK_SECONDS, 1.5 * pause)


def has_conversation(execution: Mapping[str, Any]) -> bool:
    """Whether an execution is better read as a conversation than as its bytes."""
    kind = EXECUTORS.get(execution.get("executor") or "")
    return kind is not None and kind.conversation


def worse(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The execution that says how a chain ended: the first that did not complete, else the last."""
    return one if one and one["status"] != "completed" else other


EXIT_CODES: Mapping[str, Callable[[int | None], int]] = {
    "completed": lambda _code: 0,
    "killed": lambda _code: KILLED_EXIT_CODE,
    "failed": lambda code: code if code and 0 < code < 256 else 1,
}


def exit_code(execution: dict[str, Any]) -> int:
    """The command's exit code, from the *status* that the API gives; a failed run's own code where it has one."""
    return EXIT_CODES[execution["status"]](execution["exit_code"])
