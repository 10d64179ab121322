"""The commands of runs against a real API; a test takes and ends the steps as a worker does."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zstandard
from click.testing import Result
from sqlalchemy import select
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.domain import execution as machine
from relay_core.domain.agents.conversation import Entry, EntryKind, Tool, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import conversations
from relay_core.store.schema.tables import WorkspaceRepo
from tests.support.api_fixtures import Api, Worker
from tests.support.carried_out import carry_out, newest
from tests.support.terminal import on_a_terminal, shown_until
from tests.support.waiting import eventually

URL = "https://git.example.org/team/app.git"
EXITED = machine.failed(Reason.EXIT_CODE, "the command exited with 3", 3)
Relay = Callable[..., Result]


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert answer.exit_code == code, answer.output
        return answer

    return call


@contextmanager
def at_work(api: Api, worker: Worker, **options: Any) -> Iterator[None]:
    """Carry out the next run that is posted, beside the command that follows it."""

    known = {run["id"] for run in api.get("/v1/runs").json()["items"]}

    def fresh() -> list[str]:
        return [run["id"] for run in api.get("/v1/runs").json()["items"] if run["id"] not in known]

    def work() -> None:
        made = eventually(fresh, "a new run")
        carry_out(api, worker, made[0], **options)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def test_a_run_is_followed_and_closes_with_its_summary(api: Api, worker: Worker, relay: Relay):
    says = {"clone": b"relay: cloning it\n", "coding_agent": b"working\n"}
    with at_work(api, worker, says=says):
        answer = relay(
            "run",
            "--repo",
            URL,
            "--command",
            "make test",
            "--label",
            "team=core",
            "--title",
            "Test it",
            "--metadata",
            '{"ticket": 7}',
        )
    run = newest(api)
    assert run["metadata"] == {"ticket": 7}
    short = run["id"][:8]
    assert answer.stdout == "working\n", "the log of the clone is progress"
    told = answer.stderr
    assert told.startswith(f"relay: run {short} · Test it\n  app · shell · workspace {run['workspace_id'][:8]}")
    assert f"/runs/{run['id']}\n" in told
    assert "relay: cloning it\n" in told
    assert re.search(r"relay: coding_agent completed after \d", told)
    assert re.search(rf"relay: run {short} succeeded in .*\(queue .*, start .*, run .*\)\n", told)
    assert f"relay logs {short}" in told.splitlines()[-1]
    assert (run["title"], run["labels"]) == ("Test it", {"team": "core"})


def test_a_failed_run_exits_with_the_code_of_the_command_and_says_what_to_do(api: Api, worker: Worker, relay: Relay):
    with at_work(api, worker, end=EXITED):
        answer = relay("run", "--repo", URL, "--command", "false", code=3)
    assert " failed in coding_agent (exit code 3) " in answer.stderr
    assert "why: the command exited with 3 [exit_code]" in answer.stderr
    assert answer.stderr.count("the command exited with 3") == 1
    assert "what to do: " in answer.stderr
    assert f"relay rerun {newest(api)['id'][:8]}" in answer.stderr


def test_with_json_standard_output_holds_json_only(api: Api, worker: Worker, relay: Relay):
    with at_work(api, worker, says={"coding_agent": b"working\n"}, end=EXITED):
        answer = relay("run", "--repo", URL, "--command", "false", "--json", code=3)
    run = json.loads(answer.stdout)
    assert (run["status"], run["conclusion"], run["exit_code"]) == ("completed", "failure", 3)
    assert "working\n" in answer.stderr


def test_a_detached_run_prints_its_id_and_how_to_see_it(api: Api, relay: Relay):
    options = ("--working-dir", "src", "--user", "4321", "--no-auto-commit", "--limit", "memory=1g", "--ref", "v1")
    answer = relay("run", "--repo", URL, "--command", "true", "--detach", *options)
    run = newest(api)
    assert answer.stdout == run["id"] + "\n"
    assert f"relay watch {run['id'][:8]}" in answer.stderr
    assert run["title"] == "true", "the command stands for the prompt"
    assert run["repos"][0]["ref"] == "v1"
    workspace = api.get(f"/v1/workspaces/{run['workspace_id']}").json()
    assert workspace["limits"]["memory_bytes"] == 1 << 30
    assert (
        json.loads(relay("run", "--repo", URL, "--command", "true", "--detach", "--json").stdout)["status"] == "queued"
    )


def test_ps_has_a_line_for_each_run_and_filters(api: Api, worker: Worker, relay: Relay):
    done = api.run(title="Count the files")
    carry_out(api, worker, done["run_id"], end=EXITED)
    waiting = api.run(title="日本語 \x1b[2J and a title that is much longer than a table has room for")
    lines = relay("ps").stdout.splitlines()
    assert lines[0].split() == ["ID", "TITLE", "REPO", "STEP", "STATUS", "AGE", "TOOK"]
    assert [line.split()[0] for line in lines[1:3]] == [waiting["run_id"][:8], done["run_id"][:8]]
    assert re.search(r"app +clone +queued +\d+s +-$", lines[1])
    assert re.search(r"Count the files +app +coding_agent +failure +\d+s +\d", lines[2])
    assert all(len(line) <= 80 and "\x1b" not in line for line in lines)
    assert [line.split()[0] for line in relay("ps", "--status", "failure").stdout.splitlines()[1:]] == [
        done["run_id"][:8]
    ]
    assert relay("ps", "--status", "killed", "--since", "1h").stdout.splitlines() == [
        "ID  TITLE  REPO  STEP  STATUS  AGE  TOOK"
    ]
    found = json.loads(relay("ps", "--json", "--query", "count", "--project", "app", "--repo", "app").stdout)
    assert [run["id"] for run in found] == [done["run_id"]]
    assert len(relay("ps", "--limit", "1").stdout.splitlines()) >= 2
    steps = relay("ps", "--workspace", done["workspace_id"]).stdout.splitlines()
    assert [line.split()[1] for line in steps] == ["STEP", "clone", "coding_agent"]


def test_ps_watches_the_list_until_it_is_interrupted(api: Api, worker: Worker):
    new = api.run(title="Watch me")
    with on_a_terminal(api, "ps", "--watch") as (process, terminal):
        before = shown_until(terminal, "Watch me")
        assert "\x1b[2J" in before, "each list is in the place of the one before"
        shown_until(terminal, "queued")
        carry_out(api, worker, new["run_id"])
        shown_until(terminal, "success")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_ps_shows_an_old_run_that_has_not_ended(api: Api, worker: Worker, relay: Relay):
    old = api.run(title="old")
    for _ in range(2):
        carry_out(api, worker, api.run(title="new")["run_id"])
    titles = [line.split()[1] for line in relay("ps", "--limit", "2").stdout.splitlines()[1:]]
    assert titles[:3] == ["new", "new", "old"]
    assert old["run_id"][:8] in relay("ps", "--limit", "2").stdout


def test_show_is_for_people_and_with_json_for_programs(api: Api, worker: Worker, relay: Relay):
    new = api.run(title="Count the files")
    run = carry_out(api, worker, new["run_id"], end=EXITED)
    lines = relay("show", run["id"]).stdout.splitlines()
    assert lines[0] == "Count the files  failure"
    steps = [line.split() for line in lines[lines.index("") + 1 :] if re.match(r"[0-9a-f]{8}  ", line)]
    assert [(step[1], step[3], step[4]) for step in steps] == [
        ("clone", "completed", "0"),
        ("coding_agent", "failed", "3"),
    ]
    assert "why: the command exited with 3 [exit_code]" in lines
    assert json.loads(relay("show", run["id"], "--json").stdout)["id"] == run["id"]
    step = relay("show", run["agent_execution_id"]).stdout
    assert step.startswith("coding_agent  failed\n")
    assert "exit code   3\n" in step
    assert json.loads(relay("show", run["agent_execution_id"], "--json").stdout)["id"] == run["agent_execution_id"]


def test_logs_of_a_run_and_of_a_step(api: Api, worker: Worker, relay: Relay):
    new = api.run()
    says = {"clone": b"relay: cloned\n", "coding_agent": b"working\n\xff"}
    run = carry_out(api, worker, new["run_id"], says=says)
    assert relay("logs", run["id"]).stdout_bytes == b"working\n\xff"
    assert relay("logs", run["agent_execution_id"]).stdout_bytes == b"working\n\xff"
    assert relay("logs", new["execution_id"]).stdout == "relay: cloned\n"
    followed = relay("logs", "-f", run["id"])
    assert followed.stdout_bytes == b"working\n\xff"
    assert "relay: cloned\n" in followed.stderr
    assert json.loads(relay("logs", run["id"], "--json").stdout)["stdout"]["bytes"] == 9
    whole = relay("logs", "--all", run["id"]).stdout_bytes
    assert whole.index(b"--- clone") < whole.index(b"relay: cloned") < whole.index(b"--- coding_agent")


def test_a_run_that_failed_before_its_agent_shows_the_step_that_failed(api: Api, worker: Worker, relay: Relay):
    new = api.run()
    claimed = worker.claim(new["execution_id"])
    worker.log(claimed, [("stdout", b"relay: no such branch\n")])
    end = machine.failed(Reason.CLONE_FAILED, "no such branch", None)
    worker.finish(claimed, end, log_ends=worker.log_ends(claimed))
    answer = relay("logs", new["run_id"])
    assert answer.stdout == "relay: no such branch\n"
    watched = relay("watch", new["run_id"], code=125)
    assert watched.stderr.count("no such branch") == 1, "in the summary alone"


def test_wait_and_cancel(api: Api, worker: Worker, relay: Relay):
    done, other = api.run(), api.run()
    carry_out(api, worker, done["run_id"])
    assert "has ended: cancelled" in relay("cancel", other["run_id"]).stderr
    answer = relay("wait", done["run_id"], other["run_id"], code=130)
    assert answer.stdout == f"{done['run_id'][:8]}  success\n{other['run_id'][:8]}  cancelled\n"
    ended = json.loads(relay("wait", done["run_id"], "--json").stdout)
    assert [run["conclusion"] for run in ended] == ["success"]


def test_rerun_makes_a_new_run(api: Api, worker: Worker, relay: Relay):
    first = carry_out(api, worker, api.run(title="Again")["run_id"], end=EXITED)
    with at_work(api, worker):
        answer = relay("rerun", first["id"])
    again = newest(api)
    assert (again["rerun_of"], again["title"], again["conclusion"]) == (first["id"], "Again", "success")
    assert f"run {again['id'][:8]} succeeded" in answer.stderr


def test_rerun_of_the_failed_step_goes_on_in_the_same_workspace(api: Api, worker: Worker, relay: Relay):
    first = carry_out(api, worker, api.run(title="Again")["run_id"], end=EXITED)
    with at_work(api, worker, says={"coding_agent": b"better\n"}):
        answer = relay("rerun", first["id"], "--failed")
    again = newest(api)
    assert (again["rerun_of"], again["workspace_id"]) == (first["id"], first["workspace_id"])
    steps = api.get(f"/v1/runs/{again['id']}/executions").json()["items"]
    assert [step["run_reason"] for step in steps] == ["coding_agent"], "no second clone"
    assert answer.stdout == "better\n"
    with pytest.raises(CommandFailed, match="no failed step"):
        relay("rerun", again["id"], "--failed")


def test_retry_can_wait_and_shows_only_what_is_new(api: Api, worker: Worker, relay: Relay):
    new = api.run()
    run = carry_out(api, worker, new["run_id"], says={"clone": b"once\n"}, end=EXITED)

    def work() -> None:
        eventually(lambda: api.get(f"/v1/runs/{run['id']}").json()["status"] != "completed", "the retry")
        carry_out(api, worker, run["id"], says={"coding_agent": b"better\n"})

    thread = threading.Thread(target=work)
    thread.start()
    answer = relay("retry", run["agent_execution_id"], "--agent", "--wait")
    thread.join(10)
    assert answer.stdout == "better\n"
    assert "once" not in answer.stderr


def test_a_follow_up_of_a_shell_is_a_further_step_with_that_command(api: Api, worker: Worker, relay: Relay):
    first = carry_out(api, worker, api.run()["run_id"])
    with at_work(api, worker, says={"coding_agent": b"linted\n"}):
        answer = relay("follow-up", first["id"], "make lint")
    assert answer.stdout == "linted\n"
    agent = api.get(f"/v1/executions/{newest(api)['agent_execution_id']}").json()
    assert agent["action"]["executor"]["command"] == "make lint"
    assert agent["workspace_id"] == first["workspace_id"]


def test_follow_ups_and_steps_take_a_title_and_labels(api: Api, worker: Worker, relay: Relay):
    first = carry_out(api, worker, api.run()["run_id"])
    relay("follow-up", first["id"], "make lint", "--title", "Lint", "--label", "team=web", "--detach")
    lint = newest(api)
    assert (lint["title"], lint["labels"]) == ("Lint", {"team": "web"})
    relay("step", "add", first["id"], "--script", "make docs", "--title", "Docs", "--label", "a=1", "--label", "b=2")
    docs = newest(api)
    assert (docs["title"], docs["labels"]) == ("Docs", {"a": "1", "b": "2"})
    assert "Lint" in relay("ps", "--label", "team=web").stdout
    for wrong in ("{", "[]", "7"):
        with pytest.raises(CommandFailed, match="--metadata takes a JSON object"):
            relay("follow-up", first["id"], "x", "--metadata", wrong)
    with pytest.raises(CommandFailed, match="--label takes NAME=VALUE; got 'team'"):
        relay("follow-up", first["id"], "x", "--label", "team")
    with pytest.raises(CommandFailed, match="--label -: must have 1 to 63 letters"):
        relay("step", "add", first["id"], "--cleanup", "--label", "-=1")


def test_short_ids_and_unknown_ids(api: Api, relay: Relay):
    new = api.run(title="Short")
    assert "Short  queued" in relay("show", new["run_id"][:8]).stdout
    assert "Short  queued" in relay("show", new["workspace_id"][:8]).stdout


def test_a_detach_on_a_terminal_is_no_failure_and_names_the_command_to_come_back(api: Api):
    new = api.run()
    with on_a_terminal(api, "watch", new["run_id"]) as (process, terminal):
        shown_until(terminal, "clone …")
        process.send_signal(signal.SIGINT)
        shown_until(terminal, "[c]ontinue watching?")
        os.write(terminal, b"d\n")
        shown_until(terminal, f"relay logs -f {new['run_id'][:8]}")
        assert process.wait(20) == 0
    assert api.get(f"/v1/runs/{new['run_id']}").json()["status"] == "queued"


def test_a_kill_on_a_terminal_cancels_the_run(api: Api):
    new = api.run()
    with on_a_terminal(api, "watch", new["run_id"]) as (process, terminal):
        shown_until(terminal, "clone …")
        process.send_signal(signal.SIGINT)
        shown_until(terminal, "[c]ontinue watching?")
        os.write(terminal, b"k\n")
        shown_until(terminal, "relay rerun")
        assert process.wait(20) == 130
    assert api.get(f"/v1/runs/{new['run_id']}").json()["conclusion"] == "cancelled"


def test_a_terminal_gets_colours_and_bars_and_no_control_of_a_hostile_remote(api: Api, worker: Worker):
    log = b"remote: \x1b]0;t\x07\x1b[2Jevil\nReceiving objects:  50% (1/2)\rReceiving objects: 100% (2/2), done.\n"
    new = api.run()
    run = carry_out(api, worker, new["run_id"], says={"clone": log}, end=EXITED)
    with on_a_terminal(api, "watch", run["id"]) as (_, terminal):
        shown = shown_until(terminal, "relay rerun")
    assert "remote: evil" in shown
    assert "━" in shown
    assert "\x1b[31mfailed\x1b[0m" in shown
    assert "\x1b]0;t" not in shown
    assert "\x1b[2Jevil" not in shown


def test_a_conversation_is_shown_with_its_prompt_edits_stderr_and_error(api: Api, worker: Worker, relay: Relay):
    new = api.run(executor={"name": "claude-code", "model": "opus"}, prompt="Mend it")
    worker.ready(new["workspace_id"])
    worker.finish(worker.claim(new["execution_id"]))
    agent = newest(api)["current_step"]["execution_id"]
    claimed = worker.claim(agent)
    edit = Tool("Edit", '{"old_string": "a", "new_string": "b"}', ToolStatus.COMPLETED, "ok", ("src/a.py",))
    failed = Tool("Bash", '{"command": "make"}', ToolStatus.FAILED, "Exit code 2\nno rule")
    entries = [
        Entry(0, 1, EntryKind.ASSISTANT, "I mend it."),
        Entry(1, 2, EntryKind.FILE_EDIT, tool=edit),
        Entry(2, 3, EntryKind.TOOL_CALL, tool=failed, agent="tests: run them"),
    ]
    with api.database.begin() as connection:
        conversations.store(connection, claimed.execution_id, claimed.fence, entries, None)
    worker.log(claimed, [("stderr", b"warning: deprecated")])
    end = machine.failed(Reason.AGENT_ERROR, "the model refused", 1)
    worker.finish(claimed, end, log_ends=worker.log_ends(claimed))
    said = relay("logs", new["run_id"])
    assert said.stdout == (
        "claude-code · opus\nprompt:\n  Mend it\n\nI mend it.\n> edit (Edit): src/a.py\n  -a\n  +b\n"
        "  | [tests: run them]\n  | > run (Bash): make\n  |   (failed, exit code 2)\n  |   no rule\n"
    )
    assert "the agent wrote to stderr:\nwarning: deprecated\n" in said.stderr
    assert "relay: coding_agent failed: the model refused" in said.stderr
    watched = relay("watch", new["run_id"], code=1)
    assert watched.stdout == said.stdout
    assert watched.stderr.count("the model refused") == 1
    assert relay("logs", "--raw", agent).stdout == "warning: deprecated"


def test_the_diff_of_a_run_is_its_own_and_that_of_a_workspace_is_of_all_runs(api: Api, worker: Worker, relay: Relay):
    first = carry_out(api, worker, api.run()["run_id"])
    path = f"/v1/workspaces/{first['workspace_id']}/executions"
    added = api.post(path, {"run_reason": "cleanup_script", "script": "x"}).json()
    before = relay("diff", added["run_id"])
    assert (before.stdout, "app: no state of it is recorded" in before.stderr) == ("", True)
    counts = {"files": 1, "insertions": 1, "deletions": 0, "truncated": False}
    state = {
        "before_head_commit": "1" * 40,
        "after_head_commit": "2" * 40,
        "patch": zstandard.compress(b"of all\n"),
        "step_patch": zstandard.compress(b"of the step\n"),
        "stat": {**counts, "files": 9, "step": counts, "run": {**counts, "base": "1" * 40}},
    }
    with api.database.connect() as connection:
        repo_id = connection.scalars(select(WorkspaceRepo.repo_id)).one()
    worker.finish(worker.claim(added["id"]), repo_states={repo_id: state})
    assert relay("diff", added["run_id"][:13]).stdout == "of the step\n"
    assert relay("diff", first["workspace_id"]).stdout == "of all\n"
    assert relay("diff", "--execution", added["id"]).stdout == "of the step\n"
    assert "1 file, +1 -0" in relay("show", added["run_id"]).stdout
    [told] = json.loads(relay("diff", added["run_id"], "--json").stdout)["items"]
    assert told["base_commit"] == "1" * 40
