"""The status and the conclusion of a run, decided from its executions, and what a person can do about a failure.

A run has no process of its own: everything about it follows from its executions. Dev servers and archive scripts belong
to the workspace and to no run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from relay_core.domain.vocabulary import Conclusion, Reason, RunStatus, Status

TITLE_CHARACTERS = 80


@dataclass(frozen=True)
class Member:
    """One execution of a run, with the values that decide about the run."""

    id: UUID
    status: Status
    reason: Reason | None
    retry_of: UUID | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True)
class RunState:
    """The state of a run. `conclusion` and `completed_at` are None until the run is completed."""

    status: RunStatus
    conclusion: Conclusion | None = None
    deciding: UUID | None = None
    """The execution that decided a conclusion other than `success`."""
    started_at: datetime | None = None
    """Time of the first claim of one of its executions."""
    completed_at: datetime | None = None


def state_of(members: Sequence[Member]) -> RunState:
    """Return the state of a run that has these executions.

    While an execution is queued or running, the run goes on: the end of a step group and the creation of the next one
    are one transaction. The first execution that did not complete decides the conclusion; one that was retried in this
    run does not count any more.
    """
    started = min((member.started_at for member in members if member.started_at), default=None)
    if any(not member.status.final for member in members):
        return RunState(RunStatus.RUNNING if started else RunStatus.QUEUED, started_at=started)
    ended = max((member.completed_at for member in members if member.completed_at), default=None)
    deciding = next((member for member in standing(members) if member.status is not Status.COMPLETED), None)
    if deciding is None:
        return RunState(RunStatus.COMPLETED, Conclusion.SUCCESS, None, started, ended)
    return RunState(RunStatus.COMPLETED, conclusion_of(deciding.reason), deciding.id, started, ended)


def standing(members: Sequence[Member]) -> list[Member]:
    """Return the executions that no other one of the run repeats: ended ones first, in the order of their ends."""
    repeated = {member.retry_of for member in members}
    kept = [member for member in members if member.id not in repeated]
    return sorted(kept, key=lambda one: (one.completed_at is None, one.completed_at or one.created_at, one.id))


def conclusion_of(reason: Reason | None) -> Conclusion:
    """Return the conclusion of a run whose deciding execution failed or was killed for this reason."""
    return _CONCLUSIONS.get(reason, Conclusion.FAILURE) if reason else Conclusion.FAILURE


_CONCLUSIONS = {
    Reason.USER: Conclusion.CANCELLED,
    Reason.TIMEOUT: Conclusion.TIMED_OUT,
    Reason.CLONE_TIMEOUT: Conclusion.TIMED_OUT,
    Reason.NO_OUTPUT: Conclusion.TIMED_OUT,
    Reason.NODE_LOST: Conclusion.LOST,
    Reason.CONTAINER_MISSING: Conclusion.LOST,
}


def title_of(text: str) -> str:
    """Return the title of a run that is named after a prompt or script: its first line that is not blank, cut."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "untitled")
    return first if len(first) <= TITLE_CHARACTERS else first[: TITLE_CHARACTERS - 1] + "…"


ADVICE: Final = {
    Reason.EXIT_CODE: "Read the log of the step.",
    Reason.AGENT_ERROR: (
        "Frequent causes: an error of the model's API, a missing key, an agent that repeats itself. Its log says more."
    ),
    Reason.CANNOT_RESUME: "Start a new session with a `coding_agent` step. The files of the workspace are still there.",
    Reason.NO_PORT: "Bind the server to `$HOST:$PORT`, and start it in the foreground (`exec`).",
    Reason.PUSH_REJECTED: (
        "Push to another branch, start a run from the remote's branch, or allow the push to replace its commits."
    ),
    Reason.PUSH_FAILED: "Check whether the node can reach the remote, and whether its key may write there.",
    Reason.RESET_FAILED: "Commit the changes or allow the reset to discard them; check that the clone has the commit.",
    Reason.MERGE_CONFLICT: (
        "Rebase the workspace, or let its agent merge the target branch and solve the conflict; then merge again."
    ),
    Reason.MERGE_FAILED: (
        "Check that the branch has commits that the target branch lacks, and that the remote can be read."
    ),
    Reason.REBASE_FAILED: "Commit the changes or discard them with a reset; check that the remote can be read.",
    Reason.CLONE_FAILED: "Check the URL, the branch, and whether the server may read the repository.",
    Reason.CLONE_TIMEOUT: "Retry; raise `RELAY_CLONE_TIMEOUT_SECONDS` or `RELAY_GIT_CONTAINER_TIMEOUT_SECONDS`.",
    Reason.IMAGE_UNAVAILABLE: "Pull or build the image on the node, or name another one.",
    Reason.PROGRAM_MISSING: "Use an image that has the program (docs/agents.md).",
    Reason.JOB_FILE_INVALID: (
        "Correct the file on the target branch (`relay lint` checks it) and start a new run, or give the value in "
        "the request."
    ),
    Reason.SECRET_MISSING: "Store it again: `relay secret set NAME`.",
    Reason.START_FAILED: (
        "Read the message and the log. Make the working directory exist, raise `limits.pids`, or check whether "
        "a step that ran as root replaced `/bin/sh`."
    ),
    Reason.WORKSPACE_GONE: "Start a new run.",
    Reason.DELEGATION_CORRUPT: "Mend the record that the message names, or restore it from a backup.",
    Reason.TIMEOUT: "Raise the limit, or find out what hangs.",
    Reason.NO_OUTPUT: "Raise the limit, or find out what hangs.",
    Reason.LOG_LIMIT: "Raise the limit, or write less.",
    Reason.DISK_LIMIT: "Raise the limit, `RELAY_CHECKOUT_MAX_BYTES` or `…_FILES`, or free space.",
    Reason.OOM: "Raise `limits.memory_bytes`, or `RELAY_GIT_CONTAINER_MEMORY_BYTES`.",
    Reason.DISK_PRESSURE: "Free space on the node.",
    Reason.USER: "A client, an operator or a stop of the workspace ended it; rerun it if that was a mistake.",
    Reason.SUPERVISOR_LOST: "Start it again.",
    Reason.CONTAINER_MISSING: "Retry if the container was only stopped; else start a new run.",
    Reason.ENGINE_ERROR: "Read the message and the engine's log.",
    Reason.NODE_LOST: "Retry when the node is back, or start a new run.",
    Reason.LOG_TAMPERED: (
        "Do not rely on this output. No container can reach these files: find out who changed them on the node."
    ),
    Reason.INTERNAL_ERROR: "Search the worker's log for the id of the execution.",
}
"""The advice to people about an end, for each reason; docs/state-machine.md has the same texts."""
