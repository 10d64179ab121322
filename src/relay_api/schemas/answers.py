"""Turn views and rows of the store into answers of the API."""

from collections.abc import Mapping, Sequence
from typing import Any

from relay_api.http.links import Links
from relay_api.schemas.admin import LoadOut, NodeOut, WorkerOut
from relay_api.schemas.conversations import SessionOut
from relay_api.schemas.executions import (
    ChangedFilesOut,
    DiffList,
    DiffOut,
    EventOut,
    ExecutionDetail,
    ExecutionOut,
    ExecutionPage,
)
from relay_api.schemas.nodes import AttachOut
from relay_api.schemas.repos import RepoOut, RepoPage
from relay_api.schemas.run_resource import RunDetail, RunPage
from relay_api.schemas.tasks import AttemptOut
from relay_api.schemas.workspaces import ProjectOut, ProjectPage, TaskOut, TaskPage, WorkspaceOut, WorkspacePage
from relay_core.domain.attachment import self_report
from relay_core.domain.git.changed_files import changed_files as files_of_patch
from relay_core.domain.vocabulary import AttachmentState
from relay_core.store.events import EventRow
from relay_core.store.nodes.runtime_nodes import ListedNode
from relay_core.store.views.paging import Page
from relay_core.store.workspaces.diffs import RepoDiff

View = Mapping[str, Any]


def execution(view: View, links: Links) -> ExecutionOut:
    """Return an execution as lists show it."""
    return ExecutionOut(**view, links=links.execution(view["id"], view["workspace_id"], view["run_id"]))


def execution_detail(view: View, links: Links) -> ExecutionDetail:
    """Return an execution with all details, as `GET /v1/executions/{id}` shows it."""
    return ExecutionDetail(**view, links=links.execution(view["id"], view["workspace_id"], view["run_id"]))


def execution_page(page: Page, links: Links) -> ExecutionPage:
    """Return a page of executions."""
    return ExecutionPage(items=[execution(view, links) for view in page.items], next_cursor=page.next_cursor)


def run(view: View, links: Links) -> RunDetail:
    """Return a run."""
    return RunDetail(**view, links=links.run(view["id"], view["workspace_id"], view["agent_execution_id"]))


def run_page(page: Page, links: Links) -> RunPage:
    """Return a page of runs."""
    return RunPage(items=[run(view, links) for view in page.items], next_cursor=page.next_cursor)


def workspace(view: View, links: Links) -> WorkspaceOut:
    """Return a workspace."""
    return WorkspaceOut(**view, links=links.workspace(view["id"], view["task_id"]))


def workspace_page(page: Page, links: Links) -> WorkspacePage:
    """Return a page of workspaces."""
    return WorkspacePage(items=[workspace(view, links) for view in page.items], next_cursor=page.next_cursor)


def session(view: View, links: Links) -> SessionOut:
    """Return a session with its turns."""
    return SessionOut(**view, links=links.session(view["id"], view["workspace_id"]))


def project(view: View, links: Links) -> ProjectOut:
    """Return a project."""
    return ProjectOut(**view, links=links.project(view["id"]))


def project_page(page: Page, links: Links) -> ProjectPage:
    """Return a page of projects."""
    return ProjectPage(items=[project(view, links) for view in page.items], next_cursor=page.next_cursor)


def repo(view: View, links: Links) -> RepoOut:
    """Return a repository."""
    return RepoOut(**view, links=links.repo(view["id"]))


def repo_page(page: Page, links: Links) -> RepoPage:
    """Return a page of repositories."""
    return RepoPage(items=[repo(view, links) for view in page.items], next_cursor=page.next_cursor)


def task(view: View, links: Links) -> TaskOut:
    """Return a task."""
    return TaskOut(**view, links=links.task(view["id"], view["project_id"]))


def task_page(page: Page, links: Links) -> TaskPage:
    """Return a page of tasks."""
    return TaskPage(items=[task(view, links) for view in page.items], next_cursor=page.next_cursor)


def attempt(view: View, links: Links) -> AttemptOut:
    """Return an attempt at a task, to be compared with others."""
    return AttemptOut(**view, links=links.attempt(view["workspace_id"]))


def diff_list(diffs: Sequence[RepoDiff], path: str, links: Links) -> DiffList:
    """Return the statistics of a diff of each repository, with a link to the patch of the diff at ``path``."""
    return DiffList(items=[DiffOut.model_validate(diff) for diff in diffs], links=links.patch(path))


def changed_files(diff: RepoDiff, target_branch: str | None) -> ChangedFilesOut:
    """Return the files of the diff of a repository, whose patch was read, too."""
    files = [file._asdict() for file in files_of_patch(diff.patch or b"")]
    told = {"files": files, "target_branch": target_branch, "stat": diff.stat}
    all_there = diff.stat is not None and len(files) == diff.stat.get("files", 0) and not diff.omitted
    complete = diff.stat is None or (all_there and not diff.stat.get("truncated"))
    named = {name: getattr(diff, name) for name in ("repo_id", "name", "base_commit", "head_commit")}
    return ChangedFilesOut.model_validate({**named, **told, "complete": complete})


def events(rows: Sequence[EventRow]) -> list[EventOut]:
    """Return events as the API shows them, in the order given."""
    return [EventOut.model_validate(row) for row in rows]


def node(listed: ListedNode) -> NodeOut:
    """Return a node with the age of its last heartbeat and the capacity that is reserved on it."""
    promised = LoadOut.model_validate(listed.promised)
    attached = listed.attachment
    told = {
        "age_seconds": listed.age_seconds,
        "promised": promised,
        "closed": listed.closed,
        "self_report": self_report(listed.node.reported_health),
        "state": AttachmentState.OFFLINE if attached is None else attached.state,
        "read_only": attached is not None and attached.read_only,
        "attachments": [AttachOut.model_validate(one) for one in listed.attachments],
    }
    return NodeOut(**vars(listed.node), **told, workers=[WorkerOut.model_validate(worker) for worker in listed.workers])
