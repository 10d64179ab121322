"""From what the core reads to what the API answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from relay_api.http.links import Links
from relay_api.schemas.conversations import SessionOut
from relay_api.schemas.executions import DiffList, DiffOut, EventOut, ExecutionDetail, ExecutionOut, ExecutionPage
from relay_api.schemas.workspaces import ProjectOut, ProjectPage, TaskOut, WorkspaceOut, WorkspacePage
from relay_core.store.events import EventRow
from relay_core.store.views.paging import Page
from relay_core.store.workspaces.diffs import RepoDiff

View = Mapping[str, Any]


def execution(view: View, links: Links) -> ExecutionOut:
    """An execution in a list."""
    return ExecutionOut(**view, links=links.execution(view["id"], view["workspace_id"]))


def execution_detail(view: View, links: Links) -> ExecutionDetail:
    """An execution by itself."""
    return ExecutionDetail(**view, links=links.execution(view["id"], view["workspace_id"]))


def execution_page(page: Page, links: Links) -> ExecutionPage:
    """Some executions."""
    return ExecutionPage(items=[execution(view, links) for view in page.items], next_cursor=page.next_cursor)


def workspace(view: View, links: Links) -> WorkspaceOut:
    """A workspace."""
    return WorkspaceOut(**view, links=links.workspace(view["id"], view["task_id"]))


def workspace_page(page: Page, links: Links) -> WorkspacePage:
    """Some workspaces."""
    return WorkspacePage(items=[workspace(view, links) for view in page.items], next_cursor=page.next_cursor)


def session(view: View, links: Links) -> SessionOut:
    """A session with its turns."""
    return SessionOut(**view, links=links.session(view["id"], view["workspace_id"]))


def project(view: View, links: Links) -> ProjectOut:
    """A project."""
    return ProjectOut(**view, links=links.project(view["id"]))


def project_page(page: Page, links: Links) -> ProjectPage:
    """Some projects."""
    return ProjectPage(items=[project(view, links) for view in page.items], next_cursor=page.next_cursor)


def task(view: View, links: Links) -> TaskOut:
    """A task."""
    return TaskOut(**view, links=links.task(view["id"], view["project_id"]))


def diff_list(diffs: Sequence[RepoDiff], path: str, links: Links) -> DiffList:
    """A diff without its patch."""
    return DiffList(items=[DiffOut.model_validate(diff) for diff in diffs], links=links.patch(path))


def events(rows: Sequence[EventRow]) -> list[EventOut]:
    """Events as they were stored."""
    return [EventOut.model_validate(row) for row in rows]
