"""Views and rows of the store turned into the answers of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from relay_api.http.links import Links
from relay_api.schemas.admin import LoadOut, NodeOut
from relay_api.schemas.conversations import SessionOut
from relay_api.schemas.executions import DiffList, DiffOut, EventOut, ExecutionDetail, ExecutionOut, ExecutionPage
from relay_api.schemas.workspaces import ProjectOut, ProjectPage, TaskOut, WorkspaceOut, WorkspacePage
from relay_core.store.events import EventRow
from relay_core.store.nodes.runtime_nodes import ListedNode
from relay_core.store.views.paging import Page
from relay_core.store.workspaces.diffs import RepoDiff

View = Mapping[str, Any]


def execution(view: View, links: Links) -> ExecutionOut:
    """An execution, as lists show it."""
    return ExecutionOut(**view, links=links.execution(view["id"], view["workspace_id"]))


def execution_detail(view: View, links: Links) -> ExecutionDetail:
    """An execution with the details that only its own page shows."""
    return ExecutionDetail(**view, links=links.execution(view["id"], view["workspace_id"]))


def execution_page(page: Page, links: Links) -> ExecutionPage:
    """A page of executions."""
    return ExecutionPage(items=[execution(view, links) for view in page.items], next_cursor=page.next_cursor)


def workspace(view: View, links: Links) -> WorkspaceOut:
    """A workspace."""
    return WorkspaceOut(**view, links=links.workspace(view["id"], view["task_id"]))


def workspace_page(page: Page, links: Links) -> WorkspacePage:
    """A page of workspaces."""
    return WorkspacePage(items=[workspace(view, links) for view in page.items], next_cursor=page.next_cursor)


def session(view: View, links: Links) -> SessionOut:
    """A session with its turns."""
    return SessionOut(**view, links=links.session(view["id"], view["workspace_id"]))


def project(view: View, links: Links) -> ProjectOut:
    """A project."""
    return ProjectOut(**view, links=links.project(view["id"]))


def project_page(page: Page, links: Links) -> ProjectPage:
    """A page of projects."""
    return ProjectPage(items=[project(view, links) for view in page.items], next_cursor=page.next_cursor)


def task(view: View, links: Links) -> TaskOut:
    """A task."""
    return TaskOut(**view, links=links.task(view["id"], view["project_id"]))


def diff_list(diffs: Sequence[RepoDiff], path: str, links: Links) -> DiffList:
    """Statistics of a diff, with a link to its patch at ``path``."""
    return DiffList(items=[DiffOut.model_validate(diff) for diff in diffs], links=links.patch(path))


def events(rows: Sequence[EventRow]) -> list[EventOut]:
    """Events as the API shows them, in the order given."""
    return [EventOut.model_validate(row) for row in rows]


def node(listed: ListedNode) -> NodeOut:
    """A node with the age of its last heartbeat and its load."""
    promised = LoadOut.model_validate(listed.promised)
    return NodeOut(**vars(listed.node), age_seconds=listed.age_seconds, promised=promised)
