"""Route of the fleet: nodes with their load, what waits and why, and what runs."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from relay_api.dependencies import ServicesDep
from relay_api.page.browser import SignedIn
from relay_api.page.rendering import PageRoute, render
from relay_api.page.steps import why_waits
from relay_core.domain.nodes import slots_text
from relay_core.domain.vocabulary import AttachmentState, Liveness, NodeHealth, Status
from relay_core.store.database import Connection
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import projects
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views
from relay_core.store.views.execution_views import ExecutionFilter
from relay_core.store.views.paging import PageRequest
from relay_core.store.views.waiting import queues_of

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST = 50
"""Most waiting and most running steps on the page."""


@router.get("/fleet")
def show_fleet(request: Request, services: ServicesDep, browser: SignedIn) -> Response:
    """Return the page, or for htmx the part of it that changes."""
    with services.database.connect() as connection:
        nodes = [_node(listed) for listed in runtime_nodes.list_nodes(connection)]
        waiting, more = _steps(connection, browser.principal, Status.QUEUED)
        running, _ = _steps(connection, browser.principal, Status.RUNNING)
    part = "_fleet.html" if "hx-request" in request.headers else "fleet.html"
    return render(part, {"nodes": nodes, "waiting": waiting, "more": more, "running": running}, browser=browser)


def _node(listed: runtime_nodes.ListedNode) -> dict[str, Any]:
    node = listed.node
    state = str(node.liveness)
    if node.liveness is Liveness.ONLINE:
        state = "draining" if node.draining else str(node.reported_health)
    attached = listed.attachment
    if attached is not None and state in {"ok", "draining"} and attached.state is not AttachmentState.ONLINE:
        state = "detached" if attached.state is AttachmentState.OFFLINE else str(attached.state)
    if attached is not None and attached.read_only:
        state = "read-only"
    if node.revoked_at is not None:
        state = "revoked"
    takes_part = attached is not None and attached.state is AttachmentState.ONLINE and not attached.read_only
    fine = takes_part and node.liveness is Liveness.ONLINE and node.reported_health is NodeHealth.OK
    return {
        "node_id": node.node_id,
        "pool": node.pool,
        "state": state.replace("_", " "),
        "mark": ("queued" if node.draining else "ok") if fine else "bad",
        "workspaces": listed.promised.workspaces,
        "max_workspaces": node.max_workspaces,
        "memory": listed.promised.memory_bytes,
        "memory_bytes": node.memory_bytes,
        "slots": slots_text((worker.used, worker.slots) for worker in listed.workers),
        "workers": [(worker.worker.partition("@")[0], worker) for worker in listed.workers],
        "age_seconds": listed.age_seconds,
        "client_version": node.client_version,
    }


def _steps(connection: Connection, principal: Principal, status: Status) -> tuple[list[dict[str, Any]], bool]:
    page = execution_views.list_executions(
        connection, principal, ExecutionFilter(status=[status]), PageRequest(limit=MOST)
    )
    names = projects.names(connection, [view["project_id"] for view in page.items if view["project_id"]])
    steps = [
        {**view, "url": f"/executions/{view['id']}", "project": names.get(view["project_id"])} for view in page.items
    ]
    if status is Status.QUEUED:
        queues = queues_of(connection, [step["id"] for step in steps])
        for step in steps:
            step["why"] = why_waits(queues[step["id"]])
    return steps, page.next_cursor is not None
