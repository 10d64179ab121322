"""The removal of workspaces for good through the API: who asked, what became of it, and what comes back instead."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from relay_core.domain.vocabulary import PurgeReason, Reason
from relay_core.store.nodes.gone import give_up
from relay_core.store.schema.tables import Operation
from relay_core.store.transaction import Database
from relay_core.store.workspaces import quarantine
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, settings_for
from tests.support.deleted_workspaces import bring_back, kinds, project_of, put_away, ready, row


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def purge(api: Api, subject: str) -> None:
    generation = api.post(f"{subject}/purge/preview").json()["generation"]
    answer = api.post(f"{subject}/purge", {"generation": generation})
    assert answer.status_code == 202, answer.text


def events(api: Api, workspace: str, kind: str) -> list[dict[str, Any]]:
    found = api.get(f"/v1/workspaces/{workspace}/events").json()["items"]
    return [one for one in found if one["kind"] == kind]


def open_operations(api: Api) -> list[str]:
    with api.database.connect() as connection:
        return list(connection.scalars(select(Operation.kind).where(Operation.completed_at.is_(None))))


@pytest.mark.parametrize("when", ["in use", "deleted", "kept"])
def test_it_is_told_who_asked_for_the_removal_of_a_workspace(api: Api, worker: Worker, when: str) -> None:
    workspace = ready(api)
    if when != "in use":
        api.delete(f"/v1/workspaces/{workspace}")
    if when == "kept":
        put_away(api, workspace)
    purge(api, f"/v1/workspaces/{workspace}")
    [asked] = events(api, workspace, "workspace.purge_requested")
    assert (asked["payload"], asked["terminal"]) == ({"by": "ann"}, False)
    assert "workspace.purge" in open_operations(api)
    with api.database.begin() as connection:
        if when == "kept":
            quarantine.begin_purge(connection, UUID(workspace), PurgeReason.PERIOD)
            quarantine.purged(connection, UUID(workspace), NODE)
        else:
            quarantine.left(connection, UUID(workspace), NODE, None)
    [gone] = events(api, workspace, "workspace.purged")
    assert (gone["payload"], gone["terminal"]) == ({"node_id": NODE, "why": "request"}, True)
    assert gone["operation_id"] == asked["operation_id"]
    assert open_operations(api) == []


def test_the_removal_of_a_workspace_that_never_had_a_file_is_over_at_once(api: Api, worker: Worker) -> None:
    workspace = api.run()["workspace_id"]
    purge(api, f"/v1/workspaces/{workspace}")
    assert kinds(api, workspace)[-2:] == ["workspace.purge_requested", "workspace.purged"]
    assert "workspace.purge" not in open_operations(api)


def test_the_removal_of_a_workspace_whose_node_is_gone_ends(api: Api, worker: Worker) -> None:
    workspace = ready(api)
    api.delete(f"/v1/workspaces/{workspace}")
    put_away(api, workspace)
    purge(api, f"/v1/workspaces/{workspace}")
    with api.database.begin() as connection:
        connection.execute(
            text("UPDATE runtime_nodes SET liveness = 'offline', last_heartbeat_at = now() - interval '9 days'")
        )
        assert give_up(connection, 3600) == 1
    last = api.get(f"/v1/workspaces/{workspace}/events").json()["items"][-1]
    assert (last["kind"], last["payload"]["reason"]) == ("workspace.not_removed", Reason.NODE_LOST)
    assert open_operations(api) == []


def test_a_task_that_comes_back_with_its_workspace_is_told(api: Api, worker: Worker) -> None:
    workspace = ready(api)
    project, task = project_of(api, workspace), row(api, workspace)["task_id"]
    assert api.delete(f"/v1/tasks/{task}").status_code == 202
    put_away(api, workspace)
    api.post(f"/v1/workspaces/{workspace}/restore")
    bring_back(api, workspace)
    assert api.get(f"/v1/tasks/{task}").status_code == 200
    found = [one for one in api.get(f"/v1/projects/{project}/events").json()["items"] if "task." in one["kind"]]
    assert [one["kind"] for one in found][-2:] == ["task.deleted", "task.restored"]
    told = found[-1]["payload"]
    assert (told["task_id"], told["by"], told["title"]) == (str(task), "ann", "Say hello")
