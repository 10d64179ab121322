"""Deletes archived workspaces of this node in which nothing happens, after their work is kept in Postgres.

The work trees are recorded as after a step, in the stores of the node, and from there stored as patches and bundles.
Only the transaction that stores them marks the workspace as deleted, so a worker that dies before it has removed
nothing, and the next look begins again. A work tree that cannot be kept completely keeps its workspace. So does a clone
that is not to be found: its files may be there without its `.git`, or under another name; and a whole directory.
"""

from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.executions import owned
from relay_core.store.transaction import Database
from relay_core.store.workspaces import condition, expiry, git_watch, kept, workspace_row
from relay_core.store.workspaces.expiry import Due
from relay_core.store.workspaces.kept import NewKept
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow, WorkspaceRow
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.execution.secret_values import to_mask
from relay_workers.execution.workspace import workspace_dir
from relay_workers.git.port import AfterState, AfterStateRequest, Git
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile
from relay_workers.maintenance.each_item import act_on_each
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_lock import try_lock

log = structlog.get_logger(__name__)

EXPIRY_SECONDS = 15.0
"""Time between two looks for workspaces to delete."""
_COLUMNS = ("branch", "dirty", "pinned_commit", "patch", "stat", "bundle")


class NotKept(RelayError):  # noqa: N818 - named for what it says
    """The work tree of a clone cannot be kept completely."""

    def __init__(self, repo: str, problem: str) -> None:
        super().__init__(problem)
        self.repo = repo


class ExpiredWorkspaces:
    """Keeps the work of idle workspaces of one node, and deletes them.

    Args:
        node_id: the id of the node.
        settings: settings of the worker.
        database: knows which workspaces are due, and stores their work.
        git: records work trees.
        secrets: decrypts the values to mask.
        metrics: counts deletions.
    """

    def __init__(
        self, node_id: str, settings: Settings, database: Database, git: Git, secrets: SecretBox, metrics: Metrics
    ) -> None:
        self._node_id = node_id
        self._settings = settings
        self._hours = expiry.hours_of(settings)
        self._database = database
        self._git = git
        self._secrets = secrets
        self._metrics = metrics

    def sweep(self) -> None:
        """Delete workspaces that are due, `expiry.MOST_AT_ONCE` at most; if one fails, the next sweep tries again."""
        with self._database.connect() as connection:
            found = expiry.due(connection, self._hours, self._node_id)
        act_on_each(found, self._act)

    def _act(self, due: Due) -> None:
        """Act under a file lock, so that no other worker of the node records the clones, or moves or removes them."""
        with try_lock(self._settings.data_dir, f"{due.workspace_id}.state") as mine:
            if not (mine and self._is_still(due)):
                return
            try:
                states = self._recorded(due.workspace_id)
            except NotKept as problem:
                log.warning("work is not kept", workspace_id=str(due.workspace_id), problem=str(problem))
                with self._database.begin() as connection:
                    if expiry.untouched(connection, due, self._hours) is not None:
                        expiry.hold(connection, due.workspace_id, problem.repo, str(problem))
                return
            if self._delete(due, states):
                self._metrics.swept("workspace_expired")
                log.info("nothing happens in a workspace", act="delete", workspace_id=str(due.workspace_id))

    def _is_still(self, due: Due) -> bool:
        """Look again: another worker may have deleted the workspace since it was found."""
        with self._database.connect() as connection:
            return expiry.untouched(connection, due, self._hours, locked=False) is not None

    def _delete(self, due: Due, states: list[NewKept]) -> bool:
        """Store the work and mark the workspace as deleted, unless anything has happened in it since it was found."""
        with self._database.begin() as connection:
            now = expiry.untouched(connection, due, self._hours)
            if now is None:
                return False
            if states:
                kept.store(connection, due.workspace_id, self._node_id, states)
            expiry.delete(connection, now)
        return True

    def _recorded(self, workspace_id: UUID) -> list[NewKept]:
        """Record the work tree of each clone in its store, and return what is to be kept of it.

        Raises:
            NotKept: the work tree of a clone cannot be kept completely.
        """
        directory = workspace_dir(self._settings.data_dir, workspace_id)
        with self._database.connect() as connection:
            row = workspace_row.load(connection, workspace_id)
            gid = condition.read(connection, workspace_id).next_gid
            last = git_watch.recorded_by_last_group(connection, workspace_id)
        made = [repo for repo in row.repos if repo.base_commit is not None]
        if made and not directory.is_dir():
            why = f"there is no directory {directory}, and it may be elsewhere with its work"
            raise NotKept(made[0].name, f"{why}: bring it back, or delete the workspace by hand")
        heads = self._git.heads(directory, [repo.name for repo in made])
        for repo in made:
            if heads[repo.name].missing:
                _refuse_missing(directory, repo.name, recorded=repo.repo_id in last)
        there = [repo for repo in made if not heads[repo.name].missing]
        if not there:
            return []  # it was never prepared, or its clones were removed after their last states had been recorded
        if row.uid is None:
            raise NotKept(there[0].name, "the workspace has no user id, with which its files could be read")
        mask = self._mask(row)
        return [self._recorded_repo(row, repo, directory, gid, mask) for repo in there]

    def _mask(self, row: WorkspaceRow) -> SecretMask:
        try:
            return SecretMask(to_mask(self._secrets, row))
        except StepFailed as error:  # without them, a patch could show a secret
            raise NotKept(row.repos[0].name, str(error)) from error

    def _recorded_repo(
        self, row: WorkspaceRow, repo: WorkspaceRepoRow, directory: Path, gid: int, mask: SecretMask
    ) -> NewKept:
        with self._database.connect() as connection:
            bundled = owned.bundled_commits(connection, row.id, repo.repo_id)
        state = self._git.after_state(
            AfterStateRequest(
                workspace_id=row.id,
                workspace_dir=directory,
                name=repo.name,
                mirror_path=Path(repo.mirror_path or ""),
                base_commit=repo.base_commit or "",
                before_commit=None,
                uid=row.uid or 0,
                gid=gid,
                execution_id=row.id,  # names the ref that keeps it
                mask=mask,
                bundle_branch=row.branch,
                bundled=bundled,
                copied=tuple(repo.copied_files),
            )
        )
        problem = _problem(state)
        if problem is not None:
            raise NotKept(repo.name, mask.text(problem))
        columns: dict[str, Any] = after_state_columns(state, mask)
        kept_columns = {name: columns[name] for name in _COLUMNS}
        return NewKept(repo.repo_id, repo.name, {"head_commit": columns["after_head_commit"], **kept_columns})


def _refuse_missing(directory: Path, name: str, *, recorded: bool) -> None:
    """Raise an error if work may be left of a clone that has no `.git` directory.

    Raises:
        NotKept: there are files in its place, or its last step group recorded no state of it (it may have moved it).
    """
    if _exists(directory, name):
        why = f"repos/{name} is there without its .git directory"
        raise NotKept(name, f"{why}: bring .git back, or remove repos/{name}, or delete the workspace by hand")
    if not recorded:
        why = f"repos/{name} is gone, and the last step that ran recorded no state of it"
        raise NotKept(name, f"{why}: bring the clone back, or delete the workspace by hand")


def _exists(directory: Path, name: str) -> bool:
    try:
        with SafeDir.open(directory, "repos") as repos:
            return repos.exists(name)
    except FileNotFoundError:
        return False
    except (TamperedFile, OSError):
        return True  # something else is in the place of repos/


def _problem(state: AfterState) -> str | None:
    """Return why a state is not all of the work; None if it is."""
    if state.problem is not None or state.pinned_commit is None or state.patch is None:
        return state.problem or "git gave no answer"
    return state.bundle.problem if state.bundle is not None and state.bundle.content is None else None
