"""An operator makes a directory that no workspace claims a workspace again; without that nothing ever runs on it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, insert, select, update

from relay_core.domain.directories import DirectoryFinding
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import TaskStatus, WorkspaceState
from relay_core.store import operations
from relay_core.store.projects import projects, repos
from relay_core.store.schema.tables import Lane, NodeDirectory, Project, Session, Task, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import lane

D, W = NodeDirectory, Workspace
_NO_CONTAINER = "none"
"""In place of a container's id: it was prepared before, and has no container now."""
_OF_ROW = ("branch", "uid", "pool", "resolved_image", "image_digest", "limits", "auto_commit")
_OF_REPO = ("name", "url", "target_branch", "ref", "working_dir", "base_commit", "mirror_path")


def adopt(connection: Connection, directory_id: UUID, project_id: UUID, title: str, principal: Principal) -> UUID:
    """Make a directory a workspace of a project's owner, with the id that its anchor has; its next step starts it.

    A workspace that was deleted and whose files were put back comes back in its own project and task.

    Args:
        connection: one transaction.
        directory_id: of the list of directories.
        project_id: the project of the new task.
        title: title of the new task.
        principal: the operator.

    Returns:
        The id of the workspace.

    Raises:
        NotFound: there is no such directory or project.
        Conflict: `directory_duplicated`: it is one of several; `workspace_exists`: the workspace is in use, or its
            project is deleted; `uid_taken`: another workspace of the node has its user id by now.
    """
    found = connection.execute(select(D.__table__).where(D.id == directory_id).with_for_update()).one_or_none()
    if found is None:
        raise NotFound(f"there is no directory {directory_id}; it may be gone or in use by now")
    if found.finding != DirectoryFinding.UNREGISTERED:
        message = "it is one of several directories of a workspace; remove all but one of them"
        raise Conflict(message, code="directory_duplicated")
    _refuse_taken_uid(connection, found)
    place: dict[str, Any] = {
        "container_ref": found.name,
        "work_dir": f"{found.name}/repos",
        "state": WorkspaceState.STOPPED,
    }
    place |= {"node_id": found.node_id, "container_id": _NO_CONTAINER, "idle_stopped": True, "remake_container": True}
    lane.lock(connection, found.workspace_id)
    known = connection.execute(select(W.__table__).where(W.id == found.workspace_id)).one_or_none()
    if known is None:
        _insert(connection, found, place, project_id, title, principal)
    else:
        _bring_back(connection, known, place)
    subject = operations.of_workspace(found.workspace_id)
    payload = {"node_id": found.node_id, "place": found.name, "by": principal.owner}
    operations.record(connection, OperationKind.WORKSPACE_ADOPT, subject, EventKind.WORKSPACE_ADOPTED, payload)
    workspace_id: UUID = found.workspace_id
    return workspace_id


def _refuse_taken_uid(connection: Connection, found: Row[*tuple[Any, ...]]) -> None:
    uid = found.anchor["uid"]
    others = select(W.id).where(W.node_id == found.node_id, W.uid == uid, W.container_ref.is_not(None))
    other = connection.scalar(others.where(W.id != found.workspace_id).limit(1))
    if uid is not None and other is not None:
        message = f"workspace {other} has the user id {uid} of its files by now; delete that for good, then adopt this"
        raise Conflict(message, code="uid_taken")


def _bring_back(connection: Connection, known: Row[*tuple[Any, ...]], place: Mapping[str, Any]) -> None:
    task = connection.execute(select(Task.id, Task.project_id).where(Task.id == known.task_id)).one()
    gone = connection.scalar(select(Project.deleted_at).where(Project.id == task.project_id)) is not None
    if known.deleted_at is None or known.container_ref is not None or gone:
        message = "the workspace is in use, is kept, or its project is deleted; restore that, or remove the directory"
        raise Conflict(message, code="workspace_exists")
    connection.execute(update(Task).where(Task.id == task.id).values(deleted_at=None))
    back = update(W).where(W.id == known.id)
    connection.execute(back.values(**place, deleted_at=None, purge_why=None, error_reason=None, requested_state=None))


def _insert(
    connection: Connection,
    found: Row[*tuple[Any, ...]],
    place: Mapping[str, Any],
    project_id: UUID,
    title: str,
    principal: Principal,
) -> None:
    owner = projects.get(connection, project_id, principal)["created_by"]
    task = {"id": uuid4(), "project_id": project_id, "title": title, "status": TaskStatus.INREVIEW}
    connection.execute(insert(Task), {**task, "created_by": owner})
    of_anchor = {name: found.anchor[name] for name in _OF_ROW}
    row = {"id": found.workspace_id, "task_id": task["id"], "name": title, "created_by": owner}
    connection.execute(insert(W), {**row, **of_anchor, **place})
    connection.execute(insert(Lane), {"workspace_id": found.workspace_id})
    connection.execute(insert(Session), {"id": uuid4(), "workspace_id": found.workspace_id})
    clones = found.anchor["repos"]
    ids = repos.ensure(connection, [clone["url"] for clone in clones], owner)
    rows = [
        {
            "workspace_id": found.workspace_id,
            "repo_id": ids[clone["url"]],
            "position": position,
            **{name: clone[name] for name in _OF_REPO},
        }
        for position, clone in enumerate(clones)
    ]
    if rows:
        connection.execute(insert(WorkspaceRepo), rows)
