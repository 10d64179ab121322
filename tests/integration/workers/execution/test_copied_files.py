"""Files that git does not have, from the work tree of a repository on the node: copied, kept from links, not committed."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain import copy_files
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import ExecutionProcessRepoState, WorkspaceRepo
from relay_workers.execution.copied_files import CopiedFiles, _found
from relay_workers.host_files.safe_dir import SafeDir
from tests.support.worker_fixtures import Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def local(node: Node, tmp_path: Path) -> Node:
    """A node whose repository has files that git does not have."""
    repo = tmp_path / "shop"
    (repo / "config").mkdir(parents=True)
    (repo / "README").write_text("of git\n")
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=repo, check=True)
    subprocess.run([*GIT, "add", "README"], cwd=repo, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "first"], cwd=repo, check=True)
    (repo / ".env").write_text("TOKEN=of-the-person\n")
    (repo / "config" / "local.yml").write_text("a: 1\n")
    (repo / "config" / "run").write_text("#!/bin/sh\n")
    (repo / "config" / "run").chmod(0o700)
    (repo / "README").write_text("changed by the person\n")
    for path in (tmp_path, repo):
        path.chmod(0o755)
    return replace(node, repo=repo)


def clone_of(node: Node, workspace_id: UUID) -> Path:
    return node.context.settings.data_dir / "workspaces" / str(workspace_id) / "repos" / node.repo.name


def state(node: Node, execution_id: UUID) -> ExecutionProcessRepoState:
    columns = ExecutionProcessRepoState.__table__.columns
    with node.db.connect() as connection:
        return connection.execute(select(*columns).where(columns.execution_process_id == execution_id)).one()


def log_of(node: Node, execution_id: UUID) -> str:
    size = node.context.logs.sizes(execution_id)["all"].bytes
    return node.context.logs.read(execution_id, "all", 0, size).decode()


def test_files_are_copied_and_never_committed_by_relay(local: Node):
    command = "cat .env >read && git add -A && git add -f .env && echo more >>config/local.yml"
    workspace_id = local.submit(command=command, copy_files=".env, config/*, README, missing")
    due = local.chain(workspace_id, RunReason.CODING_AGENT)
    clone = clone_of(local, workspace_id)
    assert (clone / ".env").read_text() == "TOKEN=of-the-person\n"
    assert (clone / "README").read_text() == "of git\n", "the clone has it already"
    assert os.access(clone / "config" / "run", os.X_OK)
    assert (clone / ".env").stat().st_uid == local.workspace(workspace_id)["uid"]
    ended = local.run(due["id"])
    assert ended["status"] == "completed", ended
    found = state(local, due["id"])
    assert found.committed is not None
    changed = subprocess.run(
        ["git", "-c", "safe.directory=*", "show", "--format=", "--name-only", found.committed],
        cwd=clone, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert changed.stdout.split() == ["read"]
    assert b"config/local.yml" not in found.patch
    assert b"b/.env" not in found.patch
    assert (clone / "config" / "local.yml").read_text() == "a: 1\nmore\n"
    with local.db.connect() as connection:
        copied = connection.scalar(select(WorkspaceRepo.copied_files).where(WorkspaceRepo.workspace_id == workspace_id))
    assert copied == [".env", "config/local.yml", "config/run"]
    clone_log = log_of(local, local.step(workspace_id, RunReason.CLONE)["id"])
    assert "copied 3 files that git does not have: .env, config/local.yml, config/run" in clone_log


def test_links_and_what_is_no_file_are_not_followed(local: Node, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    (local.repo / "link").symlink_to(outside / "secret")
    (local.repo / "linked").symlink_to(outside)
    os.mkfifo(local.repo / "fifo")
    os.link(outside / "secret", local.repo / "hard")
    workspace_id = local.submit(copy_files="link, linked/*, **/secret, fifo, hard")
    local.chain(workspace_id, RunReason.CODING_AGENT)
    left = {path.name for path in clone_of(local, workspace_id).iterdir()}
    assert left == {".git", "README"}
    log = log_of(local, local.step(workspace_id, RunReason.CLONE)["id"])
    assert "link is not copied" in log
    assert "hard is not copied" in log


def test_a_link_of_the_repository_in_the_clone_is_not_followed(local: Node, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    repo = local.repo
    (repo / "trap").symlink_to(outside)
    subprocess.run([*GIT, "add", "trap"], cwd=repo, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "trap"], cwd=repo, check=True)
    (repo / "trap").unlink()
    (repo / "trap").mkdir()
    (repo / "trap" / "file").write_text("a")
    workspace_id = local.submit(copy_files="trap/*")
    ended = local.run(local.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert list(outside.iterdir()) == []


def test_names_that_are_not_printable_are_left_out_and_told(local: Node):
    for name in (b"caf\xe9.env", b"bell\x07.env", b"line\n.env"):
        (local.repo / os.fsdecode(name)).write_text("a")
    odd = local.repo / os.fsdecode(b"d\xe9")
    odd.mkdir()
    (odd / "in.env").write_text("a")
    workspace_id = local.submit(copy_files="**/*.env")
    local.chain(workspace_id, RunReason.CODING_AGENT)
    assert {path.name for path in clone_of(local, workspace_id).iterdir()} == {".git", "README", ".env"}
    log = log_of(local, local.step(workspace_id, RunReason.CLONE)["id"])
    for shown in (r"caf\udce9.env", r"bell\x07.env", r"line\n.env", r"d\udce9"):
        assert f"'{shown}' is not copied: its name is not printable" in log


def test_relays_own_data_below_the_work_tree_is_not_copied(local: Node):
    below = local.repo / "var" / "relay"
    below.mkdir(parents=True)
    (below / "theirs.conf").write_text("of another run")
    (local.repo / "var" / "mine.conf").write_text("of the person")
    files = CopiedFiles(local.context.settings.model_copy(update={"data_dir": below}))
    with SafeDir.open(local.repo) as root:
        assert list(_found(root, copy_files.parse("**/*.conf"), files._data_directory())) == [("var", "mine.conf")]


def test_paths_that_are_too_long_together_end_the_clone(local: Node):
    for number in range(300):
        deep = local.repo / f"{number:0100}" / f"{number:0150}"
        deep.mkdir(parents=True)
        (deep / "file").touch()
    workspace_id = local.submit(copy_files="*/*/file")
    ended = local.run(local.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "65536 bytes together" in ended["error_reason"]


def test_files_that_are_too_large_end_the_clone(local: Node):
    with (local.repo / "large").open("wb") as file:
        file.truncate((10 << 20) + 1)
    workspace_id = local.submit(copy_files="large")
    ended = local.run(local.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "RELAY_COPY_FILES_MAX_BYTES" in ended["error_reason"]
