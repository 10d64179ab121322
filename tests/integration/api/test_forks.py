"""Attempts that start from a recorded state of another workspace, through the API; the worker's part is played."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from relay_core.store.executions.claim import Claimant, NotClaimed, claim
from relay_core.store.executions.messages import messages_of
from relay_core.store.nodes import placement
from relay_core.store.schema.tables import Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.node_requests import detach, floor

URL = RUN["repos"][0]["url"]
OTHER = "https://git.example.org/team/other.git"
SHELL = RUN["executor"]
BASE, HEAD, PINNED = "a" * 40, "b" * 40, "c" * 40
OMITTED = [{"path": "big.bin", "why": "too large"}]


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL}]})
        api.post("/v1/projects", {"name": "mall", "repos": [{"url": OTHER}]})
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def task_of(api: Api, project: str = "shop", who: str = "ann", **more: Any) -> str:
    made = api.post("/v1/tasks", {"project_id": project, "title": "Mend it"} | more, who)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def attempt(api: Api, task: str, who: str = "ann", **fields: Any):
    return api.post(f"/v1/tasks/{task}/workspaces", {"executor": SHELL} | fields, who)


def started(api: Api, task: str, **fields: Any) -> dict[str, Any]:
    answer = attempt(api, task, **fields)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def workspace(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    return dict(api.get(f"/v1/workspaces/{made['workspace_id']}").json())


def worked(api: Api, worker: Worker, task: str, pinned: str = PINNED) -> dict[str, Any]:
    """An attempt whose agent has ended, with a recorded state."""
    made = started(api, task)
    [repo] = [UUID(one["repo_id"]) for one in workspace(api, made)["repos"]]
    worker.finish(worker.claim(made["execution_id"]), repo_states={repo: {"after_head_commit": BASE, "dirty": False}})
    place = {"state": "running", "container_ref": "/somewhere", "container_id": "c1"}
    with worker.database.begin() as connection:
        of_it = UUID(made["workspace_id"])
        connection.execute(update(Workspace).where(Workspace.id == of_it).values(place))
        values = {"base_commit": BASE, "target_branch": "main", "mirror_path": "/mirror"}
        connection.execute(update(WorkspaceRepo).where(WorkspaceRepo.workspace_id == of_it).values(values))
    agent = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    state = {"after_head_commit": HEAD, "pinned_commit": pinned, "dirty": True, "stat": {"omitted": OMITTED}}
    worker.finish(worker.claim(agent["id"]), repo_states={repo: state})
    return made | {"agent": agent["id"]}


def code(answer) -> tuple[int, str]:
    return problem_of(answer)[:2]


def test_a_fork_is_placed_on_the_node_of_its_source_and_says_where_it_starts(api: Api, worker: Worker):
    task = task_of(api)
    source = worked(api, worker, task)
    made = started(api, task, from_workspace=source["workspace_id"][:8])
    shown = workspace(api, made)
    assert (shown["forked_from"], shown["node_id"]) == (source["workspace_id"], NODE)
    [repo] = shown["repos"]
    assert (repo["start_commit"], repo["target_branch"], repo["ref"]) == (PINNED, "main", None)
    with api.database.connect() as connection:
        [message] = messages_of(connection, [UUID(made["execution_id"])])
    assert message.queue == f"node.{NODE}"
    events = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    [told] = [event["payload"] for event in events if event["kind"] == "workspace.forked"]
    assert (told["from_workspace_id"], told["node_id"]) == (source["workspace_id"], NODE)
    [state] = told["states"]
    assert (state["commit"], state["execution_id"], state["omitted"]) == (PINNED, source["agent"], OMITTED)
    again = api.post(f"/v1/runs/{made['run_id']}/rerun", {"from": "start"}).json()
    rerun = workspace(api, again)
    assert (rerun["forked_from"], rerun["node_id"], rerun["repos"][0]["start_commit"]) == (
        source["workspace_id"],
        NODE,
        PINNED,
    )


def test_the_state_after_one_execution_can_be_named(api: Api, worker: Worker):
    task = task_of(api)
    source, other = worked(api, worker, task), worked(api, worker, task, "d" * 40)
    both = {"from_workspace": source["workspace_id"]}
    made = started(api, task, **both, from_execution=source["agent"])
    assert workspace(api, made)["repos"][0]["start_commit"] == PINNED
    found = attempt(api, task, **both, from_execution=other["agent"])
    assert problem_of(found) == (422, "execution_of_other_workspace", ["from_execution"])
    clone = attempt(api, task, **both, from_execution=source["execution_id"])
    assert code(clone) == (409, "no_after_state"), "a clone records no state"
    assert problem_of(attempt(api, task, from_execution=source["agent"]))[2] == ["from_execution"]


def test_what_cannot_be_forked_is_refused_and_makes_no_row(api: Api, worker: Worker):
    task = task_of(api)
    fresh = started(api, task)
    source = worked(api, worker, task)
    here = {"from_workspace": source["workspace_id"]}
    before = len(api.get("/v1/workspaces").json()["items"])
    assert code(attempt(api, task, from_workspace=fresh["workspace_id"])) == (409, "no_after_state")
    assert problem_of(attempt(api, task_of(api, "mall"), **here)) == (
        422,
        "workspace_of_other_project",
        ["from_workspace"],
    )
    api.post("/v1/projects", {"name": "bobs", "repos": [{"url": URL}]}, "bob")
    assert attempt(api, task_of(api, "bobs", "bob"), "bob", **here).status_code == 404
    assert problem_of(attempt(api, task, **here, repos=[{"repo": "app", "ref": "v1"}])) == (
        422,
        "ref_with_fork",
        ["repos.0.ref"],
    )
    assert problem_of(attempt(api, task, **here, needs=["gpu"])) == (422, "needs_unmet", ["needs"])
    assert len(api.get("/v1/workspaces").json()["items"]) == before


def test_a_node_that_takes_nothing_new_is_named(api: Api, worker: Worker):
    task = task_of(api)
    here = {"from_workspace": worked(api, worker, task)["workspace_id"]}
    for close, undo, expected in (
        ("drain", "undrain", "node_draining"),
        ("revoke", "restore", "node_revoked"),
    ):
        assert api.post(f"/v1/nodes/{NODE}/{close}", who="admin").status_code == 200
        refused = attempt(api, task, **here)
        assert code(refused) == (409, expected)
        assert NODE in refused.json()["detail"]
        assert api.post(f"/v1/nodes/{NODE}/{undo}", who="admin").status_code == 200
    assert floor(api, "9.0").status_code == 200
    assert code(attempt(api, task, **here)) == (409, "version.floor_exceeded")
    assert floor(api, None).status_code == 200
    with worker.database.begin() as connection:
        connection.execute(text("UPDATE runtime_nodes SET liveness = 'offline'"))
    waits = api.get(f"/v1/executions/{started(api, task, **here)['execution_id']}").json()["waits_for"]
    assert f"its node {NODE} is offline" in waits["message"]
    assert detach(api, NODE).status_code == 204
    assert code(attempt(api, task, **here)) == (409, "node_detached")


def test_a_deleted_source_is_enough_until_its_node_has_removed_it(api: Api, worker: Worker):
    task = task_of(api)
    source = worked(api, worker, task)
    here = {"from_workspace": source["workspace_id"]}
    assert api.delete(f"/v1/workspaces/{source['workspace_id']}").status_code == 202
    assert attempt(api, task, **here).status_code == 202
    with worker.database.begin() as connection:
        gone = update(Workspace).where(Workspace.id == UUID(source["workspace_id"]))
        connection.execute(gone.values(container_ref=None))
    assert code(attempt(api, task, **here)) == (409, "workspace_gone")


def test_a_subtask_starts_from_its_parent_unless_it_is_told_not_to(api: Api, worker: Worker):
    parent = worked(api, worker, task_of(api))
    idle = started(api, task_of(api))
    subtask = task_of(api, parent_workspace_id=parent["workspace_id"])
    made = workspace(api, started(api, subtask))
    assert (made["forked_from"], made["repos"][0]["start_commit"]) == (parent["workspace_id"], PINNED)
    for choice in ({"from_workspace": None}, {"repos": [{"repo": "app", "ref": "v1"}]}):
        fresh = workspace(api, started(api, subtask, **choice))
        assert (fresh["forked_from"], fresh["node_id"]) == (None, None)
    early = task_of(api, parent_workspace_id=idle["workspace_id"])
    assert workspace(api, started(api, early))["forked_from"] is None, "nothing is recorded of its parent yet"
    body = {"project_id": "shop", "title": "x", "parent_workspace_id": parent["workspace_id"]}
    at_once = api.post("/v1/tasks", body | {"start": {"executor": SHELL}}).json()["started"]
    assert workspace(api, at_once)["forked_from"] == parent["workspace_id"]


def test_a_fork_waits_while_its_node_is_short_of_disk_space(api: Api, worker: Worker):
    task = task_of(api)
    made = started(api, task, from_workspace=worked(api, worker, task)["workspace_id"])
    by = Claimant("worker@test", NODE, "default", 60)
    with worker.database.begin() as connection:
        refused = claim(connection, UUID(made["execution_id"]), 1, by, full="it has no space")
        connection.execute(text("UPDATE runtime_nodes SET reported_health = 'disk_pressure'"))
    assert isinstance(refused, NotClaimed)
    assert "it has no space" in refused.why
    with worker.database.connect() as connection:
        [why] = placement.why_each_waits(connection, [UUID(made["execution_id"])]).values()
    assert f"{NODE} is short of disk space" in str(why)
    assert worker.claim(made["execution_id"]).run_reason == "clone"


def test_a_subtask_starts_from_the_remote_where_its_parent_cannot_be_forked(api: Api, worker: Worker):
    """The request does not ask for a fork, so nothing is refused that was not refused without a parent."""
    parent = worked(api, worker, task_of(api))
    subtask = task_of(api, parent_workspace_id=parent["workspace_id"])

    def source_of(**choice: Any) -> Any:
        return workspace(api, started(api, subtask, **choice))["forked_from"]

    assert source_of(needs=["gpu"]) is None
    for close, undo in (("drain", "undrain"), ("revoke", "restore")):
        assert api.post(f"/v1/nodes/{NODE}/{close}", who="admin").status_code == 200
        assert source_of() is None
        assert api.post(f"/v1/nodes/{NODE}/{undo}", who="admin").status_code == 200
    assert floor(api, "9.0").status_code == 200
    assert source_of() is None
    assert floor(api, None).status_code == 200
    with worker.database.begin() as connection:
        add = "INSERT INTO project_repos (project_id, repo_id) SELECT p.id, r.id FROM projects p, repos r"
        connection.execute(text(f"{add} WHERE p.name = 'shop' AND r.path = :url"), {"url": OTHER})
    assert source_of(repos=[{"repo": "app"}]) == parent["workspace_id"]
    assert source_of(repos=[{"repo": "app"}, {"repo": "other"}]) is None
    named = {"from_workspace": parent["workspace_id"], "repos": [{"repo": "other"}]}
    assert code(attempt(api, subtask, **named)) == (409, "no_after_state"), "who asks for a fork is told"
    assert problem_of(attempt(api, subtask, repos=[{"repo": "none"}]))[1:] == ("repo_unknown", ["repos.0.repo"])
    assert detach(api, NODE).status_code == 204
    assert source_of() is None
