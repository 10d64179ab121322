"""Commands of workspaces, projects, tasks, steps, events and tokens against a real API; a test plays the worker."""

import json
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import Result
from sqlalchemy import update
from typer.testing import CliRunner

from relay_cli import completion
from relay_cli.client import connect
from relay_cli.commands.events import followed, line
from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.domain.process_handle import ProcessHandle
from relay_core.store.executions.owned import store_handle
from relay_core.store.executions.progress import append_progress
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import mirrors
from relay_core.store.projects.mirrors import MirrorPlace
from relay_core.store.schema.tables import Run, Workspace
from tests.support.api_fixtures import NODE, Api, Worker
from tests.support.waiting import eventually

URL = "https://git.example.org/team/app.git"
Relay = Callable[..., Result]


@pytest.fixture
def who() -> str:
    return "ann"


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which a browser, which the person has chosen by BROWSER, notes the addresses that it opens."""
    opened, program = tmp_path / "opened", tmp_path / "browser"
    opened.touch()
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(opened)!r}, 'a').write(sys.argv[1] + '\\n')\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr("webbrowser._tryorder", None)
    return opened


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch, who: str) -> Relay:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens[who])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(completion, "DEADLINE_SECONDS", 30)  # a loaded machine completes, too, but later

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, list(words))
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


def ended(api: Api, worker: Worker, **body) -> dict:
    """A run whose every step has ended well."""
    run = api.run(**body)
    while (found := api.get(f"/v1/runs/{run['run_id']}").json())["status"] != "completed":
        worker.ready(run["workspace_id"])
        claimed = worker.claim(found["current_step"]["execution_id"])
        worker.finish(claimed, log_ends=worker.log_ends(claimed))
    return run


def test_workspaces_are_listed_shown_and_deleted_with_a_confirmation(api, relay):
    run = api.run(title="Mend the parser")
    short = run["workspace_id"][:8]
    listed = relay("workspace", "list").stdout
    assert re.search(rf"^{short}  Mend the parser +app +starting +todo +- +\d+s$", listed, re.MULTILINE)
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert json.loads(relay("workspace", "list", "--state", "stopped", "--json").stdout) == []
    shown = relay("workspace", "show", short).stdout
    assert f"workspace     {run['workspace_id']}\n" in shown
    assert re.search(r"^limits +.*memory \d+(\.\d)? GiB", shown, re.MULTILINE)
    refused = relay("workspace", "rm", short, code=2)
    assert str(refused.exception) == (
        f"to delete workspace {short} (Mend the parser), with containers and files without a terminal to ask at, add --yes"
    )
    assert "deleted workspace" in relay("workspace", "rm", short, "--yes").stderr
    assert relay("workspace", "list").stdout.splitlines()[1:] == []


def test_only_quiet_workspaces_are_pruned(api, relay, redis_url):
    done, busy = ended(api, Worker(api.database)), api.run()
    assert "no workspace to delete" in relay("workspace", "prune", "--yes").stderr, "none is a week old"
    pruned = json.loads(relay("workspace", "prune", "--older-than", "0s", "--yes", "--json").stdout)
    assert [each["id"] for each in pruned] == [done["workspace_id"]]
    assert [each["id"] for each in api.get("/v1/workspaces").json()["items"]] == [busy["workspace_id"]]
    assert "--older-than" in str(relay("workspace", "prune", "--older-than", "soon", code=2).exception)


def test_a_project_is_made_shown_and_deleted_by_its_name(api, relay):
    assert "created project shop" in relay("project", "create", "shop", "--repo", URL, "--image", "node:22").stderr
    (found,) = json.loads(relay("project", "list", "--json").stdout)
    assert re.search(
        rf"^{found['id'][:8]}  shop +app +node:22 +cloning +\d+s$", relay("project", "list").stdout, re.MULTILINE
    )
    assert f"repositories  app from {URL}, " in relay("project", "show", "shop").stdout
    assert "add --yes" in str(relay("project", "rm", "shop", code=2).exception)
    assert "deleted project shop" in relay("project", "rm", "shop", "--yes").stderr
    assert json.loads(relay("project", "list", "--json").stdout) == []


def test_mirrors_are_listed_and_the_unused_ones_removed(api, relay):
    used, unused = api.run(), api.run(repos=[{"url": f"{URL}2"}])
    Worker(api.database)
    with api.database.begin() as connection:
        for made, url in ((used, URL), (unused, f"{URL}2")):
            place = MirrorPlace(NODE, UUID(made["project_id"]), url, "/mirrors/x.git")
            mirrors.begin_fetch(connection, place)
            mirrors.end_fetch(connection, place)
        there = {"node_id": NODE, "container_ref": "/somewhere"}
        connection.execute(update(Workspace).where(Workspace.id == UUID(used["workspace_id"])).values(there))
    listed = relay("mirrors", "list").stdout
    assert "1 workspace\n" in listed
    assert "0 workspaces" in listed

    relay("mirrors", "purge", code=2)
    answer = relay("mirrors", "purge", "--node", NODE, "--yes")
    assert f"of {URL}2 is removed by its node within seconds" in answer.stderr
    by_remote = {each["remote"]: each for each in json.loads(relay("mirrors", "list", "--json").stdout)}
    assert by_remote[URL]["purge_waits_for"] is None
    assert by_remote[f"{URL}2"]["purge_waits_for"] == "node"
    refused = relay("mirrors", "purge", by_remote[URL]["id"][:8], "--yes", code=2)
    assert refused.exception.code == "mirror_in_use"


def test_tasks_are_listed_by_status_and_project(api, relay):
    relay("project", "create", "shop")
    api.run(title="Elsewhere")
    mine = api.run(title="Sell more", project_id=json.loads(relay("project", "show", "shop", "--json").stdout)["id"])
    listed = relay("task", "list", "--project", "shop", "--status", "todo").stdout
    assert re.search(rf"^{mine['task_id'][:8]}  Sell more +todo +1 +\d+s$", listed, re.MULTILINE)
    assert "Elsewhere" not in listed
    assert relay("task", "list", "--status", "done").stdout.splitlines()[1:] == []
    assert f"attempts     {mine['workspace_id'][:8]}\n" in relay("task", "show", mine["task_id"][:8]).stdout
    assert str(relay("task", "list", "--status", "open", code=2).exception).startswith("--status: ")


def test_tasks_of_others_are_not_listed(api, relay):
    api.run("bob", title="Secret")
    assert json.loads(relay("task", "list", "--json").stdout) == []


def test_a_step_is_added(api, relay):
    run = ended(api, Worker(api.database))
    told = relay("step", "add", run["workspace_id"][:8], "--script", "make test").stderr
    added = api.get(f"/v1/executions/{re.search(r'step ([0-9a-f]{8}) is queued', told)[1]}").json()
    assert (added["run_reason"], added["workspace_id"]) == ("setup_script", run["workspace_id"])
    agent = relay("step", "add", run["workspace_id"][:8], "--agent", "review", "--executor", "codex", "--json")
    assert json.loads(agent.stdout)["executor"] == "codex"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give one of --script, --agent and --cleanup"),
        (["--agent", "x", "--root"], "--root needs --script"),
        (["--script", "x", "--executor", "codex"], "--executor, --variant and --model need --agent"),
        (["--agent", "x", "--model", "m"], "--variant and --model need --executor"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(relay, words, expected):
    assert str(relay("step", "add", "3f2a91bc", *words, code=2).exception) == expected


def test_a_dev_server_is_started_once_opened_and_stopped(api, relay, browser):
    worker = Worker(api.database)
    run = ended(api, worker, repos=[{"url": URL, "dev_server_script": "make serve"}])
    path = f"/v1/workspaces/{run['workspace_id']}"

    def answer() -> None:
        server = eventually(lambda: api.get(path).json()["dev_server"], "the dev server's row")
        claimed = worker.claim(server["execution_id"])
        with api.database.begin() as connection:
            store_handle(connection, claimed.execution_id, claimed.fence, ProcessHandle(20000, forward_port=4000))

    thread = threading.Thread(target=answer)
    thread.start()
    short = run["workspace_id"][:8]
    started = relay("serve", short)
    thread.join()
    assert started.stdout == "http://127.0.0.1:4000\n"
    assert f"relay serve {short} --stop" in started.stderr
    again = relay("serve", short)
    assert (again.stdout, "has a dev server already" in again.stderr) == (started.stdout, True)
    assert browser.read_text() == "", "no flag asked for a browser"
    assert relay("serve", short, "--open").stdout == started.stdout
    assert browser.read_text() == started.stdout
    assert "asked 1 dev server to end" in relay("serve", short, "--stop").stderr


def test_events_are_printed_a_line_each(api, relay):
    run = api.run()
    api.run()
    lines = relay("events", run["workspace_id"][:8]).stdout.splitlines()
    assert len(lines) == len(relay("events", run["workspace_id"][:8], "--json").stdout.splitlines())
    assert all(line.split()[2] == run["workspace_id"][:8] for line in lines)
    everywhere = [json.loads(line)["workspace_id"] for line in relay("events", "--json").stdout.splitlines()]
    assert len(set(everywhere) - {None}) == 2


def test_events_are_followed_as_they_happen(api, relay):
    run = api.run()
    base = f"/v1/workspaces/{run['workspace_id']}/events"
    found = followed(connect(), base)
    before = api.get(base).json()["items"]
    assert [next(found)["cursor"] for _ in before] == [event["cursor"] for event in before]
    api.post(f"/v1/executions/{run['execution_id']}/kill")
    assert next(found)["cursor"] == len(before) + 1
    assert line(before[0]).split()[2:4] == [run["workspace_id"][:8], (before[0]["operation_id"] or "-")[:8]]


def test_without_an_id_only_events_from_now_on_are_followed(api, relay):
    old = api.run()
    events = "/v1/events"
    everything = followed(connect(), events)
    first = next(event for event in everything if event["workspace_id"])
    assert first["workspace_id"] == old["workspace_id"], "with --all"
    new = followed(connect(), events, only_new=True)
    made = api.run()
    assert next(new)["workspace_id"] == made["workspace_id"]


def test_the_address_of_the_page_is_printed_and_signs_in(api, relay):
    run = api.run()
    first, of_run = relay("open", "--print").stdout, relay("open", run["run_id"][:8], "--print").stdout
    base = re.escape(str(api.client.base_url).rstrip("/"))
    assert re.fullmatch(rf"{base}/sign-in\?next=/#\S+\n", first)
    assert f"/sign-in?next=/runs/{run['run_id']}#" in of_run
    assert first.partition("#")[2] != of_run.partition("#")[2], "a code works once"


def test_a_page_is_opened_in_the_browser_where_there_is_a_screen(api, relay, browser, monkeypatch):
    run = api.run()
    printed = [relay("open", run["run_id"][:8]).stdout, relay("open").stdout]
    relay("open", "--print")
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    relay("open")
    assert browser.read_text() == "".join(printed)


@pytest.mark.parametrize("who", ["admin"])
def test_the_text_of_a_token_is_said_to_be_shown_once(relay):
    made = relay("token", "create", "ci", "--owner", "ann", "--scope", "runs:read", "--scope", "runs:write")
    assert "scopes      runs:read, runs:write\n" in made.stdout
    assert "shown only this once" in made.stderr
    assert "runs:read, runs:write" in relay("token", "list").stdout
    (identity,) = [value for value, name in completion.tokens("") if name == "ci"]
    assert "revoked" in relay("token", "revoke", identity).stderr


@pytest.mark.parametrize("who", ["admin"])
def test_nodes_are_listed_drained_and_revoked(api, relay):
    Worker(api.database)
    with api.database.begin() as connection:
        told = {"slots_per_worker": 100, "workers": ["w1@test-node"]}
        runtime_nodes.heartbeat(connection, "test-node", pool="default", client_version="1", capabilities=told)
    heading, line = relay("nodes").stdout.splitlines()
    assert heading.split() == ["NODE", "POOL", "STATUS", "SLOTS", "WORKSPACES", "MEMORY", "SEEN"]
    assert re.fullmatch(r"test-node +default +ok +0 of 100 +0 +0\.0 GiB +\d+s ago", line)
    assert [value for value, _ in completion.nodes("test")] == ["test-node"]
    assert "takes no new workspaces" in relay("drain", "test-node").stderr
    assert relay("nodes").stdout.splitlines()[-1] == "test-node takes no new workspace: it is draining"
    assert "takes new workspaces" in relay("undrain", "test-node").stderr
    assert "starts no step any more" in relay("revoke", "test-node").stderr
    assert relay("nodes").stdout.splitlines()[1].split()[2] == "revoked"
    assert relay("nodes").stdout.splitlines()[-1] == "test-node takes no new workspace: it is revoked"
    assert "takes work again" in relay("revoke", "test-node", "--undo").stderr


def test_ids_names_and_labels_are_completed_from_the_api(api, relay):
    relay("project", "create", "shop")
    run = api.run(title="Mend the parser")
    with api.database.begin() as connection:
        connection.execute(update(Run).values(labels={"team": "core"}))
    assert completion.runs(run["run_id"][:3]) == [(run["run_id"][:8], "Mend the parser")]
    assert completion.runs("x") == []
    assert completion.workspaces("") == [(run["workspace_id"][:8], "Mend the parser")]
    assert [name for name, _ in completion.projects("sh")] == ["shop"]
    assert completion.labels("te") == [("team=core", "")]


def test_without_an_api_there_is_nothing_to_complete(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("RELAY_API_URL", raising=False)
    monkeypatch.delenv("RELAY_TOKEN", raising=False)
    assert completion.runs("") == []
    monkeypatch.setenv("RELAY_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RELAY_TOKEN", "x")
    assert completion.projects("") == []


@pytest.mark.parametrize("who", ["admin"])
def test_a_limit_is_set_seen_where_a_run_waits_and_removed(api, relay):
    relay("project", "create", "shop")
    text = relay("limits", "set", "project", "shop", "0").stderr
    assert text.splitlines()[-1] == "relay: at most 0 runs of the project shop are at work at once"
    each = relay("limits", "set", "owner", "*", "8").stderr
    assert each.splitlines()[-1] == "relay: at most 8 runs of each owner without a limit of its own are at work at once"
    listed = [row.split() for row in relay("limits", "list").stdout.splitlines()]
    assert listed == [["kind", "name", "max_runs"], ["owner", "*", "8"], ["project", "shop", "0"]]
    run = api.run("admin", project_id="shop")
    waits = "the project shop has 0 of 0 runs at work"
    for words in (("ps",), ("show", run["run_id"]), ("show", run["execution_id"])):
        assert waits in relay(*words).stdout, words
    project = json.loads(relay("limits", "list", "--json").stdout)[1]
    assert project["project_name"] == "shop"
    relay("project", "rm", "shop", "--yes")
    relay("limits", "remove", "project", project["name"])
    assert "no limit for each owner any more" in relay("limits", "remove", "owner", "*").stderr
    assert json.loads(relay("limits", "list", "--json").stdout) == []
    refused = str(relay("limits", "set", "project", "shoop", "2", code=2).exception)
    assert "shoop" in refused


def test_ps_shows_clones_of_projects_and_how_far_clones_have_come(api: Api, worker: Worker, relay: Relay):
    run = api.run()
    project = api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL}]}).json()
    assert api.post("/v1/projects", {"name": "other", "repos": [{"url": URL}]}).status_code == 202
    clone = api.get(f"/v1/executions/{project['id']}").json()["id"]
    first = api.get(f"/v1/runs/{run['run_id']}").json()["current_step"]["execution_id"]
    state = {"remote": URL, "phase": "receiving", "objects": 450, "total": 1000, "bytes": None}
    for execution in (clone, first):
        claimed = worker.claim(execution)
        with api.database.begin() as connection:
            assert append_progress(connection, claimed.execution_id, claimed.fence, state)
    heading, row, *clones = relay("ps").stdout.splitlines()
    assert re.search(r" clone receiving 45% +running ", row)
    assert clones[0].startswith("clone of project other: queued (")
    assert clones[1:] == [f"clone of project shop: running, receiving 45% of 1,000 objects ({clone[:8]})"]
    assert relay("ps", "--project", "shop").stdout.splitlines()[1:] == clones[1:]
    assert relay("ps", "--status", "failure").stdout.splitlines() == ["ID  TITLE  REPO  STEP  STATUS  AGE  TOOK"]
    assert [each["id"] for each in json.loads(relay("ps", "--json").stdout)] == [run["run_id"]]
    assert api.delete("/v1/projects/shop").status_code == 202
    assert f"clone of project {project['id'][:8]}: running" in relay("ps").stdout, "until the worker has ended it"
    assert heading.startswith("ID")
