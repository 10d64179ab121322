"""Parser of the API's server-sent events, for its clients."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event.

    Attributes:
        name: `message` where the stream names none.
        id: position to continue behind, by the header Last-Event-ID; None: the event has no position.
        data: the decoded JSON.
    """

    name: str
    id: str | None
    data: Any


def parse(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Parse the lines of a stream, without their ends.

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
