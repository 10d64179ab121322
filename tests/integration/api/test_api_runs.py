"""`POST /v1/runs` and further steps: what is checked, what is made, and that a copy makes nothing."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from relay_core.store.schema.tables import ExecutionProcess, Workspace, WorkspaceEnvironment
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def count(api: Api, table: type = ExecutionProcess) -> int:
    with api.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_run_answers_202_with_ids_and_links_and_is_rung(api: Api):
    answer = api.post("/v1/runs", RUN)
    assert answer.status_code == 202
    made = answer.json()
    assert {"task_id", "workspace_id", "session_id", "execution_id", "links"} <= set(made)
    first = api.get(made["links"]["execution"]).json()
    assert (first["run_reason"], first["status"], first["started_at"]) == ("clone", "queued", None)
    assert [step["run_reason"] for step in first["next"]] == ["coding_agent"]
    workspace = api.get(made["links"]["workspace"]).json()
    assert workspace["branch"].startswith("vk-")
    assert workspace["task"]["title"] == "Say hello"
    listed = api.get(made["links"]["executions"]).json()
    assert [item["id"] for item in listed["items"]] == [made["execution_id"]]


def test_the_message_is_sent_after_commit(api: Api, redis_url: str):
    made = api.run()
    api.app.state.services.dispatcher.close()
    with api.database.connect() as connection:
        published = connection.scalar(
            select(ExecutionProcess.published_at).where(ExecutionProcess.id == UUID(made["execution_id"]))
        )
    assert published is not None


def test_without_redis_a_run_is_accepted_all_the_same(database: Database, database_url: str):
    with api_in_process(database, settings_for(database_url, "redis://127.0.0.1:1/0")) as api:
        api.run()
        assert count(api) == 1
        health = api.client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"repos": []}, "validation_failed", "repos"),
        ({"prompt": ""}, "validation_failed", "prompt"),
        ({"prompt": "a\0b"}, "validation_failed", "prompt"),
        ({"unknown": 1}, "validation_failed", "unknown"),
        ({"title": "x\0"}, "validation_failed", "title"),
        ({"executor": {"name": "no-such"}}, "invalid_input", "executor.name"),
        ({"executor": {"name": "shell"}}, "invalid_input", "executor.command"),
        ({"env": {"A=B": "x"}}, "validation_failed", "env.A=B"),
        ({"env": {"A": "x\0"}}, "validation_failed", None),
        ({"limits": {"memory_bytes": 2**60}}, "invalid_input", "limits.memory_bytes"),
        ({"limits": {"no_such": 1}}, "validation_failed", "limits.no_such"),
        ({"limits": {"cpus": "2"}}, "validation_failed", "limits.cpus"),
        ({"image": "a b"}, "validation_failed", "image"),
    ],
)
def test_what_is_wrong_is_named(api: Api, change: dict, code: str, field: str | None):
    status, found, fields = problem_of(api.post("/v1/runs", RUN | change))
    assert (status, found) == (422, code)
    assert field is None or field in fields
    assert count(api, Workspace) == 0


@pytest.mark.proves("T000-19")
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ext::sh", "git_scheme_not_allowed"),
        ("--upload-pack=id", "git_url_invalid"),
        ("git://example.org/a", "git_scheme_not_allowed"),
        ("http://example.org/a", "git_scheme_not_allowed"),
        ("file:///etc", "git_scheme_not_allowed"),
        ("https://127.0.0.1/a", "git_host_not_allowed"),
        ("https://10.1.2.3/a", "git_host_not_allowed"),
        ("https://localhost/a", "git_host_not_allowed"),
        ("https://user:hunter2@example.org/a", "git_url_has_credentials"),
    ],
)
@pytest.mark.parametrize("kind", ["runs", "projects"])
def test_remotes_that_may_not_be_cloned_are_refused(api: Api, url: str, code: str, kind: str):
    body = RUN | {"repos": [{"url": url}]} if kind == "runs" else {"name": "p", "repos": [{"url": url}]}
    answer = api.post(f"/v1/{kind}", body)
    assert problem_of(answer) == (422, code, ["repos.0.url"])
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../b", "a/\0"])
def test_a_working_dir_stays_in_the_repository(api: Api, path: str):
    answer = api.post("/v1/runs", RUN | {"repos": [{**RUN["repos"][0], "working_dir": path}]})
    assert problem_of(answer) == (422, "validation_failed", ["repos.0.working_dir"])


@pytest.mark.parametrize("path", ["a", "a/b", "..a", ".hidden/x", "with space/ü", "new\nline", "a//b/", "./a", "."])
def test_any_name_below_the_repository_is_a_working_dir(api: Api, path: str):
    api.run(repos=[{**RUN["repos"][0], "working_dir": path}])


@pytest.mark.parametrize("branch", ["-x", "a..b", "a b", "x.lock", "@"])
def test_a_branch_that_git_does_not_take_is_refused(api: Api, branch: str):
    answer = api.post("/v1/runs", RUN | {"repos": [{**RUN["repos"][0], "target_branch": branch}]})
    assert problem_of(answer) == (422, "branch_invalid", ["repos.0.target_branch"])


@pytest.mark.parametrize("ref", ["-x", "main~1", "HEAD", "a b", ""])
def test_a_ref_that_names_nothing_is_refused(api: Api, ref: str):
    answer = api.post("/v1/runs", RUN | {"repos": [{**RUN["repos"][0], "ref": ref}]})
    assert problem_of(answer)[0::2] == (422, ["repos.0.ref"])


def test_the_ref_is_shown_beside_the_branch_to_merge_into(api: Api):
    made = api.run(repos=[{**RUN["repos"][0], "target_branch": "main", "ref": "refs/pull/7/head"}])
    shown = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["repos"][0]
    assert (shown["target_branch"], shown["ref"]) == ("main", "refs/pull/7/head")
    plain = api.run()
    assert api.get(f"/v1/workspaces/{plain['workspace_id']}").json()["repos"][0]["ref"] is None


def test_a_lone_surrogate_is_refused_not_stored(api: Api):
    raw = (
        b'{"repos":[{"url":"https://git.example.org/a"}],"prompt":"\\ud800","executor":{"name":"shell","command":"x"}}'
    )
    headers = api.as_("ann") | {"Content-Type": "application/json"}
    assert problem_of(api.client.post("/v1/runs", content=raw, headers=headers))[0] == 422
    key = raw.replace(b'"prompt"', b'"\\udfff":1,"prompt"')
    assert problem_of(api.client.post("/v1/runs", content=key, headers=headers))[0] == 422


def test_environment_values_are_write_only(api: Api):
    value = "s3cret-" + uuid4().hex
    made = api.run(env={"TOKEN": value, "PLAIN": {"value": value + "x", "secret": False}})
    for path in (
        "workspaces/{workspace_id}",
        "executions/{execution_id}",
        "tasks/{task_id}",
        "workspaces/{workspace_id}/events",
    ):
        answer = api.get("/v1/" + path.format(**made))
        assert answer.status_code == 200
        assert value not in answer.text
    with api.database.connect() as connection:
        stored = {row.name: row.secret for row in connection.execute(select(WorkspaceEnvironment))}
    assert stored == {"TOKEN": True, "PLAIN": False}


def test_what_is_masked_of_the_environment_is_said_and_can_be_decided(api: Api):
    made = api.run(
        env={
            "NODE_ENV": "production",
            "API_KEY": "correct horse",
            "SHORT_KEY": "horse",
            "JUDGED": {"value": "ghp_0123456789abcdefghijABCDEFGHIJ012345"},
            "WORD": {"value": "production", "secret": True},
            "PUBLIC_KEY": {"value": "correct horse", "secret": False},
        }
    )
    assert made["masked_env"] == ["API_KEY", "JUDGED", "WORD"], "what is too short is never masked"
    assert api.get(f"/v1/workspaces/{made['workspace_id']}").json()["masked_env"] == made["masked_env"]
    assert api.get("/v1/workspaces").json()["items"][0]["masked_env"] == made["masked_env"]


def test_a_wrong_environment_value_is_not_repeated(api: Api):
    for env in ({"A": "sesame\0"}, {"A": {"value": "sesame", "oops": 1}}, {"A": ["sesame"]}, {"A": 12345678}):
        answer = api.post("/v1/runs", RUN | {"env": env})
        assert answer.status_code == 422
        assert "sesame" not in answer.text
        assert "12345678" not in answer.text


@pytest.mark.proves("T000-08")
def test_image_of_request_then_project_then_server(database: Database, database_url: str, redis_url: str):
    with api_in_process(database, settings_for(database_url, redis_url, default_image="c")) as api:
        project = api.post("/v1/projects", {"name": "p", "default_image": "b"}).json()["id"]

        def image(**body) -> str:
            return api.get("/v1/workspaces/" + api.run(**body)["workspace_id"]).json()["image"]

        assert image(project_id=project, image="a") == "a"
        assert image(project_id=project) == "b"
        assert image() == "c"


@pytest.mark.proves("T000-09")
def test_an_image_that_is_not_on_the_list_is_refused(database: Database, database_url: str, redis_url: str):
    settings = settings_for(database_url, redis_url, allowed_images=("relay-*",), default_image="relay-base")
    with api_in_process(database, settings) as api:
        assert problem_of(api.post("/v1/runs", RUN | {"image": "other"})) == (422, "image_not_allowed", ["image"])
        assert count(api, Workspace) == 0
        api.run(image="relay-base:1")


def test_a_runs_project_lends_its_scripts(api: Api):
    url = RUN["repos"][0]["url"]
    project = api.post("/v1/projects", {"name": "p", "repos": [{"url": url, "setup_script": "make"}]}).json()
    run = api.run(project_id=project["id"])
    first = api.get(f"/v1/executions/{run['execution_id']}").json()
    assert [step["run_reason"] for step in first["next"]] == ["setup_script"]
    none = api.run(project_id=project["id"], repos=[{"url": url, "setup_script": ""}])
    first = api.get(f"/v1/executions/{none['execution_id']}").json()
    assert [step["run_reason"] for step in first["next"]] == ["coding_agent"]


def test_the_same_key_and_body_answer_the_same_and_create_once(api: Api):
    headers = {"Idempotency-Key": "k1"}
    first = api.post("/v1/runs", RUN, headers=headers)
    again = api.post("/v1/runs", dict(reversed(RUN.items())), headers=headers)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert count(api) == 1
    other = api.post("/v1/runs", RUN | {"title": "other"}, headers=headers)
    assert problem_of(other)[:2] == (409, "idempotency_key_reused")
    assert api.post("/v1/runs", RUN, "bob", headers=headers).json() != first.json()
    assert count(api) == 2


def test_a_refused_request_does_not_use_up_its_key(api: Api):
    headers = {"Idempotency-Key": "k2"}
    missing = RUN | {"project_id": str(uuid4())}
    assert api.post("/v1/runs", missing, headers=headers).status_code == 404
    assert api.post("/v1/runs", RUN, headers=headers).status_code == 202


def test_concurrent_copies_create_once(api: Api):
    start = threading.Barrier(8)

    def post(_: int):
        start.wait()
        return api.post("/v1/runs", RUN, headers={"Idempotency-Key": "k3"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert count(api) == 1


@pytest.mark.proves("T004-21")
def test_a_further_step_waits_for_the_lane(api: Api, database: Database):
    worker = Worker(database)
    made = api.run(repos=[{**RUN["repos"][0], "cleanup_script": "true"}])
    path = f"/v1/workspaces/{made['workspace_id']}/executions"
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    agent = api.get(path).json()["items"][-1]
    assert agent["run_reason"] == "coding_agent"
    running = worker.claim(agent["id"])
    answer = api.post(path, {"run_reason": "cleanup_script"})
    assert answer.status_code == 202
    added = answer.json()
    assert added["queue"] == {"ahead": 0, "waits_for": [agent["id"]], "waits": None}
    assert added["action"]["script"] == "true"
    follow_up = api.post(path, {"run_reason": "coding_agent", "prompt": "more"}).json()
    assert follow_up["queue"]["ahead"] == 1
    assert follow_up["action"]["executor"]["name"] == "shell"
    assert follow_up["turn"]["prompt"] == "more"
    worker.finish(running)
    reasons = [item["run_reason"] for item in api.get(path).json()["items"]]
    assert reasons == ["clone", "coding_agent", "cleanup_script", "coding_agent", "cleanup_script"]


def test_another_executor_opens_a_session(api: Api):
    made = api.run()
    body = {"run_reason": "coding_agent", "prompt": "x", "executor": {"name": "claude-code"}}
    added = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", body).json()
    assert added["session_id"] != made["session_id"]
    assert added["action"]["executor"]["name"] == "claude-code"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"run_reason": "cleanup_script"}, "script"),
        ({"run_reason": "coding_agent"}, "prompt"),
        ({"run_reason": "coding_agent", "prompt": "x", "script": "y"}, "script"),
        ({"run_reason": "setup_script", "script": "x", "repo": "no-such"}, "repo"),
        ({"run_reason": "cleanup_script", "script": "x", "as_root": True}, "as_root"),
        ({"run_reason": "clone"}, "run_reason"),
    ],
)
def test_a_step_that_cannot_be_is_refused(api: Api, body: dict, field: str):
    made = api.run()
    status, _, fields = problem_of(api.post(f"/v1/workspaces/{made['workspace_id']}/executions", body))
    assert (status, fields) == (422, [field])
    assert count(api) == 1


def test_of_several_repos_one_must_be_named(api: Api):
    made = api.run(repos=[{"url": "https://git.example.org/a"}, {"url": "https://git.example.org/b"}])
    path = f"/v1/workspaces/{made['workspace_id']}/executions"
    assert api.post(path, {"run_reason": "setup_script", "script": "x"}).status_code == 422
    added = api.post(path, {"run_reason": "setup_script", "script": "x", "repo": "b", "as_root": True}).json()
    assert (added["action"]["cwd"], added["action"]["as_root"]) == ("repos/b", True)


def test_a_dev_server_starts_once_and_stops(api: Api, database: Database):
    worker = Worker(database)
    made = api.run(repos=[{**RUN["repos"][0], "dev_server_script": "serve"}])
    path = f"/v1/workspaces/{made['workspace_id']}/dev-server"
    assert problem_of(api.post(path, {}))[0] == 409  # still being prepared
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    started = api.post(path, {})
    assert started.status_code == 202
    assert started.json()["dev_server"] == {"url": None}
    assert problem_of(api.post(path, {}))[:2] == (409, "dev_server_running")
    claimed = worker.claim(started.json()["id"])
    with database.begin() as connection:
        connection.execute(
            ExecutionProcess.__table__.update()
            .where(ExecutionProcess.id == claimed.execution_id)
            .values(handle={"gid": 20001, "forward_port": 4321})
        )
    shown = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["dev_server"]
    assert shown == {"execution_id": started.json()["id"], "status": "running", "url": "http://127.0.0.1:4321"}
    stopped = api.delete(path)
    assert stopped.status_code == 202
    assert [item["kill_requested_by"] for item in stopped.json()["items"]] == ["ann"]
    assert api.post(path, {}).status_code == 202  # the old one is on its way out
