"""Scripts that run at the same time, as `relay watch` shows them; a test plays the worker."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.api_fixtures import Api, Worker
from tests.support.cli import call_relay
from tests.support.terminal import on_a_terminal, shown_until

TOGETHER = [
    {"url": f"https://git.example.org/team/{name}.git", "setup_script": "make", "parallel_setup_script": True}
    for name in ("app", "library")
]


def agent(api: Api, worker: Worker, run: dict[str, Any], says: bytes = b"") -> None:
    """Carry out the agent of a run, which is its present step."""
    claimed = worker.claim(api.get(f"/v1/runs/{run['run_id']}").json()["current_step"]["execution_id"])
    worker.log(claimed, [("stdout", says)] if says else [])
    worker.finish(claimed, log_ends=worker.log_ends(claimed))


def beside(api: Api, worker: Worker, run: dict[str, Any]) -> list[Any]:
    """Carry out the clone of a run with two repositories, and take the scripts that run at the same time."""
    worker.ready(run["workspace_id"])
    worker.finish(worker.claim(run["execution_id"]))
    return [worker.claim(one["id"]) for one in api.get(f"/v1/runs/{run['run_id']}/executions").json()["items"][1:]]


def test_scripts_that_run_at_the_same_time_are_shown_side_by_side(api: Api, worker: Worker):
    run = api.run(repos=TOGETHER)
    app, library = beside(api, worker, run)
    environment = {**os.environ, "RELAY_API_URL": str(api.client.base_url), "RELAY_TOKEN": api.tokens["ann"]}
    command = [sys.executable, "-m", "relay_cli.main", "watch", run["run_id"]]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for claimed, said, shown in (
            (app, b"first\n", "app     | first\n"),
            (library, b"erstens\n", "library | erstens\n"),
            (app, b"second\nend", "app     | second\n"),
        ):
            worker.log(claimed, [("stdout", said)])
            assert process.stdout.readline() == shown, "while both scripts run"
        for claimed in (library, app):
            worker.finish(claimed, log_ends=worker.log_ends(claimed))
        assert process.stdout.readline() == "app     | end\n"
        agent(api, worker, run, b"working\n")
        assert process.stdout.read() == "working\n"
        told = process.stderr.read()
    for name in ("app", "library"):
        assert re.search(rf"setup_script of {name} completed after", told)


def test_relay_run_asks_for_scripts_at_the_same_time(api: Api, worker: Worker, tmp_path: Path):
    words = [word for repo in TOGETHER for word in ("--repo", repo["url"])]
    known = {"RELAY_API_URL": str(api.client.base_url), "RELAY_TOKEN": api.tokens["ann"]}
    run = ("run", *words, "--command", "true", "--detach")
    assert call_relay(*run, "--setup", "make", "--parallel-setup", cwd=tmp_path, env=known).returncode == 0
    made = api.get("/v1/runs").json()["items"][0]
    clone = made["current_step"]["execution_id"]
    beside(api, worker, {"run_id": made["id"], "workspace_id": made["workspace_id"], "execution_id": clone})
    steps = api.get(f"/v1/runs/{made['id']}/executions").json()["items"][1:]
    assert [(step["run_reason"], step["group_id"]) for step in steps] == [("setup_script", steps[0]["group_id"])] * 2
    refused = call_relay(*run, "--parallel-setup", cwd=tmp_path, env=known)
    assert (refused.returncode, "give --setup, too" in refused.stderr) == (2, True)


def test_an_interrupted_command_goes_on_with_the_scripts_where_it_was(api: Api, worker: Worker):
    run = api.run(repos=TOGETHER)
    app, library = beside(api, worker, run)
    worker.log(app, [("stdout", b"first\nhalf")])
    with on_a_terminal(api, "watch", run["run_id"]) as (process, terminal):
        shown_until(terminal, "first")
        process.send_signal(signal.SIGINT)
        asked = shown_until(terminal, "[c]ontinue watching?")
        worker.log(library, [("stdout", b"meanwhile\n")])
        os.write(terminal, b"c\n")
        worker.log(app, [("stdout", b" a line\n")])
        for claimed in (app, library):
            worker.finish(claimed, log_ends=worker.log_ends(claimed))
        agent(api, worker, run)
        shown = shown_until(terminal, "succeeded")
    assert "half" in asked
    assert "meanwhile" not in asked
    assert [shown.count(words) for words in ("first", "half", " a line", "meanwhile")] == [0, 0, 1, 1]
