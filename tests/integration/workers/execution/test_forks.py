"""Workspaces that start from another one's recorded state, on a real node: containers, clones, stores and events."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import docker
import pytest
from sqlalchemy import select, update

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.forges import Forges
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.store.delegations import delegations, scopes
from relay_core.store.delegations.delegations import NewDelegation, RuleInput
from relay_core.store.executions.retry import retry_workspace
from relay_core.store.merges.requests import MergeRequest, add_merge
from relay_core.store.schema.tables import Event, Merge, Task, Workspace, WorkspaceRepo
from relay_core.store.workspaces import diffs, fork
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.fork import ForkRequest
from relay_core.store.workspaces.submit import EnvValue, RepoInput, RunInput, submit_run
from relay_workers.containers.port import container_name
from tests.support.diverging import clone_of
from tests.support.git_bench import git
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker

WORK = "echo mine >mine && git add -A && git commit -qm mine && echo open >open"


def submit(node: Node, command: str, *repos: RepoInput, **more: Any) -> UUID:
    run = RunInput(repos, "go", ExecutorChoice("shell", command), Limits(kill_grace_seconds=0.5), **more)
    with node.db.begin() as connection:
        return submit_run(connection, run, ME, node.context.settings).workspace_id


def worked(node: Node, command: str = WORK, **more: Any) -> UUID:
    """A workspace whose agent has committed `mine` and left `open` uncommitted."""
    made = submit(node, command, RepoInput(f"file://{node.repo}"), auto_commit=False, **more)
    ended = node.run(node.chain(made, RunReason.CODING_AGENT)["id"])
    assert ended["status"] == "completed", ended["error_reason"]
    return made


def forked(node: Node, source: UUID, command: str = "true", after: UUID | None = None) -> UUID:
    """A queued fork."""
    project = select(Task.project_id).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == source)
    with node.db.begin() as connection:
        project_id = connection.execute(project).scalar_one()
        found = fork.find(connection, ForkRequest(source, after), project_id, (), ME)
    repos = [RepoInput(url, state.target_branch, start=state) for url, state in found.states.items()]
    return submit(node, command, *repos, project_id=project_id, fork=found)


def prepared(node: Node, workspace: UUID) -> None:
    ended = node.run(node.step(workspace, RunReason.CLONE)["id"])
    assert ended["status"] == "completed", ended["error_reason"]


def base_of(node: Node, workspace: UUID) -> tuple[str | None, str | None]:
    columns = (WorkspaceRepo.base_commit, WorkspaceRepo.target_branch)
    with node.db.connect() as connection:
        return tuple(connection.execute(select(*columns).where(WorkspaceRepo.workspace_id == workspace)).one())


def told(node: Node, workspace: UUID) -> dict[str, Any]:
    of_it = select(Event.payload).where(Event.workspace_id == workspace, Event.kind == "workspace.forked")
    with node.db.connect() as connection:
        return dict(connection.execute(of_it).scalar_one())


def test_a_fork_has_the_work_of_its_source_also_what_is_not_committed_and_leaves_it_alone(node: Node) -> None:
    source = worked(node)
    before = git(clone_of(node, source), "log", "--format=%H%d")
    made = forked(node, source, "echo more >more")
    assert node.workspace(made)["node_id"] == node.context.claimant.node_id, "before any worker has seen it"
    prepared(node, made)
    clone, row = clone_of(node, made), node.workspace(made)
    assert ((clone / "mine").read_text(), (clone / "open").read_text()) == ("mine\n", "open\n")
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "symbolic-ref", "--short", "HEAD") == row["branch"] != node.workspace(source)["branch"]
    assert row["container_id"] not in {None, node.workspace(source)["container_id"]}
    assert base_of(node, made) == base_of(node, source)
    [state] = told(node, made)["states"]
    assert (state["commit"], state["omitted"]) == (git(clone, "rev-parse", "HEAD"), [])
    assert told(node, made)["from_workspace_id"] == str(source)

    turn = node.run(node.due(made)["id"])
    assert turn["status"] == "completed", turn["error_reason"]
    with node.db.connect() as connection:
        [whole] = diffs.of_workspace(connection, made, with_patch=True)
        [step] = diffs.of_execution(connection, turn["id"], with_patch=True)
    assert [line for line in (whole.patch or b"").splitlines() if line.startswith(b"+++")] == [
        b"+++ b/mine",
        b"+++ b/more",
        b"+++ b/open",
    ]
    assert b"+++ b/more" in (step.patch or b"")
    assert b"mine" not in (step.patch or b"")

    old = clone_of(node, source)
    assert git(old, "log", "--format=%H%d") == before
    assert (git(old, "status", "--porcelain"), (old / "more").exists()) == ("?? open", False)


def test_a_source_that_is_archived_without_container_and_clone_is_enough(node: Node) -> None:
    source = worked(node)
    first = node.step(source, RunReason.CODING_AGENT)["id"]
    node.run(node.add(source, "echo later >later", reason="cleanup_script"))
    with node.db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == source).values(archived=True))
    with closing(docker.from_env()) as client:
        client.containers.get(container_name(str(source))).remove(force=True)
    clone = clone_of(node, source)
    shutil.rmtree(clone)
    clone.symlink_to("/etc")  # what a container can do to it
    latest, earlier = forked(node, source), forked(node, source, after=first)
    for made in (latest, earlier):
        prepared(node, made)
    assert [(clone_of(node, made) / "later").exists() for made in (latest, earlier)] == [True, False]
    assert (clone_of(node, earlier) / "open").read_text() == "open\n"


def test_a_fork_of_what_its_node_has_removed_fails_honestly_and_stays_there(node: Node) -> None:
    source = worked(node)
    made = forked(node, source)
    with node.db.begin() as connection:
        delete_workspaces(connection, [source], "someone")
    shutil.rmtree(node.context.settings.data_dir / "stores" / str(source))
    ended = node.run(node.step(made, RunReason.CLONE)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "does not have the recorded state" in ended["error_reason"]
    assert node.workspace(made)["state"] == "failed"
    with node.db.begin() as connection:
        again = retry_workspace(connection, made, "someone")
    assert node.workspace(made)["node_id"] == node.context.claimant.node_id, "no other node can have it"
    assert node.run(again)["reason"] == "clone_failed"


def test_two_forks_at_once_do_not_know_of_each_other(node: Node) -> None:
    source = worked(node)
    made = [forked(node, source) for _ in range(2)]
    threads = [node.begin(node.step(each, RunReason.CLONE)["id"]) for each in made]
    for thread in threads:
        thread.join(60)
    assert [node.workspace(each)["state"] for each in made] == ["running", "running"]
    heads = {git(clone_of(node, each), "rev-parse", "HEAD") for each in made}
    assert len(heads) == 1
    assert len({git(clone_of(node, each), "symbolic-ref", "HEAD") for each in made}) == 2
    (clone_of(node, made[0]) / "mine").write_text("changed\n")
    assert (clone_of(node, made[1]) / "mine").read_text() == "mine\n"


def test_the_child_of_a_delegation_starts_from_its_parents_work_and_writes_its_part(node: Node) -> None:
    parent = worked(node)
    child = forked(node, parent, "mkdir src && echo child >src/file")
    with node.db.begin() as connection:
        delegations.set_scope(connection, parent, [RuleInput()], [], ME)
        wanted = NewDelegation(parent, child, "part", [RuleInput(path="src")], 600)
        made = delegations.delegate(connection, wanted, ME, node.context.settings.presence)["id"]
    prepared(node, child)
    turn = node.run(node.due(child)["id"])
    assert turn["status"] == "completed", turn["error_reason"]
    assert "execution.write_refused" not in node.kinds(child), "the parent's work is none of the child's"
    clone = clone_of(node, child)
    assert (git(clone, "status", "--porcelain"), git(clone, "show", "HEAD:src/file")) == ("", "child")
    work = git(clone, "rev-parse", "HEAD")

    with node.db.begin() as connection:
        delete_workspaces(connection, [child], "someone")
    node.run(node.add(parent, "true"))
    with node.db.connect() as connection:
        lease = delegations.get(connection, made, ME)
        assert (lease["state"], lease["reclaim_reason"]) == ("reclaimed", "child_missing")
        assert not scopes.effective(connection, parent).restricted, "the parent may write it again"
    store = node.context.settings.data_dir / "stores" / str(child) / f"{node.repo.name}.git"
    assert git(store, "show", f"{work}:src/file") == "child", "and what the child did is there"


def test_what_the_source_has_merged_is_not_merged_again_by_its_fork(node: Node, tmp_path: Path) -> None:
    bare = tmp_path / "remote.git"
    git(node.repo, "clone", "-q", "--bare", str(node.repo), str(bare))
    source = submit(node, "echo one >file", RepoInput(f"file://{bare}", "main"))
    assert node.run(node.chain(source, RunReason.CODING_AGENT)["id"])["status"] == "completed"
    made = forked(node, source, "echo two >file")
    prepared(node, made)
    assert node.run(node.due(made)["id"])["status"] == "completed"
    for workspace, content in ((source, "one"), (made, "two")):
        with node.db.begin() as connection:
            merge = add_merge(connection, workspace, MergeRequest(), ME, Forges())
            execution = connection.execute(select(Merge.execution_id).where(Merge.id == merge)).scalar_one()
        ended = node.run(execution)
        assert ended["status"] == "completed", ended["error_reason"]
        assert git(bare, "show", "main:file") == content
    assert git(bare, "rev-list", "--count", "main") == "3", "one commit of each"


def test_a_secret_of_the_source_stays_masked_in_its_forks(node: Node) -> None:
    value = "a-secret-of-the-source"
    source = worked(node, 'echo "$TOKEN" >leaked', env={"TOKEN": EnvValue(value)})
    first = forked(node, source)
    prepared(node, first)
    node.run(node.due(first)["id"])
    second = forked(node, first, "cat leaked; env")
    prepared(node, second)
    turn = node.run(node.due(second)["id"])
    assert (clone_of(node, second) / "leaked").read_text() == f"{value}\n"
    log = node.log(turn["id"])
    assert (value.encode() in log, b"TOKEN" in log) == (False, False), "masked, and not given"
    with node.db.connect() as connection:
        [diff] = diffs.of_workspace(connection, second, with_patch=True)
    assert (value.encode() in (diff.patch or b""), diff.masked) == (False, ["leaked"])
