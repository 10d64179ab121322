"""Processes that a step leaves running end with it and are reported; scripts that fail without a visible cause."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import Event

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def told(node, execution) -> list[dict]:
    """Payloads of the events about processes that were left behind."""
    with node.db.connect() as connection:
        rows = connection.execute(select(Event.kind, Event.payload).where(Event.operation_id == execution))
        return [row.payload for row in rows if row.kind == "execution.leftovers_ended"]


def test_a_daemon_of_a_setup_script_is_named_in_its_log_and_an_event(node):
    started = 'for pid in $first $!; do until [ "$(cat /proc/$pid/comm)" = sleep ]; do :; done; done'
    script = f"nohup setsid sleep 983 >/tmp/l 2>&1 & first=$!; nohup sleep 982 >/dev/null 2>&1 & {started}; echo ready"
    workspace = node.submit(setup_script=script)
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    assert node.run(setup)["status"] == "completed"
    said = node.log(setup, "stderr")
    assert said == b"relay: 2 processes that this step left running end with it: sleep, sleep\n"
    assert told(node, setup) == [{"count": 2, "names": ["sleep", "sleep"]}]
    assert "sleep 98" not in node.processes(workspace)


def test_a_step_that_leaves_nothing_is_told_nothing(node):
    workspace = node.submit(setup_script="(sleep 0.1; echo late) & wait; echo done | cat")
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    assert node.run(setup)["status"] == "completed"
    assert (node.log(setup), node.log(setup, "stderr")) == (b"late\ndone\n", b"")
    assert told(node, setup) == []


def test_a_silent_child_with_the_log_costs_a_moment_and_no_byte(node):
    """Its output so far is whole, for the log ends after it."""
    workspace = node.submit(setup_script="(head -c 3000000 /dev/zero; sleep 981) & sleep 0.2; echo done")
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    ended = node.run(setup)
    assert ended["completed_at"] - ended["started_at"] < timedelta(seconds=4), "it took more than 7"
    log = node.log(setup)
    assert (log.count(b"\0"), b"done" in log) == (3_000_000, True)
    assert b"1 process that this step left running ends with it: sleep\n" in node.log(setup, "stderr")
    assert "sleep 981" not in node.processes(workspace)


def test_output_that_goes_on_after_the_exit_is_waited_for(node):
    workspace = node.submit(setup_script="(for i in 1 2 3 4 5 6; do sleep 0.2; echo $i; done) & echo done")
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    assert node.run(setup)["status"] == "completed"
    assert node.log(setup).split() == [b"done", b"1", b"2", b"3", b"4", b"5", b"6"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo nothing to serve", "before anything listened"),
        ("nohup python3 -m http.server $PORT --bind $HOST >/dev/null 2>&1 &", "in the background"),
        ("python3 -m http.server $PORT --bind $HOST >/dev/null 2>&1 & sleep 3", "in the background"),
    ],
)
def test_a_dev_server_that_ends_or_hides_is_no_success(node, script, words):
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    server = node.add(workspace, script, reason="dev_server")
    node.begin(server)
    ended = node.wait_final(server)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("failed", "no_port", 0)
    assert words in ended["error_reason"]


def test_windows_line_endings_are_named(node):
    workspace = node.submit(setup_script="if true; then\r\necho x\r\nfi\r\n")
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    ended = node.run(setup)
    assert (ended["status"], ended["reason"]) == ("failed", "exit_code")
    assert "CRLF" in ended["error_reason"]
