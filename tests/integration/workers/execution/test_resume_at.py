"""Going back to an execution on a real node: the clone, what is dropped, and what is kept."""

from dataclasses import asdict

import pytest

from relay_core.domain.errors import Conflict
from relay_core.domain.vocabulary import RunReason
from relay_core.store.workspaces import previews
from relay_core.store.workspaces.resume_at import resume_at
from tests.support.diverging import clone_of, found, look, state
from tests.support.git_bench import git
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker


def preview(node: Node, workspace, execution, **options):
    with node.db.connect() as connection:
        return previews.of_resume(connection, workspace, execution, ME, discard_changes=False, **options)


def go_back(node: Node, workspace, execution, generation, *, discard=False):
    with node.db.begin() as connection:
        return resume_at(connection, workspace, execution, generation, ME, discard_changes=discard)


def committing(node: Node, workspace, name: str):
    return node.run(node.add(workspace, f"echo {name} > {name} && git add -A && git commit -qm {name}"))["id"]


def test_the_clone_returns_and_the_executions_from_there_on_are_dropped(node):
    workspace = node.submit(command="git commit -q --allow-empty -m mine")
    agent = node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])["id"]
    first, second, third = (committing(node, workspace, name) for name in ("one", "two", "three"))
    told = preview(node, workspace, second)
    assert told.blockers == []
    (moved, dropped) = told.mutations
    assert (moved.repo, dropped.change) == (node.repo.name, "2 executions are marked as dropped")
    reset = node.run(go_back(node, workspace, second, told.generation))
    assert reset["status"] == "completed", reset["error_reason"]
    clone = clone_of(node, workspace)
    assert sorted(path.name for path in clone.iterdir()) == [".git", "one"]
    assert git(clone, "rev-parse", "HEAD") == moved.to_commit
    assert [node.row(one)["dropped"] for one in (agent, first, second, third, reset["id"])] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert node.kinds(workspace).count("workspace.executions_dropped") == 1
    look(node)
    assert (found(node, workspace), state(node, workspace)["git_state"]) == ([], "clean"), (
        "Relay's act is no stranger's"
    )
    with node.db.begin() as connection, pytest.raises(Conflict) as caught:
        resume_at(connection, workspace, third, state(node, workspace)["generation"], ME, discard_changes=False)
    assert caught.value.code == "execution_dropped"


@pytest.mark.proves("T002-16")
def test_what_has_changed_since_the_preview_is_not_overrun(node):
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    step = committing(node, workspace, "one")
    told = preview(node, workspace, step)
    later = committing(node, workspace, "two")
    with pytest.raises(Conflict) as caught:
        go_back(node, workspace, step, told.generation)
    assert caught.value.code == "stale_generation"
    assert not node.row(later)["dropped"]
    assert (clone_of(node, workspace) / "two").exists()


def test_uncommitted_changes_are_lost_only_with_consent_and_are_kept_on_the_node(node):
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    step = committing(node, workspace, "one")
    (clone_of(node, workspace) / "draft").write_text("not committed\n")
    refused = node.run(go_back(node, workspace, step, preview(node, workspace, step).generation))
    assert refused["reason"] == "reset_failed"
    assert not node.row(step)["dropped"], "nothing is dropped by a reset that failed"
    assert (clone_of(node, workspace) / "draft").exists()
    went = node.run(go_back(node, workspace, step, preview(node, workspace, step).generation, discard=True))
    assert went["status"] == "completed", went["error_reason"]
    assert not (clone_of(node, workspace) / "draft").exists()
    kept = node.log(went["id"]).decode().split("are kept on the node as commit ")[1].split()[0]
    store = node.context.settings.data_dir / "stores" / str(workspace) / f"{node.repo.name}.git"
    assert git(store, "show", f"{kept}:draft") == "not committed"


def test_a_busy_workspace_says_so_in_the_preview(node):
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    step = committing(node, workspace, "one")
    node.add(workspace, "true")
    assert [note.code for note in preview(node, workspace, step).blockers] == ["workspace_busy"]
    assert asdict(preview(node, workspace, step))["act"] == "resume_at"
