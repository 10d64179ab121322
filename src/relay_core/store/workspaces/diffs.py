"""Stored patches: the changes of an execution, or of a workspace so far, by repo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import zstandard
from sqlalchemy import Connection, RowMapping, Select, select

from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, WorkspaceRepo

E = ExecutionProcess
State = ExecutionProcessRepoState
MAX_BYTES = 256 << 20
"""Most bytes of one patch after decompression; nodes store far smaller ones (`patch_max_bytes`)."""


@dataclass(frozen=True)
class RepoDiff:
    """One repo's part of a diff."""

    repo_id: UUID
    name: str
    execution_id: UUID | None
    """Execution whose after-state it is; None when no state is recorded yet."""
    base_commit: str | None
    head_commit: str | None
    """HEAD afterwards; the patch has uncommitted changes, too."""
    stat: Mapping[str, Any] | None
    """{files, insertions, deletions, truncated}."""
    masked: Sequence[str]
    """Files in whose part of the patch secrets are masked."""
    omitted: Sequence[Mapping[str, str]]
    """{path, why} of changed paths that are not in the patch."""
    patch: bytes | None
    """Unified diff; None when there is no evidence."""

    @property
    def applies(self) -> bool | None:
        """Whether `git apply` of the patch on the base gives the recorded state; None where there is no patch."""
        return None if self.stat is None else not (self.stat.get("truncated") or self.masked)


def of_workspace(connection: Connection, workspace_id: UUID, *, with_patch: bool) -> list[RepoDiff]:
    """The latest recorded state of every repo against the workspace's base commit, in the order of the repos."""
    repos = connection.execute(_repos(workspace_id)).mappings().all()
    return [_of_repo(connection, workspace_id, repo, with_patch=with_patch) for repo in repos]


def of_execution(connection: Connection, execution_id: UUID, *, with_patch: bool) -> list[RepoDiff]:
    """The changes of one execution against the commits it found; repos without evidence are left out."""
    workspace_id = select(E.workspace_id).where(E.id == execution_id).scalar_subquery()
    statement = (
        select(WorkspaceRepo.name, *_columns(with_patch=with_patch))
        .join(E, E.id == State.execution_process_id)
        .join(WorkspaceRepo, (WorkspaceRepo.workspace_id == workspace_id) & (WorkspaceRepo.repo_id == State.repo_id))
        .where(State.execution_process_id == execution_id, State.patch.is_not(None))
        .order_by(WorkspaceRepo.position)
    )
    return [
        RepoDiff(
            row["repo_id"],
            row["name"],
            execution_id,
            row["before_head_commit"],
            row["after_head_commit"],
            *_told((row["stat"] or {}).get("step") or row["stat"], row["stat"]),
            _unpacked(row["step_patch"] or row["patch"]) if with_patch else None,
        )
        for row in connection.execute(statement).mappings()
    ]


def joined(diffs: Sequence[RepoDiff]) -> bytes:
    """One patch file of several repos; each part says which repo it is for, which `git apply` reads over."""
    parts = [(diff.name, diff.patch) for diff in diffs if diff.patch]
    if len(diffs) == 1:
        return b"".join(patch for _, patch in parts)
    return b"".join(b"# repo: %s\n%s" % (name.encode(), patch) for name, patch in parts)


def _repos(workspace_id: UUID) -> Select[Any]:
    columns: list[Any] = [WorkspaceRepo.repo_id, WorkspaceRepo.name, WorkspaceRepo.base_commit]
    return select(*columns).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)


def _of_repo(connection: Connection, workspace_id: UUID, repo: RowMapping, *, with_patch: bool) -> RepoDiff:
    statement = (
        select(*_columns(with_patch=with_patch))
        .join(E, E.id == State.execution_process_id)
        .where(E.workspace_id == workspace_id, State.repo_id == repo["repo_id"], State.patch.is_not(None))
        .order_by(E.completed_at.desc(), E.id)
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return RepoDiff(repo["repo_id"], repo["name"], None, repo["base_commit"], None, None, (), (), None)
    return RepoDiff(
        repo["repo_id"],
        repo["name"],
        row["execution_process_id"],
        repo["base_commit"],
        row["after_head_commit"],
        *_told(row["stat"], row["stat"]),
        _unpacked(row["patch"]) if with_patch else None,
    )


def _told(
    stat: Mapping[str, Any] | None, whole: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, Sequence[str], Sequence[Mapping[str, str]]]:
    """Counts, masked and omitted of one patch; what is omitted is told of the work tree as a whole."""
    counts = {key: value for key, value in (stat or {}).items() if key not in {"step", "masked", "omitted"}}
    return counts or None, (stat or {}).get("masked", ()), (whole or {}).get("omitted", ())


def _columns(*, with_patch: bool) -> list[Any]:
    small = [State.execution_process_id, State.repo_id, State.before_head_commit, State.after_head_commit, State.stat]
    return [*small, State.patch, State.step_patch] if with_patch else small


def _unpacked(patch: bytes) -> bytes:
    # The frame's own size field is not believed: output is bounded whatever it says.
    with zstandard.ZstdDecompressor().stream_reader(patch) as reader:
        return reader.read(MAX_BYTES)
