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


@pytest.mark.parametrize("pids", [512, 2048])
def test_a_fork_bomb_dies(program: Path, debian: str, pids: int) -> None:
    """As a worker does it: the limit of processes falls to 1 while the kill goes on, and rises again."""
    with support.running(program, debian, pids=pids) as own:
        bomb = own.start(["python3", "-c", BOMB])
        eventually(lambda: len(own.processes()) > pids // 2, "many processes")
        tag = bomb.connection.send(support.KILL, bomb.key + bytes(8))
        own.container.update(pids_limit=1)
        bomb.connection.answer(tag)
        assert own.steps() == []
        assert bomb.drained().flags & 3 == 3
        own.container.update(pids_limit=pids)
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
