import time
from dataclasses import replace
from threading import Event, Timer

import pytest

from relay_core.settings import Settings
from relay_workers.containers.tool import ToolMount, ToolRun

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker

GREEDY = 'BEGIN { text = "x"; while (1) text = text text }'


@pytest.fixture
def spec() -> ToolRun:
    return ToolRun(Settings().git_image, ("true",), {"NAME": "value"}, (), "1000:20000", 64 << 20, 20)


def shell(spec: ToolRun, script: str) -> ToolRun:
    return replace(spec, argv=("/bin/sh", "-c", script))


def test_both_streams_and_the_exit_code_come_back(tool_runner, spec):
    result = tool_runner.run(shell(spec, 'echo "$NAME"; id -u; id -g; echo bad >&2; exit 7'))

    assert (result.exit_code, result.output, result.errors) == (7, b"value\n1000\n20000\n", b"bad\n")
    assert (result.oom, result.timed_out, result.cancelled) == (False, False, False)


def test_it_has_no_network_no_rights_and_nowhere_to_write_but_its_mounts(tool_runner, spec, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    mounts = (ToolMount(str(tmp_path / "in"), "/in", True), ToolMount(str(tmp_path / "out"), "/out", False))
    script = """
        grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
        ls /sys/class/net
        for place in / /in /etc /out /tmp; do touch $place/x 2>/dev/null && echo wrote $place; done"""

    result = tool_runner.run(replace(shell(spec, script), mounts=mounts, user="0:0"))

    words = result.output.decode().split()
    assert words[:6] == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert words[6:] == ["lo", "wrote", "/out", "wrote", "/tmp"]


@pytest.mark.alone
def test_what_it_may_not_take_ends_it(tool_runner, spec):
    started = time.monotonic()
    slow = tool_runner.run(replace(spec, argv=("sleep", "60"), timeout_seconds=0.2))
    assert slow.timed_out
    assert time.monotonic() - started < 5

    assert tool_runner.run(replace(spec, argv=("awk", GREEDY))).oom
    child = tool_runner.run(shell(spec, f"awk '{GREEDY}'; true"))
    assert (child.oom, child.exit_code) == (True, 0)
    full = tool_runner.run(replace(shell(spec, "head -c 9000000 /dev/zero >/tmp/x"), tmpfs_bytes=1 << 20))
    assert b"No space left" in full.errors
    assert len(tool_runner.run(shell(spec, "head -c 9000000 /dev/zero")).output) == 1 << 20


@pytest.mark.alone
def test_it_can_be_cancelled(tool_runner, spec):
    cancelled = Event()
    Timer(0.3, cancelled.set).start()
    started = time.monotonic()

    result = tool_runner.run(replace(spec, argv=("sleep", "60")), cancelled)

    assert result.cancelled
    assert not result.timed_out
    assert time.monotonic() - started < 3


def test_a_program_that_the_image_lacks_is_an_answer(tool_runner, spec):
    assert tool_runner.run(replace(spec, argv=("no-such-program",))).exit_code == 127
    assert tool_runner.run(replace(spec, argv=("/no/such/program",))).exit_code == 127
