"""The local stack as a person uses it: up, sample job, processes that die, Ctrl-C, down, up again."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from relay_stack.down import take_down
from relay_stack.files.stack_state import StackState
from relay_stack.status import current_state
from tests.support.plain_http import PLAIN

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

UP = """
import sys
from relay_stack.bring_up import UpOptions, bring_up
sys.exit(bring_up(UpOptions(detach="detach" in sys.argv, yes=True, sample="sample" in sys.argv)))
"""
NAMES = ["postgres", "redis", "api", "worker", "flower"]


@pytest.fixture(autouse=True)
def say_what_the_worker_said() -> None:
    """In place of the folder's own: the stacks here have logs of their own, and need no other Relay beside them."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """In a folder of its own that other users can pass: Postgres does not run as root."""
    base = Path(tempfile.mkdtemp(prefix="relay-up-"))
    base.chmod(0o711)
    yield base / "data"
    take_down(base / "data", everything=True)
    shutil.rmtree(base)


@contextmanager
def up(data_dir: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", UP, *words],
        env={**os.environ, "RELAY_DATA_DIR": str(data_dir), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o077,  # the strictest that a machine may have
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def detached(data_dir: Path, *words: str) -> str:
    with up(data_dir, "detach", *words) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def state(data_dir: Path) -> StackState:
    found = current_state(data_dir)
    assert found is not None
    assert [one.name for one in found.processes] == NAMES
    return found


def members(data_dir: Path) -> list[psutil.Process]:
    found = state(data_dir)
    supervisor = psutil.Process(found.supervisor_pid)
    return [supervisor, *supervisor.children(recursive=True)]


def runs(found: StackState) -> list[str]:
    headers = {"Authorization": f"Bearer {found.token}"}
    answer = httpx.get(f"{found.api_url}/v1/workspaces", headers=headers, trust_env=False)
    return [one["id"] for one in answer.raise_for_status().json()["items"]]


def test_up_runs_the_sample_survives_deaths_and_keeps_its_data(data_dir):
    output = detached(data_dir, "sample")
    assert "Sample job: succeeded" in output
    assert "Made by a job of Relay." in output
    first = state(data_dir)
    assert [one.state for one in first.processes] == ["running"] * 5
    flower = httpx.get(first.flower_url, trust_env=False, follow_redirects=True)
    assert flower.status_code == 401
    credentials = (first.flower_user, first.flower_password)
    assert httpx.get(f"{first.flower_url}/workers", auth=credentials, trust_env=False).is_success
    signs_in(output)
    worker_port = json.loads((data_dir / "environment.json").read_text())["RELAY_WORKER_HTTP_PORT"]
    assert httpx.get(f"http://127.0.0.1:{worker_port}/healthz", trust_env=False).status_code == 200
    for connection in [one for process in members(data_dir) for one in process.net_connections("inet")]:
        assert connection.status != psutil.CONN_LISTEN or connection.laddr.ip == "127.0.0.1"

    before = {one.name: one.pid for one in first.processes}
    victims = [psutil.Process(before[name]) for name in NAMES]
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=20)
    wait_for_others(data_dir, before)
    assert len(runs(state(data_dir))) == 1

    left = take_down(data_dir)
    assert left.was_up
    assert left.containers_left == 1
    assert current_state(data_dir) is None
    detached(data_dir)
    again = state(data_dir)
    assert (again.token, again.flower_password) == (first.token, first.flower_password)
    assert len(runs(again)) == 1
    gone = members(data_dir)
    assert take_down(data_dir, everything=True).containers_removed == 1
    assert not any(process.is_running() for process in gone)


def signs_in(output: str) -> None:
    """The link that `relay up` prints opens the page, as a browser would use it; it works once."""
    link = re.search(r"^Page +(http://localhost:\d+)/sign-in#(\S+)", output, re.MULTILINE)
    assert link, output
    for status in (200, 403):
        with httpx.Client(base_url=link[1], trust_env=False, follow_redirects=True) as browser:
            form = re.search(r'name="csrf" value="([^"]+)"', browser.get("/sign-in").text)
            page = browser.post("/sign-in", data={"csrf": form[1], "secret": link[2], "next": "/fleet"})
            assert page.status_code == status
            assert ("<h1>Fleet</h1>" in page.text) is (status == 200)


def wait_for_others(data_dir: Path, before: dict[str, int | None]) -> None:
    """Returns when each process runs under another pid and the API answers again."""
    deadline = time.monotonic() + 60
    while True:
        found = state(data_dir)
        if all(one.state == "running" and one.pid != before[one.name] for one in found.processes) and answers(found):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def answers(found: StackState) -> bool:
    try:
        return PLAIN.get(f"{found.api_url}/healthz").is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_stack_in_the_foreground_outlives_it(data_dir, number):
    with up(data_dir) as process:
        assert process.stdout is not None
        output = ""
        while "Ctrl-C ends it" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        gone = members(data_dir)
        process.send_signal(number)
        _, alive = psutil.wait_procs(gone, timeout=60)
        assert alive == []
        assert process.wait(10) == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_all_processes_end_when_the_supervisor_is_killed_and_the_next_start_works(data_dir):
    detached(data_dir)
    gone = members(data_dir)
    gone[0].kill()
    _, alive = psutil.wait_procs(gone, timeout=60)
    assert alive == []
    assert current_state(data_dir) is None
    assert "Flower" in detached(data_dir)
    with up(data_dir, "detach") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "The stack is up already" in output


def test_a_port_that_is_demanded_and_taken_is_one_clear_message(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(data_dir, RELAY_API_PORT=str(port)) as process:
            output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"Port {port}, which RELAY_API_PORT demands, is taken" in output
    assert current_state(data_dir) is None
