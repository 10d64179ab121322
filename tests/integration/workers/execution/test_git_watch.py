"""Commits that no execution recorded, on a real node: found, told, and in the way of further steps until acknowledged."""

import os
import shutil
from uuid import UUID

import pytest

from relay_core.domain.errors import Conflict
from relay_core.domain.vocabulary import GitState, RunReason
from relay_core.store.views.waiting import queues_of
from relay_core.store.workspaces import git_watch
from relay_core.store.workspaces.acknowledge import acknowledge
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.git_acts import PushRequest, ResetRequest, add_push, add_reset
from relay_core.store.workspaces.step_request import StepRequest
from tests.support.diverging import clone_of, commit_by_hand, files, found, look, prepared, state
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker

SERVER = "exec python3 -m http.server $PORT --bind $HOST"


def accept(node: Node, workspace: UUID) -> None:
    with node.db.begin() as connection:
        acknowledge(connection, workspace, state(node, workspace)["generation"], ME)


def setup(node: Node, workspace: UUID, script: str = "true") -> UUID:
    with node.db.begin() as connection:
        return add_step(connection, workspace, StepRequest(RunReason.SETUP_SCRIPT, script=script), ME, {})


@pytest.mark.proves("T002-11")
def test_a_commit_by_hand_is_shown_and_evented_and_no_file_is_touched(node):
    workspace = prepared(node)
    look(node)
    recorded = state(node, workspace)
    assert (recorded["git_state"], recorded["acknowledgement_needed"], found(node, workspace)) == ("clean", False, [])
    commit = commit_by_hand(node, workspace)
    before = list(files(clone_of(node, workspace)))
    look(node)
    now = state(node, workspace)
    assert now["git_state"] is GitState.DIVERGED
    assert now["acknowledgement_needed"]
    (clone,) = now["repos"]
    assert (clone["head_commit"], clone["recorded_commit"]) == (commit, recorded["repos"][0]["recorded_commit"])
    (told,) = found(node, workspace)
    assert (told["git_state"], told["head_commit"], told["dev_servers"]) == ("diverged", commit, [])
    assert list(files(clone_of(node, workspace))) == before, "nothing in the clone was written"


def test_the_same_difference_is_told_once(node):
    workspace = prepared(node)
    commit_by_hand(node, workspace)
    for _ in range(3):
        look(node)
    assert len(found(node, workspace)) == 1


def test_steps_that_may_change_the_clone_are_refused_until_it_is_acknowledged(node):
    workspace = prepared(node)
    commit = commit_by_hand(node, workspace)
    look(node)
    with node.db.begin() as connection:
        for act in (
            lambda: add_step(connection, workspace, StepRequest(RunReason.SETUP_SCRIPT, script="true"), ME, {}),
            lambda: add_push(connection, workspace, PushRequest(), ME),
            lambda: add_reset(connection, workspace, ResetRequest(commit=commit), ME),
        ):
            with pytest.raises(Conflict, match="acknowledge it") as caught:
                act()
            assert caught.value.code == "workspace_diverged"
    accept(node, workspace)
    assert state(node, workspace)["git_state"] is GitState.CLEAN
    assert state(node, workspace)["repos"][0]["recorded_commit"] == commit
    ran = node.run(setup(node, workspace, "git rev-parse HEAD"))
    assert ran["status"] == "completed"
    assert node.log(ran["id"]).decode().strip() == commit
    look(node)
    assert state(node, workspace)["git_state"] is GitState.CLEAN


def test_a_commit_is_found_before_a_claim_and_the_step_waits_for_the_acknowledgement(node):
    """The step was queued before the node looked."""
    workspace = prepared(node)
    commit_by_hand(node, workspace)
    queued = setup(node, workspace)
    node.begin(queued).join()
    assert node.row(queued)["status"] == "queued"
    assert found(node, workspace)[0]["git_state"] == "diverged"
    with node.db.connect() as connection:
        waits = queues_of(connection, [queued])[queued]
    assert "acknowledge" in waits["waits"]
    accept(node, workspace)
    assert node.run(queued)["status"] == "completed"


def test_only_what_was_read_is_acknowledged(node):
    workspace = prepared(node)
    commit_by_hand(node, workspace)
    look(node)
    read = state(node, workspace)["generation"]
    commit_by_hand(node, workspace)
    look(node)
    with node.db.begin() as connection, pytest.raises(Conflict) as caught:
        acknowledge(connection, workspace, read, ME)
    assert caught.value.code == "stale_generation"
    accept(node, workspace)
    with node.db.begin() as connection, pytest.raises(Conflict) as caught:
        acknowledge(connection, workspace, state(node, workspace)["generation"], ME)
    assert caught.value.code == "not_diverged"


def test_a_clone_that_is_gone_is_missing_and_found_again_when_it_is_back(node):
    workspace = prepared(node)
    clone = clone_of(node, workspace)
    away = clone.with_name("away")
    clone.rename(away)
    look(node)
    now = state(node, workspace)
    assert (now["git_state"], now["acknowledgement_needed"]) == (GitState.MISSING, True)
    away.rename(clone)
    look(node)
    now = state(node, workspace)
    assert (now["git_state"], now["acknowledgement_needed"]) == (GitState.CLEAN, False)
    assert [told["git_state"] for told in found(node, workspace)] == ["missing", "clean"]


def test_a_clone_that_the_agent_itself_removes_is_missing_but_no_strangers_act(node):
    workspace = node.submit(command="rm -rf .git")
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    look(node)
    now = state(node, workspace)
    assert (now["git_state"], now["acknowledgement_needed"]) == (GitState.MISSING, False)
    look(node)
    assert len(found(node, workspace)) == 1


def test_what_a_dev_server_commits_is_diverged_and_names_the_server(node):
    workspace = prepared(node)
    with node.db.begin() as connection:
        server = add_step(
            connection,
            workspace,
            StepRequest(RunReason.DEV_SERVER, script=f"git commit -q --allow-empty -m x; {SERVER}"),
            ME,
            {},
        )
    node.begin(server)
    node.until(lambda: "dev_server.ready" in node.kinds(workspace), "the dev server answers")
    look(node)
    (told,) = found(node, workspace)
    assert (told["git_state"], told["dev_servers"]) == ("diverged", [str(server)])
    assert node.row(server)["status"] == "running"


def test_what_a_dev_server_commits_last_is_found_at_its_end(node):
    workspace = prepared(node)
    with node.db.begin() as connection:
        step = StepRequest(RunReason.DEV_SERVER, script="git commit -q --allow-empty -m x; exit 3")
        server = add_step(connection, workspace, step, ME, {})
    assert node.run(server)["status"] == "failed"
    (told,) = found(node, workspace)
    assert (told["git_state"], told["dev_servers"]) == ("diverged", [str(server)])


def test_a_dev_server_starts_in_a_diverged_workspace(node):
    workspace = prepared(node)
    commit_by_hand(node, workspace)
    look(node)
    with node.db.begin() as connection:
        server = add_step(connection, workspace, StepRequest(RunReason.DEV_SERVER, script=SERVER), ME, {})
    node.begin(server)
    node.until(lambda: "dev_server.ready" in node.kinds(workspace), "the dev server answers")


def test_a_ref_with_a_name_that_is_no_text_is_told_and_stops_neither_the_sweep_nor_a_claim(node):
    """A container links the ref to another file, so its name is part of the message."""
    workspace, other = sorted(prepared(node) for _ in range(2))
    queued = setup(node, workspace)
    git_dir = clone_of(node, workspace) / ".git"
    (git_dir / "refs/heads" / os.fsdecode(b"\xff")).symlink_to("main")
    (git_dir / "HEAD").write_bytes(b"ref: refs/heads/\xff\n")
    commit_by_hand(node, other)
    look(node)
    (told,) = found(node, workspace)
    assert told["git_state"] == "diverged"
    assert "refs/heads/\ufffd" in told["problem"]
    assert found(node, other)[0]["git_state"] == "diverged"
    accept(node, workspace)
    assert node.run(queued)["status"] == "completed"


def test_an_error_of_a_look_keeps_no_step_from_its_claim(node, monkeypatch):
    workspace = prepared(node)
    commit_by_hand(node, workspace)
    queued = setup(node, workspace)

    def broken(*_: object) -> None:
        raise ValueError("it cannot be stored")

    monkeypatch.setattr(git_watch, "settle", broken)
    assert node.run(queued)["status"] == "completed"


def test_a_workspace_whose_directory_is_gone_is_left_to_its_next_step(node):
    workspace = prepared(node)
    shutil.rmtree(clone_of(node, workspace).parents[1])
    look(node)
    assert found(node, workspace) == []
    assert node.run(setup(node, workspace))["reason"] == "workspace_gone"
