"""Workspaces in images without Debian's programs: busybox alone, and, by `scripts/pid1-alpine`, Alpine itself."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay_core.domain.vocabulary import Stream
from tests.support.engine_fixtures import Workspace
from tests.support.odd_images import loaded
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker

APPLETS = ("sh", "cat", "id", "setsid", "sleep", "grep", "head", "sha256sum")
ALPINE = os.environ.get("RELAY_TEST_ALPINE_IMAGE")
ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture(scope="module", params=["busybox", *([ALPINE] if ALPINE else [])])
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "busybox":
        yield request.param
        return
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    with loaded({f"bin/{name}": busybox for name in APPLETS}) as tag:  # no /etc/passwd either
        yield tag


@pytest.fixture
def small(image: str, new_workspace: Callable[..., Workspace]) -> Workspace:
    return new_workspace(image=image)


@pytest.mark.parametrize("uid", [1000, 54321, 0])
def test_a_step_of_any_user_with_its_streams_and_its_end(small: Workspace, uid: int) -> None:
    script = "id -u; id -g; pwd; cat; echo err >/dev/stderr; echo made >file; grep NoNewPrivs /proc/self/status; exit 3"
    small.spec.workspace_dir.chmod(0o777)
    step = small.run(script, gid=20001, uid=uid, stdin=b"prompt\n", env=ENV)
    assert step.log() == f"{uid}\n20001\n/workspace\nprompt\nNoNewPrivs:\t1\n".encode()
    assert step.log(Stream.STDERR) == b"err\n"
    assert step.verdict().exit_code == 3
    made = (small.spec.workspace_dir / "file").stat()
    assert (made.st_uid, made.st_gid) == (uid, 20001)


def test_a_kill_with_grace_and_one_without(small: Workspace) -> None:
    polite = small.start("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done", env=ENV)
    eventually(lambda: polite.log() == b"up\n")
    assert small.kill(polite, grace_seconds=10).remaining == 0
    assert (polite.verdict().exit_code, polite.log()) == (5, b"up\nbye\n")
    script = "trap '' TERM; (setsid sh -c 'sleep 1000 & exec sleep 1001' &); echo up; while :; do sleep 0.05; done"
    stubborn = small.start(script, gid=20002, env=ENV)
    eventually(lambda: len([line for line in small.processes() if "sleep 100" in line]) == 2)
    result = small.kill(stubborn)
    assert (result.remaining, result.restarted) == (0, False)
    assert small.processes() == []
    assert stubborn.verdict().exit_code == 137


def test_a_child_that_outlives_the_step_and_binary_output(small: Workspace) -> None:
    step = small.start("head -c 3000000 /dev/urandom >f; cat f; sha256sum <f >&2; (sleep 1000 &); exit 0", env=ENV)
    assert step.exited().ended.value == 0
    assert small.containers.leftover_names(small.container, step.files.key) == ["sleep"]
    assert small.kill(step).remaining == 0
    step.wait()
    assert step.log(Stream.STDERR).split()[0].decode() == hashlib.sha256(step.log()).hexdigest()
    assert small.run("echo next", gid=20003, env=ENV).log() == b"next\n"
