"""Routes of tasks: the list; one task with its attempts, merges, leases, and clones that are not as they were left."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from relay_api.dependencies import ServicesDep
from relay_api.page.browser import Elsewhere, SignedIn
from relay_api.page.rendering import PageRoute, render
from relay_api.page.runs import GivenId
from relay_api.page.troubles import troubles
from relay_core.domain.vocabulary import MergeStatus, TaskStatus
from relay_core.store.database import Connection
from relay_core.store.delegations import delegations
from relay_core.store.merges import views as merges
from relay_core.store.projects import projects, tasks
from relay_core.store.tokens import Principal
from relay_core.store.views import attempt_views, lookup, paging
from relay_core.store.views.paging import PageRequest

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PAGE = 40
"""Tasks on a page of the list."""
MOST = 50
"""Most merges, leases and subtasks on the page of a task."""
MARKS: Mapping[str, str] = {
    TaskStatus.TODO: "todo",
    TaskStatus.INPROGRESS: "running",
    TaskStatus.INREVIEW: "queued",
    TaskStatus.DONE: "success",
    TaskStatus.CANCELLED: "cancelled",
    MergeStatus.PENDING: "running",
    MergeStatus.OPEN: "queued",
    MergeStatus.MERGED: "success",
    MergeStatus.CLOSED: "cancelled",
    MergeStatus.FAILED: "failure",
}
"""The mark of a status of a task or merge."""
WORDS: Mapping[str, str] = {
    TaskStatus.TODO: "to do",
    TaskStatus.INPROGRESS: "in progress",
    TaskStatus.INREVIEW: "in review",
}
"""Statuses that people write in another way."""


@router.get("/tasks")
def list_tasks(
    request: Request,
    services: ServicesDep,
    browser: SignedIn,
    status: Annotated[str, Query(max_length=20)] = "",
    cursor: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Return the list of tasks, newest first, or for htmx the part of it that changes."""
    wanted = status if status in set(TaskStatus) else ""
    page = PageRequest(PAGE, paging.decode(cursor) if cursor else None)
    with services.database.connect() as connection:
        found = tasks.listed(connection, browser.principal, page, status=wanted or None)
        names = projects.names(connection, [task["project_id"] for task in found.items])
    values = {
        "tasks": [{**_marked(task), "project": names.get(task["project_id"])} for task in found.items],
        "status": wanted,
        "statuses": [(word, WORDS.get(word, word)) for word in TaskStatus],
        "live": not cursor,
        "self_url": _url(status=wanted),
        "next_url": _url(status=wanted, cursor=found.next_cursor) if found.next_cursor else None,
        "cursor": cursor,
    }
    return render("_tasks.html" if "hx-request" in request.headers else "tasks.html", values, browser=browser)


@router.get("/tasks/{task_id}")
def show_task(task_id: GivenId, request: Request, services: ServicesDep, browser: SignedIn) -> Response:
    """Return a task; the first digits of its id, or the id of a run or workspace of it, lead to its address."""
    principal = browser.principal
    with services.database.connect() as connection:
        found = lookup.resolve(connection, "task", task_id, principal)
        if str(found) != task_id:
            raise Elsewhere(f"/tasks/{found}")
        values = _values(connection, found, principal)
    return render("_task.html" if "hx-request" in request.headers else "task.html", values, browser=browser)


def _values(connection: Connection, task_id: UUID, principal: Principal) -> dict[str, Any]:
    task = tasks.task(connection, task_id, principal)
    attempts = attempt_views.attempts(connection, task_id)
    ids = [attempt["workspace_id"] for attempt in attempts]
    names = {attempt["workspace_id"]: attempt["branch"] for attempt in attempts}
    below = tasks.subtasks(connection, principal, ids, MOST)
    return {
        "task": _marked(task),
        "project": projects.names(connection, [task["project_id"]]).get(task["project_id"]),
        "attempts": attempts,
        "troubles": troubles(connection, ids),
        "merges": [_merge(each, names) for each in merges.of_workspaces(connection, principal, ids, MOST)],
        "leases": delegations.of_workspaces(connection, principal, ids, MOST),
        "branches": names,
        "subtasks": [_marked(each) for each in below],
        "live": any(attempt["status"] in {"queued", "running"} for attempt in attempts),
    }


def _marked(view: dict[str, Any]) -> dict[str, Any]:
    status = view["status"]
    return {**view, "mark": MARKS[status], "word": WORDS.get(status, str(status))}


def _merge(merge: dict[str, Any], branches: Mapping[UUID, str]) -> dict[str, Any]:
    """Return a merge with its mark, its branch, and the address of a pull request if a browser may be led there."""
    url = (merge["pr_info"] or {}).get("url")
    link = url if url and urlsplit(url).scheme in {"http", "https"} else None
    return {**_marked(merge), "branch": branches.get(merge["workspace_id"]), "link": link}


def _url(**query: str) -> str:
    given = {name: value for name, value in query.items() if value}
    return "/tasks" + (f"?{urlencode(given)}" if given else "")
