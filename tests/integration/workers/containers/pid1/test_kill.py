"""Kills under relay-pid1: by descent and by gid, against processes that resist, and at the pids limit."""

import os
import struct
import time
from pathlib import Path

import pytest

from tests.support.pid1 import (
    KILL,
    LEFTOVERS,
    PIDS_LIMIT,
    ROOT_CAPABILITIES,
    STDERR,
    STDOUT,
    WATCH,
    Pid1,
    Step,
)
from tests.support.waiting import eventually

EXITED, SIGNALLED, LOST = 1, 2, 3
KILL_ASKED, KILL_SENT, DEADLINE = 1, 2, 4
AS_ROOT = {"uid": 0, "flags": WATCH | STDOUT | STDERR | ROOT_CAPABILITIES}
SUPERVISOR = 2147000001
SUPERVISOR_OF_STEP = "$(awk '/PPid/ {print $2}' /proc/$$/status)"


AS = """#!/usr/bin/python3
import os, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
if sys.argv[3] == "apart":
    os.setsid()
    del sys.argv[3]
os.execvp(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture(scope="module", autouse=True)
def as_program(pid1: Pid1) -> None:
    """`as UID GID [apart] PROGRAM`: setpriv and setsid, which the image does not have."""
    pid1.run(f"cat >/usr/local/bin/as <<'END'\n{AS}END\nchmod 755 /usr/local/bin/as", **AS_ROOT)


def supervisor_of(pid1: Pid1, step: Step) -> int:
    """The host's pid of a step's supervisor."""
    inside = step.status().pid
    for pid, _ in pid1.processes():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if fields["NSpid"].split()[-1] == str(inside):
            return int(fields["PPid"])
    raise AssertionError("the step is not there")


def test_term_then_grace_then_kill(pid1: Pid1) -> None:
    polite = pid1.sh("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: polite.out)
    assert polite.kill(grace_ms=20000).error == 0
    assert (polite.drained().value, polite.out) == (5, b"up\nbye\n")
    stubborn = pid1.sh("trap '' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: stubborn.out)
    began = time.monotonic()
    assert stubborn.kill(grace_ms=300).error == 0
    assert 0.3 <= time.monotonic() - began < 5
    ended = stubborn.drained()
    assert (ended.how, ended.value, ended.flags) == (SIGNALLED, 9, KILL_ASKED | KILL_SENT)
    assert pid1.steps() == []


def test_a_second_kill_shortens_the_grace_of_the_first(pid1: Pid1) -> None:
    step = pid1.sh("trap '' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: step.out)
    first = step.connection.send(KILL, step.key + struct.pack("<II", 60000, 0))
    assert step.kill().error == 0
    joined = [got for got in step.connection.events if got.tag == first] or [step.connection.answer(first)]
    assert [got.error for got in joined] == [0]


def test_a_kill_goes_on_without_its_client(pid1: Pid1) -> None:
    step = pid1.sh("trap '' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: step.out)
    other = pid1.connect()
    other.send(KILL, step.key + struct.pack("<II", 100, 0))
    other.close()
    assert step.drained().value == 9


def test_a_stopped_step_dies(pid1: Pid1) -> None:
    step = pid1.sh("kill -STOP $$")
    eventually(pid1.has_stopped, "the step stops")
    assert step.kill(grace_ms=50).error == 0
    assert step.drained().value == 9


def test_the_deadline_is_kept_without_a_client(pid1: Pid1) -> None:
    step = pid1.sh("sleep 60", deadline_ms=1000)
    ended = step.drained()
    assert (ended.how, ended.value, ended.flags & DEADLINE) == (SIGNALLED, 15, DEADLINE)
    assert step.section(128, "5I")[4] & DEADLINE


def test_double_fork_in_another_session_is_a_leftover_and_dies(pid1: Pid1) -> None:
    step = pid1.sh("(setsid sh -c 'sleep 1000 & exec sleep 1000' &) ; sleep 0.05")
    assert step.ended().value == 0

    def names() -> list[bytes]:
        answer = step.connection.ask(LEFTOVERS, step.key)
        found, listed = struct.unpack_from("<II", answer.body)
        assert found == listed
        return [answer.body[12 + 20 * i : 28 + 20 * i].rstrip(b"\0") for i in range(listed)]

    eventually(lambda: names() == [b"sleep", b"sleep"])
    assert step.status().state == 3
    assert step.kill().error == 0
    assert step.drained().state == 4
    assert pid1.steps() == []


def test_root_that_changes_gid_uid_and_session_dies(pid1: Pid1) -> None:
    script = "(as 4444 54000 apart sleep 1000 &) ; as 0 54001 sleep 1000"
    step = pid1.sh(script, gid=20005, **AS_ROOT)
    eventually(lambda: len(pid1.steps()) >= 2)
    assert step.kill().error == 0
    assert step.drained().state == 4
    assert pid1.steps() == []


def test_a_process_with_the_gid_that_is_no_descendant_dies(pid1: Pid1) -> None:
    step = pid1.sh("sleep 1000", gid=20006)
    created = pid1.client.api.exec_create(pid1.container.id, ["sleep", "999"], user="1000:20006")
    pid1.client.api.exec_start(created["Id"], detach=True)
    eventually(lambda: "sleep 999" in pid1.steps())
    assert step.kill().error == 0
    assert pid1.steps() == []


def test_an_exec_of_the_engine_is_left_alone_and_what_it_leaves_goes(pid1: Pid1) -> None:
    script = "sleep 777 & sleep 778 & exec sleep 3"
    created = pid1.client.api.exec_create(pid1.container.id, ["sh", "-c", script], user="0:0")
    pid1.client.api.exec_start(created["Id"], detach=True)
    eventually(lambda: "sleep 778" in pid1.steps())
    pid1.run("exit 0")
    assert {"sleep 777", "sleep 778", "sleep 3"} <= set(pid1.steps())
    eventually(lambda: pid1.steps() == [], "the strays are gone", seconds=15)


@pytest.mark.parametrize("how", ["from outside", "by root inside"])
def test_a_killed_supervisor_ends_its_execution(pid1: Pid1, how: str) -> None:
    if how == "from outside":
        step = pid1.sh("(setsid sleep 1000 &) ; (as 0 54002 apart sleep 1000 &); sleep 1000", gid=20007, **AS_ROOT)
        os.kill(supervisor_of(pid1, step), 9)
    else:
        script = f"(setsid sleep 1000 &); as {SUPERVISOR} 54003 sh -c 'kill -9 '{SUPERVISOR_OF_STEP}; sleep 1000"
        step = pid1.sh(script, gid=20007, **AS_ROOT)
    assert step.ended().how == LOST
    assert step.drained().how == LOST
    assert step.section(128, "II") == (1, LOST)
    assert pid1.steps() == []


def test_a_stopped_supervisor_goes_on(pid1: Pid1) -> None:
    stop = f"i=0; while [ $i -lt 50 ]; do kill -STOP {SUPERVISOR_OF_STEP}; i=$((i+1)); done"
    script = f"as {SUPERVISOR} 54003 sh -c '{stop.replace('$$', '$0')}' $$; exit 6"
    step = pid1.sh(script, gid=20008, **AS_ROOT)
    assert (step.drained().how, step.status().value) == (EXITED, 6)


def test_a_step_cannot_signal_its_supervisor_or_pid_1(pid1: Pid1) -> None:
    script = f"for s in KILL STOP TERM; do kill -$s {SUPERVISOR_OF_STEP} 1; done; kill -9 -1; exit 0"
    step = pid1.run(script)
    assert step.status().how in {EXITED, SIGNALLED}
    root = pid1.run(
        f"for s in KILL STOP TERM HUP CHLD; do kill -$s 1; kill -$s {SUPERVISOR_OF_STEP}; done; exit 0", **AS_ROOT
    )
    assert (root.status().how, root.status().value) == (EXITED, 0)
    assert b"not permitted" in root.err
    assert pid1.run("echo alive").out == b"alive\n"


def test_a_full_pids_limit_is_a_reason_of_its_own_and_kills_work(pid1: Pid1) -> None:
    step = pid1.sh("i=0; while [ $i -lt 600 ]; do sleep 1000 & i=$((i+1)); done; wait", gid=20009)
    eventually(lambda: b"ork" in step.err)

    def refused() -> bool:
        other = pid1.start(["true"], gid=20010)
        assert other.answer is not None
        return other.answer.error == PIDS_LIMIT and other.section(128, "I") == (0,)

    eventually(refused)
    assert step.kill().error == 0
    assert pid1.steps() == []
    assert pid1.run("echo ok").out == b"ok\n"
