"""Stored patches: the changes that an execution or a run made, or all changes in a workspace so far, by repo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import zstandard
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select
from sqlalchemy.orm import aliased

from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, WorkspaceRepo
from relay_core.store.workspaces.bundles import problem

E = ExecutionProcess
State = ExecutionProcessRepoState
MAX_BYTES = 256 << 20
"""Most bytes of one patch after decompression; the patches that nodes store are far smaller (`patch_max_bytes`)."""


@dataclass(frozen=True)
class RepoDiff:
    """The diff of one repo."""

    repo_id: UUID
    name: str
    execution_id: UUID | None
    """Execution after which the git state was recorded that the diff leads to; None: none is recorded yet."""
    base_commit: str | None
    head_commit: str | None
    """HEAD after the execution. The patch also contains changes that are not committed."""
    stat: Mapping[str, Any] | None
    """Counts of the patch: {files, insertions, deletions, truncated}; None if no git state is recorded."""
    masked: Sequence[str]
    """Files in whose part of the patch secrets are masked."""
    omitted: Sequence[Mapping[str, str]]
    """{path, why} of changed paths that are not in the patch."""
    patch: bytes | None
    """Unified diff; None if no git state is recorded, or if the patch was not asked for."""
    excluded: Sequence[Mapping[str, str]] = ()
    """{path, pattern} of new files that the exclude list leaves out of commits and patch; the first 100."""
    bundle_bytes: int | None = None
    """Size of the git bundle of the recorded state; None if there is none."""
    bundle_problem: str | None = problem(None, None, None, None)
    """Why there is no bundle; None if there is one."""

    @property
    def applies(self) -> bool | None:
        """Whether `git apply` of the patch to the base gives the recorded state.

        False for a patch that is truncated or has masked secrets; None if no git state is recorded.
        """
        return None if self.stat is None else not (self.stat.get("truncated") or self.masked)


def of_workspace(connection: Connection, workspace_id: UUID, *, with_patch: bool) -> list[RepoDiff]:
    """Return the diff of every repo from the workspace's base commit to the latest recorded state.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        with_patch: whether to read the patches, too, and not only the counts.
    """
    repos = connection.execute(_repos(workspace_id)).mappings().all()
    in_workspace = E.workspace_id == workspace_id
    return [_of_repo(repo, _latest(connection, in_workspace, repo, with_patch=with_patch)) for repo in repos]


def of_run(connection: Connection, run_id: UUID, workspace_id: UUID, *, with_patch: bool) -> list[RepoDiff]:
    """Return the diff of every repo from HEAD before a run to the latest state that its steps left.

    Where HEAD before the run is not known, the diff begins at the workspace's base commit.

    Args:
        connection: any transaction.
        run_id: the run.
        workspace_id: its workspace.
        with_patch: whether to read the patches, too, and not only the counts.
    """
    repos = connection.execute(_repos(workspace_id)).mappings().all()
    in_run = E.run_id == run_id
    return [_of_run(repo, _latest(connection, in_run, repo, with_patch=with_patch)) for repo in repos]


def of_execution(connection: Connection, execution_id: UUID, *, with_patch: bool) -> list[RepoDiff]:
    """Return the diff of every repo from the commit that one execution found to the state it left.

    Repos without a recorded state are left out.

    Args:
        connection: any transaction.
        execution_id: the execution.
        with_patch: whether to read the patches, too, and not only the counts.
    """
    workspace_id = select(E.workspace_id).where(E.id == execution_id).scalar_subquery()
    statement = (
        select(WorkspaceRepo.name, WorkspaceRepo.base_commit, *_columns(with_patch=with_patch))
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
            unpacked(row["step_patch"] or row["patch"]) if with_patch else None,
            **_leaving(row, row["base_commit"]),
        )
        for row in connection.execute(statement).mappings()
    ]


def target_branches(connection: Connection, workspace_id: UUID) -> dict[UUID, str | None]:
    """Return the branch that the work in each repo of a workspace is to be merged into, by repo."""
    columns = (WorkspaceRepo.repo_id, WorkspaceRepo.target_branch)
    rows = connection.execute(select(*columns).where(WorkspaceRepo.workspace_id == workspace_id))
    return {row.repo_id: row.target_branch for row in rows}


def joined(patches: Sequence[tuple[str, bytes]], *, alone: bool) -> bytes:
    """Join the patches of several repos, each with the name of its repo, to one file.

    Before each patch a comment line names the repo, unless it is alone; `git apply` ignores such lines.
    """
    if alone:
        return b"".join(patch for _, patch in patches)
    return b"".join(b"# repo: %s\n%s" % (name.encode(), patch) for name, patch in patches)


def _repos(workspace_id: UUID) -> Select[Any]:
    columns: list[Any] = [WorkspaceRepo.repo_id, WorkspaceRepo.name, WorkspaceRepo.base_commit]
    return select(*columns).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)


def _latest(
    connection: Connection, condition: ColumnElement[bool], repo: RowMapping, *, with_patch: bool
) -> RowMapping | None:
    """Return the latest recorded state of a repo after the executions of a condition; None if there is none."""
    statement = (
        select(*_columns(with_patch=with_patch))
        .join(E, E.id == State.execution_process_id)
        .where(condition, State.repo_id == repo["repo_id"], State.patch.is_not(None))
        .order_by(E.completed_at.desc(), E.id)
        .limit(1)
    )
    return connection.execute(statement).mappings().one_or_none()


def _of_run(repo: RowMapping, row: RowMapping | None) -> RepoDiff:
    counts = None if row is None else (row["stat"] or {}).get("run")
    whole = _of_repo(repo, row)
    if row is None or counts is None:
        return whole
    stat, masked, omitted = _told(counts, row["stat"])
    patch = None if whole.patch is None else unpacked(row["run_patch"] or row["step_patch"])
    return replace(whole, base_commit=counts["base"], stat=stat, masked=masked, omitted=omitted, patch=patch)


def _of_repo(repo: RowMapping, row: RowMapping | None) -> RepoDiff:
    if row is None:
        return RepoDiff(repo["repo_id"], repo["name"], None, repo["base_commit"], None, None, (), (), None)
    return RepoDiff(
        repo["repo_id"],
        repo["name"],
        row["execution_process_id"],
        repo["base_commit"],
        row["after_head_commit"],
        *_told(row["stat"], row["stat"]),
        unpacked(row["patch"]) if "patch" in row else None,
        **_leaving(row, repo["base_commit"]),
    )


def _told(
    stat: Mapping[str, Any] | None, whole: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, Sequence[str], Sequence[Mapping[str, str]]]:
    """Return three fields of a `RepoDiff`: `stat`, `masked` and `omitted`.

    Args:
        stat: the stored counts of the patch in question.
        whole: the stored counts of the whole recorded state, which list the omitted paths.
    """
    counts = {key: value for key, value in (stat or {}).items() if key not in _TOLD_APART}
    return counts or None, (stat or {}).get("masked", ()), (whole or {}).get("omitted", ())


_TOLD_APART = {"step", "run", "base", "masked", "omitted", "excluded", "masked_fields"}
"""Keys of a stored `stat` that are no counts of its patch."""


def _leaving(row: RowMapping, base: str | None) -> dict[str, Any]:
    """Return three fields of a `RepoDiff`: `excluded`, `bundle_bytes` and `bundle_problem`."""
    size = row["bundle_bytes"]
    return {
        "excluded": ((row["stat"] or {}).get("excluded") or {}).get("paths", ()),
        "bundle_bytes": size,
        "bundle_problem": problem(row["pinned_commit"], base, size, row["bundle_problem"]),
    }


def _bundle_bytes() -> Any:
    """Return the SQL expression for the size of the bundle of a state's pinned commit, which another state may have."""
    other, execution = aliased(State), aliased(E)
    statement = select(func.max(func.octet_length(other.bundle))).join(
        execution, execution.id == other.execution_process_id
    )
    same = (other.repo_id == State.repo_id, other.pinned_commit == State.pinned_commit)
    return statement.where(execution.workspace_id == E.workspace_id, *same).scalar_subquery().label("bundle_bytes")


def _columns(*, with_patch: bool) -> list[Any]:
    small = [State.execution_process_id, State.repo_id, State.before_head_commit, State.after_head_commit, State.stat]
    small += [State.pinned_commit, State.bundle_problem, _bundle_bytes()]
    return [*small, State.patch, State.step_patch, State.run_patch] if with_patch else small


def unpacked(patch: bytes) -> bytes:
    """Return a stored patch, decompressed."""
    # The output is bounded here, as the size that the compressed data states may be wrong.
    with zstandard.ZstdDecompressor().stream_reader(patch) as reader:
        return reader.read(MAX_BYTES)
