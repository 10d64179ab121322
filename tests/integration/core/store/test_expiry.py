"""Idle workspaces are stopped, archived and deleted; what is pinned, at work or not merged is left alone.

On a real Postgres, whose clock decides: the tests move timestamps of rows.
"""

from collections.abc import Iterator
from itertools import product
from uuid import UUID

import pytest
from alembic import command
from sqlalchemy import insert, select, text, update

from relay_core.domain.expiry import Hours
from relay_core.domain.vocabulary import MergeKind, MergeMethod
from relay_core.store.schema import migrate
from relay_core.store.schema.tables import Merge, Project, ScopeDelegation, Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from relay_core.store.workspaces import expiry
from relay_workers.maintenance import idle_workspaces
from relay_workers.metrics import Metrics
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.workspace_acts import ask, newest, node_acts, started, workspace

HOURS = {"workspace_idle_stop_hours": 1, "workspace_idle_archive_hours": 24, "workspace_idle_delete_hours": 240}


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url, **HOURS)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def quiet(api: Api, worker: Worker, hours: float, **scripts) -> dict:
    """A workspace whose run ended so many hours ago."""
    made = started(api, worker, **scripts)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    later(api, hours)
    return made


def later(api: Api, hours: float) -> None:
    ago = f"interval '{hours} hours'"
    with api.database.begin() as connection:
        connection.execute(text(f"UPDATE workspaces SET updated_at = updated_at - {ago}"))
        connection.execute(text(f"UPDATE execution_processes SET completed_at = completed_at - {ago}"))


def sweep(api: Api) -> None:
    with api.database.begin() as connection:
        connection.execute(text("DELETE FROM sweep_turns"))
    idle_workspaces.sweep(api.database, api.settings, Metrics())


def acts(api: Api, made: dict) -> list[tuple]:
    told = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    expired = [event["payload"] for event in told if event["kind"] == "workspace.expired"]
    return [(one["act"], one["setting"], one["hours"]) for one in expired]


def next_of(api: Api, made: dict) -> tuple[str, list[str]]:
    found = api.get(f"/v1/workspaces/{made['workspace_id']}/expiry").json()
    return found["next"] and found["next"]["act"], [one["code"] for one in found["blockers"]]


def test_a_workspace_is_stopped_then_archived_then_deleted(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 2, archive_script="pack")
    sweep(api)
    node_acts(api)
    stopped = workspace(api, made)
    assert (stopped["state"], stopped["stop_reason"], stopped["archived"]) == ("stopped", "idle", False)
    assert next_of(api, made) == ("archive", [])
    sweep(api)
    assert not workspace(api, made)["archived"], "a stop is a change, so the hours of the archive begin with it"
    later(api, 25)
    sweep(api)
    assert workspace(api, made)["archived"]
    [script] = list(node_acts(api))
    assert next_of(api, made)[1] == ["executions_active"], "its archive script runs first"
    worker.finish(worker.claim(str(script)))
    later(api, 2)
    sweep(api)
    node_acts(api)
    later(api, 300)
    assert next_of(api, made) == ("delete", [])
    sweep(api)
    assert problem_of(api.get(f"/v1/workspaces/{made['workspace_id']}"))[0] == 404
    assert acts(api, made) == [
        ("stop", "RELAY_WORKSPACE_IDLE_STOP_HOURS", 1.0),
        ("archive", "RELAY_WORKSPACE_IDLE_ARCHIVE_HOURS", 24.0),
        ("stop", "RELAY_WORKSPACE_IDLE_STOP_HOURS", 1.0),
        ("delete", "RELAY_WORKSPACE_IDLE_DELETE_HOURS", 240.0),
    ]


def test_one_without_files_is_deleted_by_the_sweep_and_one_with_files_is_left_to_its_node(api, worker) -> None:
    bare, placed = quiet(api, worker, 0), quiet(api, worker, 0)
    for made in (bare, placed):
        workspace(api, made, archived=True)
    workspace(api, placed, container_ref="/there", node_id=NODE)
    later(api, 300)
    sweep(api)
    gone = api.get(f"/v1/workspaces/{bare['workspace_id']}")
    assert problem_of(gone)[0] == 404
    assert acts(api, bare) == [("delete", "RELAY_WORKSPACE_IDLE_DELETE_HOURS", 240.0)]
    assert workspace(api, placed)["archived"]
    with api.database.connect() as connection:
        [found] = expiry.due(connection, expiry.hours_of(api.settings), NODE)
        assert expiry.due(connection, expiry.hours_of(api.settings), "another") == []
    assert str(found.workspace_id) == placed["workspace_id"]


def test_a_project_says_otherwise(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 30)
    project = f"/v1/projects/{workspace(api, made)['project_id']}"
    changed = api.patch(project, {"idle_stop_hours": 0, "idle_archive_hours": 48})
    assert (changed.status_code, changed.json()["idle_archive_hours"]) == (200, 48.0)
    later(api, 0)
    sweep(api)
    assert workspace(api, made)["state"] == "running"
    assert workspace(api, made)["requested_state"] is None, "0 hours: never"
    later(api, 20)
    sweep(api)
    assert acts(api, made) == [("archive", "idle_archive_hours", 48.0)]
    assert api.patch(project, {"idle_archive_hours": None}).json()["idle_archive_hours"] is None
    assert problem_of(api.patch(project, {"idle_stop_hours": -1}))[0] == 422


def pull_request(connection, made: dict) -> None:
    repo = connection.scalar(
        select(WorkspaceRepo.repo_id).where(WorkspaceRepo.workspace_id == UUID(made["workspace_id"]))
    )
    values = {"workspace_id": UUID(made["workspace_id"]), "repo_id": repo, "kind": MergeKind.PR, "created_by": "ann"}
    values |= {"method": MergeMethod.SQUASH, "target_branch_name": "main", "message": "m", "pr_number": 1}
    connection.execute(insert(Merge).values(**values, pr_status="open"))


def lease(connection, parent: str, child: str) -> None:
    values = {"name": "part", "parent_workspace_id": UUID(parent), "child_workspace_id": UUID(child), "rules": []}
    connection.execute(
        insert(ScopeDelegation).values(**values, created_by="ann", state="active", expires_at=text("now()"))
    )


def test_what_is_pinned_at_work_or_not_merged_is_left_alone_and_says_why(api: Api, worker: Worker) -> None:
    names = ("pinned", "queued", "asked", "parent", "child", "diverged")
    made = {name: quiet(api, worker, 0) for name in names}
    ids = {name: one["workspace_id"] for name, one in made.items()}
    step = {"run_reason": "setup_script", "script": "x"}
    assert api.post(f"/v1/workspaces/{ids['queued']}/executions", step).status_code == 202
    with api.database.begin() as connection:
        pull_request(connection, made["asked"])
        lease(connection, ids["parent"], ids["child"])
    workspace(api, made["pinned"], pinned=True)
    workspace(api, made["diverged"], diverged_at=text("now()"), state="stopped")
    later(api, 1000)
    for _ in range(2):
        sweep(api)
        node_acts(api)
    told = {name: next_of(api, one) for name, one in made.items()}
    assert {name: blockers for name, (_, blockers) in told.items()} == {
        "pinned": [],
        "queued": ["executions_active"],
        "asked": ["pull_request_open"],
        "parent": ["delegation_live"],
        "child": ["delegation_live"],
        "diverged": ["workspace_diverged"],
    }
    assert [acts(api, one) for one in made.values()] == [[]] * len(made)
    assert api.get(f"/v1/workspaces/{ids['pinned']}/expiry").json()["pinned"] is True
    preview = api.post(f"/v1/workspaces/{ids['asked']}/delete/preview").json()
    assert "pull_request_open" in [note["code"] for note in preview["warnings"]]


def test_one_that_could_not_be_kept_is_tried_again_later(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 0)
    workspace(api, made, archived=True, container_ref="/there", node_id=NODE)
    later(api, 300)
    hours = expiry.hours_of(api.settings)
    with api.database.begin() as connection:
        [found] = expiry.due(connection, hours, NODE)
        expiry.hold(connection, found.workspace_id, "app", "too large")
    assert next_of(api, made) == ("delete", ["work_not_kept"])
    with api.database.begin() as connection:
        assert expiry.due(connection, hours, NODE) == []
        connection.execute(text("UPDATE workspaces SET expiry_tried_at = now() - interval '7 hours'"))
        assert len(expiry.due(connection, hours, NODE)) == 1
        expiry.hold(connection, found.workspace_id, "app", "too large")
    told = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    assert [event["payload"] for event in told if event["kind"] == "workspace.expiry_held"] == [
        {"repo": "app", "problem": "too large"}
    ], "the same problem is told once"


def test_what_could_not_be_kept_is_told_until_something_happens_there(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 0)
    workspace(api, made, archived=True, container_ref="/there", node_id=NODE)
    later(api, 300)
    with api.database.begin() as connection:
        expiry.hold(connection, UUID(made["workspace_id"]), "app", "too large")
        connection.execute(text("UPDATE workspaces SET expiry_tried_at = now() - interval '2 hours'"))
    assert next_of(api, made)[1] == ["work_not_kept"]
    with api.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET updated_at = now() - interval '1 hour'"))
        connection.execute(text("UPDATE execution_processes SET completed_at = now() - interval '1 hour'"))
    assert next_of(api, made)[1] == []
    with api.database.begin() as connection:
        assert len(expiry.due(connection, Hours(delete=0.5), NODE)) == 1, "its hours are over again"
        expiry.hold(connection, UUID(made["workspace_id"]), "app", "too large")
    assert expiry_held(api, made) == 2, "a new occasion, so it is told again"
    assert next_of(api, made)[1] == ["work_not_kept"]
    with api.database.connect() as connection:
        assert expiry.due(connection, Hours(delete=0.5), NODE) == [], "it is tried again after six hours"


def test_nothing_is_noted_of_a_workspace_that_was_deleted_meanwhile(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 0)
    assert api.delete(f"/v1/workspaces/{made['workspace_id']}").status_code == 202
    with api.database.begin() as connection:
        expiry.hold(connection, UUID(made["workspace_id"]), "app", "too large")
    assert expiry_held(api, made) == 0


def expiry_held(api: Api, made: dict) -> int:
    told = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    return len([event for event in told if event["kind"] == "workspace.expiry_held"])


def test_an_older_schema_is_refused_while_it_would_lose_kept_work(
    api: Api, worker: Worker, database: Database, database_url: str
) -> None:
    made = quiet(api, worker, 0)
    with database.begin() as connection:
        row = text(
            "INSERT INTO kept_states (workspace_id, repo_id, pinned_commit, patch) "
            "SELECT workspace_id, repo_id, 'c', '' FROM workspace_repos WHERE workspace_id = :id"
        )
        connection.execute(row, {"id": made["workspace_id"]})
    with pytest.raises(RuntimeError, match="relay workspace kept"), database.begin() as connection:
        command.downgrade(migrate._config(connection), "0062")
    with database.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM kept_states")) == 1
        connection.execute(text("DELETE FROM kept_states"))
    with database.begin() as connection:
        command.downgrade(migrate._config(connection), "0062")
    migrate.upgrade(database_url)


def test_the_look_finds_exactly_what_is_decided(api: Api, worker: Worker) -> None:
    """The conditions of the query are those of `domain.expiry.decide`, for every combination of facts."""
    made = quiet(api, worker, 0)
    mine = update(Workspace).where(Workspace.id == UUID(made["workspace_id"]))
    hours = Hours(stop=1, archive=2, delete=3)
    states = ("running", "stopped", "failed")
    cases = product(states, (False, True), (False, True), (False, True), (False, True), (0.5, 1.5, 2.5, 3.5))
    for state, archived, pinned, diverged, placed, idle in cases:
        with api.database.begin() as connection:
            values = {"state": state, "archived": archived, "pinned": pinned, "node_id": NODE}
            values |= {"container_ref": "/there" if placed else None, "error_reason": None}
            at = text(f"now() - interval '{idle} hours'")
            connection.execute(mine.values(**values, diverged_at=text("now()") if diverged else None, updated_at=at))
            connection.execute(text(f"UPDATE execution_processes SET completed_at = now() - interval '{idle} hours'"))
            one = connection.execute(expiry._ONE, {"workspace": UUID(made["workspace_id"])}).mappings().one()
            decided = expiry._due(one, hours)
            everywhere = expiry.due(connection, hours)
            on_node = expiry.due(connection, hours, NODE)
        by_node = decided is not None and decided.planned.act == "delete" and placed
        told = [decided.planned.act] if decided else []
        assert [found.planned.act for found in on_node] == (told if by_node else []), (state, archived, placed, idle)
        assert [found.planned.act for found in everywhere] == ([] if by_node else told), (state, archived, placed, idle)


def test_a_list_shows_archived_workspaces_or_the_others(api: Api, worker: Worker) -> None:
    old, new = quiet(api, worker, 0), quiet(api, worker, 0)
    workspace(api, old, archived=True)
    listed = {
        asked: [one["id"] for one in api.get(f"/v1/workspaces?archived={asked}").json()["items"]]
        for asked in ("true", "false")
    }
    assert listed == {"true": [old["workspace_id"]], "false": [new["workspace_id"]]}


def test_a_stop_by_a_client_of_an_idle_workspace_is_told_as_his(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 2)
    sweep(api)
    assert workspace(api, made)["stop_reason"] == "idle"
    ask(api, made, "stop")
    assert workspace(api, made)["stop_reason"] == "client"
    ask(api, made, "resume")
    assert workspace(api, made)["stop_reason"] is None


def test_without_any_hours_nothing_is_looked_for(api: Api, worker: Worker) -> None:
    quiet(api, worker, 10_000)
    with api.database.begin() as connection:
        assert expiry.due(connection, Hours()) == []
        connection.execute(update(Project).values(idle_stop_hours=0))
        assert expiry.due(connection, Hours()) == []
        connection.execute(update(Project).values(idle_stop_hours=0.5))
        [found] = expiry.due(connection, Hours())
    assert (found.planned.act, found.planned.term.of_project) == ("stop", True)
