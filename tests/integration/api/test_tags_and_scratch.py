"""Tags and scratch over HTTP: whose they are, what is accepted, and prompts that contain tags."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from relay_core.domain.errors import InvalidInput
from relay_core.store.schema.tables import ExecutionProcess, Task
from relay_core.store.shared import tags
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for

TEXT = "Run the tests before you end."


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def tag(api: Api, name: str = "careful", content: str = TEXT, who: str = "ann") -> dict[str, Any]:
    answer = api.post("/v1/tags", {"tag_name": name, "content": content}, who)
    assert answer.status_code == 201, answer.text
    return answer.json()


def patch(api: Api, path: str, body: Any, who: str = "ann"):
    return api.client.patch(path, json=body, headers=api.as_(who))


def put(api: Api, path: str, payload: Any, who: str = "ann"):
    return api.client.put(path, json={"payload": payload}, headers=api.as_(who))


def actions(api: Api, workspace_id: str) -> list[Any]:
    with api.database.connect() as connection:
        of_it = select(ExecutionProcess.executor_action).where(ExecutionProcess.workspace_id == UUID(workspace_id))
        return list(connection.scalars(of_it.order_by(ExecutionProcess.created_at)))


def test_a_tag_is_created_found_by_name_and_id_changed_and_deleted(api: Api):
    made = tag(api)
    assert api.get("/v1/tags/careful").json() == api.get(f"/v1/tags/{made['id']}").json() == made
    changed = patch(api, "/v1/tags/careful", {"content": "Slowly."}).json()
    assert (changed["tag_name"], changed["content"]) == ("careful", "Slowly.")
    assert changed["updated_at"] > made["updated_at"]
    renamed = patch(api, f"/v1/tags/{made['id']}", {"tag_name": "slow", "content": None}).json()
    assert (renamed["tag_name"], renamed["content"]) == ("slow", "Slowly.")
    assert patch(api, "/v1/tags/slow", {}).json() == renamed
    assert api.delete("/v1/tags/slow").status_code == 204
    assert problem_of(api.delete("/v1/tags/slow"))[:2] == (404, "not_found")
    assert problem_of(patch(api, "/v1/tags/slow", {"content": ""}))[:2] == (404, "not_found")


def test_a_name_is_taken_once_by_an_owner_and_tags_of_others_are_not_seen(api: Api):
    mine, theirs = tag(api), tag(api, who="bob")
    assert problem_of(api.post("/v1/tags", {"tag_name": "careful", "content": ""}))[:2] == (409, "tag_name_taken")
    other = tag(api, "other")
    assert problem_of(patch(api, "/v1/tags/other", {"tag_name": "careful"}))[:2] == (409, "tag_name_taken")
    assert api.get("/v1/tags/other").json() == other
    assert api.get(f"/v1/tags/{theirs['id']}").status_code == 404
    assert patch(api, f"/v1/tags/{theirs['id']}", {"content": ""}).status_code == 404
    assert api.delete(f"/v1/tags/{theirs['id']}").status_code == 404
    assert api.get(f"/v1/tags/{theirs['id']}", "admin").json() == theirs
    assert problem_of(api.delete("/v1/tags/careful", "reader"))[:2] == (403, "scope_missing")
    assert [one["id"] for one in api.get("/v1/tags").json()["items"]] == [other["id"], mine["id"]]
    assert [one["id"] for one in api.get("/v1/tags?query=CARE", "admin").json()["items"]] == [theirs["id"], mine["id"]]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a" * 64, "@a", "ä", "a/b"])
def test_a_name_that_no_prompt_could_mention_is_refused(api: Api, name: str):
    assert problem_of(api.post("/v1/tags", {"tag_name": name, "content": ""})) == (
        422,
        "validation_failed",
        ["tag_name"],
    )


def test_tags_are_listed_by_pages(api: Api):
    names = [tag(api, f"tag-{number}")["tag_name"] for number in range(5)]
    page = api.get("/v1/tags?limit=3").json()
    rest = api.get(f"/v1/tags?limit=3&cursor={page['next_cursor']}").json()
    assert [one["tag_name"] for one in page["items"] + rest["items"]] == names[::-1]
    assert rest["next_cursor"] is None


def test_prompts_of_runs_follow_ups_and_steps_get_the_owners_tags(api: Api):
    tag(api)
    tag(api, "secretive", "of bob", who="bob")
    claude = {"name": "claude-code"}
    run = api.run(prompt="mend it; @careful and @secretive", executor=claude)
    [clone] = actions(api, run["workspace_id"])
    [agent] = clone["next_action"]["steps"]
    assert agent["prompt"] == f"mend it; {TEXT} and @secretive"
    with api.database.connect() as connection:
        assert connection.scalar(select(Task.description)) == "mend it; @careful and @secretive"
    worker = Worker(api.database)
    worker.finish(worker.claim(run["execution_id"]))
    worker.ready(run["workspace_id"])
    made = api.post(f"/v1/sessions/{run['session_id']}/follow-ups", {"prompt": "@careful"})
    assert made.status_code == 202, made.text
    body = {"run_reason": "coding_agent", "prompt": "again, @careful", "executor": claude}
    assert api.post(f"/v1/workspaces/{run['workspace_id']}/executions", body).status_code == 202
    assert [each["step"]["prompt"] for each in actions(api, run["workspace_id"])[-2:]] == [TEXT, f"again, {TEXT}"]


def test_a_prompt_that_its_tags_make_too_long_is_refused(api: Api):
    tag(api, "long", "x" * 65536)
    answer = api.post("/v1/runs", {"repos": [{"url": "https://git.example.org/team/app.git"}], "prompt": "@long " * 17})
    assert problem_of(answer) == (422, "prompt_too_large", ["prompt"])


def test_a_prompt_that_would_become_huge_is_refused_before_it_is_made(api: Api):
    tag(api, "z", "x" * 65536)
    with api.database.connect() as connection:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidInput) as caught:
                tags.expand(connection, "@z " * 300_000, "ann")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (caught.value.code, caught.value.field) == ("prompt_too_large", "prompt")
    assert peak < 50 << 20


def test_a_prompt_may_mention_very_many_names(api: Api):
    tag(api)
    prompt = " ".join(f"@n{number}" for number in range(70_000))
    with api.database.connect() as connection:
        assert tags.expand(connection, f"{prompt} @careful", "ann") == f"{prompt} {TEXT}"


PAYLOADS: dict[str, dict[str, Any]] = {
    "draft_task": {"text": "# Mend the parser\n"},
    "draft_follow_up": {"prompt": "now document it", "executor": {"name": "codex", "variant": "fast"}},
    "draft_workspace": {
        "project_id": str(uuid4()),
        "task_id": None,
        "title": "Second attempt",
        "prompt": "",
        "executor": None,
        "image": "relay-base:latest",
        "repos": [{"url": "https://git.example.org/team/app.git", "target_branch": "main"}],
    },
    "preview_settings": {"url": "http://127.0.0.1:3000/", "width": 390, "height": 844},
    "workspace_notes": {"text": "ask Ann"},
    "ui_preferences": {"preferences": {"sidebar": {"open": True, "width": 12.5}, "filters": ["mine", None]}},
}


@pytest.mark.parametrize("kind", PAYLOADS)
def test_scratch_of_each_type_is_stored_read_replaced_and_deleted(api: Api, kind: str):
    payload = {"type": kind, **PAYLOADS[kind]}
    path = f"/v1/scratch/{kind}/{uuid4()}"
    assert problem_of(api.get(path))[:2] == (404, "not_found")
    made = put(api, path, payload)
    assert (made.status_code, made.json()["payload"]) == (200, payload)
    assert api.get(path, "reader").json() == made.json()
    assert put(api, path, payload).json() == made.json(), "an equal payload writes nothing"
    assert api.get(f"/v1/scratch?type={kind}").json()["items"] == [made.json()]
    assert api.get("/v1/scratch?type=draft_task").json()["items"] == ([made.json()] if kind == "draft_task" else [])
    assert api.delete(path).status_code == 204
    assert problem_of(api.delete(path))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("draft_task", {"type": "draft_task"}, "validation_failed"),
        ("draft_task", {"type": "draft_task", "text": "a", "more": 1}, "validation_failed"),
        ("draft_task", {"type": "workspace_notes", "text": "a"}, "scratch_type_mismatch"),
        ("draft_task", {"type": "unknown", "text": "a"}, "validation_failed"),
        ("draft_follow_up", {"type": "draft_follow_up", "prompt": 1}, "validation_failed"),
        ("draft_follow_up", {"type": "draft_follow_up", "prompt": "", "executor": {}}, "validation_failed"),
        ("draft_workspace", {"type": "draft_workspace", "project_id": "shop"}, "validation_failed"),
        ("draft_workspace", {"type": "draft_workspace", "repos": [{}]}, "validation_failed"),
        ("preview_settings", {"type": "preview_settings", "url": "javascript:alert(1)"}, "validation_failed"),
        ("preview_settings", {"type": "preview_settings", "url": "http://a", "width": 0}, "validation_failed"),
        ("workspace_notes", {"type": "workspace_notes", "text": "a\0"}, "validation_failed"),
        ("ui_preferences", {"type": "ui_preferences", "preferences": {"a": "\0"}}, "scratch_invalid"),
        ("ui_preferences", {"type": "ui_preferences", "preferences": []}, "validation_failed"),
    ],
)
def test_a_payload_that_is_not_of_its_type_is_refused(api: Api, kind: str, payload: Any, code: str):
    path = f"/v1/scratch/{kind}/{uuid4()}"
    assert problem_of(put(api, path, payload))[:2] == (422, code)
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("NaN", 422),
        ("-Infinity", 422),
        ("1e999", 422),
        (r'"\ud800"', 422),
        (r'{"\ud800": 1}', 422),
        (r'"\\u0000"', 200),
    ],
)
def test_values_that_no_database_can_store_are_refused(api: Api, value: str, status: int):
    headers = api.as_("ann") | {"Content-Type": "application/json"}
    body = f'{{"payload": {{"type": "ui_preferences", "preferences": {{"a": [{value}]}}}}}}'
    answer = api.client.put(f"/v1/scratch/ui_preferences/{uuid4()}", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    run = f'{json.dumps(RUN)[:-1]}, "metadata": {{"a": [{value}]}}}}'
    made = api.client.post("/v1/runs", content=run, headers=headers)
    assert made.status_code == (202 if status == 200 else 422), made.text
    if status == 422:
        assert problem_of(made) == (422, "metadata_invalid", ["metadata"])


def test_scratch_is_its_owners_alone_also_for_an_admin(api: Api):
    path = f"/v1/scratch/workspace_notes/{uuid4()}"
    mine = put(api, path, {"type": "workspace_notes", "text": "mine"}).json()
    assert api.get(path, "bob").status_code == api.get(path, "admin").status_code == 404
    theirs = put(api, path, {"type": "workspace_notes", "text": "theirs"}, "bob").json()
    assert (api.get(path).json(), api.get(path, "bob").json()) == (mine, theirs)
    assert api.get("/v1/scratch", "admin").json()["items"] == []
    assert problem_of(put(api, path, {"type": "workspace_notes", "text": ""}, "reader"))[:2] == (403, "scope_missing")
