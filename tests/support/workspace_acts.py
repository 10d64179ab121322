"""Requests about one workspace to the API, and the node's part of stop and resume."""

from uuid import UUID

from sqlalchemy import update

from relay_core.store import events
from relay_core.store.executions.claim import Claimant, claim
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import stop_resume
from tests.support.api_fixtures import NODE, RUN, Api, Worker


def started(api: Api, worker: Worker, **scripts) -> dict:
    """A run whose workspace is ready."""
    made = api.run(repos=[{**RUN["repos"][0], **scripts}])
    claimed = worker.claim(made["execution_id"])
    with api.database.begin() as connection:
        values = {"state": "running", "container_id": "c1", "uid": 1000}
        connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(values))
    worker.finish(claimed)
    return made


def steps(api: Api, made: dict) -> list[dict]:
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]


def newest(api: Api, made: dict, reason: str) -> dict:
    return [step for step in steps(api, made) if step["run_reason"] == reason][-1]


def workspace(api: Api, made: dict, **change) -> dict:
    if change:
        with api.database.begin() as connection:
            connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(change))
    return api.get(f"/v1/workspaces/{made['workspace_id']}").json()


def ask(api: Api, made: dict, what: str):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/{what}")


def retried(api: Api, step: dict, **body):
    return api.post(f"/v1/executions/{step['id']}/retry", body or None)


def node_acts(api: Api) -> list:
    """The sweep of the node, without an engine; the executions whose messages it sends."""
    api.database.publisher.take()
    with api.database.begin() as connection:
        for wanted in stop_resume.due_requests(connection, NODE):
            if stop_resume.is_due(connection, wanted):
                stop_resume.settle(connection, wanted)
    return [message.execution_id for message in api.database.publisher.take()]


def kinds(api: Api, made: dict) -> list[str]:
    with api.database.connect() as connection:
        rows = events.of_workspace(connection, UUID(made["workspace_id"]), 0)
        return [f"{row.kind}:{row.payload['state']}" for row in rows if "state" in row.payload]


def not_claimed(api: Api, step: dict) -> str:
    by = Claimant("worker@test", NODE, "default", 60)
    with api.database.begin() as connection:
        return claim(connection, UUID(step["id"]), 1, by).why
