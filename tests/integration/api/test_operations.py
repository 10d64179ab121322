"""Operations beside executions through the API: each has an id, a subject, events 1..n and one terminal event, last."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from relay_core.domain import execution as machine
from relay_core.domain.events import EventKind
from relay_core.domain.nodes import Capacity
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.nodes import runtime_nodes
from relay_core.store.operations import Subject, append, begin, open_of
from relay_core.store.schema.tables import Operation, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.removal import note_removal
from relay_core.store.workspaces.stop_resume import StateRequest
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    settings = settings_for(database_url, redis_url, secret_keys="A" * 43 + "=")
    with api_in_process(database, settings) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def events(api: Api, who: str = "admin") -> list[dict[str, Any]]:
    return api.get("/v1/events", who).json()["items"]


def kinds(items: list[dict[str, Any]]) -> list[str]:
    return [item["kind"] for item in items]


def check_operations(api: Api) -> None:
    """Every operation that has ended has the sequence 1..n and one terminal event, the last."""
    found = defaultdict(list)
    for event in events(api):
        if event["operation_id"] is not None:
            found[event["operation_id"]].append(event)
    with api.database.connect() as connection:
        ended = set(map(str, connection.scalars(select(Operation.id).where(Operation.completed_at.is_not(None)))))
    assert ended <= found.keys()
    for operation_id, of_it in found.items():
        assert [event["sequence"] for event in of_it] == list(range(1, len(of_it) + 1))
        terminal = [event["terminal"] for event in of_it]
        assert terminal.count(True) <= 1
        if operation_id in ended:
            assert terminal[-1]
        assert api.get(f"/v1/operations/{operation_id}/events", "admin").json()["items"] == of_it


def settle(api: Api, workspace: str, state: WorkspaceState) -> None:
    """As its node does."""
    with api.database.begin() as connection:
        stop_resume.settle(connection, StateRequest(UUID(workspace), "c1", state))


def ready(api: Api, worker: Worker) -> str:
    made = api.run()
    worker.ready(made["workspace_id"])
    worker.finish(worker.claim(UUID(made["execution_id"])))
    with api.database.begin() as connection:
        of_it = update(Workspace).where(Workspace.id == UUID(made["workspace_id"]))
        connection.execute(of_it.values(container_ref="/data/workspaces/x"))
    return made["workspace_id"]


def of_workspace(api: Api, workspace: str) -> list[dict[str, Any]]:
    return api.get(f"/v1/workspaces/{workspace}/events", "admin").json()["items"]


def own(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"].startswith("workspace.")]


def test_a_stop_and_a_resume_end_with_the_state_that_was_asked_for(api, worker):
    workspace = ready(api, worker)
    for verb, state in (("stop", WorkspaceState.STOPPED), ("resume", WorkspaceState.RUNNING)):
        before = len(of_workspace(api, workspace))
        api.post(f"/v1/workspaces/{workspace}/{verb}")
        settle(api, workspace, state)
        asked, done = of_workspace(api, workspace)[before:]
        assert (asked["kind"], done["kind"]) == ("workspace.state_requested", "workspace.state_changed")
        assert asked["operation_id"] == done["operation_id"]
        assert (asked["terminal"], done["terminal"]) == (False, True)
    cursors = [event["cursor"] for event in of_workspace(api, workspace)]
    assert cursors == list(range(1, len(cursors) + 1))
    check_operations(api)


def test_a_request_that_a_later_one_replaces_ends_as_dropped(api, worker):
    workspace = ready(api, worker)
    api.post(f"/v1/workspaces/{workspace}/stop")
    api.post(f"/v1/workspaces/{workspace}/resume")
    settle(api, workspace, WorkspaceState.RUNNING)
    api.post(f"/v1/workspaces/{workspace}/stop")
    api.delete(f"/v1/workspaces/{workspace}")
    assert kinds(own(of_workspace(api, workspace)))[1:] == [
        "workspace.state_requested",
        "workspace.request_dropped",
        "workspace.state_requested",
        "workspace.state_changed",
        "workspace.state_requested",
        "workspace.request_dropped",
        "workspace.deleted",
    ]
    check_operations(api)


def test_a_deletion_ends_when_its_node_has_removed_the_files(api, worker):
    workspace = ready(api, worker)
    api.delete(f"/v1/workspaces/{workspace}")
    deleted = own(of_workspace(api, workspace))[-1]
    assert (deleted["kind"], deleted["sequence"], deleted["terminal"]) == ("workspace.deleted", 1, False)
    with api.database.begin() as connection:
        note_removal(connection, UUID(workspace), "n1")
    removed = own(of_workspace(api, workspace))[-1]
    assert (removed["kind"], removed["operation_id"]) == ("workspace.removed", deleted["operation_id"])
    check_operations(api)


def test_a_deletion_of_what_no_node_has_is_over_at_once(api):
    workspace = api.run()["workspace_id"]
    api.delete(f"/v1/workspaces/{workspace}")
    created, deleted = own(of_workspace(api, workspace))
    assert (created["terminal"], deleted["terminal"]) == (True, True)
    assert created["operation_id"] != deleted["operation_id"]
    check_operations(api)


def test_a_deletion_ends_with_a_clone_that_had_not_begun_to_write_files(api, worker):
    """Its node has nothing to remove, and so would never end the operation."""
    made = api.run()
    claimed = worker.claim(UUID(made["execution_id"]))
    api.delete(f"/v1/workspaces/{made['workspace_id']}")
    deleted = own(of_workspace(api, made["workspace_id"]))[-1]
    assert (deleted["kind"], deleted["terminal"]) == ("workspace.deleted", False)
    worker.finish(claimed, machine.killed("killed"))
    removed = own(of_workspace(api, made["workspace_id"]))[-1]
    assert (removed["kind"], removed["operation_id"]) == ("workspace.removed", deleted["operation_id"])
    assert removed["terminal"]
    check_operations(api)


def test_a_removal_that_is_noted_twice_is_one_event(api, worker):
    """Two workers of a node may remove the same files."""
    workspace = ready(api, worker)
    api.delete(f"/v1/workspaces/{workspace}")
    for _ in range(2):
        with api.database.begin() as connection:
            note_removal(connection, UUID(workspace), "n1")
    assert kinds(of_workspace(api, workspace)).count("workspace.removed") == 1
    check_operations(api)


def test_events_of_a_project_are_for_its_owner(api):
    project = api.post("/v1/projects", {"name": "shop", "repos": []}).json()["id"]
    api.delete(f"/v1/projects/{project}")
    found = api.get(f"/v1/projects/{project}/events").json()["items"]
    assert kinds(found) == ["project.created", "project.deleted"]
    event = found[0]
    assert (event["workspace_id"], event["cursor"]) == (None, None)
    assert (event["subject_kind"], event["subject_id"], event["payload"]["name"]) == ("project", project, "shop")
    assert api.get(f"/v1/projects/{project}/events", "bob").status_code == 404
    assert kinds(api.get(f"/v1/projects/{project}/events", "admin").json()["items"]) == kinds(found)
    operation = f"/v1/operations/{event['operation_id']}/events"
    assert (api.get(operation).status_code, api.get(operation, "bob").status_code) == (200, 404)
    assert "project.created" in kinds(events(api, "ann"))
    assert "project.created" not in kinds(events(api, "bob"))
    check_operations(api)


def test_a_run_that_makes_its_project_tells_of_it_once(api):
    for _ in range(2):
        api.run()
    assert kinds(events(api)).count("project.created") == 1


def test_events_of_credentials_are_for_their_owner_and_name_no_value(api):
    project = api.post("/v1/projects", {"name": "shop", "repos": []}).json()["id"]
    token = api.post("/v1/tokens", {"name": "ci", "owner": "ann", "scopes": ["runs:read"]}, "admin").json()
    for _ in range(2):
        api.client.delete(f"/v1/tokens/{token['id']}", headers=api.as_("admin"))
    path = f"/v1/projects/{project}/secrets/KEY"
    assert api.client.put(path, json={"value": "sesame"}, headers=api.as_("ann")).status_code == 204
    api.delete(path)
    mine = [event for event in events(api, "ann") if event["kind"] == "credential.changed"]
    told = [(event["subject_kind"], event["payload"]["change"]) for event in mine if event["payload"]["by"]]
    assert told == [("token", "created"), ("token", "revoked"), ("secret", "stored"), ("secret", "removed")]
    assert "sesame" not in str(mine)
    assert token["token"] not in str(mine)
    of_bob = [event for event in events(api, "bob") if event["kind"] == "credential.changed"]
    assert {event["payload"]["name"] for event in of_bob} == {"bob"}
    check_operations(api)


def test_events_of_nodes_are_for_admins(api):
    with api.database.begin() as connection:
        for _ in range(2):
            runtime_nodes.register(connection, "n1", "default", Capacity(1, 1, 1))
    for verb in ("drain", "drain", "undrain"):
        assert api.post(f"/v1/nodes/n1/{verb}", who="admin").status_code == 200
    found = api.get("/v1/nodes/n1/events", "admin").json()
    assert kinds(found["items"]) == ["node.attached", "node.drained", "node.undrained"]
    assert found["items"][1]["payload"]["by"] == "root"
    more = api.get(f"/v1/nodes/n1/events?after={found['next_after']}", "admin").json()
    assert (more["items"], more["next_after"]) == ([], found["next_after"])
    assert api.get("/v1/nodes/n1/events").status_code == 403
    assert "node.attached" not in kinds(events(api, "ann"))
    assert api.post("/v1/nodes/n2/drain", who="admin").status_code == 404
    check_operations(api)


def test_a_revocation_and_a_restoration_are_operations_for_admins(api):
    with api.database.begin() as connection:
        runtime_nodes.register(connection, "n1", "default", Capacity(1, 1, 1))
    assert api.post("/v1/nodes/n1/revoke").status_code == 403
    assert api.post("/v1/nodes/n2/revoke", who="admin").status_code == 404
    for _ in range(2):
        revoked = api.post("/v1/nodes/n1/revoke", who="admin").json()
    assert (revoked["draining"], revoked["closed"], revoked["revoked_at"] is None) == (True, "it is revoked", False)
    waiting = api.get(f"/v1/runs/{api.run()['run_id']}").json()["waits_for"]
    assert (waiting["kind"], waiting["message"]) == ("node", "no node has room (n1 is revoked)")
    refused = problem_of(api.post("/v1/nodes/n1/undrain", who="admin"))
    assert refused[:2] == (409, "node_revoked")
    for _ in range(2):
        restored = api.post("/v1/nodes/n1/restore", who="admin").json()
    assert (restored["draining"], restored["closed"], restored["revoked_at"]) == (False, None, None)
    found = api.get("/v1/nodes/n1/events", "admin").json()["items"]
    assert kinds(found) == ["node.attached", "node.revoked", "node.restored"]
    assert [event["payload"]["by"] for event in found[1:]] == ["root", "root"]
    check_operations(api)


def test_an_operation_takes_no_event_after_its_terminal_one(api):
    container = Subject(SubjectKind.CONTAINER, "c1")
    with api.database.begin() as connection:
        orphan = begin(connection, OperationKind.ORPHAN, container)
        assert begin(connection, OperationKind.ORPHAN, container) is None, "one is open"
        assert open_of(connection, [OperationKind.ORPHAN], container) == orphan
        assert append(connection, orphan, EventKind.ORPHAN_FOUND, {"node_id": "n1"})
        assert append(connection, orphan, EventKind.ORPHAN_REMOVED, {"node_id": "n1"}, terminal=True)
        assert not append(connection, orphan, EventKind.ORPHAN_FOUND, {"node_id": "n1"})
        assert open_of(connection, [OperationKind.ORPHAN], container) is None
    assert kinds(api.get(f"/v1/operations/{orphan}/events", "admin").json()["items"]) == [
        "orphan.found",
        "orphan.removed",
    ]
    assert api.get(f"/v1/operations/{orphan}/events").status_code == 404
    check_operations(api)
