"""Follow a run: show the log of each step as it arrives, until the API reports how the step ended."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_cli.client import Api, check
from relay_cli.conversation import ConversationWriter
from relay_cli.outage import BACKOFF, UNAVAILABLE, Outage, until_answered
from relay_core.console import server_sent_events as sse
from relay_core.console.output import LogWriter, note
from relay_core.domain.agents.executors import EXECUTORS
from relay_core.retry import Backoff

QUEUED_BACKOFF = Backoff(first_seconds=0.05, last_seconds=2.0)
"""Pauses between two requests that check whether a queued step has started."""
END = "end"
"""Value in `LogPositions` for a log that was shown to its end, in place of an event id."""
KILLED_EXIT_CODE = 130
"""Exit code for a killed execution; shells use the same code for a program that Ctrl-C ended."""


LogPositions = dict[str, str]
"""Execution id → id of the last log event that was shown, or END.

The functions of this module update it. After an interruption, the caller passes the same object again to continue
after the events that were shown.
"""


@dataclass(frozen=True)
class _EventStream:
    """Path and query parameters of the API's event stream of an execution."""

    execution_id: str
    path: str
    params: dict[str, str] = field(default_factory=dict)


def follow_log(
    api: Api,
    execution_id: str,
    writers: Mapping[str, LogWriter],
    stream: str = "all",
    positions: LogPositions | None = None,
) -> dict[str, Any]:
    """Show a log to its end; reconnect if the connection breaks.

    Args:
        api: client of the API.
        execution_id: id of the execution.
        writers: a writer for each of the streams `stdout` and `stderr`.
        stream: `stdout`, `stderr` or `all`.
        positions: where to start; updated with each event. None shows the log from its beginning.

    Returns:
        The data of the stream's `end` event, which says how the execution ended.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """

    def take(event: sse.ServerEvent) -> None:
        writers[event.data["stream"]].write(base64.b64decode(event.data["b64"]))

    source = _EventStream(execution_id, f"/v1/executions/{execution_id}/logs/stream", {"stream": stream})
    return _follow(api, source, take, {} if positions is None else positions)


def follow_conversation(api: Api, execution_id: str, writer: LogWriter, positions: LogPositions | None = None) -> None:
    """Show an agent's conversation to its end; reconnect if the connection breaks.

    Args:
        api: client of the API.
        execution_id: id of the execution.
        writer: gets the conversation as text.
        positions: where to start; updated with each event. None shows the conversation from its beginning.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    conversation = ConversationWriter(writer)
    source = _EventStream(execution_id, f"/v1/executions/{execution_id}/conversation/stream")
    try:
        _follow(api, source, lambda event: conversation.show(event.data), {} if positions is None else positions)
    finally:
        conversation.end()


def _follow(
    api: Api, source: _EventStream, take: Callable[[sse.ServerEvent], None], positions: LogPositions
) -> dict[str, Any]:
    outage = Outage(api, _logs_command(source.execution_id))
    while True:
        try:
            for event in _events(api, source, positions.get(source.execution_id), outage):
                if event.name == "end":
                    ending: dict[str, Any] = event.data
                    return ending
                take(event)
                positions[source.execution_id] = event.id or positions.get(source.execution_id, "")
        except UNAVAILABLE as error:
            outage.wait(error)
        else:
            time.sleep(BACKOFF.first_seconds)  # the API closed the stream before the log's end: reconnect


def _logs_command(execution_id: str) -> str:
    return f"relay logs -f {execution_id}"


def _events(api: Api, source: _EventStream, last_event_id: str | None, outage: Outage) -> Iterator[sse.ServerEvent]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with api.http.stream("GET", source.path, params=source.params, headers=headers) as answer:
        if answer.is_error:
            answer.read()
        check(answer)
        outage.end()
        yield from sse.parse(answer.iter_lines())


def follow_chain(
    api: Api, workspace_id: str, writers: Mapping[str, LogWriter], positions: LogPositions
) -> dict[str, Any]:
    """Show the logs of all steps of a workspace, one after the other, until no further step follows; skip dev servers.

    Returns:
        The execution that decided the outcome: the first that did not complete, else the last (see `decisive`). An
        empty dict if the workspace has no steps.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    seen: set[str] = set()
    deciding: dict[str, Any] = {}
    while True:
        fresh = [execution for execution in _chain(api, workspace_id) if execution["id"] not in seen]
        if not fresh:
            return deciding
        for execution in fresh:
            seen.add(execution["id"])
            deciding = decisive(deciding, show_step(api, execution, writers, positions))


def _chain(api: Api, workspace_id: str) -> list[dict[str, Any]]:
    path = f"/v1/workspaces/{workspace_id}/executions"
    see_also = f"relay ps --workspace {workspace_id}"
    found = until_answered(api, see_also, lambda: list(api.items(path)))
    return [execution for execution in found if execution["run_reason"] != "dev_server"]


def _execution(api: Api, execution_id: str) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        found: dict[str, Any] = api.call("GET", f"/v1/executions/{execution_id}")
        return found

    return until_answered(api, _logs_command(execution_id), ask)


def show_step(
    api: Api, execution: dict[str, Any], writers: Mapping[str, LogWriter], positions: LogPositions
) -> dict[str, Any]:
    """Wait until a step starts, show its log to the end, and return the ended execution.

    If ``positions`` says that the log was shown to its end before, return ``execution`` at once.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    if positions.get(execution["id"]) == END:
        return execution
    name = execution["run_reason"] + (f" of {execution['repo']}" if execution.get("repo") else "")
    if execution["id"] not in positions:
        note(f"{name} …")
        positions[execution["id"]] = ""
    await_start(api, execution)
    began = time.monotonic()
    if has_conversation(execution):
        follow_conversation(api, execution["id"], writers["stdout"], positions)
    else:
        follow_log(api, execution["id"], writers, positions=positions)
    positions[execution["id"]] = END
    ended = _execution(api, execution["id"])
    why = f": {ended['error_reason']}" if ended.get("error_reason") else ""
    note(f"{name} {ended['status']} after {time.monotonic() - began:.1f} s{why}")
    return ended


def await_start(api: Api, execution: dict[str, Any]) -> None:
    """Wait until a step is no longer queued; print the reason for waiting once, if the API gives one.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    noted = False
    pauses = QUEUED_BACKOFF.pauses()
    while execution["status"] == "queued":
        execution = _execution(api, execution["id"])
        waits = (execution.get("queue") or {}).get("waits")
        if waits and not noted:
            note(f"waits: {waits}")
            noted = True
        if execution["status"] == "queued":
            time.sleep(next(pauses))


def has_conversation(execution: Mapping[str, Any]) -> bool:
    """Return whether an execution has a conversation: its executor is an agent whose output Relay can read."""
    kind = EXECUTORS.get(execution.get("executor") or "")
    return kind is not None and kind.conversation


def decisive(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return the one of two ended executions that decides the outcome: the first that did not complete, else the last.

    Args:
        earlier: the execution that decided so far; an empty dict if there is none.
        later: the execution that ended after it.
    """
    return earlier if earlier and earlier["status"] != "completed" else later


EXIT_CODES: Mapping[str, Callable[[int | None], int]] = {
    "completed": lambda _code: 0,
    "killed": lambda _code: KILLED_EXIT_CODE,
    "failed": lambda code: code if code and 0 < code < 256 else 1,
}
"""Status of an execution → function that returns the command's exit code for the exit code of the execution."""


def exit_code(execution: dict[str, Any]) -> int:
    """Return the exit code for a command that followed an execution: 0 if it completed, 130 if it was killed.

    For a failed execution, return the exit code of its process if that is from 1 to 255, else 1.
    """
    return EXIT_CODES[execution["status"]](execution["exit_code"])
