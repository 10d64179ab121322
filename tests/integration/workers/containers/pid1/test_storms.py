"""Much at once under relay-pid1: a gigabyte on both streams."""

from tests.support import pid1 as support
from tests.support.pid1 import Pid1

BLOCK = bytes(range(256)) * 4096  # 1 MiB
BLOCKS = 512


def test_a_gigabyte_on_both_streams(pid1: Pid1) -> None:
    each = "i=0; while [ $i -lt 512 ]; do cat /tmp/block; i=$((i+1)); done"
    step = pid1.run(f"cat >/tmp/block; ({each}) & ({each}) >&2 & wait", stdin=support.sealed("stdin", BLOCK))
    for name in ("stdout", "stderr"):
        path = step.folder / name
        assert path.stat().st_size == BLOCKS * len(BLOCK)
        with path.open("rb") as file:
            assert all(file.read(len(BLOCK)) == BLOCK for _ in range(BLOCKS))
        path.unlink()
