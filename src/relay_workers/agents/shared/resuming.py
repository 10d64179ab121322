"""Whether a turn that should go on with a conversation did: some agents say it on stderr only, some not at all."""

import re

from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict
from relay_workers.agents.shared.plain_text import plain_text


def resume_failure(
    program: str, asked: str | None, got: str | None, stderr: bytes, unknown: re.Pattern[bytes]
) -> Verdict | None:
    """The verdict where the conversation did not go on; None where it did, or should not have.

    Args:
        program: its name, for people.
        asked: the id that the turn was to resume.
        got: the id that the agent's lines carried, if any did.
        stderr: the end of its standard error.
        unknown: how it says there that it does not know the conversation.
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
