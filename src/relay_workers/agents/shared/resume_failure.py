"""Detect that a turn did not resume its conversation: some agents report this only on standard error."""

import re

from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict
from relay_workers.agents.shared.plain_text import plain_text


def resume_failure(
    program: str, asked: str | None, got: str | None, stderr: bytes, unknown: re.Pattern[bytes]
) -> Verdict | None:
    """Return a verdict with the reason `cannot_resume` if the agent did not resume the conversation; otherwise None.

    Args:
        program: name of the agent in messages.
        asked: id of the conversation that the turn should resume; None if the turn starts a new conversation.
        got: id of the conversation in the agent's output; None if the output contains no id.
        stderr: the last bytes of the agent's standard error.
        unknown: matches the message that the agent prints on standard error if it does not know the conversation.
    """
    if asked is None:
        return None
    if got is None and (found := unknown.search(stderr)):
        message = f"{program} does not know the conversation {asked}: {plain_text(found[0].decode(errors='replace'))}"
        return Verdict.failed(Reason.CANNOT_RESUME, message)
    if got is not None and got != asked:
        message = f"{program} began the conversation {got} instead of going on with {asked}"
        return Verdict.failed(Reason.CANNOT_RESUME, message)
    return None
