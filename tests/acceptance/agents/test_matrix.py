"""Real CLI × behaviour: `scripts/agent-matrix` runs all of it; CI the agents of `tests.support.agents_wanted`.

Each asserts status, reason, summary, session id, commits, usage, and what is left running.
"""

import json
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.matrix_desk import Desk, history

pytestmark = pytest.mark.docker

HANG = "[[run: echo begun; exec timeout 600 tail -f /dev/null]]"
OF_PID_1 = 1


def nothing_left(desk: Desk, run: dict) -> None:
    left = desk.relay.processes_in(run).splitlines()
    assert len(left) == OF_PID_1, left


def session_ok(desk: Desk, execution: dict) -> str | None:
    session = execution["turn"]["agent_session_id"]
    assert bool(session) is desk.agent.resumes
    return session


def test_edits_and_commits(desk: Desk):
    run, done = desk.turn(f"Please {desk.agent.write} {desk.agent.says('I added it.')}", cleanup_script="cat made.txt")
    assert (done["status"], done["reason"], done["exit_code"]) == ("completed", None, 0)
    assert "I added it." in done["turn"]["summary"]
    session_ok(desk, done)
    state = done["repo_states"][0]
    assert state["after_head_commit"] not in (None, state["before_head_commit"])
    assert not state["dirty"] or state["committed"]
    assert bool(done["turn"]["usage"]) is desk.agent.usage
    cleanup = desk.relay.executions(run)[-1]
    assert desk.relay.log(cleanup["id"], "stdout") == b"by-agent\n"
    kinds = [entry["kind"] for entry in desk.entries(done)]
    assert "assistant" in kinds
    if desk.agent.has_tools:
        call = next(entry for entry in desk.entries(done) if entry["tool"])
        assert call["tool"]["status"] == "completed"
    if desk.agent.usage:
        task = desk.relay.get(f"/v1/tasks/{run['task_id']}")
        assert task["usage"] == done["turn"]["usage"]
    nothing_left(desk, run)


@pytest.mark.agents_that("streams")
def test_text_grows_while_the_model_says_it(desk: Desk, tmp_path: Path):
    run = desk.submit("Please [[say: First words.]] [[wait]] [[say: Last words.]]")
    agent = desk.relay.wait_step(run, "coding_agent", {"running"})
    with desk.followed(run, tmp_path / "shown") as shown:
        said = "\nFirst words."  # in the prompt these words are in the middle of a line
        desk.relay.until(lambda: said in shown(), what="the first words on the terminal")
        (entry,) = [entry for entry in desk.entries(agent) if entry["kind"] == "assistant"]
        assert entry["text"].strip() == "First words."
        assert "First words." in desk.on_the_page(agent)
        assert "Last words." not in shown().partition(said)[2]
        assert not desk.model.go.is_set(), "the model still speaks"
        desk.model.go.set()
    done = desk.ended(agent["id"])
    assert done["status"] == "completed", done["error_reason"]
    (again,) = [entry for entry in desk.entries(done) if entry["kind"] == "assistant"]
    assert again["entry"] == entry["entry"]
    words = ["First", "words.", "Last", "words."]
    assert (again["text"].split(), done["turn"]["summary"].split()) == (words, words)
    assert shown().count(said) == 1
    assert shown().partition(said)[2].split()[:2] == words[2:]


def test_follow_up_remembers(desk: Desk):
    if not desk.agent.resumes:
        run, _ = desk.turn(f"Please {desk.agent.says('first')}")
        refused = desk.relay.http.post(f"/v1/sessions/{run['session_id']}/follow-ups", json={"prompt": "again"})
        assert (refused.status_code, refused.json()["code"]) == (409, "cannot_resume")
        return
    run, first = desk.turn(f"Remember this {desk.agent.hear}")
    session = session_ok(desk, first)
    second = desk.ended(desk.follow_up(run, f"And what did I say before? {desk.agent.hear}")["id"])
    assert (second["status"], second["reason"]) == ("completed", None), second["error_reason"]
    assert history(second) == history(first) + 1
    assert second["turn"]["agent_session_id"]
    shown = desk.relay.get(f"/v1/sessions/{run['session_id']}")
    assert [turn["execution_id"] for turn in shown["turns"]] == [first["id"], second["id"]]
    assert session in {turn["agent_session_id"] for turn in shown["turns"]}
    nothing_left(desk, run)


def test_model_error(desk: Desk):
    run, done = desk.turn("Please [[error: 400]]")
    reason, word = desk.agent.model_error
    assert (done["status"], done["reason"]) == ("failed", reason)
    assert word in done["error_reason"]
    assert any(entry["kind"] == "error" for entry in desk.entries(done))
    state = done["repo_states"][0]
    assert state["after_head_commit"] == state["before_head_commit"]
    nothing_left(desk, run)


def test_model_stall_ends_as_no_output(desk: Desk):
    run, done = desk.turn("Please [[stall: 600]]", limits={"no_output_seconds": 12, "kill_grace_seconds": 2})
    assert (done["status"], done["reason"]) == ("failed", "no_output")
    nothing_left(desk, run)


def test_flood(desk: Desk):
    run, done = desk.turn(f"Please [[flood: 300000]] {desk.agent.says('and the end')}")
    assert done["status"] == "completed", done["error_reason"]
    said = max((entry for entry in desk.entries(done) if entry["kind"] == "assistant"), key=lambda e: len(e["text"]))
    assert said["truncated"]
    assert said["text"].startswith("00000000000\n00000000001\n")
    assert done["logs"]["stdout"]["bytes"] > 300_000
    nothing_left(desk, run)


def test_kill_in_a_tool_call_leaves_the_dev_server(desk: Desk):
    server = 'exec python3 -m http.server "$PORT"'
    hang = HANG if desk.agent.has_tools else "[[stall: 600]]"
    run = desk.submit(hang, dev_server_script=server, limits={"kill_grace_seconds": 2})
    agent = desk.relay.wait_step(run, "coding_agent", {"running"})
    desk.busy(run, "tail -f")
    started = desk.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server", json={})
    assert started.status_code == 202, started.text
    where = f"/v1/executions/{started.json()['id']}"
    url = desk.relay.until(lambda: desk.relay.get(where)["dev_server"]["url"], what="the dev server")
    desk.relay.kill(agent["id"])
    done = desk.ended(agent["id"])
    assert (done["status"], done["reason"]) == ("killed", "user")
    left = [line for line in desk.relay.processes_in(run).splitlines() if "http.server" not in line]
    assert not any(word in line for line in left for word in ("tail", "timeout", "node", desk.agent.name)), left
    assert urllib.request.urlopen(url, timeout=10).status == 200
    calls = [entry for entry in desk.entries(done) if entry["tool"]]
    assert {call["tool"]["status"] for call in calls} <= {"interrupted", "failed"}
    desk.relay.kill(started.json()["id"])
    desk.ended(started.json()["id"])
    nothing_left(desk, run)


def test_a_turn_outlives_its_worker(desk: Desk):
    gate = "until [ -e go ]; do timeout 1 tail -f /dev/null; done; echo went-on"
    wait = f"[[run: {gate}]]" if desk.agent.has_tools else "[[stall: 15]]"
    run = desk.submit(f"{wait} {desk.agent.says('It went on.')}")
    agent = desk.relay.wait_step(run, "coding_agent", {"running"})
    desk.busy(run, "until [ -e go ]")
    desk.relay.kill_9("worker")
    (desk.clone(run) / "go").touch()
    desk.relay.start("worker")
    done = desk.ended(agent["id"])
    assert (done["status"], done["reason"]) == ("completed", None), done["error_reason"]
    assert "It went on." in done["turn"]["summary"]
    session_ok(desk, done)
    entries = desk.entries(done)
    assert [entry["entry"] for entry in entries] == list(range(len(entries)))
    if "say" in desk.agent.closing:
        assert sum("It went on." in entry["text"] for entry in entries) == 1
    if desk.agent.has_tools:
        assert sum("went-on" in entry["tool"]["result"] for entry in entries if entry["tool"]) == 1
    events = desk.relay.get(f"/v1/executions/{agent['id']}/events")["items"]
    assert sum(event["terminal"] for event in events) == 1
    nothing_left(desk, run)


@pytest.mark.agents_that("resumes")
def test_unknown_session(desk: Desk):
    run, first = desk.turn(f"Please {desk.agent.says('first')}")
    session = session_ok(desk, first)
    unknown = desk.agent.unknown_session(session)
    with desk.relay.database.begin() as connection:
        change = text("UPDATE coding_agent_turns SET agent_session_id = :id WHERE execution_process_id = :execution")
        connection.execute(change, {"id": unknown, "execution": first["id"]})
    asked = len(desk.model.requests)
    done = desk.ended(desk.follow_up(run, "Go on")["id"])
    assert (done["status"], done["reason"]) == ("failed", "cannot_resume"), json.dumps(done["turn"])
    assert done["error_reason"]
    assert len(desk.model.requests) == asked, "never silently a new conversation"
    nothing_left(desk, run)
