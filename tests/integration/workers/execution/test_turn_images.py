"""Images of a task in the workspace of a turn, on a real node: put where the agent can open them, never over a link."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain import uploaded_images
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import ExecutionProcess, Session, Workspace
from relay_core.store.shared import images
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from tests.support.pictures import gif, png
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

COMMAND = "cat; echo ---; sha256sum .relay-images/*.png; git status --porcelain; stat -c %u .relay-images/*"


def uploaded(node: Node, data: bytes, name: str) -> UUID:
    facts = uploaded_images.read(data, 1 << 20, 1 << 20)
    with node.db.begin() as connection:
        return images.create(connection, name, data, facts, ME)["id"]


def submit(node: Node, image_ids: list[UUID], **of_repo: Any) -> UUID:
    repo = RepoInput(f"file://{node.repo}", **of_repo)
    executor = ExecutorChoice("shell", COMMAND)
    run = RunInput((repo,), "look", executor, Limits(kill_grace_seconds=0.5), image_ids=image_ids)
    with node.db.begin() as connection:
        return submit_run(connection, run, ME, node.context.settings).workspace_id


def output(node: Node, execution_id: UUID) -> str:
    size = node.context.logs.sizes(execution_id)["stdout"].bytes
    return node.context.logs.read(execution_id, "stdout", 0, size).decode()


def clone_of(node: Node, workspace_id: UUID) -> Path:
    return node.context.settings.data_dir / "workspaces" / str(workspace_id) / "repos" / node.repo.name


def test_the_agent_gets_the_images_of_its_task_and_the_prompt_names_them(node: Node):
    data = png(8, 8)
    ids = [uploaded(node, data, "../My shot.png"), uploaded(node, gif(), "b.gif")]
    workspace_id = submit(node, ids)
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    ended = node.run(due["id"])
    assert ended["status"] == "completed", ended
    prompt, _, rest = output(node, due["id"]).partition("---\n")
    directory = f"/workspace/repos/{node.repo.name}/.relay-images"
    digest = hashlib.sha256(data).hexdigest()
    assert f"![My shot.png]({directory}/my-shot-{digest[:8]}.png)\n" in prompt
    assert f"![b.gif]({directory}/b-" in prompt
    lines = rest.splitlines()
    assert lines[0] == f"{digest}  .relay-images/my-shot-{digest[:8]}.png"
    assert set(lines[1:]) == {str(node.workspace(workspace_id)["uid"])}, "no change for git, and the user's own files"
    with node.db.connect() as connection:
        stored = connection.scalar(select(ExecutionProcess.executor_action).where(ExecutionProcess.id == due["id"]))
    assert stored["step"]["prompt"] == "look", "the stored prompt is that of the client"


def test_a_link_in_the_way_is_not_followed(node: Node, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    workspace_id = submit(node, [uploaded(node, png(), "a.png")], setup_script=f"ln -s {outside} .relay-images")
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    ended = node.run(due["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "start_failed")
    assert "is not a directory of its own" in ended["error_reason"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "trap",
    ["ln -s {outside} {name}", "ln -s {outside}/new {name}", "mkfifo {name}", "echo x > y && ln y {name}"],
)
def test_an_entry_of_the_name_of_an_image_is_replaced_not_followed(node: Node, tmp_path: Path, trap: str):
    outside = tmp_path / "victim"
    outside.write_bytes(b"untouched")
    outside.chmod(0o666)
    image_id = uploaded(node, png(), "a.png")
    name = f".relay-images/a-{hashlib.sha256(png()).hexdigest()[:8]}.png"
    script = f"mkdir .relay-images && {trap.format(outside=outside, name=name)}"
    workspace_id = submit(node, [image_id], setup_script=script)
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    ended = node.run(due["id"])
    assert ended["status"] == "completed", ended
    assert outside.read_bytes() == b"untouched"
    assert not (tmp_path / "new").exists()
    placed = clone_of(node, workspace_id) / name
    assert (placed.is_symlink(), placed.read_bytes()) == (False, png())


@pytest.mark.parametrize(
    "tail", [b"#!/bin/sh\ntouch /tmp/x\n", b"PK\x03\x04" + bytes(26), b"<script>alert(1)</script>"]
)
def test_what_stands_behind_an_image_is_carried_and_never_executed(node: Node, tail: bytes):
    """A file that is an image and something else: its name has the type of its first bytes, and no process may run it."""
    data = png() + tail
    workspace_id = submit(node, [uploaded(node, data, "run.sh")])
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    assert node.run(due["id"])["status"] == "completed"
    name = f".relay-images/run-{hashlib.sha256(data).hexdigest()[:8]}.png"
    placed = clone_of(node, workspace_id) / name
    assert (placed.read_bytes(), placed.stat().st_mode & 0o777) == (data, 0o644)
    assert sorted(path.name for path in placed.parent.iterdir()) == [".gitignore", placed.name]


def test_a_link_in_the_place_of_the_ignore_file_is_replaced(node: Node, tmp_path: Path):
    outside = tmp_path / "victim"
    outside.write_bytes(b"untouched")
    outside.chmod(0o666)
    script = f"mkdir .relay-images && ln -s {outside} .relay-images/.gitignore"
    workspace_id = submit(node, [uploaded(node, png(), "a.png")], setup_script=script)
    assert node.run(node.chain(workspace_id, RunReason.CODING_AGENT)["id"])["status"] == "completed"
    assert outside.read_bytes() == b"untouched"
    placed = clone_of(node, workspace_id) / ".relay-images/.gitignore"
    assert (placed.is_symlink(), placed.read_bytes()) == (False, b"*\n")


def test_a_directory_of_the_name_of_an_image_ends_the_turn_with_a_reason(node: Node):
    name = f".relay-images/a-{hashlib.sha256(png()).hexdigest()[:8]}.png"
    workspace_id = submit(node, [uploaded(node, png(), "a.png")], setup_script=f"mkdir -p {name}")
    ended = node.run(node.chain(workspace_id, RunReason.CODING_AGENT)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "start_failed")
    assert "cannot be made anew" in ended["error_reason"]


def test_a_later_turn_of_a_session_names_only_what_is_new(node: Node):
    workspace_id = submit(node, [uploaded(node, png(), "a.png")])
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    node.run(due["id"])
    new = uploaded(node, gif(), "b.gif")
    with node.db.begin() as connection:
        session_id, task_id = connection.execute(
            select(Session.id, Workspace.task_id)
            .join(Workspace, Workspace.id == Session.workspace_id)
            .where(Workspace.id == workspace_id)
        ).one()
        images.link(connection, task_id, [new], ME, "image_ids")
    with node.db.connect() as connection:
        found = images.for_turn(connection, workspace_id, session_id, UUID(int=0))
        again = images.for_turn(connection, workspace_id, session_id, due["id"])
    assert [(each.original_name, each.new) for each in found] == [("a.png", False), ("b.gif", True)]
    assert [each.new for each in again] == [True, True], "the first turn, if it is repeated"
