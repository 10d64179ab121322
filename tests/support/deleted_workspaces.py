"""Deleted workspaces in tests of the API: made, put away and brought back as their nodes do, without files."""

from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import quarantine
from tests.support.api_fixtures import NODE, Api, Worker

PLACE = Path("/data/workspaces/.quarantine/w")


def ready(api: Api, **of_run: Any) -> str:
    """A workspace with files on a node, in which nothing runs."""
    worker, workspace = Worker(api.database), api.run(**of_run)["workspace_id"]
    worker.ready(workspace)
    for _ in ("clone", "agent"):
        newest = api.get(f"/v1/workspaces/{workspace}/executions").json()["items"][-1]
        worker.finish(worker.claim(newest["id"]))
    with api.database.begin() as connection:
        there = {"container_ref": f"/data/workspaces/{workspace}", "container_id": "c1", "node_id": NODE, "uid": 20001}
        connection.execute(update(Workspace).where(Workspace.id == UUID(workspace)).values(state="running", **there))
    return workspace


def project_of(api: Api, workspace: str) -> str:
    return api.get(f"/v1/workspaces/{workspace}").json()["project_id"]


def put_away(api: Api, workspace: str, hours: float = 24) -> None:
    """As its node does."""
    with api.database.begin() as connection:
        quarantine.left(connection, UUID(workspace), NODE, PLACE, hours * 3600)


def bring_back(api: Api, workspace: str, place: Path | None = PLACE) -> None:
    """As its node does."""
    with api.database.begin() as connection:
        quarantine.restored(connection, UUID(workspace), NODE, place)


def row(api: Api, workspace: str) -> dict[str, Any]:
    with api.database.connect() as connection:
        found = connection.execute(select(Workspace.__table__).where(Workspace.id == UUID(workspace)))
        return dict(found.mappings().one())


def kinds(api: Api, workspace: str) -> list[str]:
    found = api.get(f"/v1/workspaces/{workspace}/events").json()["items"]
    return [one["kind"] for one in found if one["kind"].startswith("workspace.")]


def kept(api: Api, who: str = "ann", **query: str) -> list[tuple[str, str]]:
    items = api.get("/v1/quarantine", who, params=query).json()["items"]
    return [(one["id"], one["quarantine"]) for one in items]
