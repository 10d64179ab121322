"""Stores uploaded images, and which tasks they belong to."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from relay_core.domain import uploaded_images
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.uploaded_images import ImageFacts
from relay_core.store.projects import tasks
from relay_core.store.schema.tables import (
    CodingAgentTurn,
    ExecutionProcess,
    Image,
    Project,
    Session,
    Task,
    TaskImage,
    Workspace,
)
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]
MOST_OF_TASK = 50
"""Most images of one task."""
_COLUMNS: list[Any] = [
    Image.id,
    Image.file_path,
    Image.original_name,
    Image.mime_type,
    Image.size_bytes,
    Image.width,
    Image.height,
    Image.hash,
    Image.created_by,
    Image.created_at,
]
E = ExecutionProcess
_L = aliased(TaskImage)


class ImageOfTask(NamedTuple):
    """An image of a task, without its bytes."""

    id: UUID
    file_path: str
    original_name: str
    size_bytes: int
    new: bool
    """Whether it became one of the task after the session's earlier turns had begun."""


def create(connection: Connection, name: str, data: bytes, facts: ImageFacts, principal: Principal) -> View:
    """Store an image of the principal; if it has these bytes already, return the image that has them.

    Args:
        connection: one transaction.
        name: the name that the client gave.
        data: the bytes.
        facts: type and size, as `uploaded_images.read` found them.
        principal: owner of the image.
    """
    digest = hashlib.sha256(data).hexdigest()
    made = upsert(Image).values(
        id=uuid4(),
        file_path=uploaded_images.file_name(name, digest, facts.mime_type),
        original_name=uploaded_images.display_name(name),
        size_bytes=len(data),
        hash=digest,
        content=data,
        created_by=principal.owner,
        **vars(facts),
    )
    # Its time begins anew, or `forget_unused` would delete it before a task could get it.
    stored = made.on_conflict_do_update(constraint="images_hash", set_={"created_at": func.now()})
    return dict(connection.execute(stored.returning(*_COLUMNS)).mappings().one())


def get(connection: Connection, image_id: UUID, principal: Principal) -> View:
    """Return an image without its bytes, with the ids of its tasks that are not deleted, oldest first.

    Raises:
        NotFound: there is no such image, or it belongs to another owner.
    """
    row = connection.execute(_visible(principal).where(Image.id == image_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no image {image_id}")
    return _with_tasks(connection, [dict(row)])[0]


def content(connection: Connection, image_id: UUID, principal: Principal) -> tuple[View, bytes]:
    """Return an image and its bytes.

    Raises:
        NotFound: there is no such image, or it belongs to another owner.
    """
    found = get(connection, image_id, principal)
    return found, connection.execute(select(Image.content).where(Image.id == image_id)).scalar_one()


def listed(connection: Connection, principal: Principal, page: PageRequest, task_id: UUID | None = None) -> Page:
    """Return a page of images, newest first; of one task, or all."""
    statement = _visible(principal)
    if task_id is not None:
        statement = statement.where(Image.id.in_(select(TaskImage.image_id).where(TaskImage.task_id == task_id)))
    rows = connection.execute(paged(statement, Image.created_at, Image.id, page, newest_first=True)).mappings()
    found = cut([dict(row) for row in rows], page)
    return Page(_with_tasks(connection, found.items), found.next_cursor)


def remove(connection: Connection, image_id: UUID, principal: Principal) -> None:
    """Delete an image. Copies of it in workspaces stay there.

    Raises:
        NotFound: there is no such image, or it belongs to another owner.
        Conflict: `image_in_use`: it belongs to tasks that are not deleted.
    """
    get(connection, image_id, principal)
    connection.execute(select(Image.id).where(Image.id == image_id).with_for_update())
    if count := len(connection.execute(_live_links().where(_L.image_id == image_id)).all()):
        message = f"the image belongs to {count} task{'' if count == 1 else 's'}; take it from them first"
        raise Conflict(message, code="image_in_use")
    connection.execute(delete(TaskImage).where(TaskImage.image_id == image_id))
    connection.execute(delete(Image).where(Image.id == image_id))


def link(connection: Connection, task_id: UUID, image_ids: Iterable[UUID], principal: Principal, field: str) -> None:
    """Make images of the principal images of a task that it may see; those that are stay as they are.

    Raises:
        InvalidInput: `image_unknown`, `too_many_images`.
    """
    wanted = list(dict.fromkeys(image_ids))
    if not wanted:
        return
    # The lock keeps the removal of unused images out.
    statement = _visible(principal, Image.id).where(Image.id.in_(wanted)).with_for_update(read=True)
    known = set(connection.scalars(statement))
    for image_id in wanted:
        if image_id not in known:
            raise InvalidInput(f"there is no image {image_id}", code="image_unknown", field=field)
    rows = [{"task_id": task_id, "image_id": image_id} for image_id in wanted]
    connection.execute(upsert(TaskImage).on_conflict_do_nothing(), rows)
    count = connection.scalar(select(func.count()).where(TaskImage.task_id == task_id)) or 0
    if count > MOST_OF_TASK:
        raise InvalidInput(f"a task has at most {MOST_OF_TASK} images", code="too_many_images", field=field)


def link_to_task(connection: Connection, task_id: UUID, image_id: UUID, principal: Principal) -> None:
    """Make an image one of a task; errors as `link` and `tasks.task`."""
    tasks.task(connection, task_id, principal)
    link(connection, task_id, [image_id], principal, "path.image_id")


def link_to_session(connection: Connection, session_id: UUID, image_ids: Sequence[UUID], principal: Principal) -> None:
    """Make images those of the task of a session that the principal may see.

    Raises:
        InvalidInput: as `link`; `images_unsupported`.
    """
    if image_ids:
        of_it = select(Workspace.task_id, Session.executor).join(Session, Session.workspace_id == Workspace.id)
        task_id, executor = connection.execute(of_it.where(Session.id == session_id)).one()
        uploaded_images.check_images(executor, image_ids)
        link(connection, task_id, image_ids, principal, "image_ids")


def unlink(connection: Connection, task_id: UUID, image_id: UUID, principal: Principal) -> None:
    """Take an image from a task. Turns that begin later do not get it; copies in workspaces stay.

    Raises:
        NotFound: there is no such task, or the image is none of its.
    """
    tasks.task(connection, task_id, principal)
    of_both = delete(TaskImage).where(TaskImage.task_id == task_id, TaskImage.image_id == image_id)
    if not connection.execute(of_both).rowcount:
        raise NotFound(f"the task has no image {image_id}")


def for_turn(connection: Connection, workspace_id: UUID, session_id: UUID, execution_id: UUID) -> list[ImageOfTask]:
    """Return the images of the task of a workspace, in the order in which they became images of it.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        session_id: the session of the turn that is about to begin.
        execution_id: that turn.
    """
    before = (
        select(func.max(E.started_at))
        .join(CodingAgentTurn, CodingAgentTurn.execution_process_id == E.id)
        .where(E.session_id == session_id, E.id != execution_id)
    ).scalar_subquery()
    new = func.coalesce(TaskImage.created_at > before, text("true"))
    statement = (
        select(Image.id, Image.file_path, Image.original_name, Image.size_bytes, new)
        .join(TaskImage, TaskImage.image_id == Image.id)
        .join(Workspace, Workspace.task_id == TaskImage.task_id)
        .where(Workspace.id == workspace_id)
        .order_by(TaskImage.created_at, Image.id)
    )
    return [ImageOfTask(*row) for row in connection.execute(statement)]


def bytes_of(connection: Connection, image_id: UUID) -> bytes | None:
    """Return the bytes of an image, for a worker; None if the image was deleted."""
    found: bytes | None = connection.scalar(select(Image.content).where(Image.id == image_id))
    return found


def forget_unused(connection: Connection, hours: float, limit: int = 100) -> int:
    """Delete images that belong to no task, or to deleted ones only, and are older than ``hours``; return how many."""
    unused = (
        select(Image.id)
        .where(Image.created_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600))
        .where(~_live_links().where(_L.image_id == Image.id).correlate(Image).exists())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = connection.scalars(unused).all()
    # A task may have got one of them before it was locked: its link stays, and so does the image.
    dead = ~_live_links().where(_L.task_id == TaskImage.task_id).correlate(TaskImage).exists()
    connection.execute(delete(TaskImage).where(TaskImage.image_id.in_(ids), dead))
    free = ~exists().where(TaskImage.image_id == Image.id)
    return connection.execute(delete(Image).where(Image.id.in_(ids), free)).rowcount


def _live_links() -> Select[Any]:
    """Return a query of the links `_L` to tasks that are not deleted, nor their projects."""
    columns: list[Any] = [_L.image_id, _L.task_id, _L.created_at]
    joined = select(*columns).join(Task, Task.id == _L.task_id)
    joined = joined.join(Project, Project.id == Task.project_id)
    return joined.where(Task.deleted_at.is_(None), Project.deleted_at.is_(None))


def _visible(principal: Principal, *columns: Any) -> Select[Any]:
    statement = select(*(columns or _COLUMNS))
    return statement if principal.only is None else statement.where(Image.created_by == principal.only)


def _with_tasks(connection: Connection, views: list[View]) -> list[View]:
    of_them = _live_links().where(_L.image_id.in_([each["id"] for each in views]))
    found: dict[UUID, list[UUID]] = {}
    for image_id, task_id, _ in connection.execute(of_them.order_by(_L.created_at, _L.task_id)):
        found.setdefault(image_id, []).append(task_id)
    return [{**each, "task_ids": found.get(each["id"], [])} for each in views]
