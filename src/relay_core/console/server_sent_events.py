"""Server-sent events, as the API writes them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event."""

    name: str
    id: str | None
    data: Any


def parse(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Events of a stream; comments (heartbeats) are passed over, an event cut off by the end is dropped."""
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
