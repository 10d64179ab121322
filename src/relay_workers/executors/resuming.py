"""Whether a turn that should go on with a conversation did: some agents say it on stderr only, some not at all."""

from relay_core.domain.vocabulary import Reason
from relay_workers.executors.port import Verdict


def not_resumed(program: str, asked: str | None, got: str | None, exit_code: int | None) -> Verdict | None:
    """The verdict where the conversation did not go on; None where it did, or should not have.

    Args:
        program: its name, for people.
        asked: the id that the turn was to resume.
        got: the id that the agent's lines carried, if any did.
        exit_code: what it ended with; refusals end with 1.
    """
    if asked is None:
        return None
    if got is None and exit_code == 1:
        message = f"{program} ended before the conversation {asked} went on: it does not know it, or see stderr"
        return Verdict.failed(Reason.CANNOT_RESUME, message)
    if got is not None and got != asked:
        message = f"{program} began the conversation {got} instead of going on with {asked}"
        return Verdict.failed(Reason.CANNOT_RESUME, message)
    return None
