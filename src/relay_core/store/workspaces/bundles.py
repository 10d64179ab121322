"""Stored git bundles: the commits that a workspace added to a repository, for a clone that has its base commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, WorkspaceRepo

E = ExecutionProcess
State = ExecutionProcessRepoState

NOT_RECORDED = "no state of it is recorded yet"
UNCHANGED = "nothing changed in it: its state is the base commit"
NOT_KEPT = "its state was recorded without a bundle, by an earlier version of Relay"


class NoBundle(NotFound):
    """There is no bundle of a repository's recorded state; the message says why."""

    code = "no_bundle"


@dataclass(frozen=True)
class RepoBundle:
    """A bundle of one repository."""

    name: str
    """Name of the clone's directory in the workspace."""
    content: bytes


def of_workspace(connection: Connection, workspace_id: UUID, repo: str | None) -> RepoBundle:
    """Return the bundle of the latest recorded state of one repo of a workspace.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        repo: name of the repo; None: its only one.

    Raises:
        InvalidInput: there is no such repo, or there are several and none is named.
        NoBundle: nothing is recorded or changed, or no bundle could be kept.
    """
    return _of_state(connection, workspace_id, repo, [E.workspace_id == workspace_id])


def of_execution(connection: Connection, execution_id: UUID, repo: str | None) -> RepoBundle:
    """Return the bundle of the state that one execution left; its prerequisite is the workspace's base commit.

    Raises:
        InvalidInput: there is no such repo, or there are several and none is named.
        NoBundle: nothing is recorded or changed, or no bundle could be kept.
    """
    workspace_id = connection.execute(select(E.workspace_id).where(E.id == execution_id)).scalar_one()
    if workspace_id is None:
        raise NoBundle("the clone of a project records no state")
    return _of_state(connection, workspace_id, repo, [E.id == execution_id])


def of_run(connection: Connection, run_id: UUID, workspace_id: UUID, repo: str | None) -> RepoBundle:
    """Return the bundle of the latest state that the steps of one run left in one repo.

    Args:
        connection: any transaction.
        run_id: the run.
        workspace_id: its workspace.
        repo: name of the repo; None: its only one.

    Raises:
        InvalidInput: there is no such repo, or there are several and none is named.
        NoBundle: nothing is recorded or changed, or no bundle could be kept.
    """
    return _of_state(connection, workspace_id, repo, [E.run_id == run_id])


def problem(pinned: str | None, base: str | None, bundle_bytes: int | None, stored: str | None) -> str | None:
    """Return why there is no bundle of a recorded state; None if there is one.

    Args:
        pinned: the state's pinned commit; None: no state is recorded.
        base: the workspace's base commit.
        bundle_bytes: size of the bundle of this commit; None if none is stored.
        stored: the stored reason why none is.
    """
    if pinned is None:
        return NOT_RECORDED
    if bundle_bytes is not None:
        return None
    return UNCHANGED if pinned == base else stored or NOT_KEPT


def _of_state(connection: Connection, workspace_id: UUID, repo: str | None, conditions: Sequence[Any]) -> RepoBundle:
    place = _repo(connection, workspace_id, repo)
    latest = (
        select(State.pinned_commit, State.bundle_problem)
        .join(E, E.id == State.execution_process_id)
        .where(*conditions, State.repo_id == place.repo_id, State.pinned_commit.is_not(None))
        .order_by(E.completed_at.desc(), E.id)
        .limit(1)
    )
    state = connection.execute(latest).one_or_none()
    pinned, stored = (None, None) if state is None else state
    content = (
        select(State.bundle)
        .join(E, E.id == State.execution_process_id)
        .where(E.workspace_id == workspace_id, State.repo_id == place.repo_id)
        .where(State.pinned_commit == pinned, State.bundle.is_not(None))
        .limit(1)
    )
    found = connection.scalar(content) if pinned is not None else None
    why = problem(pinned, place.base_commit, None if found is None else len(found), stored)
    if found is None or why is not None:
        raise NoBundle(f"there is no bundle of {place.name}: {why}")
    return RepoBundle(place.name, found)


def _repo(connection: Connection, workspace_id: UUID, name: str | None) -> Any:
    columns = (WorkspaceRepo.repo_id, WorkspaceRepo.name, WorkspaceRepo.base_commit)
    statement = select(*columns).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)
    repos = connection.execute(statement).all()
    names = ", ".join(repo.name for repo in repos)
    if name is None and len(repos) == 1:
        return repos[0]
    if name is None:
        raise InvalidInput(f"the workspace has several repositories; name one of: {names}", field="query.repo")
    found = next((repo for repo in repos if repo.name == name), None)
    if found is None:
        raise InvalidInput(f"the workspace has no repository of that name; it has: {names}", field="query.repo")
    return found
