"""The protocol of one model API: how a request is read and how a reply is streamed."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.model_server.script import Conversation, Reply

REMINDER = re.compile(r"\s*(# AGENTS\.md |<([A-Za-z_-]+)[ >].*</\2>\s*$)", re.DOTALL)
"""Words that an agent puts among the user's."""

PARAGRAPHS = re.compile(r"(?<=\n\n)")


class Dialect:
    """How one API says it. Add another by a subclass and an entry in `DIALECTS`."""

    def conversation(self, body: dict[str, Any]) -> Conversation:
        """The texts of the request."""
        raise NotImplementedError

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        """The reply as a stream of server-sent events; the first is the one a dropped connection still gives."""
        raise NotImplementedError

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        """The reply to a request that did not ask for a stream."""
        raise NotImplementedError

    def error(self, status: int) -> dict[str, Any]:
        """The body of an error answer."""
        raise NotImplementedError


def words_of_user(texts: list[str]) -> list[str]:
    """The prompts of the user, a text for each; an agent's own reminders are not his words.

    An agent drops a turn that failed, and then sends the prompts before and after it as blocks of one message.
    """
    return [text for text in texts if text.strip() and not REMINDER.match(text)]


def pieces(text: str) -> Iterator[str]:
    """A text as it is streamed: a piece ends with a paragraph, and after 1000 characters."""
    for paragraph in PARAGRAPHS.split(text):
        for start in range(0, len(paragraph), 1000):
            yield paragraph[start : start + 1000]


def plain(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(block.get("text", "") for block in content)
    return str(content or "")


def sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part.get("text", "")) for part in content or [] if isinstance(part, dict)]
