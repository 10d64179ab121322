"""Sessions, follow-ups, conversations and profiles through the API, on a real Postgres; the worker's part is played."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from relay_core.console import server_sent_events as sse
from relay_core.domain import execution as machine
from relay_core.domain.agents.conversation import Entry, EntryKind, Tool, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import conversations
from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import sessions
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, api_on_a_port, problem_of, settings_for

AGENT = {"name": "claude-code"}
SESSION = "0b8f8f4e-2d62-4a7b-9c1e-6f1d2a3b4c5d"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def started(api: Api, worker: Worker, **body) -> dict:
    """A run whose workspace is ready, its agent queued."""
    made = api.run(executor=AGENT, **body)
    claimed = worker.claim(made["execution_id"])
    with api.database.begin() as connection:
        values = {"state": "running", "container_id": "c1", "uid": 1000}
        connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(values))
    worker.finish(claimed)
    return made


def turned(api: Api, worker: Worker, made: dict, *, session: str | None = SESSION, **usage: float):
    """Its newest agent's turn, from claim to end."""
    step = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    claimed = worker.claim(step["id"])
    turn = {"agent_session_id": session, "summary": f"I did {step['id']}", "usage": usage or None}
    worker.finish(claimed, machine.completed(0), turn=turn)
    return claimed


def say(api: Api, made: dict, prompt: str = "and now?", **options):
    return api.post(f"/v1/sessions/{made['session_id']}/follow-ups", {"prompt": prompt}, **options)


def test_a_follow_up_is_a_turn_of_the_same_session(api: Api, worker: Worker):
    made = started(api, worker, repos=[{**RUN["repos"][0], "working_dir": "src"}])
    turned(api, worker, made, input_tokens=5, cost_usd=0.5)
    answer = say(api, made)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["session_id"], body["run_reason"], body["executor"]) == (
        made["session_id"],
        "coding_agent",
        "claude-code",
    )
    assert (body["action"]["follow_up"], body["action"]["cwd"]) == (True, "repos/app/src")
    claimed = turned(api, worker, made, input_tokens=7)
    with api.database.connect() as connection:
        assert sessions.agent_session_before(connection, claimed.session_id, claimed.execution_id) == SESSION
    shown = api.get(f"/v1/sessions/{made['session_id']}").json()
    assert [turn["prompt"] for turn in shown["turns"]] == [RUN["prompt"], "and now?"]
    assert (shown["agent_session_id"], shown["can_resume"]) == (SESSION, True)
    listed = api.get(f"/v1/workspaces/{made['workspace_id']}/sessions").json()["items"]
    assert listed == [{**shown, "turns": shown["turns"][-1:]}]
    usage = api.get(f"/v1/tasks/{made['task_id']}").json()["usage"]
    assert usage == {"cost_usd": 0.5, "input_tokens": 12.0}


def test_the_run_of_a_follow_up_has_the_notes_that_were_given_with_it(api: Api, worker: Worker):
    made = started(api, worker, title="First", labels={"team": "web"})
    turned(api, worker, made)
    notes = {"title": "Second", "labels": {"ticket": "42"}, "metadata": {"by": {"bot": 1}}}
    path = f"/v1/sessions/{made['session_id']}/follow-ups"
    assert problem_of(api.post(path, {"prompt": "x", "labels": {"": "x"}}))[0] == 422
    assert problem_of(api.post(path, {"prompt": "x", "metadata": {"a": "\0"}}))[1:] == (
        "metadata_invalid",
        ["metadata"],
    )
    queued = api.post(path, {"prompt": "and now?", **notes}).json()
    run = api.get(f"/v1/runs/{queued['run_id']}").json()
    assert {name: run[name] for name in notes} == notes
    found = api.get("/v1/runs", params={"label": "ticket=42"}).json()["items"]
    assert [run["id"] for run in found] == [queued["run_id"]]
    api.post(f"/v1/runs/{run['id']}/cancel")
    again = api.post(f"/v1/runs/{run['id']}/rerun").json()
    assert {name: again[name] for name in notes} == notes


def test_one_follow_up_waits_at_a_time_whoever_asks(api: Api, worker: Worker):
    made = started(api, worker)
    turned(api, worker, made)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: say(api, made, f"prompt {n}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert {problem_of(answer)[1] for answer in answers if answer.status_code == 409} == {"follow_up_queued"}
    [queued] = [answer.json() for answer in answers if answer.status_code == 202]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert queued["id"] in refused.json()["detail"]
    api.post(f"/v1/executions/{queued['id']}/kill")
    assert say(api, made).status_code == 202, "once that is gone there is room again"


def test_a_running_turn_lets_the_next_one_wait(api: Api, worker: Worker):
    made = started(api, worker)
    step = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    claimed = worker.claim(step["id"])
    waiting = say(api, made).json()
    assert waiting["queue"]["waits_for"] == [step["id"]]
    worker.finish(claimed, machine.failed(Reason.AGENT_ERROR, "no", 1))
    assert api.get(f"/v1/executions/{waiting['id']}").json()["status"] == "queued"


def test_the_retry_of_a_follow_up_counts_as_one(api: Api, worker: Worker):
    made = started(api, worker)
    turned(api, worker, made)
    first = say(api, made).json()
    worker.finish(worker.claim(first["id"]), machine.failed(Reason.AGENT_ERROR, "no", 1))
    assert say(api, made).status_code == 202
    again = api.post(f"/v1/executions/{first['id']}/retry", {"run_agent_again": True})
    assert problem_of(again)[:2] == (409, "follow_up_queued")


def test_who_may_not_and_what_cannot(api: Api, worker: Worker):
    made = started(api, worker)
    assert problem_of(say(api, made, who="bob"))[:2] == (404, "not_found")
    assert say(api, made, who="reader").status_code == 403
    assert problem_of(api.post(f"/v1/sessions/{uuid4()}/follow-ups", {"prompt": "x"}))[0] == 404
    assert problem_of(api.get(f"/v1/sessions/{made['session_id']}", "bob"))[0] == 404
    assert problem_of(say(api, made, " "))[::2] == (422, ["prompt"])
    blank = api.post("/v1/runs", RUN | {"executor": AGENT, "prompt": " "})
    assert problem_of(blank)[::2] == (422, ["prompt"])
    shell = api.run()
    status, code, _ = problem_of(say(api, shell))
    assert (status, code) == (409, "cannot_resume")
    api.delete(f"/v1/workspaces/{made['workspace_id']}")
    assert say(api, made).status_code == 404


def test_the_same_key_makes_one_follow_up(api: Api, worker: Worker):
    made = started(api, worker)
    answers = [say(api, made, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_another_agent_step_begins_a_session_of_its_own(api: Api, worker: Worker):
    made = started(api, worker)
    body = {"run_reason": "coding_agent", "prompt": "something else"}
    other = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", body).json()
    assert other["session_id"] != made["session_id"]
    assert other["executor"] == "claude-code"
    assert "follow_up" not in other["action"]


def entries(count: int, first: int = 0) -> list[Entry]:
    return [Entry(n, n + 1, EntryKind.ASSISTANT, f"entry {n}") for n in range(first, first + count)]


def test_a_conversation_is_read_page_by_page(api: Api, worker: Worker):
    made = started(api, worker)
    step = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    claimed = worker.claim(step["id"])
    with api.database.begin() as connection:
        conversations.store(connection, claimed.execution_id, claimed.fence, entries(5), None)
    where = f"/v1/executions/{step['id']}/conversation"
    page = api.get(where, params={"limit": 3}).json()
    rest = api.get(where, params={"after": page["next_after"]}).json()
    assert [entry["text"] for entry in page["items"] + rest["items"]] == [f"entry {n}" for n in range(5)]
    assert api.get(where, params={"after": rest["next_after"]}).json() == {"items": [], "next_after": None}
    assert problem_of(api.get(where, "bob"))[0] == 404
    assert api.get(f"/v1/executions/{made['execution_id']}/conversation").json()["items"] == []


def test_a_stream_shows_every_change_and_goes_on_after_a_break(
    database: Database, database_url: str, redis_url: str, worker: Worker
):
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api:
        made = started(api, worker)
        step = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
        claimed = worker.claim(step["id"])

        def store(*changed: Entry) -> None:
            with database.begin() as connection:
                conversations.store(connection, claimed.execution_id, claimed.fence, changed, None)

        call = Entry(1, 2, EntryKind.TOOL_CALL, tool=Tool("Bash", '{"command": "ls"}'))
        store(Entry(0, 1, EntryKind.ASSISTANT, "Hel"), call)
        seen: list[sse.ServerEvent] = []
        two = Event()

        def read(last: str | None, stop_after: int | None) -> None:
            headers = api.as_("ann") | ({"Last-Event-ID": last} if last else {})
            with api.client.stream(
                "GET", f"/v1/executions/{step['id']}/conversation/stream", headers=headers
            ) as answer:
                for count, event in enumerate(sse.parse(answer.iter_lines()), 1):
                    seen.append(event)
                    if count == 2:
                        two.set()
                    if count == stop_after or event.name == "end":
                        return

        read(None, 2)
        assert [event.data["tool"] and event.data["tool"]["status"] for event in seen] == [None, "running"]
        two.clear()
        follower = Thread(target=read, args=(seen[-1].id, None))
        follower.start()
        store(Entry(0, 3, EntryKind.ASSISTANT, "Hello"))
        done = Tool("Bash", '{"command": "ls"}', ToolStatus.COMPLETED, "a b")
        store(Entry(1, 4, EntryKind.TOOL_CALL, tool=done))
        assert two.wait(10)
        worker.finish(claimed, machine.completed(0))
        follower.join(10)
        assert [(event.data["entry"], event.id) for event in seen[2:-1]] == [(0, "3"), (1, "4")]
        assert seen[3].data["tool"]["result"] == "a b"
        assert seen[-1].name == "end"


def test_a_projects_profile_is_what_its_runs_use(api: Api):
    project = api.post("/v1/projects", {"name": "p"}).json()["id"]
    profiles = {"claude-code": {"default": {"model": "haiku"}, "deep": {"model": "opus", "env": {"A": "b"}}}}
    put = api.client.put(f"/v1/projects/{project}/agents", json=profiles, headers=api.as_("ann"))
    assert put.json()["profiles"] == profiles
    made = api.run(executor=AGENT, project_id=project)
    deep = api.run(executor={**AGENT, "variant": "deep"}, project_id=project)
    elsewhere = api.run(executor=AGENT)
    with api.database.connect() as connection:
        models = [
            sessions.latest_executor(connection, UUID(run["workspace_id"])).model for run in (made, deep, elsewhere)
        ]
    assert models == ["haiku", "opus", None]
    listed = {one["name"]: one for one in api.get("/v1/agents", params={"project_id": project}).json()["items"]}
    variants = {one["name"]: one for one in listed["claude-code"]["variants"]}
    assert (variants["deep"]["model"], variants["deep"]["env"]) == ("opus", ["A"])
    unknown = api.post("/v1/runs", RUN | {"executor": {**AGENT, "variant": "deep"}})
    assert problem_of(unknown)[2] == ["executor.variant"]


@pytest.mark.parametrize(
    ("profiles", "field"),
    [
        ({"clod": {"default": {}}}, "clod"),
        ({"claude-code": {"default": {"modle": "x"}}}, "claude-code.default.modle"),
        ({"claude-code": {"default": {"model": "-x"}}}, "claude-code.default.model"),
    ],
)
def test_a_wrong_profile_says_where(api: Api, profiles, field):
    project = api.post("/v1/projects", {"name": "p"}).json()["id"]
    answer = api.client.put(f"/v1/projects/{project}/agents", json=profiles, headers=api.as_("ann"))
    assert problem_of(answer)[2] == [field], json.dumps(answer.json())
    assert api.get(f"/v1/projects/{project}/agents").json()["profiles"] == {}


def test_the_repetition_of_a_first_turn_leaves_the_conversation_alone(api: Api, worker: Worker):
    made = started(api, worker)
    first = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    killed = worker.claim(first["id"])
    worker.finish(killed, machine.killed("killed"), turn={"agent_session_id": SESSION})
    say(api, made)
    turned(api, worker, made)
    again = api.post(f"/v1/executions/{first['id']}/retry", {"run_agent_again": True}).json()
    assert again["session_id"] != made["session_id"]
    turned(api, worker, made, session=str(uuid4()))
    assert api.get(f"/v1/sessions/{made['session_id']}").json()["agent_session_id"] == SESSION


def test_the_profiles_of_somebody_elses_project_are_not_told(api: Api):
    project = api.post("/v1/projects", {"name": "p"}, "bob").json()["id"]
    profiles = {"claude-code": {"hidden": {}}}
    api.client.put(f"/v1/projects/{project}/agents", json=profiles, headers=api.as_("bob"))
    for variant in ("hidden", "none"):
        answer = api.post("/v1/runs", RUN | {"executor": {**AGENT, "variant": variant}, "project_id": project})
        assert problem_of(answer)[:2] == (404, "not_found")


def test_a_cursor_from_nowhere_sees_the_end(database: Database, database_url: str, redis_url: str, worker: Worker):
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api:
        made = started(api, worker)
        step = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
        claimed = worker.claim(step["id"])
        where = f"/v1/executions/{step['id']}/conversation/stream"
        with api.client.stream("GET", where, params={"after": 1000}, headers=api.as_("ann")) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith(":")
            worker.finish(claimed, machine.completed(0))
            assert next(event for event in sse.parse(lines)).name == "end"


def test_a_turn_is_not_seen_until_a_client_says_so_and_shows_the_agents_id_of_its_last_message(
    api: Api, worker: Worker
):
    made = api.run(executor={"name": "claude-code"})
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    agent = api.get(f"/v1/runs/{made['run_id']}").json()["current_step"]["execution_id"]
    worker.finish(worker.claim(agent), turn={"agent_session_id": SESSION, "agent_message_id": "msg-7"})
    path = f"/v1/executions/{agent}"

    def turns() -> list:
        session = api.get(f"/v1/sessions/{made['session_id']}").json()["turns"][-1]
        return [(turn["agent_message_id"], turn["seen"]) for turn in (api.get(path).json()["turn"], session)]

    assert turns() == [("msg-7", False)] * 2
    marked = api.client.patch(f"{path}/turn", json={"seen": True}, headers=api.as_("ann"))
    assert (marked.status_code, marked.json()["turn"]["seen"], turns()) == (200, True, [("msg-7", True)] * 2)
    assert (
        api.client.patch(f"{path}/turn", json={"seen": False}, headers=api.as_("ann")).json()["turn"]["seen"] is False
    )
    for who, status in (("bob", 404), ("reader", 403)):
        assert api.client.patch(f"{path}/turn", json={"seen": True}, headers=api.as_(who)).status_code == status
    clone = f"/v1/executions/{made['execution_id']}/turn"
    assert problem_of(api.client.patch(clone, json={"seen": True}, headers=api.as_("ann")))[:2] == (404, "not_found")
    assert problem_of(api.client.patch(f"{path}/turn", json={}, headers=api.as_("ann")))[:2] == (
        422,
        "validation_failed",
    )


ENGINE_WORDS = re.compile(r"(?i)docker|container|exec_id|pid|volume|mount|\bnetwork")


def _keys(value: object) -> set[str]:
    """The names of fields of an answer, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*(_keys(each) for each in value.values()))
    return set().union(*(_keys(each) for each in value)) if isinstance(value, list) else set()


@pytest.mark.proves("T000-21")
def test_clients_need_nothing_of_the_container_engine(api: Api, worker: Worker):
    """A session of source 000 is a workspace with its sessions; all acts on it take its own id."""
    made = started(api, worker)
    where = f"/v1/workspaces/{made['workspace_id']}"
    shown = [api.get(where).json(), api.get(f"{where}/sessions").json(), api.get(f"{where}/executions").json()]
    found = {name for name in set().union(*map(_keys, shown)) if ENGINE_WORDS.search(name)}
    assert found == {"container", "pids"}, "an opaque reference, and a limit"
    assert isinstance(shown[0]["container"], str)
    for act in ("stop", "resume"):
        assert api.post(f"{where}/{act}").status_code == 202
    assert api.client.delete(where, headers=api.as_("ann")).status_code == 202
    document = api.client.get("/openapi.json").json()
    schemas = {name: schema for name, schema in document["components"]["schemas"].items() if name.endswith("In")}
    asked = {name for schema in schemas.values() for name in schema.get("properties", {})}
    acts = [act for path in document["paths"].values() for act in path.values()]
    asked |= {one["name"] for act in acts for one in act.get("parameters", ())}
    assert {name for name in asked if ENGINE_WORDS.search(name)} == {"pids"}, "nothing but a limit is asked for"
