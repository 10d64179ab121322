"""Mends the file of a conversation before an agent resumes it: a line that was torn when its writer died is set aside.

Agents refuse such a file, or add their next line to the torn one. What is before the torn line is the conversation.
"""

import os
from collections.abc import Sequence

import structlog

from relay_core.domain.events import EventKind
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.step import AgentStep
from relay_core.store import events
from relay_core.store.events import Place
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_workers.agents.line_logs import line_logs
from relay_workers.execution.step_plan import executor_choice, turn_request
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.host_files.torn_line import TornFile, TornLine, torn_files

PHASE = "resume"
"""When the torn line was found, as the event tells it."""

log = structlog.get_logger(__name__)


def mend_conversation(database: Database, claimed: Claimed, workspace: WorkspaceHandle, mask: SecretMask) -> None:
    """Set the torn last line of the conversation aside that a follow-up resumes, and tell of it by an event.

    The row of the execution is locked while the files are cut, so no other worker can start the agent, which would
    write to them. They are read, and torn lines copied, before: that takes time, and a kill needs the row.

    Args:
        database: has the conversation, and gets the event.
        claimed: an execution whose process has not started.
        workspace: its workspace.
        mask: masks the names of the files.

    Raises:
        Stale: another worker owns the execution.
    """
    step = claimed.step
    if not isinstance(step, AgentStep) or not step.follow_up:
        return
    resumed = turn_request(database, claimed, step, workspace).resume_session_id
    patterns = [] if resumed is None else line_logs(executor_choice(step).name, resumed)
    if not patterns:
        return
    owner = workspace.uid if os.geteuid() == 0 else None
    for pattern in patterns:
        try:
            with torn_files(workspace.directory, ["home"], pattern, owner) as found:
                if found:
                    _mend(database, claimed, found, mask)
        except OSError as error:  # a full disk, for example: then the agent finds the line itself
            log.warning("the torn last line of a conversation stays", action="mend_conversation", problem=str(error))


def _mend(database: Database, claimed: Claimed, found: Sequence[TornFile], mask: SecretMask) -> None:
    with database.begin() as connection:
        owned.store_handle(connection, claimed.execution_id, claimed.fence, claimed.handle)
        for torn in [line for file in found if (line := file.mend()) is not None]:
            log.warning("a conversation had a torn last line", action="mend_conversation", line=torn.line)
            place = Place(claimed.workspace_id, None)
            kind = EventKind.EXECUTION_CONVERSATION_TORN
            events.append_to_execution(connection, claimed.execution_id, place, kind, _told(torn, mask))


def _told(torn: TornLine, mask: SecretMask) -> dict[str, object]:
    file, kept_as = mask.text(torn.file), mask.text(torn.kept_as)
    message = (
        f"{file}: line {torn.line} (at byte {torn.offset}, {torn.size} bytes) is torn, as its writer died while it "
        f"wrote; the conversation goes on from the lines before it, and the line is kept as {kept_as} beside the file"
    )
    return {
        "file": file,
        "line": torn.line,
        "offset": torn.offset,
        "bytes": torn.size,
        "phase": PHASE,
        "kept_as": kept_as,
        "message": message,
    }
