"""Deleted projects that come back, or are removed for good: what races, what is interrupted, and what is told."""

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import Scope
from relay_core.store.projects import projects, restore
from relay_core.store.schema.tables import ExecutionProcess, Project, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces import quarantine
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.deleted_workspaces import bring_back, kept, project_of, put_away, ready, row
from tests.support.waiting import eventually

ANN = Principal("ann", frozenset({Scope.WRITE}))
URL = "https://example.org/shop.git"


class DiedError(Exception):
    """The server is gone at this point."""


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def cloning(api: Api, **more: Any) -> str:
    """A project whose clone is queued."""
    answer = api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL}], **more})
    assert (answer.status_code, answer.json()["state"]) == (202, "cloning"), answer.text
    return str(answer.json()["id"])


def clone_of(api: Api, project: str) -> UUID:
    with api.database.connect() as connection:
        found = select(ExecutionProcess.id).where(ExecutionProcess.project_id == UUID(project))
        return connection.execute(found.order_by(ExecutionProcess.created_at.desc()).limit(1)).scalar_one()


def project_kinds(api: Api, project: str) -> list[str]:
    return [one["kind"] for one in api.get(f"/v1/projects/{project}/events").json()["items"]]


def marked_only(api: Api, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server die after it has marked a project as deleted, before the first of its workspaces is."""

    def dies(*_: Any) -> int:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(projects, "delete_workspaces", dies)
        with pytest.raises(DiedError):
            projects.delete(api.database, UUID(project), ANN)


def purge(api: Api, subject: str) -> None:
    generation = api.post(f"{subject}/purge/preview").json()["generation"]
    answer = api.post(f"{subject}/purge", {"generation": generation})
    assert answer.status_code == 202, answer.text


def test_a_project_of_runs_whose_clone_was_ended_by_its_deletion_comes_back_as_failed(api: Api) -> None:
    project = project_of(api, api.run()["workspace_id"])
    assert api.delete(f"/v1/projects/{project}").status_code == 202
    assert api.post(f"/v1/projects/{project}/restore").status_code == 202
    assert api.get(f"/v1/projects/{project}").json()["state"] == "failed"


@pytest.mark.parametrize("began", [False, True])
def test_a_project_that_was_deleted_while_it_was_cloned_comes_back_as_failed(
    api: Api, worker: Worker, began: bool
) -> None:
    project = cloning(api)
    claimed = worker.claim(clone_of(api, project)) if began else None
    assert api.delete(f"/v1/projects/{project}").status_code == 202
    if claimed is not None:
        worker.finish(claimed, machine.killed("a client asked for it"))
    assert api.post(f"/v1/projects/{project}/restore").status_code == 202
    shown = api.get(f"/v1/projects/{project}").json()
    assert shown["state"] == "failed"
    assert f"/v1/projects/{project}/clone" in shown["clone_error"]
    assert project_kinds(api, project)[-1] == "project.state_changed"
    assert api.post(f"/v1/projects/{project}/clone").status_code == 202
    assert api.get(f"/v1/projects/{project}").json()["state"] == "cloning"


def test_a_project_that_comes_back_before_its_clone_is_killed_fails_with_that(api: Api, worker: Worker) -> None:
    project = cloning(api)
    claimed = worker.claim(clone_of(api, project))
    api.delete(f"/v1/projects/{project}")
    assert api.post(f"/v1/projects/{project}/restore").status_code == 202
    assert api.get(f"/v1/projects/{project}").json()["state"] == "cloning", "it still runs"
    worker.finish(claimed, machine.killed("a client asked for it"))
    assert api.get(f"/v1/projects/{project}").json()["state"] == "failed"


def test_a_project_that_comes_back_is_not_emptied_by_its_deletion(
    api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion goes on in batches: the batch that meets the restoration waits for it, and then does nothing."""
    workspace = ready(api)
    project = project_of(api, workspace)
    marked_only(api, project, monkeypatch)

    def go_on() -> None:
        try:
            projects.delete(api.database, UUID(project), ANN)
        except RelayError as error:  # there is nothing to go on with
            refused.append(str(error))

    refused: list[str] = []
    deletion = Thread(target=go_on)
    with api.database.begin() as connection:
        connection.execute(update(Project).where(Project.id == UUID(project)).values(deleted_at=None))
        deletion.start()
        eventually(lambda: not deletion.is_alive() or waiting_for_locks(api) > 0)
    deletion.join(30)
    assert not deletion.is_alive()
    assert api.get(f"/v1/workspaces/{workspace}").status_code == 200


def waiting_for_locks(api: Api) -> int:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with api.database.connect() as connection:
        return int(connection.scalar(text(waits)) or 0)


def test_a_restoration_takes_a_few_workspaces_at_a_time_and_goes_on_when_it_was_interrupted(
    api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sorted(ready(api) for _ in range(3))
    project = project_of(api, ids[0])
    api.delete(f"/v1/projects/{project}")
    for workspace in ids:
        put_away(api, workspace)
    monkeypatch.setattr(projects, "WORKSPACES_AT_ONCE", 1)
    begin_restore: Callable[..., None] = restore.begin_restore
    done: list[UUID] = []

    def dies(connection: Connection, workspace_id: UUID, principal: Any) -> None:
        if done:
            raise DiedError
        done.append(workspace_id)
        begin_restore(connection, workspace_id, principal)

    with monkeypatch.context() as patch:
        patch.setattr(restore, "begin_restore", dies)
        with pytest.raises(DiedError):
            restore.restore(api.database, UUID(project), ANN)
    assert api.get(f"/v1/projects/{project}").status_code == 200
    assert dict(kept(api)) == {ids[0]: "restoring", ids[1]: "kept", ids[2]: "kept"}
    bring_back(api, ids[0])
    assert api.delete(f"/v1/workspaces/{ids[0]}").status_code == 202, "by itself, while the others wait"
    put_away(api, ids[0])
    again = api.post(f"/v1/projects/{project}/restore")
    assert (again.status_code, again.json()["workspaces"]) == (202, ids[1:]), again.text
    assert dict(kept(api)) == {ids[0]: "kept", ids[1]: "restoring", ids[2]: "restoring"}
    assert project_kinds(api, project).count("project.restored") == 1
    assert problem_of(api.post(f"/v1/projects/{project}/restore"))[1] == "not_deleted"


def test_a_restoration_ends_where_the_project_is_deleted_again(
    api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sorted(ready(api) for _ in range(2))
    project = project_of(api, ids[0])
    api.delete(f"/v1/projects/{project}")
    for workspace in ids:
        put_away(api, workspace)
    monkeypatch.setattr(projects, "WORKSPACES_AT_ONCE", 1)
    begin_restore: Callable[..., None] = restore.begin_restore
    done: list[UUID] = []

    def then_deleted(connection: Connection, workspace_id: UUID, principal: Any) -> None:
        begin_restore(connection, workspace_id, principal)
        connection.execute(update(Project).values(deleted_at=text("now()")))  # as soon as this one is asked for
        done.append(workspace_id)

    with monkeypatch.context() as patch:
        patch.setattr(restore, "begin_restore", then_deleted)
        assert restore.restore(api.database, UUID(project), ANN) == done
    assert (len(done), sorted(dict(kept(api)).values())) == (1, ["kept", "restoring"])
    bring_back(api, ids[0])
    put_away(api, ids[0])
    back = api.post(f"/v1/projects/{project}/restore")
    assert back.json()["workspaces"] == ids, "all that were deleted with it, also the first time"


def test_a_purge_ends_a_deletion_that_was_interrupted(
    api: Api, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = ready(api)
    project = project_of(api, live)
    marked_only(api, project, monkeypatch)
    told = api.post(f"/v1/projects/{project}/purge/preview").json()
    assert "1 workspaces are marked as deleted" in [one["change"] for one in told["mutations"]]
    purge(api, f"/v1/projects/{project}")
    gone = row(api, live)
    assert (gone["deleted_at"] is not None, gone["purge_why"]) == (True, "request")


def test_a_purge_takes_what_is_being_restored_and_what_is_still_being_cloned(api: Api, worker: Worker) -> None:
    coming, cloned = ready(api), api.run()["workspace_id"]
    worker.claim(api.get(f"/v1/workspaces/{cloned}/executions").json()["items"][0]["id"])
    project = project_of(api, coming)
    for workspace in (coming, cloned):
        assert api.delete(f"/v1/workspaces/{workspace}").status_code == 202
    put_away(api, coming)
    api.post(f"/v1/workspaces/{coming}/restore")
    told = api.post(f"/v1/projects/{project}/purge/preview").json()
    assert "2 workspaces are marked as deleted" in [one["change"] for one in told["mutations"]]
    purge(api, f"/v1/projects/{project}")
    assert api.post(f"/v1/projects/{project}/restore").json()["workspaces"] == []
    bring_back(api, coming)
    with api.database.begin() as connection:  # the clone stores its place
        there = {"container_ref": "/data/workspaces/late", "node_id": NODE}
        connection.execute(update(Workspace).where(Workspace.id == UUID(cloned)).values(**there))
    for workspace in (coming, cloned):
        assert api.get(f"/v1/workspaces/{workspace}").status_code == 404
        with api.database.connect() as connection:
            leaving = quarantine.leaving(connection, NODE, UUID(workspace))
        assert leaving is not None
        assert leaving.purge


def test_a_project_that_is_removed_for_good_tells_it_of_each_workspace(api: Api, worker: Worker) -> None:
    deleted, live = ready(api), ready(api)
    api.delete(f"/v1/workspaces/{deleted}")
    put_away(api, deleted)
    purge(api, f"/v1/projects/{project_of(api, live)}")
    for workspace in (deleted, live):
        found = api.get(f"/v1/workspaces/{workspace}/events").json()["items"]
        told = [one["payload"] for one in found if one["kind"] == "workspace.purge_requested"]
        assert told == [{"by": "ann"}]
