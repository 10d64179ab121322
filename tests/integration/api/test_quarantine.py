"""Deleted workspaces and projects through the API: what is kept, what comes back, and what is removed for good."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update

from relay_core.domain.vocabulary import PurgeReason
from relay_core.store.nodes import gone
from relay_core.store.schema.tables import GivenSecret, Operation, RuntimeNode, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation, quarantine
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.deleted_workspaces import PLACE, bring_back, kept, kinds, project_of, put_away, ready, row


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def test_a_deleted_workspace_is_listed_while_it_is_kept_and_comes_back(api: Api, worker: Worker):
    workspace = ready(api)
    path = f"/v1/workspaces/{workspace}"
    assert problem_of(api.post(f"{path}/restore"))[:2] == (409, "not_deleted")
    assert api.delete(path).status_code == 202
    assert (kept(api), api.get(path).status_code) == ([], 404)
    put_away(api, workspace)
    assert kept(api) == [(workspace, "kept")]
    assert (kept(api, "bob"), kept(api, "admin")) == ([], [(workspace, "kept")])
    shown = api.get("/v1/quarantine").json()["items"][0]
    assert (shown["node_id"], shown["title"], shown["kept_until"] > shown["deleted_at"]) == (NODE, "Say hello", True)
    assert problem_of(api.post(f"{path}/restore", who="bob"))[:2] == (404, "not_found")
    for _ in range(2):
        asked = api.post(f"{path}/restore")
        assert (asked.status_code, asked.json()["quarantine"]) == (202, "restoring"), asked.text
    bring_back(api, workspace)
    found = api.get(path).json()
    assert (found["state"], kept(api)) == ("stopped", [])
    assert kinds(api, workspace)[-5:] == [
        "workspace.deleted",
        "workspace.state_changed",
        "workspace.removed",
        "workspace.restore_requested",
        "workspace.restored",
    ]
    left = row(api, workspace)
    assert (left["container_ref"], left["uid"], left["remake_container"]) == (str(PLACE), 20001, True)
    asked = api.post(f"{path}/executions", {"run_reason": "setup_script", "script": "true"})
    assert (asked.status_code, row(api, workspace)["requested_state"]) == (202, "running"), "it is started by a step"


def test_a_workspace_comes_back_before_its_node_has_put_it_away(api: Api, worker: Worker):
    workspace = ready(api)
    path = f"/v1/workspaces/{workspace}"
    api.delete(path)
    assert api.post(f"{path}/restore").status_code == 202
    put_away(api, workspace)
    assert kept(api) == [(workspace, "restoring")], "the request stands"
    bring_back(api, workspace)
    assert api.get(path).json()["state"] == "stopped"
    assert kinds(api, workspace)[-3:] == ["workspace.restored", "workspace.request_dropped", "workspace.state_changed"]


def test_a_deletion_is_over_if_nothing_is_left_to_restore(api: Api, worker: Worker):
    """Its node had stored the place and made no directory yet, so no look finds the row again."""
    workspace = ready(api)
    path = f"/v1/workspaces/{workspace}"
    with api.database.begin() as connection:
        given = {"workspace_id": UUID(workspace), "digest": b"d", "secret_name": "TOKEN", "ciphertext": b"c"}
        connection.execute(insert(GivenSecret).values(**given))
    api.delete(path)
    assert api.post(f"{path}/restore").status_code == 202
    bring_back(api, workspace, None)
    assert kinds(api, workspace)[-2:] == ["workspace.not_restored", "workspace.removed"]
    with api.database.connect() as connection:
        mine = Operation.workspace_id == UUID(workspace)
        assert connection.scalars(select(Operation.kind).where(mine, Operation.completed_at.is_(None))).all() == []
        assert connection.scalar(select(func.count()).select_from(GivenSecret)) == 0


@pytest.mark.parametrize("asks_again", [False, True])
def test_a_node_that_was_given_up_and_returns_says_what_it_has_restored(api: Api, worker: Worker, asks_again: bool):
    workspace = ready(api)
    path = f"/v1/workspaces/{workspace}"
    api.delete(path)
    put_away(api, workspace)
    api.post(f"{path}/restore")
    with api.database.begin() as connection:
        silent = {"liveness": "offline", "last_heartbeat_at": func.now() - timedelta(days=8)}
        connection.execute(update(RuntimeNode).where(RuntimeNode.node_id == NODE).values(**silent))
        assert gone.give_up(connection, 7 * 86400.0) == 1
    assert kinds(api, workspace)[-1] == "workspace.not_restored"
    if asks_again:
        for _ in range(2):
            assert api.post(f"{path}/restore").status_code == 202
    bring_back(api, workspace)
    asked = ["workspace.restore_requested"] * asks_again
    told = kinds(api, workspace)
    assert told[told.index("workspace.not_restored") + 1 :] == [*asked, "workspace.restored"]


@pytest.mark.proves("T002-17")
def test_nothing_is_removed_for_good_without_consent(api: Api, worker: Worker):
    """Neither a workspace nor a project, neither a deleted one nor one in use; and a stale consent is none."""
    workspace = ready(api)
    path, project = f"/v1/workspaces/{workspace}", f"/v1/projects/{project_of(api, workspace)}"
    for act in (f"{path}/purge", f"{project}/purge", f"{project}/clean-up"):
        assert problem_of(api.post(act, {}))[0] == 422
        assert problem_of(api.post(act, {"generation": "1"}))[:2] == (409, "stale_generation")
    assert api.get(path).status_code == 200
    told = api.post(f"{path}/purge/preview").json()
    assert (told["act"], told["blockers"]) == ("workspace.purge", [])
    assert "leave the node" in told["mutations"][-1]["change"]
    api.delete(path)
    put_away(api, workspace)
    assert problem_of(api.post(f"{path}/purge", {"generation": told["generation"]}))[1] == "stale_generation"
    assert (kept(api), row(api, workspace)["purge_why"]) == ([(workspace, "kept")], None)
    again = api.post(f"{path}/purge/preview").json()["generation"]
    assert api.post(f"{path}/purge", {"generation": again}).json() == {"id": workspace, "killed": 0}
    assert row(api, workspace)["purge_why"] == PurgeReason.REQUEST
    assert problem_of(api.post(f"{path}/restore"))[1] == "not_restorable"
    with api.database.begin() as connection:
        assert [one.workspace_id for one in quarantine.due(connection, NODE)] == [UUID(workspace)]
        assert quarantine.begin_purge(connection, UUID(workspace), PurgeReason.PERIOD)
    with api.database.begin() as connection:
        quarantine.purged(connection, UUID(workspace), NODE)
        quarantine.purged(connection, UUID(workspace), NODE)
    assert kept(api) == []
    last = api.get(f"{path}/events").json()["items"][-1]
    assert (last["kind"], last["payload"], last["terminal"]) == (
        "workspace.purged",
        {"node_id": NODE, "why": "request"},
        True,
    )
    assert [one["code"] for one in api.post(f"{path}/purge/preview").json()["blockers"]] == ["not_restorable"]


def test_a_workspace_in_use_is_removed_for_good_with_consent(api: Api, worker: Worker):
    workspace = ready(api)
    path = f"/v1/workspaces/{workspace}"
    told = api.post(f"{path}/purge/preview").json()
    assert api.post(f"{path}/purge", {"generation": told["generation"]}).status_code == 202
    assert api.get(path).status_code == 404
    with api.database.connect() as connection:
        assert quarantine.leaving(connection, NODE, UUID(workspace)) == quarantine.Leaving(True, "c1")
    with api.database.begin() as connection:
        quarantine.left(connection, UUID(workspace), NODE, None)
    assert (kept(api), row(api, workspace)["container_ref"]) == ([], None)
    assert kinds(api, workspace)[-1] == "workspace.removed"


def test_a_request_to_restore_and_the_end_of_the_period_exclude_each_other(api: Api, worker: Worker):
    asked, over = ready(api), ready(api)
    for workspace in (asked, over):
        api.delete(f"/v1/workspaces/{workspace}")
        put_away(api, workspace, hours=0.0)
    api.post(f"/v1/workspaces/{asked}/restore")
    with api.database.begin() as connection:
        assert {one.workspace_id for one in quarantine.due(connection, NODE)} == {UUID(asked), UUID(over)}
        assert not quarantine.begin_purge(connection, UUID(asked), PurgeReason.PERIOD)
        assert quarantine.begin_purge(connection, UUID(over), PurgeReason.PERIOD)
        assert quarantine.begin_purge(connection, UUID(over), PurgeReason.PERIOD), "a worker that died goes on"
    assert problem_of(api.post(f"/v1/workspaces/{over}/restore"))[1] == "not_restorable"
    asking = api.post(f"/v1/workspaces/{asked}/purge/preview").json()
    assert [one["code"] for one in asking["blockers"]] == ["workspace_restoring"]
    refused = api.post(f"/v1/workspaces/{asked}/purge", {"generation": asking["generation"]})
    assert problem_of(refused)[1] == "workspace_restoring"


def test_what_is_gone_from_the_node_does_not_come_back(api: Api, worker: Worker):
    workspace = ready(api)
    api.delete(f"/v1/workspaces/{workspace}")
    put_away(api, workspace)
    api.post(f"/v1/workspaces/{workspace}/restore")
    bring_back(api, workspace, None)
    assert api.get(f"/v1/workspaces/{workspace}").status_code == 404
    last = api.get(f"/v1/workspaces/{workspace}/events").json()["items"][-1]
    assert (last["kind"], last["payload"]["reason"]) == ("workspace.not_restored", "workspace_gone")
    assert problem_of(api.post(f"/v1/workspaces/{workspace}/restore"))[1] == "not_restorable"


def test_a_kept_workspace_holds_its_user_id_and_its_mirror(api: Api, worker: Worker):
    workspace = ready(api)
    other = api.run()["workspace_id"]
    with api.database.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == UUID(other)).values(node_id=NODE))

    def taken() -> set[int]:
        seen: set[int] = set()
        with api.database.begin() as connection:
            preparation.reserve_uid(connection, UUID(other), NODE, seen.update)
        return seen

    api.delete(f"/v1/workspaces/{workspace}")
    put_away(api, workspace)
    assert taken() == {20001}
    with api.database.begin() as connection:
        quarantine.begin_purge(connection, UUID(workspace), PurgeReason.DISK)
        assert {20001} == taken(), "until the last file is gone"
        quarantine.purged(connection, UUID(workspace), NODE)
    assert taken() == set()


def test_a_project_comes_back_with_the_workspaces_that_were_deleted_with_it(api: Api, worker: Worker):
    before, one, other = ready(api), ready(api), ready(api)
    project = project_of(api, one)
    api.delete(f"/v1/workspaces/{before}")
    told = api.post(f"/v1/projects/{project}/delete/preview").json()
    assert "can be restored" in told["mutations"][-1]["change"]
    assert problem_of(api.post(f"/v1/projects/{project}/restore"))[1] == "not_deleted"
    assert api.delete(f"/v1/projects/{project}").status_code == 202
    for workspace in (before, one):  # the node has not come to the other one yet
        put_away(api, workspace)
    refused = api.post(f"/v1/workspaces/{one}/restore")
    assert problem_of(refused)[1] == "project_deleted"
    assert f"/v1/projects/{project}/restore" in refused.json()["detail"]
    assert problem_of(api.post(f"/v1/projects/{project}/restore", who="bob"))[:2] == (404, "not_found")
    back = api.post(f"/v1/projects/{project}/restore")
    assert (back.status_code, set(back.json()["workspaces"])) == (202, {one, other}), back.text
    assert api.get(f"/v1/projects/{project}").status_code == 200
    for workspace in (one, other):
        bring_back(api, workspace)
        assert api.get(f"/v1/workspaces/{workspace}").json()["state"] == "stopped"
    assert kept(api) == [(before, "kept")]
    events = api.get(f"/v1/projects/{project}/events").json()["items"]
    assert [event["kind"] for event in events][-2:] == ["project.deleted", "project.restored"]
    assert events[-1]["payload"]["workspaces"] == 2


def test_a_project_whose_name_is_taken_does_not_come_back(api: Api):
    first = api.post("/v1/projects", {"name": "shop", "repos": []}).json()["id"]
    api.delete(f"/v1/projects/{first}")
    second = api.post("/v1/projects", {"name": "shop", "repos": []}).json()["id"]
    assert problem_of(api.post(f"/v1/projects/{first}/restore"))[:2] == (409, "project_name_taken")
    api.patch(f"/v1/projects/{second}", {"name": "store"})
    assert api.post(f"/v1/projects/{first}/restore").json() == {"id": first, "workspaces": []}


def test_a_project_that_is_deleted_while_a_workspace_comes_back_takes_it_along(api: Api, worker: Worker):
    workspace = ready(api)
    project = project_of(api, workspace)
    api.delete(f"/v1/workspaces/{workspace}")
    put_away(api, workspace)
    api.post(f"/v1/workspaces/{workspace}/restore")
    api.delete(f"/v1/projects/{project}")
    bring_back(api, workspace)
    assert api.get(f"/v1/workspaces/{workspace}").status_code == 404
    with api.database.connect() as connection:
        assert quarantine.leaving(connection, NODE, UUID(workspace)) is not None, "its node puts it away again"


def test_a_project_is_removed_for_good_with_everything_that_is_kept_of_it(api: Api, worker: Worker):
    kept_one, live = ready(api), ready(api)
    project = f"/v1/projects/{project_of(api, live)}"
    api.delete(f"/v1/workspaces/{kept_one}")
    put_away(api, kept_one)
    told = api.post(f"{project}/purge/preview").json()
    assert "2 workspaces are marked as deleted" in [one["change"] for one in told["mutations"]]
    assert api.post(f"{project}/purge", {"generation": told["generation"]}).status_code == 202
    assert api.get(project).status_code == 404
    assert {row(api, one)["purge_why"] for one in (kept_one, live)} == {"request"}
    assert problem_of(api.post(f"{project}/purge", {"generation": told["generation"]}))[1] == "stale_generation"
    again = api.post(f"{project}/purge/preview").json()["generation"]
    assert api.post(f"{project}/purge", {"generation": again}).status_code == 202, "also once it is deleted"


def test_a_clean_up_takes_archived_workspaces_only(api: Api, worker: Worker):
    archived, pinned, busy, live = (ready(api) for _ in range(4))
    with api.database.begin() as connection:
        marked = update(Workspace).where(Workspace.id.in_([UUID(one) for one in (archived, pinned, busy)]))
        connection.execute(marked.values(archived=True))
        connection.execute(update(Workspace).where(Workspace.id == UUID(pinned)).values(pinned=True))
    step = {"run_reason": "archive_script", "script": "true"}
    assert api.post(f"/v1/workspaces/{busy}/executions", step).status_code == 202
    project = f"/v1/projects/{project_of(api, live)}"
    assert api.post(f"{project}/clean-up/preview", {"unchanged_seconds": 3600}).json()["blockers"][0]["code"] == (
        "nothing_archived"
    )
    told = api.post(f"{project}/clean-up/preview", {}).json()
    assert (told["act"], told["blockers"]) == ("project.clean_up", [])
    assert f"workspace {archived} is marked as deleted" in [one["change"] for one in told["mutations"]]
    done = api.post(f"{project}/clean-up", {"generation": told["generation"]})
    assert (done.status_code, done.json()["workspaces"]) == (202, [archived]), done.text
    for one in (pinned, busy, live):
        assert api.get(f"/v1/workspaces/{one}").status_code == 200
    with api.database.connect() as connection:
        deleted = select(func.count()).select_from(Workspace).where(Workspace.deleted_at.is_not(None))
        assert connection.scalar(deleted) == 1
