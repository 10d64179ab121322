"""Collects the results of a step that are stored with its end ("evidence").

These are an agent's result, HEAD and recorded git state of each repository after the step, the size of the log, and
events about the end.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any
from uuid import UUID

from relay_core.domain.errors import RelayError
from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import RunReason, Status, Stream
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence, EvidenceEvent
from relay_core.store.transaction import Database
from relay_workers.agents.registry import BEGINS_ANEW
from relay_workers.execution.after_state_request import after_state_request
from relay_workers.execution.agent_turn import AgentTurn
from relay_workers.execution.home import remove_snapshots
from relay_workers.execution.outcome import Outcome
from relay_workers.execution.repo_states import after_state_columns, head_columns
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.step_finisher import StepEnd
from relay_workers.execution.verdict import agent_transition, transition_of, was_stopped
from relay_workers.execution.write_scope import record_within, scope_of
from relay_workers.git.port import Git
from relay_workers.git.sandbox.file_owners import give_back
from relay_workers.git.sandbox.locks import remove_dead_locks

MOST_NAMES_TOLD = 50
"""Largest number of processes that the event about processes left running names."""
PINNED = {RunReason.CODING_AGENT, RunReason.CLEANUP_SCRIPT}
"""Kinds of executions after which Relay records the whole work tree, even after a failure or a kill."""
_EVENT_PATHS = 20
"""Largest number of omitted paths that an event names; the stored state of the repository lists more."""


class EvidenceCollector:
    """Collects the evidence of a step whose process has ended.

    Args:
        database: knows the HEAD commits before the step and the group ids of executions that still run.
        git: reads HEAD commits and records the state of work trees.
    """

    def __init__(self, database: Database, git: Git) -> None:
        self._database = database
        self._git = git

    def outcome(self, claimed: Claimed, step: RunningStep, end: StepEnd) -> Outcome:
        """Return the outcome of a step, with everything that is stored with it.

        Raises:
            Stale: another worker owns the execution now.
        """
        transition = transition_of(claimed, step, end)
        turn: dict[str, Any] | None = None
        if step.turn is not None:
            transition = _finish_turn(step, step.turn, end, transition)
            turn = _turn_columns(step, step.turn)
        message = _commit_message(claimed, step, transition, turn)
        events = self._settle_clones(claimed, step)
        states, problems = self._repo_states(claimed, step, message)
        events += [*problems, *_events_about(step, end)]
        evidence = Evidence(states, end.log.ends(), turn, events)
        return Outcome(transition, evidence, gone=True, raw_files=step.place.files)

    def _settle_clones(self, claimed: Claimed, step: RunningStep) -> list[EvidenceEvent]:
        """Clean up after the step's dead processes, and return an event for each cleanup that changed something.

        Git lock files of dead processes are removed, and files that a root step made are given to the workspace's user.
        """
        workspace = step.place.workspace
        events: list[EvidenceEvent] = []
        if claimed.run_reason is RunReason.CODING_AGENT:
            remove_snapshots(workspace.directory)
        if claimed.step.as_root and (files := give_back(workspace.directory, workspace.uid)):
            events.append((EventKind.EXECUTION_FILES_GIVEN_BACK, {"files": files, "uid": workspace.uid}))

        @cache
        def running() -> Collection[int]:
            with self._database.connect() as connection:
                return owned.running_gids(connection, claimed.workspace_id, but=claimed.execution_id)

        for name, head in self._git.heads(workspace.directory, workspace.repo_names).items():
            removed = remove_dead_locks(workspace.directory, name, head.branch, ended=claimed.gid, running=running)
            if removed:
                events.append((EventKind.EXECUTION_LOCKS_REMOVED, {"repo": name, "files": removed}))
        return events

    def _repo_states(
        self, claimed: Claimed, step: RunningStep, message: str | None
    ) -> tuple[dict[UUID, Mapping[str, Any]], list[EvidenceEvent]]:
        """Return the state columns of each repository by its id, and an event for each repository with a problem.

        Args:
            claimed: the execution.
            step: the step, whose process has ended.
            message: message of the commit that Relay makes of the remaining changes; None for no commit.
        """
        workspace, mask = step.place.workspace, step.place.mask
        states: dict[UUID, Mapping[str, Any]] = {}
        events: list[EvidenceEvent] = []
        heads = self._git.heads(workspace.directory, workspace.repo_names)
        scope = scope_of(self._database, workspace.row.id) if claimed.run_reason in PINNED else None
        for repo in workspace.row.repos:
            states[repo.repo_id] = head_columns(heads[repo.name], mask)
            if claimed.run_reason not in PINNED:
                continue
            try:
                request = after_state_request(self._database, claimed, workspace, repo, mask, message)
                recorded = record_within(self._git, request, scope, repo)
            except RelayError as error:
                states[repo.repo_id] = {**states[repo.repo_id], "problem": mask.text(str(error))}
            else:
                states[repo.repo_id] = after_state_columns(recorded.state, mask)
                events += [recorded.refused] if recorded.refused else []
            problem = states[repo.repo_id]["problem"]
            if problem:
                omitted = (states[repo.repo_id].get("stat") or {}).get("omitted", [])[:_EVENT_PATHS]
                payload = {"repo": repo.name, "message": problem, **({"omitted": omitted} if omitted else {})}
                events.append((EventKind.EXECUTION_EVIDENCE_PROBLEM, payload))
        return states, events


def _finish_turn(step: RunningStep, turn: AgentTurn, end: StepEnd, transition: Transition) -> Transition:
    """Parse the agent's output to its end, and return the transition by exit code and protocol."""
    streams = end.log.streams
    verdict = turn.finish(
        streams[Stream.STDOUT].bytes,
        end.exit_code,
        stderr_size=streams[Stream.STDERR].bytes,
        stopped=was_stopped(transition),
    )
    return agent_transition(step.place.mask, verdict, transition, end.exit_code)


def _turn_columns(step: RunningStep, turn: AgentTurn) -> dict[str, Any]:
    reader, mask = turn.reader, step.place.mask
    return {
        "agent_session_id": turn.agent_session_id,
        "agent_message_id": reader.agent_message_id and mask.text(reader.agent_message_id),
        "summary": reader.summary and mask.text(reader.summary),
        "usage": dict(reader.usage) or None,
    }


def _commit_message(
    claimed: Claimed, step: RunningStep, transition: Transition, turn: Mapping[str, Any] | None
) -> str | None:
    """Return the message of the commit that Relay makes after the step; None if it makes none."""
    commits = step.place.workspace.row.auto_commit and claimed.run_reason in PINNED
    if not commits or transition.target is not Status.COMPLETED:
        return None
    return (turn or {}).get("summary") or f"{claimed.run_reason.replace('_', ' ')}"


def _events_about(step: RunningStep, end: StepEnd) -> list[EvidenceEvent]:
    """Return events about a conversation that started again, a cut or incomplete log, and processes left running."""
    events: list[EvidenceEvent] = []
    if step.turn is not None and step.turn.begins_anew:
        events.append((EventKind.EXECUTION_CONVERSATION_BEGUN_ANEW, {"message": BEGINS_ANEW}))
    if end.log.cut:
        message = "a background process held the log open; its later output is cut"
        events.append((EventKind.EXECUTION_LOG_CUT, {"message": message}))
    if end.left:
        names = [step.place.mask.text(name) for name in end.left[:MOST_NAMES_TOLD]]
        events.append((EventKind.EXECUTION_LEFTOVERS_ENDED, {"count": len(end.left), "names": names}))
    if end.lost_output:
        message = "some output could not be written (a full disk, or one that does not answer?) and is lost"
        events.append((EventKind.EXECUTION_LOG_INCOMPLETE, {"message": message}))
    return events
