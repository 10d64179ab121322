"""Reading, killing, deleting: what is shown, to whom, and in which form."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import zstandard
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.pool import NullPool

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import mirrors
from relay_core.store.projects.mirrors import MirrorPlace
from relay_core.store.schema import revision
from relay_core.store.schema.tables import Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def repo_id(api: Api, made: dict) -> UUID:
    with api.database.connect() as connection:
        found = select(WorkspaceRepo.repo_id).where(WorkspaceRepo.workspace_id == UUID(made["workspace_id"]))
        return connection.execute(found).scalar_one()


def test_an_execution_shows_its_end_its_heads_and_its_logs(api: Api, worker: Worker):
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    worker.log(claimed, [("stdout", b"out\n"), ("stderr", b"err\n")])
    running = api.get(f"/v1/executions/{made['execution_id']}").json()
    assert (running["status"], running["node_id"]) == ("running", NODE)
    assert running["logs"]["stdout"] == {"bytes": 4, "sha256": None, "truncated": False, "closed": False}
    state = {"before_head_commit": "a" * 40, "after_head_commit": "b" * 40, "dirty": True, "branch": "vk-x"}
    end = machine.failed(Reason.EXIT_CODE, "it ended with 7", 7)
    worker.finish(claimed, end, repo_states={repo_id(api, made): state}, log_ends=worker.log_ends(claimed))
    shown = api.get(f"/v1/executions/{made['execution_id']}").json()
    assert (shown["status"], shown["reason"], shown["exit_code"]) == ("failed", "exit_code", 7)
    assert shown["started_at"] < shown["completed_at"]
    assert shown["next"] == []
    [repo] = shown["repo_states"]
    assert {key: repo[key] for key in state} == state
    assert repo["name"] == "app"
    assert shown["logs"]["all"]["bytes"] == 8
    assert shown["logs"]["all"]["closed"] is True
    assert len(shown["logs"]["stderr"]["sha256"]) == 64
    task = api.get(f"/v1/tasks/{made['task_id']}").json()
    assert (task["status"], task["workspace_ids"]) == ("inreview", [made["workspace_id"]])


def test_a_closed_log_without_a_terminal_event_is_still_running(api: Api, worker: Worker, database: Database):
    made = api.run()
    worker.claim(made["execution_id"])
    with database.begin() as connection:
        connection.execute(text("UPDATE log_streams SET closed = true"))
    assert api.get(f"/v1/executions/{made['execution_id']}").json()["status"] == "running"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/workspaces/{workspace_id}",
        "/v1/workspaces/{workspace_id}/executions",
        "/v1/workspaces/{workspace_id}/events",
        "/v1/workspaces/{workspace_id}/diff",
        "/v1/workspaces/{workspace_id}/bundle",
        "/v1/executions/{execution_id}",
        "/v1/executions/{execution_id}/events",
        "/v1/executions/{execution_id}/diff",
        "/v1/executions/{execution_id}/bundle",
        "/v1/executions/{execution_id}/logs",
        "/v1/executions/{execution_id}/logs/stream",
        "/v1/workspaces/{workspace_id}/events/stream",
        "/v1/tasks/{task_id}",
        "/v1/projects/{project_id}",
    ],
)
def test_what_is_somebody_elses_is_not_there(api: Api, path: str):
    made = api.run()
    assert problem_of(api.get(path.format(**made), "bob"))[:2] == (404, "not_found")
    nothing = dict.fromkeys(("workspace_id", "execution_id", "task_id", "project_id"), NOBODY)
    assert problem_of(api.get(path.format(**nothing)))[:2] == (404, "not_found")
    if not path.endswith(("stream", "bundle")):
        assert api.get(path.format(**made), "admin").status_code == 200


def test_nobody_changes_what_is_somebody_elses(api: Api):
    made = api.run()
    workspace = f"/v1/workspaces/{made['workspace_id']}"
    step = {"run_reason": "setup_script", "script": "x"}
    assert api.post(f"{workspace}/executions", step, "bob").status_code == 404
    assert api.post(f"{workspace}/dev-server", {}, "bob").status_code == 404
    assert api.delete(f"{workspace}/dev-server", "bob").status_code == 404
    assert api.delete(workspace, "bob").status_code == 404
    assert api.delete(f"/v1/projects/{made['project_id']}", "bob").status_code == 404
    assert api.post(f"/v1/executions/{made['execution_id']}/kill", None, "bob").status_code == 404
    assert api.post("/v1/runs", RUN | {"project_id": made["project_id"]}, "bob").status_code == 404
    for path in ("/v1/workspaces", "/v1/executions", "/v1/projects", "/v1/events"):
        assert [it for it in api.get(path, "bob").json()["items"] if it.get("subject_kind") != "token"] == []
        assert len(api.get(path).json()["items"]) > 0
        assert len(api.get(path, "admin").json()["items"]) > 0


def test_a_token_is_needed_in_the_header_only(api: Api):
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {api.tokens['ann']}"}):
        answer = api.client.get("/v1/runs/../executions", headers=headers)
        assert problem_of(answer)[0] == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    for query in ("access_token", "token"):
        assert api.client.get("/v1/executions", params={query: api.tokens["ann"]}).status_code == 401
    assert api.client.get("/v1/executions", headers={"Cookie": f"token={api.tokens['ann']}"}).status_code == 401
    assert api.client.get("/metrics").status_code == 401


def test_who_may_only_read_changes_nothing(api: Api):
    made = api.run()
    assert api.get(f"/v1/executions/{made['execution_id']}", "reader").status_code == 200
    assert problem_of(api.post("/v1/runs", RUN, "reader"))[:2] == (403, "scope_missing")
    assert api.post(f"/v1/executions/{made['execution_id']}/kill", None, "reader").status_code == 403
    assert api.delete(f"/v1/workspaces/{made['workspace_id']}", "reader").status_code == 403
    assert api.get("/v1/tokens").status_code == 403


def test_tokens_are_shown_once_listed_and_revoked(api: Api):
    body = {"name": "ci", "owner": "carol", "scopes": ["runs:write"], "expires_in_seconds": 60}
    headers = {"Idempotency-Key": "t1"}
    first = api.post("/v1/tokens", body, "admin", headers=headers).json()
    assert api.post("/v1/tokens", body, "admin", headers=headers).json() == first | {"token": None}
    own = {"Authorization": f"Bearer {first['token']}"}
    assert api.client.post("/v1/runs", json=RUN, headers=own).status_code == 202
    listed = api.get("/v1/tokens", "admin")
    assert first["token"] not in listed.text
    assert first["id"] in [item["id"] for item in listed.json()["items"]]
    assert api.delete(f"/v1/tokens/{first['id']}", "admin").status_code == 204
    assert api.delete(f"/v1/tokens/{first['id']}", "admin").status_code == 204
    assert problem_of(api.client.get("/v1/executions", headers=own))[:2] == (401, "token_invalid")
    assert api.delete(f"/v1/tokens/{NOBODY}", "admin").status_code == 404


def test_lists_are_paged_by_cursor_and_filtered(api: Api, worker: Worker):
    made = [api.run(title=f"run {number}") for number in range(5)]
    seen, cursor = [], None
    while True:
        page = api.get("/v1/executions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [run["execution_id"] for run in reversed(made)]
    worker.claim(made[0]["execution_id"])
    running = api.get("/v1/executions", params={"status": ["running", "failed"]}).json()["items"]
    assert [item["id"] for item in running] == [made[0]["execution_id"]]
    assert api.get("/v1/executions", params={"run_reason": "coding_agent"}).json()["items"] == []
    of_one = api.get("/v1/executions", params={"workspace_id": made[1]["workspace_id"]}).json()["items"]
    assert [item["id"] for item in of_one] == [made[1]["execution_id"]]
    assert problem_of(api.get("/v1/executions", params={"cursor": "AAAA"}))[:2] == (422, "cursor_invalid")
    assert problem_of(api.get("/v1/executions", params={"limit": 0}))[2] == ["query.limit"]
    assert len(api.get("/v1/workspaces", params={"task_id": made[0]["task_id"]}).json()["items"]) == 1
    assert len(api.get("/v1/workspaces", params={"project_id": made[0]["project_id"]}).json()["items"]) == 5
    assert api.get("/v1/workspaces", params={"state": "failed"}).json()["items"] == []


def test_kill_is_durable_and_asking_again_changes_nothing(api: Api, worker: Worker):
    queued, made = api.run(), api.run()
    for _ in range(2):
        answer = api.post(f"/v1/executions/{queued['execution_id']}/kill")
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (202, "killed", "user")
    claimed = worker.claim(made["execution_id"])
    first = api.post(f"/v1/executions/{made['execution_id']}/kill").json()
    again = api.post(f"/v1/executions/{made['execution_id']}/kill", None, "admin").json()
    assert (first["status"], first["kill_requested_by"]) == ("running", "ann")
    assert again["kill_requested_at"] == first["kill_requested_at"]
    worker.finish(claimed, machine.killed("killed by ann"))
    assert api.post(f"/v1/executions/{made['execution_id']}/kill").json()["status"] == "killed"
    kinds = [event["kind"] for event in api.get(f"/v1/executions/{made['execution_id']}/events").json()["items"]]
    assert kinds == ["execution.queued", "execution.started", "execution.kill_requested", "execution.killed"]


def test_events_of_an_operation_have_no_gap_and_one_terminal_last(api: Api, worker: Worker):
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]))
    events = api.get(f"/v1/executions/{made['execution_id']}/events").json()["items"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["terminal"] for event in events] == [False] * (len(events) - 1) + [True]
    page = api.get(f"/v1/workspaces/{made['workspace_id']}/events", params={"after": 1, "limit": 2}).json()
    assert [event["cursor"] for event in page["items"]] == [2, 3]
    assert page["next_after"] == 3
    everything, after = [], "0-0"
    while items := (answer := api.get("/v1/events", params={"after": after, "limit": 3}).json())["items"]:
        everything, after = everything + items, answer["next_after"]
    assert [each["cursor"] for each in everything if each["cursor"]] == list(range(1, everything[-1]["cursor"] + 1))


def test_a_deleted_workspace_ends_its_work_and_keeps_its_record(api: Api, worker: Worker):
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    step = {"run_reason": "setup_script", "script": "x"}
    waiting = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", step).json()
    path = f"/v1/workspaces/{made['workspace_id']}"
    answer = api.delete(path)
    assert (answer.status_code, answer.json()) == (202, {"id": made["workspace_id"], "killed": 1})
    assert api.get(path).status_code == 404
    assert api.post(f"{path}/executions", step).status_code == 404
    assert api.get("/v1/workspaces").json()["items"] == []
    assert api.get(f"/v1/executions/{waiting['id']}").json()["status"] == "killed"
    assert api.get(f"/v1/executions/{made['execution_id']}").json()["kill_requested_by"] == "ann"
    worker.finish(claimed, machine.killed("killed"))
    kinds = [event["kind"] for event in api.get(f"{path}/events").json()["items"]]
    assert "workspace.deleted" in kinds
    assert kinds.count("execution.killed") == 2
    assert "execution.queued" not in kinds[kinds.index("workspace.deleted") :]


def test_a_deleted_project_is_hidden_with_its_workspaces(api: Api, database: Database):
    project = api.post("/v1/projects", {"name": "p", "repos": [RUN["repos"][0]]}).json()
    assert project["repos"][0]["state"] == "cloning"
    made = api.run(project_id=project["id"])
    assert api.delete(f"/v1/projects/{project['id']}").status_code == 202
    assert api.get(f"/v1/projects/{project['id']}").status_code == 404
    assert api.delete(f"/v1/projects/{project['id']}").status_code == 404
    assert api.get("/v1/projects").json()["items"] == []
    assert api.get("/v1/workspaces").json()["items"] == []
    assert api.get(f"/v1/tasks/{made['task_id']}").status_code == 404
    assert api.get(f"/v1/executions/{made['execution_id']}").json()["status"] == "killed"
    assert api.post("/v1/runs", RUN | {"project_id": project["id"]}).status_code == 404
    with database.connect() as connection:
        assert connection.scalar(select(Workspace.deleted_at)) is not None


def test_a_failed_mirror_says_why(api: Api, database: Database):
    project = api.post("/v1/projects", {"name": "p", "repos": [RUN["repos"][0]]}).json()
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, NODE, pool="default", client_version="1", capabilities={})
        place = MirrorPlace(NODE, UUID(project["id"]), RUN["repos"][0]["url"], "/mirrors/x.git")
        mirrors.end_fetch(connection, place, "no route")
    shown = api.get(f"/v1/projects/{project['id']}").json()["repos"][0]
    assert (shown["state"], shown["clone_error"]) == ("failed", "no route")


def test_diffs_come_from_what_was_stored(api: Api, worker: Worker):
    two = [{"url": "https://git.example.org/a"}, {"url": "https://git.example.org/b"}]
    made = api.run(repos=two)
    claimed = worker.claim(made["execution_id"])
    pack = zstandard.ZstdCompressor().compress
    with api.database.connect() as connection:
        rows = connection.execute(select(WorkspaceRepo.repo_id, WorkspaceRepo.name).order_by(WorkspaceRepo.position))
        ids = {row.name: row.repo_id for row in rows}
    stat = {"files": 1, "insertions": 2, "deletions": 0, "truncated": False}
    states = {
        ids["a"]: {
            "patch": pack(b"whole a\xff\n"),
            "step_patch": pack(b"step a\n"),
            "stat": stat | {"step": stat | {"insertions": 1}},
        },
        ids["b"]: {"patch": pack(b"b\n"), "stat": stat},
    }
    worker.finish(claimed, repo_states=states)
    workspace, execution = f"/v1/workspaces/{made['workspace_id']}/diff", f"/v1/executions/{made['execution_id']}/diff"
    shown = api.get(workspace).json()
    assert [(item["name"], item["stat"]["insertions"]) for item in shown["items"]] == [("a", 2), ("b", 2)]
    assert [item["stat"]["insertions"] for item in api.get(execution).json()["items"]] == [1, 2]
    patch = api.get(workspace, params={"format": "patch"})
    assert patch.content == b"# repo: a\nwhole a\xff\n# repo: b\nb\n"
    assert patch.headers["content-type"] == "text/x-diff"
    assert patch.headers["content-disposition"].startswith("attachment")
    assert patch.headers["x-content-type-options"] == "nosniff"
    assert api.get(shown["links"]["patch"]).content == patch.content
    one = api.get(execution, params={"repo": "a"}, headers={"Accept": "text/x-diff"})
    assert one.content == b"step a\n"
    assert api.get(execution, params={"repo": "c"}).status_code == 404


def test_errors_are_problems_whatever_they_are(api: Api):
    assert problem_of(api.client.get("/no/such"))[:2] == (404, "not_found")
    wrong = api.client.put("/v1/runs")
    assert problem_of(wrong)[:2] == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    assert api.client.put("/v1/projects").headers["allow"] == "GET, HEAD, POST"
    assert api.client.put(f"/v1/workspaces/{NOBODY}").headers["allow"] == "DELETE, GET, HEAD, PATCH"
    headers = api.as_("ann") | {"Content-Type": "application/json"}
    assert problem_of(api.client.post("/v1/runs", content=b"{", headers=headers))[0] == 400
    assert problem_of(api.client.post("/v1/runs", content=b"[" * 4_000, headers=headers))[0] == 400
    assert problem_of(api.client.post("/v1/runs", content=b"[" * 100_000, headers=headers))[0] == 422
    assert problem_of(api.client.post("/v1/runs", content=b"9" * 10_000, headers=headers))[0] in {400, 422}
    assert problem_of(api.client.post("/v1/runs", content=b"\xff", headers=headers))[0] in {400, 422}
    assert problem_of(api.get("/v1/executions/not-a-uuid"))[2] == ["path.execution_id"]
    assert api.get(f"/v1/executions/{uuid4()}%00").status_code == 422


def test_an_unexpected_error_says_nothing_of_itself(api: Api, database: Database):
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE runtime_nodes RENAME TO hidden"))
    answer = api.get("/v1/nodes")
    assert problem_of(answer)[:2] == (500, "internal_error")
    assert "runtime_nodes" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_too_large_is_refused_said_or_streamed(api: Api):
    big = b" " * (5 << 20)
    headers = api.as_("ann") | {"Content-Type": "application/json"}
    assert problem_of(api.client.post("/v1/runs", content=big, headers=headers))[:2] == (413, "body_too_large")
    streamed = api.client.post("/v1/runs", content=iter([big]), headers=headers)
    assert problem_of(streamed)[:2] == (413, "body_too_large")
    api.run(prompt="x" * (1 << 20))


@pytest.mark.parametrize("host", ["evil.example.org", "", "127.0.0.1.evil.example.org", "[::2]", "testserver.evil:80"])
def test_another_host_name_is_refused(api: Api, host: str):
    assert problem_of(api.client.get("/healthz", headers={"Host": host}))[:2] == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["testserver", "127.0.0.1:8700", "TESTSERVER:1"])
def test_its_own_names_are_answered(api: Api, host: str):
    assert api.client.get("/healthz", headers={"Host": host}).status_code == 200


def test_every_answer_has_the_security_headers(api: Api):
    for answer in (api.get("/v1/executions"), api.client.get("/v1/executions"), api.client.get("/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_node_says_how_many_slots_its_workers_use(api: Api, worker: Worker):
    told = {"slots_per_worker": 50, "workers": ["w1@test-node"]}
    with api.database.begin() as connection:
        runtime_nodes.heartbeat(connection, NODE, pool="default", client_version="1", capabilities=told)
    (node,) = api.get("/v1/nodes").json()["items"]
    assert node["workers"] == [{"worker": "w1@test-node", "used": 0, "slots": 50}]
    claimed = worker.claim(api.run()["execution_id"])
    (node,) = api.get("/v1/nodes").json()["items"]
    assert {"worker": "worker@test", "used": 1, "slots": 50} in node["workers"], "not yet told by a heartbeat"
    worker.finish(claimed)
    (node,) = api.get("/v1/nodes").json()["items"]
    assert [each["used"] for each in node["workers"]] == [0]


def test_health_nodes_metrics_and_documents(api: Api, worker: Worker):
    api.run()
    health = api.client.get("/healthz").json()
    assert health["checks"] == {"database": {"ok": True, "error": None}, "redis": {"ok": True, "error": None}}
    assert [node["node_id"] for node in api.get("/v1/nodes").json()["items"]] == [NODE]
    numbers = api.get("/metrics").text
    assert 'relay_executions_active{run_reason="clone",status="queued"} 1.0' in numbers
    assert 'relay_http_responses_total{method="POST",route="/v1/runs",status="202"} 1.0' in numbers
    document = api.client.get("/openapi.json").json()
    limits = document["components"]["schemas"]["LimitsIn"]["properties"]
    assert limits["timeout_seconds"]["maximum"] == 24 * 3600
    assert f"Default: `{2 << 30}`" in limits["memory_bytes"]["description"]
    assert 'href="/openapi.json"' in api.client.get("/docs").text


def test_without_a_database_health_says_so(database: Database, database_url: str, redis_url: str):
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        core = api.app.state.services
        core.database.dispose()
        url = make_url(database_url)
        name = url.database
        other = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with other.connect() as admin:
            admin.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
            try:
                health = api.client.get("/healthz")
                assert problem_of(health)[:2] == (503, "database_unavailable")
                assert health.json()["checks"]["redis"]["ok"] is True
                assert problem_of(api.get("/v1/executions"))[:2] == (503, "database_unavailable")
            finally:
                admin.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))


def test_it_does_not_start_on_a_schema_it_does_not_know(database: Database, database_url: str, redis_url: str):
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    with (
        pytest.raises(revision.SchemaMismatch, match="newer"),
        api_in_process(database, settings_for(database_url, redis_url)),
    ):
        pass
