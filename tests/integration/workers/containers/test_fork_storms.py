"""Fork bombs of many processes: a kill ends all of them, and the rest of the container and of the node goes on."""

import os
import time
from dataclasses import replace

import pytest

from relay_workers.containers.pid1.answers import EndFlag, How
from tests.support.engine_fixtures import LIMITS, Step, Workspace
from tests.support.task_count import task_count
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.timeout(60)]

TICKS = """#!/usr/bin/perl
$SIG{TERM} = sub { exit 7 }; $| = 1;
while (1) { print "tick\n"; select undef, undef, undef, 0.05; }
"""
"""Needs no further process, of which the storm leaves it none."""
GROWING = "#!/usr/bin/perl\n$SIG{TERM} = 'IGNORE'; $| = 1; print 'up'; fork while 1;\n"
REPLACING = """#!/usr/bin/perl
$SIG{TERM} = 'IGNORE'; $| = 1; print 'up';
for (1 .. COUNT) { last unless fork }
while (1) { my $child = fork; exit if $child; }
"""
"""Each of its processes lives for a moment and leaves one child, so that no list of them is ever true."""
STORMS = {"growing": GROWING, "replacing": REPLACING}
SIZES = os.environ.get("RELAY_TEST_STORMS", "1024")
"""Numbers of processes, as "1024,4096"."""
CASES = [
    pytest.param(script, int(size), id=f"{name}-{size}") for name, script in STORMS.items() for size in SIZES.split(",")
]


def must_go_on(step: Step) -> None:
    seen = len(step.log())
    eventually(lambda: len(step.log()) > seen, "the other execution goes on")


@pytest.mark.parametrize(("script", "processes"), CASES)
def test_a_kill_ends_a_storm_and_nothing_else(new_workspace, script, processes):
    limits = replace(LIMITS, pids=processes, cpus=1.0, memory_bytes=2 << 30)
    workspace: Workspace = new_workspace(limits=limits)
    other_workspace = new_workspace()
    init = workspace.api.inspect_container(workspace.container)["State"]["Pid"]
    beside, elsewhere = workspace.start(TICKS, gid=20002), other_workspace.start(TICKS)
    for step in (beside, elsewhere):
        must_go_on(step)
    calm = task_count(init)
    storm = workspace.start(script.replace("COUNT", str(processes * 9 // 10)), gid=20001)
    eventually(lambda: task_count(init) >= processes * 0.85, "the storm is there")
    assert other_workspace.run("echo next", gid=20003).log() == b"next\n"
    began = time.monotonic()
    result = workspace.kill(storm)
    print(f"{processes} processes ended in {time.monotonic() - began:.2f} s")
    assert (result.remaining, result.restarted) == (0, False)
    eventually(lambda: task_count(init) <= calm)
    ended = storm.wait().ended
    assert (ended.how, ended.value) == (How.SIGNALLED, 9)
    assert ended.flags & EndFlag.KILL_ASKED
    assert ended.flags & EndFlag.KILL_SENT
    assert storm.log() == b"up"
    assert workspace.api.inspect_container(workspace.container)["State"]["Pid"] == init
    assert workspace.api.inspect_container(workspace.container)["HostConfig"]["PidsLimit"] == processes, "as before"
    assert workspace.run("echo next", gid=20003).log() == b"next\n"
    for where, step in ((workspace, beside), (other_workspace, elsewhere)):
        must_go_on(step)
        assert where.kill(step, grace_seconds=20).remaining == 0
        assert step.verdict().exit_code == 7, "its supervisor heard of the end of the step itself"
