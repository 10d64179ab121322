"""Much at once under relay-pid1: fork bombs up to the container's limit, and a gigabyte on both streams."""

from pathlib import Path

import pytest

from tests.support import pid1 as support
from tests.support.pid1 import Pid1
from tests.support.waiting import eventually

BOMB = """
import os
os.write(1, b'up')
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
BLOCK = bytes(range(256)) * 4096  # 1 MiB
BLOCKS = 512


def limit(pid1: Pid1, pids: int) -> None:
    """Do the same as `docker update --pids-limit`; the client has no method for it."""
    api = pid1.client.api
    done = api._post_json(api._url("/containers/{0}/update", pid1.container.id), data={"PidsLimit": pids})
    assert done.status_code == 200, done.text


def tasks(pid1: Pid1) -> int:
    """The number of tasks in the container, by its cgroup: the engine's own list takes a minute of a fork bomb."""
    for line in Path(f"/proc/{pid1.init}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "pids":
            return int(Path(f"/sys/fs/cgroup/pids{path}/pids.current").read_text())
    return int(Path(f"/sys/fs/cgroup{path}/pids.current").read_text())


@pytest.mark.alone  # takes both processors
@pytest.mark.parametrize("pids", [512, 1024])
def test_a_fork_bomb_dies(program: Path, debian: str, pids: int) -> None:
    """As a worker does it: the limit of processes falls to 1 while the kill goes on, and rises again."""
    with support.running(program, debian, pids=pids) as own:
        own_tasks = tasks(own)
        bomb = own.start(["python3", "-c", BOMB])
        eventually(lambda: tasks(own) == pids, "the limit is reached")
        tag = bomb.connection.send(support.KILL, bomb.key + bytes(8))
        limit(own, 1)
        assert bomb.connection.answer(tag).error == 0
        assert tasks(own) <= own_tasks + 1  # the supervisor
        assert bomb.drained().flags & 3 == 3
        limit(own, pids)
        assert own.run("echo ok").out == b"ok\n"


def test_a_gigabyte_on_both_streams(pid1: Pid1) -> None:
    each = "i=0; while [ $i -lt 512 ]; do cat /tmp/block; i=$((i+1)); done"
    step = pid1.run(f"cat >/tmp/block; ({each}) & ({each}) >&2 & wait", stdin=support.sealed("stdin", BLOCK))
    for name in ("stdout", "stderr"):
        path = step.folder / name
        assert path.stat().st_size == BLOCKS * len(BLOCK)
        with path.open("rb") as file:
            assert all(file.read(len(BLOCK)) == BLOCK for _ in range(BLOCKS))
        path.unlink()
