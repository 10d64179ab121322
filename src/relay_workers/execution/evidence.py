"""After a step: the agent's verdict, HEAD of every repo, the pinned after-state, and the outcome made of all that."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import zstandard

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.execution import Transition
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason, RunReason, Status, Stream
from relay_core.store.executions import transitions
from relay_core.store.executions.lifecycle import Claimed, Evidence
from relay_core.store.workspaces import workspace_rows
from relay_core.store.workspaces.workspace_rows import WorkspaceRepoRow
from relay_workers.agents.port import TurnReader, Verdict
from relay_workers.agents.registry import BEGINS_ANEW
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.home import remove_snapshots
from relay_workers.execution.outcome import Outcome
from relay_workers.execution.running import Ended, Running, transition_of
from relay_workers.execution.secret_values import to_mask
from relay_workers.git.host.store import Patch
from relay_workers.git.sandbox.file_owners import give_back
from relay_workers.git.sandbox.locks import remove_dead_locks
from relay_workers.git.service import AfterState, AfterStateRequest, Head

MOST_NAMES_TOLD = 50
"""Of processes that a step left behind."""
PINNED = {RunReason.CODING_AGENT, RunReason.CLEANUP_SCRIPT}
"""Runs after which the whole work tree is kept, on failure and kill too."""
_EVENT_PATHS = 20
"""Of what is omitted, so much is in the event; the repo's state has more."""


def outcome(context: WorkerContext, claimed: Claimed, running: Running, ended: Ended) -> Outcome:
    """The end of a step with everything that is stored with it."""
    transition = transition_of(claimed, running, ended)
    turn: dict[str, Any] | None = None
    summary = None
    if claimed.run_reason is RunReason.CODING_AGENT:
        reader, transition = _read_turn(running, ended, transition)
        summary = reader.summary and running.mask.text(reader.summary)
        turn = {
            "agent_session_id": running.turn and running.turn.agent_session_id,
            "agent_message_id": reader.agent_message_id and running.mask.text(reader.agent_message_id),
            "summary": summary,
            "usage": dict(reader.usage) or None,
        }
    wanted = running.workspace.row.auto_commit
    commits = wanted and claimed.run_reason in PINNED and transition.target is Status.COMPLETED
    message = (summary or f"{claimed.run_reason.replace('_', ' ')}") if commits else None
    states, noted = _repo_states(context, claimed, running, message)
    if running.turn is not None and running.turn.begins_anew:
        noted.append(("execution.conversation_begun_anew", {"message": BEGINS_ANEW}))
    if ended.log.cut:
        noted.append(
            ("execution.log_cut", {"message": "a background process held the log open; its later output is cut"})
        )
    if ended.left:
        names = [running.mask.text(name) for name in ended.left[:MOST_NAMES_TOLD]]
        noted.append(("execution.leftovers_ended", {"count": len(ended.left), "names": names}))
    if ended.lost_output:
        noted.append(
            ("execution.log_incomplete", {"message": "some output could not be written (a full disk?) and is lost"})
        )
    told = Evidence(states, ended.log.ends(), turn, noted)
    return Outcome(transition, told, afterwards=running.run_dir.remove, gone=True)


def after_heads(context: WorkerContext, workspace_id: UUID) -> dict[UUID, Mapping[str, Any]]:
    """Where every repo stands after a step that could not go on; empty where the clones are gone."""
    with context.database.connect() as connection:
        row = workspace_rows.load(connection, workspace_id)
    repos = row.repos
    directory = context.workspace_dir(workspace_id)
    if not (directory / "repos").is_dir():
        return {}
    heads = context.git.heads(directory, [repo.name for repo in repos])
    try:
        mask = SecretMask(to_mask(context.secrets, row))
    except StepFailed:  # only commits are shown, as what else there is cannot be masked
        return {repo.repo_id: {"after_head_commit": heads[repo.name].commit} for repo in repos}
    return {repo.repo_id: _head_columns(heads[repo.name], mask) for repo in repos}


def _read_turn(running: Running, ended: Ended, transition: Transition) -> tuple[TurnReader, Transition]:
    """What the agent said to the end of its log, and how the turn has ended."""
    if running.turn is None:
        raise RuntimeError("a coding agent was started without its reader")
    stopped = transition.target is Status.KILLED or transition.reason not in {None, Reason.EXIT_CODE}
    streams = ended.log.streams
    verdict = running.turn.finish(
        streams[Stream.STDOUT].bytes, ended.exit_code, stderr_size=streams[Stream.STDERR].bytes, stopped=stopped
    )
    return running.turn.reader, _agent_verdict(running.mask, verdict, transition, ended)


def _agent_verdict(mask: SecretMask, verdict: Verdict, transition: Transition, ended: Ended) -> Transition:
    """The agent's protocol may tell a failure that its exit code does not; caps and kills stay what they are.

    One that was silent or ran too long may have tried for ever: the message then has its last error.
    """
    if transition.reason in {Reason.TIMEOUT, Reason.NO_OUTPUT} and verdict.last_error:
        message = f"{transition.error_reason}; the agent's last error: {mask.text(verdict.last_error)}"
        return replace(transition, error_reason=message)
    if transition.target is Status.KILLED or transition.reason not in {None, Reason.EXIT_CODE}:
        return transition
    if verdict.success:
        return machine.completed(ended.exit_code)
    reason = Reason(verdict.reason or Reason.AGENT_ERROR)
    message = mask.text(verdict.message or f"the agent exited with {ended.exit_code}")
    return machine.failed(reason, message, ended.exit_code)


def _repo_states(
    context: WorkerContext, claimed: Claimed, running: Running, message: str | None
) -> tuple[dict[UUID, Mapping[str, Any]], list[tuple[str, Mapping[str, Any]]]]:
    workspace = running.workspace
    states: dict[UUID, Mapping[str, Any]] = {}
    noted = _settle_clones(context, claimed, running)
    heads = context.git.heads(workspace.directory, workspace.repo_names)
    for repo in workspace.row.repos:
        head = heads[repo.name]
        states[repo.repo_id] = _head_columns(head, running.mask)
        if claimed.run_reason not in PINNED:
            continue
        try:
            after = context.git.after_state(_request(context, claimed, running, repo, message))
        except RelayError as error:
            states[repo.repo_id] = {**states[repo.repo_id], "problem": running.mask.text(str(error))}
        else:
            states[repo.repo_id] = _columns(after, running.mask)
        problem = states[repo.repo_id]["problem"]
        if problem:
            omitted = (states[repo.repo_id].get("stat") or {}).get("omitted", [])[:_EVENT_PATHS]
            told = {"repo": repo.name, "message": problem, **({"omitted": omitted} if omitted else {})}
            noted.append(("execution.evidence_problem", told))
    return states, noted


def _settle_clones(context: WorkerContext, claimed: Claimed, running: Running) -> list[tuple[str, Mapping[str, Any]]]:
    """No process of the step is left: its locks go, and what it left as root is given to the workspace's user."""
    workspace = running.workspace
    noted: list[tuple[str, Mapping[str, Any]]] = []
    if claimed.run_reason is RunReason.CODING_AGENT:
        remove_snapshots(workspace.directory)
    if claimed.step.as_root and (files := give_back(workspace.directory, workspace.uid)):
        noted.append(("execution.files_given_back", {"files": files, "uid": workspace.uid}))
    with context.database.connect() as connection:
        gids = transitions.running_gids(connection, claimed.workspace_id, but=claimed.execution_id)
    for name, head in context.git.heads(workspace.directory, workspace.repo_names).items():
        removed = remove_dead_locks(workspace.directory, name, head.branch, ended=claimed.gid, running=gids)
        if removed:
            noted.append(("execution.locks_removed", {"repo": name, "files": removed}))
    return noted


def _head_columns(head: Head, mask: SecretMask) -> dict[str, Any]:
    """Where a repo stands; the agent has chosen its branch's name, so that is masked like any text."""
    branch = head.branch and mask.text(head.branch)
    told = {} if branch == head.branch else {"stat": {"masked_fields": ["branch"]}}
    return {
        "after_head_commit": head.commit,
        "branch": branch,
        "problem": head.problem and mask.text(head.problem),
        **told,
    }


def _request(
    context: WorkerContext, claimed: Claimed, running: Running, repo: WorkspaceRepoRow, message: str | None
) -> AfterStateRequest:
    with context.database.connect() as connection:
        before = transitions.before_head(connection, claimed.execution_id, repo.repo_id)
    return AfterStateRequest(
        workspace_id=claimed.workspace_id,
        workspace_dir=running.workspace.directory,
        name=repo.name,
        mirror_path=Path(repo.mirror_path or ""),
        base_commit=repo.base_commit or "",
        before_commit=before,
        uid=running.workspace.uid,
        gid=claimed.gid,
        execution_id=claimed.execution_id,
        commit_message=message,
        mask=running.mask,
    )


def _columns(after: AfterState, mask: SecretMask) -> dict[str, Any]:
    branch, summary = after.branch and mask.text(after.branch), after.summary
    if summary.get("paths"):
        summary = {**summary, "paths": [mask.text(path) for path in summary["paths"]]}
    stat = _stat(after.patch)
    if after.step_patch is not None:
        stat["step"] = _stat(after.step_patch)
    if after.omitted:
        stat["omitted"] = [{"path": mask.text(one.path), "why": mask.text(one.why)} for one in after.omitted]
    fields = {"branch": branch != after.branch, "summary": summary != after.summary}
    if any(fields.values()):
        stat["masked_fields"] = [name for name, masked in fields.items() if masked]
    problem = after.problem or after.commit_problem
    return {
        "after_head_commit": after.after_head,
        "branch": branch,
        "dirty": after.dirty,
        "summary": summary,
        "pinned_commit": after.pinned_commit,
        "committed": after.committed,
        "problem": problem and mask.text(problem),
        "patch": _compressed(after.patch),
        "step_patch": _compressed(after.step_patch),
        "stat": stat or None,
    }


def _stat(patch: Patch | None) -> dict[str, Any]:
    if patch is None:
        return {}
    return {
        "files": patch.files,
        "insertions": patch.insertions,
        "deletions": patch.deletions,
        "truncated": patch.truncated,
        "masked": list(patch.masked),
    }


def _compressed(patch: Patch | None) -> bytes | None:
    return None if patch is None else zstandard.compress(patch.text)
