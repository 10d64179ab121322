"""Follow the API's streams of one execution, its log or its conversation, over interruptions of the connection."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay_cli.client import Api, check
from relay_cli.conversation import ConversationWriter
from relay_cli.outage import BACKOFF, UNAVAILABLE, Outage
from relay_cli.rendering.names import short
from relay_core.console import server_sent_events as sse


class Writer(Protocol):
    """Takes the bytes of a stream."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


class LineWriter:
    """Passes bytes on, and remembers whether they ended in the middle of a line.

    Args:
        target: gets the bytes.
    """

    def __init__(self, target: Writer) -> None:
        self._target = target
        self._open = False

    def write(self, data: bytes) -> None:
        """Pass ``data`` on."""
        self._target.write(data)
        self._open = not data.endswith(b"\n") if data else self._open

    def end_line(self) -> None:
        """Write a line feed if the last line has none, so that a message of the command gets a line of its own."""
        if self._open:
            self.write(b"\n")


LogPositions = dict[str, str]
"""Execution id → id of the last log event that was shown, or the value that marks a whole log as shown.

The functions that follow a log update it. After an interruption, the caller passes the same object again to continue
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
    writers: Mapping[str, Writer],
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


def follow_conversation(
    api: Api, execution_id: str, conversation: ConversationWriter, positions: LogPositions | None = None
) -> None:
    """Show an agent's conversation to its end; reconnect if the connection breaks.

    Args:
        api: client of the API.
        execution_id: id of the execution.
        conversation: gets the entries.
        positions: where to start; updated with each event. None shows the conversation from its beginning.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    source = _EventStream(execution_id, f"/v1/executions/{execution_id}/conversation/stream")
    try:
        _follow(api, source, lambda event: conversation.show(event.data), {} if positions is None else positions)
    finally:
        conversation.end()


def logs_command(identity: str) -> str:
    """Return the command that follows a run or an execution later."""
    return f"relay logs -f {short(identity)}"


def _follow(
    api: Api, source: _EventStream, take: Callable[[sse.ServerEvent], None], positions: LogPositions
) -> dict[str, Any]:
    outage = Outage(api, logs_command(source.execution_id))
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


def _events(api: Api, source: _EventStream, last_event_id: str | None, outage: Outage) -> Iterator[sse.ServerEvent]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with api.http.stream("GET", source.path, params=source.params, headers=headers) as answer:
        if answer.is_error:
            answer.read()
        check(answer)
        outage.end()
        yield from sse.parse(answer.iter_lines())
