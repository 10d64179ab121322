"""Steps under relay-pid1 in images that are not like Relay's own: it needs no program, shell or user of them."""

import shutil
from pathlib import Path

import pytest

from tests.support import pid1 as support
from tests.support.odd_images import built, loaded

APPLETS = ("sh", "cat", "id", "setsid", "sleep")


def test_an_image_of_one_static_program(program: Path, machine_program: Path) -> None:
    """No shell, library, passwd file or /tmp: a step of words alone."""
    with loaded({"bin/tool": machine_program.read_bytes()}) as image, support.running(program, image) as pid1:
        step = pid1.start(["tool", "--version"], env=("PATH=/bin",), uid=1234, gid=20100)
        assert (step.drained().value, step.out) == (0, b"relay-pid1, protocol 1\n")
        script = pid1.start(script="echo unseen")
        assert script.answer is not None
        assert (script.answer.error, script.answer.errno, script.answer.stage) == (support.START_FAILED, 2, 7)
        waits = pid1.start(["tool", "/nowhere"])
        assert waits.drained().value == 1
        assert b"pid 1" in waits.err


def test_an_image_of_busybox(program: Path) -> None:
    found = shutil.which("busybox")
    assert found, "busybox is not installed: run scripts/test, or apt-get install busybox-static"
    busybox = Path(found).read_bytes()
    files = {f"bin/{name}": busybox for name in APPLETS}
    with loaded(files) as image, support.running(program, image) as pid1:
        script = "id -u; id -g; echo err >/dev/stderr; cat; (setsid sleep 1000 &); exit 3"
        step = pid1.sh(script, env=("PATH=/bin",), uid=1234, gid=20103, stdin=support.sealed("stdin", b"prompt\n"))
        assert step.ended().value == 3
        assert (step.out, step.err) == (b"1234\n20103\nprompt\n", b"err\n")
        assert step.kill().error == 0
        assert step.drained().state == 4
        assert pid1.steps() == []


@pytest.mark.parametrize("line", ["USER 1000:1000", "USER nobody"])
def test_an_image_with_a_user(program: Path, line: str) -> None:
    with built(line) as image, support.running(program, image) as pid1:
        step = pid1.run("id -u; id -g; cat /proc/self/status | grep CapEff", uid=4321, gid=20101)
        assert step.out == b"4321\n20101\nCapEff:\t0000000000000000\n"
        root = pid1.run("id -u; id -g", uid=0, gid=20102)
        assert root.out == b"0\n20102\n"
