"""Parser of the server-sent events that the API streams; used by the command-line programs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event.

    Attributes:
        name: the event's name; `message` if the stream gives no name.
        id: the value to send as the header Last-Event-ID to continue after this event. None if the event has no id.
        data: the decoded JSON.
    """

    name: str
    id: str | None
    data: Any


def parse(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Yield the events in the lines of a stream; the lines come without their line ends.

    Comments (the API sends them as heartbeats) are skipped. An event without its closing empty line is dropped.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            yield ServerEvent(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
        fields = {}
