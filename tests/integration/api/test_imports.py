"""Imports that no Relay has written: each is refused as a whole, and nothing of it is stored."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import zstandard
from sqlalchemy import create_engine, text

from relay_core.store.transaction import Database
from relay_core.store.transfer import export, import_workspace
from relay_core.store.transfer.codec import MOST_BYTES, Record, packed, unpacked
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for
from tests.support.migrating import BUNDLE, History, history, listed, made
from tests.support.published import Published


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    settings = settings_for(database_url, redis_url, allowed_images=("node:*", "relay-*"), max_memory_bytes=1 << 30)
    with api_in_process(database, settings) as api:
        yield api


@dataclass
class Import:
    """Parts of ann's workspace, which bob imports into a task of his."""

    api: Api
    there: History
    records: list[Record]
    task: str
    origin: UUID

    def send(self, records: Sequence[Record] | None = None, *, raw: bytes | None = None) -> httpx.Response:
        part = packed(self.records if records is None else records) if raw is None else raw
        body = {"data": base64.b64encode(part).decode()}
        stored = self.api.post("/v1/migrations/parts", body, "bob")
        assert stored.status_code == 201, stored.text
        return self.ask(stored.json()["sha256"])

    def ask(self, *parts: str) -> httpx.Response:
        workspace = {"task_id": self.task, "parts": list(parts)}
        return self.api.post("/v1/migrations/imports", self.about("workspace", self.there.workspace, workspace), "bob")

    def about(self, kind: str, source_id: str, content: dict[str, Any]) -> dict[str, Any]:
        named = {"format": 1, "origin_id": str(self.origin), "source_id": source_id, "entity_type": kind}
        return {**named, kind: content}

    def changed(self, kind: str, change: Callable[[dict[str, Any]], None], nth: int = 0) -> list[Record]:
        """The records, one of which has other fields."""
        of_kind = [place for place, record in enumerate(self.records) if record.kind == kind]
        place = of_kind[nth]
        fields = json.loads(json.dumps(dict(self.records[place].fields)))
        change(fields)
        return [*self.records[:place], replace(self.records[place], fields=fields), *self.records[place + 1 :]]


@pytest.fixture
def wanted(api: Api) -> Import:
    there = history(api, Worker(api.database))
    records, cursor = [], None
    while True:
        part = export.part(api.database, UUID(there.workspace), cursor)
        records += unpacked(part.content)
        cursor = part.following
        if cursor is None:
            break
    made(api, "/v1/projects", {"name": "of bob"}, "bob")
    task = made(api, "/v1/tasks", {"project_id": "of bob", "title": "Mend it"}, "bob")
    return Import(api, there, records, task["id"], uuid4())


def test_a_workspace_is_imported_once_also_at_the_same_time(wanted: Import):
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: wanted.send(), range(4)))
    assert {answer.status_code for answer in answers} <= {200, 201, 409}, [answer.text for answer in answers]
    first = next(answer for answer in answers if answer.status_code == 201)
    again = wanted.send()
    assert (again.status_code, again.json()) == (200, {**first.json(), "created": False})
    assert [one["id"] for one in listed(wanted.api, "/v1/workspaces", "bob")] == [first.json()["id"]]
    limits = wanted.api.get(f"/v1/workspaces/{first.json()['id']}", "bob").json()["limits"]
    assert limits["memory_bytes"] == 1 << 30, "lowered to what this server allows"
    assert wanted.api.delete(f"/v1/workspaces/{first.json()['id']}", "bob").status_code == 202
    assert wanted.send().json()["code"] == "import_deleted"


def _set(name: str, value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        for part in path:
            fields = fields[int(part)] if isinstance(fields, list) else fields[part]
        fields[name] = value

    return change


HOSTILE = {
    "a repository with a path as its name": ("head", _set("name", "../../etc", "repos", "0")),
    "a working directory above": ("head", _set("working_dir", "../..", "repos", "0")),
    "a directory of agents above": ("head", _set("agent_working_dir", "app/../../..", "workspace")),
    "a branch that is an option": ("head", _set("branch", "--upload-pack=x", "workspace")),
    "a commit that is an option": ("head", _set("base_commit", "--output=/etc/passwd", "repos", "0")),
    "a remote of this host": ("head", _set("url", "file:///etc", "repos", "0")),
    "another image": ("head", _set("resolved_image", "evil:latest", "workspace")),
    "a negative user": ("head", _set("requested_uid", -1, "workspace")),
    "a variable with a sign": ("head", _set("secrets", [{"env_name": "A=B\n", "secret_name": "A"}])),
    "a run that goes on": ("head", _set("status", "running", "runs", "0")),
    "an unknown column": ("head", _set("container_ref", "/", "workspace")),
    "another workspace": ("head", _set("workspace_id", str(uuid4()))),
    "an execution that is queued": ("execution", _set("status", "queued", "execution")),
    "a step elsewhere": ("execution", _set("cwd", "../../..", "execution", "executor_action", "step")),
    "another step than its kind": ("execution", _set("run_reason", "merge", "execution")),
    "an action that is none": ("execution", _set("executor_action", {"step": []}, "execution")),
    "a text as a number": ("execution", _set("exit_code", "0", "execution")),
    "a log of another size": ("execution", _set("bytes", 7, "streams", "0")),
    "an event of no kind": ("event", _set("kind", "workspace.owned", "event")),
    "a NUL in a text": ("event", _set("payload", {"a": "\0"}, "event")),
    "another end": ("end", _set("executions", 1)),
    "a time that cannot be read, after all": ("head", _set("created_at", "9999-12-31T23:59:59-14:00", "workspace")),
    "a time that cannot be read, before all": ("head", _set("created_at", "0001-01-01T00:00:00+14:00", "workspace")),
    "a time of the future": ("execution", _set("completed_at", "2999-01-01T00:00:00+00:00", "execution")),
    "a number of sessions": ("head", _set("sessions", 5)),
    "a session that is a text": ("head", _set("sessions", ["x"])),
    "a subtask that has no id": ("head", _set("subtasks", ["x"])),
    "a list as an id": ("blob", _set("execution_id", [])),
    "a number as a directory": ("execution", _set("cwd", 5, "execution", "executor_action", "step")),
    "a number as a prompt": ("execution", _set("prompt", 5, "execution", "executor_action", "step")),
    "a number as a model": ("execution", _set("model", 5, "execution", "executor_action", "step", "executor")),
    "a number in an environment": ("head", _set("env", {"A": 5}, "sessions", "0", "executor_config")),
}


def test_what_asks_for_too_much_is_refused_and_nothing_is_stored(wanted: Import):
    for name, (kind, change) in HOSTILE.items():
        refused = wanted.send(wanted.changed(kind, change, -1 if kind == "execution" else 0))
        assert refused.status_code == 422, (name, refused.text)
        with wanted.api.database.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM workspaces WHERE created_by = 'bob'")) == 0, name
            stored = "SELECT count(*) FROM execution_processes WHERE created_by = 'bob' AND workspace_id IS NOT NULL"
            assert connection.scalar(text(stored)) == 0, name
    assert wanted.send().status_code == 201


def test_numbers_that_cannot_be_added_up_are_left_out(wanted: Import):
    def huge(fields: dict[str, Any]) -> None:
        fields["turn"]["usage"] = {"input_tokens": 12, "a": 10**400, "b": 1e308, "c": -1e308, "d" * 65: 1}
        fields["turn"]["usage"] |= {f"n{number}": 1 for number in range(40)}
        fields["states"][0]["stat"] |= {"files": 10**30, "insertions": 3}

    sent = wanted.send(wanted.changed("execution", huge, -1))
    assert sent.status_code == 201, sent.text
    task = listed(wanted.api, "/v1/tasks", "bob")[0]
    assert task["usage"]["input_tokens"] == 12
    assert len(task["usage"]) == 30
    assert not {"a", "b", "c", "d" * 65} & set(task["usage"])
    assert len(listed(wanted.api, "/v1/runs", "bob")) == 1
    assert wanted.api.get(f"/v1/tasks/{wanted.task}/attempts", "bob").status_code == 200


def test_times_of_tasks_and_pull_requests_are_those_of_a_clock(wanted: Import):
    for at in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2999-01-01T00:00:00Z", "2026-01-01T00:00:00"):
        task = {"project_id": str(uuid4()), "title": "x", "status": "todo", "created_at": at}
        refused = wanted.api.post("/v1/migrations/imports", wanted.about("task", str(uuid4()), task), "bob")
        assert (refused.status_code, "created_at" in refused.text) == (422, True), (at, refused.text)


def test_a_part_that_is_named_many_times_is_not_stored_as_often(wanted: Import, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(import_workspace, "MOST_IMPORT_BYTES", 1000)
    refused = wanted.send()
    assert (refused.status_code, refused.json()["code"]) == (422, "import_too_large")


def test_a_log_or_patch_that_is_too_large_here_is_refused(
    wanted: Import, database: Database, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setattr(import_workspace, "MOST_PACKED_BYTES", 10)
        assert wanted.send().json()["code"] == "import_damaged"
    with api_in_process(database, settings_for(database_url, redis_url, max_log_bytes=1024)) as small:
        small.tokens = wanted.api.tokens
        wanted.api = small
        refused = wanted.send()
    assert (refused.status_code, refused.json()["code"]) == (422, "import_too_large")
    assert "RELAY_MAX_LOG_BYTES" in refused.text


def test_a_run_may_come_before_the_one_that_it_repeats(wanted: Import):
    def repeated(fields: dict[str, Any]) -> None:
        (run,) = fields["runs"]
        earlier = {**run, "id": str(uuid4())}
        fields["runs"] = [{**run, "rerun_of": earlier["id"]}, earlier]

    sent = wanted.send(wanted.changed("head", repeated))
    assert sent.status_code == 201, sent.text
    runs = listed(wanted.api, "/v1/runs", "bob")
    assert sorted(run["rerun_of"] is None for run in runs) == [False, True]


def test_a_part_is_read_with_one_connection(wanted: Import):
    engine = create_engine(wanted.api.database.engine.url, pool_size=1, max_overflow=0, pool_timeout=1)
    database = Database(engine, Published())
    try:
        assert export.part(database, UUID(wanted.there.workspace), None).content
    finally:
        database.dispose()


def test_subtasks_make_no_circle(wanted: Import):
    source_id, at = str(uuid4()), "2026-01-01T00:00:00Z"
    content = {"project_id": wanted.api.get(f"/v1/tasks/{wanted.task}", "bob").json()["project_id"]}
    content |= {"title": "Above", "status": "todo", "created_at": at}
    above = made(wanted.api, "/v1/migrations/imports", wanted.about("task", source_id, content), "bob")["id"]
    below, origin = wanted.task, wanted.origin
    wanted.task, wanted.origin = above, uuid4()
    workspace = wanted.send().json()["id"]
    changed = wanted.api.patch(f"/v1/tasks/{below}", {"parent_workspace_id": workspace}, "bob")
    assert changed.status_code == 200, changed.text
    wanted.task, wanted.origin = below, origin
    sent = wanted.send(wanted.changed("head", _set("subtasks", [source_id])))
    assert sent.status_code == 201, sent.text
    assert wanted.api.get(f"/v1/tasks/{above}", "bob").json()["parent_workspace_id"] is None


def test_parts_that_are_damaged_missing_or_too_large_are_refused(wanted: Import):
    records = wanted.records
    for part in (records[1:], records[:-1], records[::-1], [*records, records[-1]], [records[0], *records]):
        assert wanted.send(part).json()["code"] == "import_damaged"
    logs = [place for place, record in enumerate(records) if record.kind == "log"]
    without = [record for place, record in enumerate(records) if place != logs[0]]
    assert wanted.send(without).json()["code"] == "import_damaged"
    bomb = zstandard.ZstdCompressor().compress(bytes(MOST_BYTES + 1))
    assert len(bomb) < 100_000
    for raw in (bomb, b"", b"no part", zstandard.compress(b"no line"), zstandard.compress(b"[]\n")):
        if raw:
            assert wanted.send(raw=raw).json()["code"] == "import_damaged"
    missing = wanted.ask(hashlib.sha256(b"nothing").hexdigest())
    assert (missing.status_code, missing.json()["code"]) == (409, "import_parts_missing")
    assert wanted.api.get(f"/v1/migrations/parts/{'0' * 64}", "bob").status_code == 404
    patches = [place for place, record in enumerate(records) if record.fields.get("column") == "patch"]
    inflated = zstandard.ZstdCompressor().compress(bytes(65 << 20))
    bombed = [replace(record, data=inflated) if place in patches else record for place, record in enumerate(records)]
    assert wanted.send(bombed).json()["code"] == "import_damaged"
    assert wanted.send().status_code == 201


def test_a_bundle_that_is_too_large_here_is_left_out_and_told(
    wanted: Import, database: Database, database_url: str, redis_url: str
):
    with api_in_process(database, settings_for(database_url, redis_url, bundle_max_bytes=1024)) as small:
        small.tokens = wanted.api.tokens
        wanted.api = small
        done = wanted.send()
        assert done.status_code == 201, done.text
        diff = small.get(f"/v1/workspaces/{done.json()['id']}/diff", "bob").json()["items"][0]
    assert diff["bundle_bytes"] is None
    assert f"the bundle has {len(BUNDLE)} bytes" in diff["bundle_problem"]


def test_tasks_and_pull_requests_of_others_are_not_reached(wanted: Import):
    into = wanted.about("workspace", wanted.there.workspace, {"task_id": wanted.there.task, "parts": ["0" * 64]})
    assert wanted.api.post("/v1/migrations/imports", into, "bob").status_code == 404
    at = "2026-01-01T00:00:00Z"
    task = {"project_id": wanted.there.project, "title": "x", "status": "todo", "created_at": at}
    assert wanted.api.post("/v1/migrations/imports", wanted.about("task", str(uuid4()), task), "bob").status_code == 404
    merge = {
        "workspace_id": wanted.there.workspace,
        "repo_url": "https://git.example.org/team/app.git",
        "method": "squash",
        "target_branch_name": "main",
        "message": "x",
        "pr_number": 1,
        "pr_status": "open",
        "pr_url": "https://git.example.org/1",
        "created_at": at,
    }
    sent = wanted.about("pr_merge", str(uuid4()), merge)
    assert wanted.api.post("/v1/migrations/imports", sent, "bob").status_code == 404
    both = wanted.about("task", str(uuid4()), task) | {"pr_merge": merge}
    assert wanted.api.post("/v1/migrations/imports", both, "bob").json()["code"] == "entity_missing"
    running = wanted.about("task", str(uuid4()), {**task, "status": "inprogress"})
    assert wanted.api.post("/v1/migrations/imports", running, "bob").json()["code"] == "task_in_progress"


def test_an_imported_workspace_waits_in_the_archive_until_it_is_brought_back(wanted: Import):
    api, workspace = wanted.api, f"/v1/workspaces/{wanted.send().json()['id']}"
    step = {"run_reason": "cleanup_script", "script": "true"}
    assert api.post(f"{workspace}/executions", step, "bob").json()["code"] == "workspace_archived"
    assert api.post(f"{workspace}/resume", None, "bob").json()["code"] == "workspace_archived"
    assert api.patch(workspace, {"archived": False}, "bob").json()["state"] == "starting"
    queued = [one for one in listed(api, f"{workspace}/executions", "bob") if one["status"] == "queued"]
    assert [one["run_reason"] for one in queued] == ["clone"]
    worker = Worker(api.database)
    clone = worker.claim(queued[0]["id"])
    worker.finish(clone)
    assert api.post(f"{workspace}/executions", step, "bob").status_code == 202
    assert api.patch(workspace, {"archived": True}, "bob").json()["code"] == "workspace_busy"
