"""Accounts of the host and the workspaces of its node: they reach nothing of each other."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from relay_workers.containers.port import Account
from relay_workers.host_files.private_dirs import close_to_others
from tests.support.engine_fixtures import Workspace

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker

OTHER = 65534
OWN = 70123
HOME = "/workspace/home"


def as_other(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of another account of this host."""
    return subprocess.run(
        [str(word) for word in words],
        user=OTHER,
        group=OTHER,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_set_uid_file_of_a_workspace_gives_no_account_of_the_host_anything(workspace: Workspace):
    """A root step leaves a shell that would make its caller root."""
    directory = workspace.spec.workspace_dir
    left = "mkdir -p /workspace/tmp && cp /bin/dash /workspace/tmp/sh && chmod 4755 /workspace/tmp/sh"
    assert workspace.run(left, uid=0).verdict().exit_code == 0
    shell = directory / "tmp" / "sh"
    assert shell.stat().st_uid == 0
    assert as_other(shell, "-p", "-c", "id -u").stdout == "0\n", "what it is worth without the walls"
    assert {"channels", "executions", "workspaces"} <= set(close_to_others(directory.parents[1]))
    with pytest.raises(PermissionError):
        as_other(shell, "-p", "-c", "id -u")
    assert as_other("ls", directory.parent).returncode == 2
    seen = workspace.run("echo seen >/workspace/tmp/word", uid=0)
    assert seen.verdict().exit_code == 0, "the container sees its part as before"
    assert (directory / "tmp" / "word").read_text() == "seen\n"


@pytest.fixture
def own(new_workspace: Callable[..., Workspace]) -> Workspace:
    workspace = new_workspace(account=Account(OWN, HOME))
    for path in (workspace.spec.workspace_dir, workspace.spec.workspace_dir / "home"):
        path.mkdir(exist_ok=True)
        os.chown(path, OWN, OWN)
    return replace(workspace, uid=OWN)


def test_programs_find_a_name_for_the_workspaces_uid(own: Workspace):
    script = f"""
        set -e
        export HOME={HOME}
        whoami
        python3 -c 'import getpass, pathlib, pwd, os; print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir, pathlib.Path("~").expanduser())'
        git init -q /workspace/r && cd /workspace/r && git -c user.email=a@b var GIT_AUTHOR_IDENT | cut -d' ' -f1,2
        ssh -G example.org | grep -o '^user .*\\|/workspace/home/.ssh/known_hosts2'
    """
    step = own.run(script)
    assert step.verdict().exit_code == 0, step.log()
    assert step.log().decode().split("\n") == [
        "relay",  # `agent` is an account of the image
        f"relay {HOME} {HOME}",
        "Relay workspace",
        "user relay",
        f"{HOME}/.ssh/known_hosts2",
        "",
    ], step.log()


def test_a_root_step_can_make_accounts_beside_it(own: Workspace):
    script = "useradd --system daemonlike && getent passwd agent relay daemonlike | cut -d: -f1,3"
    step = own.run(script, uid=0)
    assert step.verdict().exit_code == 0
    lines = step.log().decode().split()
    assert lines[:2] == ["agent:1000", f"relay:{OWN}"]
    assert lines[2].startswith("daemonlike:")
    own.containers.restart(own.container)
    assert own.run("whoami").log() == b"relay\n"
