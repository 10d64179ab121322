"""Starting, output, ends and records of steps under relay-pid1."""

import errno
import hashlib
import json
import os
import re
import signal
import struct
from pathlib import Path
from uuid import uuid4

import pytest

from relay_workers.containers.pid1.memfd import sealed
from tests.support import pid1 as support
from tests.support.pid1 import (
    BAD_DESCRIPTOR,
    EXISTS,
    FORBID,
    FORBIDDEN,
    RESERVED_USER,
    ROOT_CAPABILITIES,
    SIGNAL,
    START,
    START_FAILED,
    STDERR,
    STDOUT,
    UNKNOWN,
    WATCH,
    Pid1,
    words,
)
from tests.support.waiting import eventually

EXITED, SIGNALLED, LOST, NOT_STARTED = 1, 2, 3, 4
CLONE_FILES = 0x400


def assert_own_descriptors(pid1: Pid1) -> None:
    """Assert that neither a step's shell nor a program of it has descriptors that the step was not given."""
    step = pid1.run("ls -l /proc/self/fd; ls -l /proc/$$/fd")
    found = dict(re.findall(r"(\d+) -> (.*)", step.out.decode()))
    assert found.keys() <= {"0", "1", "2", "3", "10", "63"}, found  # 3: of ls; 10: the shell's script
    assert found["0"] == "/dev/null"
    assert found["1"].startswith("pipe:")
    assert found["63"].startswith("/memfd:")


def test_output_exit_code_and_record(pid1: Pid1) -> None:
    step = pid1.sh("echo out; echo err >&2; exit 3", gid=20777)
    ended, drained = step.ended(), step.drained()
    assert (ended.state, ended.how, ended.value) == (3, EXITED, 3)
    assert (drained.state, drained.copied, drained.err_copied, drained.dropped) == (4, 4, 4, 0)
    assert (step.out, step.err) == (b"out\n", b"err\n")
    assert step.section(64, "II")[:2] == (1, ended.pid)
    assert step.section(128, "III") == (1, EXITED, 3)
    assert step.section(256, "IIQQIIQQII") == (1, 0, 4, 0, 0, 0, 4, 0, 0, 0)
    eventually(lambda: not step.record_is_held(), "the end of the record's lock")


def test_record_is_held_while_the_step_runs(pid1: Pid1) -> None:
    step = pid1.sh("read line", stdin=os.pipe()[0])
    assert step.record_is_held()
    eventually(lambda: step.section(64, "I") == (1,))  # the answer comes first
    step.kill()
    step.drained()
    eventually(lambda: not step.record_is_held(), "the end of the record's lock")


def test_a_signal_ends_a_step(pid1: Pid1) -> None:
    step = pid1.sh("sleep 60")
    answer = step.connection.ask(SIGNAL, step.key + struct.pack("<II", 15, 1))
    assert struct.unpack("<II", answer.body)[0] >= 1
    assert (step.ended().how, step.drained().value) == (SIGNALLED, 15)


def test_environment_directory_user_and_groups(pid1: Pid1) -> None:
    script = "id -u; id -g; id -G; pwd; env | sort; umask; cat /proc/self/status | grep -E '^(Sig(Blk|Ign|Cgt)|CapEff|NoNewPrivs)'"
    step = pid1.run(script, uid=1234, gid=20002, groups=(31, 32), cwd="/tmp", env=("PATH=/bin:/usr/bin", "A=b c"))
    lines = step.out.decode().split("\n")
    assert lines[:3] == ["1234", "20002", "20002 31 32"]
    assert lines[3] == "/tmp"
    assert {"A=b c", "PATH=/bin:/usr/bin", "PWD=/tmp"} <= set(lines)
    assert "0022" in lines
    assert {"SigBlk:\t" + "0" * 16, "SigIgn:\t" + "0" * 16, "CapEff:\t" + "0" * 16, "NoNewPrivs:\t1"} <= set(lines)


def test_root_has_no_cap_kill_and_only_asked_capabilities(pid1: Pid1) -> None:
    show = "grep CapPrm /proc/self/status"
    flags = WATCH | STDOUT | STDERR
    with_some = pid1.run(show, uid=0, gid=20003, flags=flags | ROOT_CAPABILITIES)
    without = pid1.run(show, uid=0, gid=20003)
    assert int(with_some.out.split()[1], 16) == 0xDB  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID
    assert int(without.out.split()[1], 16) == 0


def test_pid_1_goes_before_its_steps(pid1: Pid1) -> None:
    step = pid1.run(
        "cut -d ' ' -f 19 /proc/$$/stat; renice -n -1 $$", uid=0, flags=WATCH | STDOUT | STDERR | ROOT_CAPABILITIES
    )
    assert step.out == b"5\n"
    assert b"ermi" in step.err, "root of the container may not raise it"
    assert os.getpriority(os.PRIO_PROCESS, pid1.init) == -20


def test_a_step_has_no_descriptor_but_its_own(pid1: Pid1) -> None:
    assert_own_descriptors(pid1)


def test_a_step_has_no_descriptor_but_its_own_where_a_clone_cannot_share_them(program: Path, debian: str) -> None:
    """The engine's filter refuses what qemu-user refuses."""
    rule = {
        "names": ["clone"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno.EINVAL,
        "args": [{"index": 0, "value": CLONE_FILES | signal.SIGCHLD, "op": "SCMP_CMP_EQ"}],
    }
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    with support.running(program, debian, seccomp=profile) as pid1:
        assert_own_descriptors(pid1)
        assert_own_descriptors(pid1)  # the second start does not try again


def test_output_devices_can_be_opened_by_a_user(pid1: Pid1) -> None:
    step = pid1.run("echo a >/dev/stderr; echo b | tee /dev/stderr >/dev/stdout; echo c >/dev/stdout", uid=4321)
    assert (step.out, step.err) == (b"b\nc\n", b"a\nb\n")


def test_two_hundred_at_once(pid1: Pid1) -> None:
    connections = [pid1.connect() for _ in range(4)]  # one alone has to read while it sends
    asked = [pid1.ask_start(connections[i % 4], script=f"echo {i}", gid=30000 + i) for i in range(200)]
    for number, (_, step) in enumerate(asked):
        assert step.drained().value == 0
        assert step.out == b"%d\n" % number
    errors = [got.error for connection in connections for got in connection.events if got.verb == START]
    assert errors == [0] * 200


def test_closes_its_streams_and_goes_on(pid1: Pid1) -> None:
    reader, writer = os.pipe()
    step = pid1.sh("echo before; exec >&- 2>&-; read line; exit 7", stdin=reader)
    eventually(lambda: step.status().done and step.status().err_done)
    assert step.status().state == 2
    os.write(writer, b"go\n")
    os.close(writer)
    assert (step.drained().value, step.out) == (7, b"before\n")


def test_child_that_holds_the_pipe_is_copied_until_it_ends(pid1: Pid1) -> None:
    reader, writer = os.pipe()
    step = pid1.sh("exec 9<&0; (setsid sh -c 'read line; echo late' <&9 &) ; echo first", stdin=reader)
    assert step.ended().value == 0
    assert step.status().state == 3
    os.write(writer, b"go\n")
    os.close(writer)
    assert step.drained().state == 4
    assert step.out == b"first\nlate\n"


def test_large_output_is_whole(pid1: Pid1) -> None:
    size = 64 << 20
    block = "head -c 1048576 /dev/urandom >/tmp/block"
    half = "i=0; while [ $i -lt 32 ]; do cat /tmp/block; i=$((i+1)); done"
    step = pid1.run(f"{block}; {half} & {half} >&2 & wait; sha256sum /tmp/block >/tmp/sum; sha256sum </tmp/block >&2")
    expected = hashlib.sha256(step.out[: 1 << 20]).hexdigest()
    assert len(step.out) == size // 2
    assert step.out == step.out[: 1 << 20] * 32
    assert step.err[: size // 2] == step.out
    assert step.err[size // 2 :].split()[0].decode() == expected


def test_stdin_is_a_sealed_file(pid1: Pid1) -> None:
    step = pid1.run("cat; echo x >/proc/self/fd/0 || echo refused", stdin=sealed("stdin", b"prompt\n"))
    assert step.out == b"prompt\nrefused\n"


def test_argv_without_a_shell_and_programs_that_are_not_there(pid1: Pid1) -> None:
    step = pid1.start(["printf", "%s-%s", "a", "b c"])
    assert (step.drained().value, step.out) == (0, b"a-b c")
    missing = pid1.start(["no-such-program"])
    assert missing.answer is not None
    assert (missing.answer.error, missing.answer.errno, missing.answer.stage) == (START_FAILED, 2, 7)
    assert missing.drained().how == NOT_STARTED
    assert missing.section(64, "I") == (0,)
    assert missing.section(128, "IIII") == (1, NOT_STARTED, 2, 7)
    nowhere = pid1.start(["true"], cwd="/nowhere")
    assert nowhere.answer is not None
    assert (nowhere.answer.error, nowhere.answer.stage) == (START_FAILED, 6)


def test_a_script_names_its_interpreter(pid1: Pid1) -> None:
    step = pid1.start(["/proc/self/fd/63"], script="#!/bin/bash\necho ${BASH_VERSION:+bash}")
    assert (step.drained().value, step.out) == (0, b"bash\n")
    missing = pid1.start(["/proc/self/fd/63"], script="#!/no/such\n")
    assert missing.answer is not None
    assert (missing.answer.error, missing.answer.errno, missing.answer.stage) == (START_FAILED, 2, 7)


def test_a_key_is_started_once(pid1: Pid1) -> None:
    step = pid1.run("exit 0")
    for _ in range(2):
        again = pid1.start(["true"], key=step.key)
        assert again.answer is not None
        assert again.answer.error == EXISTS
        assert step.connection.ask(FORBID, step.key).error == EXISTS
    assert step.status().state == 4


def test_either_start_or_forbid_wins(pid1: Pid1) -> None:
    one, other = pid1.connect(), pid1.connect()
    for number in range(40):
        key = uuid4().bytes + struct.pack("<Q", number)
        first, second = (one, other) if number % 2 else (other, one)
        forbidding = first.send(FORBID, key) if number % 3 else 0
        starting, step = pid1.ask_start(second, ["true"], key=key)
        forbidding = forbidding or first.send(FORBID, key)
        errors = (second.answer(starting).error, first.answer(forbidding).error)
        assert errors in {(0, EXISTS), (FORBIDDEN, 0)}
        if errors[0] == 0:
            step.drained()
        else:
            assert step.status().state == 5
            assert step.section(64, "I") == (0,)


def test_an_unknown_execution(pid1: Pid1) -> None:
    connection = pid1.connect()
    key = uuid4().bytes + bytes(8)
    assert connection.ask(2, key + bytes(8)).error == UNKNOWN
    assert connection.ask(5, key + bytes(8)).error == UNKNOWN


@pytest.mark.parametrize("ids", [{"uid": 2147000001}, {"gid": 2147000001}, {"gid": 0}, {"groups": (2147000001,)}])
def test_ids_of_relay_are_refused(pid1: Pid1, ids: dict[str, object]) -> None:
    step = pid1.start(["true"], **ids)
    assert step.answer is not None
    assert step.answer.error == RESERVED_USER
    eventually(lambda: not step.record_is_held(), "the end of the lock of a step that never started")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        words(["true"], [], "relative"),
        words(["true"], [], "/")[:-1],
        words(["true"], [], "/") + b"more\0",
        bytes(64),
    ],
    ids=["nothing", "a relative directory", "no last NUL", "too many strings", "no magic"],
)
def test_bad_words_are_refused(pid1: Pid1, content: bytes) -> None:
    connection = pid1.connect()
    record = os.memfd_create("record")
    key = uuid4().bytes + bytes(8)
    head = struct.pack("<IIIIQIHH", 1000, 20001, 0, 0, 0, 0, 0, 0)
    fds = [sealed("words", content), record]
    assert connection.ask(1, key + head, fds).error == BAD_DESCRIPTOR
    for fd in fds:
        os.close(fd)
