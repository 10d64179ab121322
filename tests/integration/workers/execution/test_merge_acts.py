"""Merges and rebases as executions, on fakes of engine and git: their ends, and a worker that takes them over."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from relay_core.domain import execution as machine
from relay_core.domain.errors import StepFailed
from relay_core.domain.forges import Forges
from relay_core.domain.vocabulary import MergeMethod, Reason, RunReason
from relay_core.store.executions import retry
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimant, Claimed
from relay_core.store.executions.finish import finish
from relay_core.store.merges.requests import MergeRequest, add_merge, add_rebase
from relay_core.store.merges.views import get
from relay_core.store.schema.tables import ExecutionProcessRepoState, Task, Workspace, WorkspaceRepo
from relay_workers.testing.faults import Moment
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode
from tests.support.recorded_heads import record_head

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"))
    made.add_worker("first")
    made.add_worker("second")
    yield made
    made.close()
    assert not made.broken


class Made:
    """A prepared workspace with a commit of its own file on its branch."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.id = node.submit(ScriptedStep())
        node.workers[0].run(node.newest(self.id, RunReason.CODING_AGENT)["id"])
        self.clone = node.settings.data_dir / "workspaces" / str(self.id) / "repos" / "remote"
        self.base = self.head
        self.file = f"file-{self.id}"
        self.commit = self.write(self.file, "mine\n")

    def write(self, name: str, content: str) -> str:
        """Commit a file as an agent does: with the fake's own means."""
        (self.clone / name).write_text(content)
        names = [path.name for path in self.clone.iterdir() if path.is_file()]
        commit = self.node.git.add_commit({each: (self.clone / each).read_bytes() for each in names}, self.head)
        (self.clone / ".git/refs/heads" / self.branch).write_text(f"{commit}\n")
        record_head(self.node.database, self.id, commit)
        return commit

    @property
    def branch(self) -> str:
        with self.node.database.connect() as connection:
            return str(connection.scalar(select(Workspace.branch).where(Workspace.id == self.id)))

    @property
    def head(self) -> str:
        return self.node.git.heads(self.clone.parent.parent, ["remote"])["remote"].commit or ""

    @property
    def stored_base(self) -> str | None:
        with self.node.database.connect() as connection:
            return connection.scalar(select(WorkspaceRepo.base_commit).where(WorkspaceRepo.workspace_id == self.id))

    @property
    def task(self) -> str | None:
        statement = select(Task.status).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == self.id)
        with self.node.database.connect() as connection:
            return connection.scalar(statement)

    def merge(self, **wanted: Any) -> UUID:
        with self.node.database.begin() as connection:
            return add_merge(connection, self.id, MergeRequest(**wanted), ME, Forges())

    def rebase(self) -> UUID:
        with self.node.database.begin() as connection:
            return add_rebase(connection, self.id, None, None, ME)

    def view(self, merge_id: UUID) -> dict[str, Any]:
        with self.node.database.connect() as connection:
            return get(connection, merge_id, ME)

    def merged_by(self, execution_id: UUID) -> str | None:
        state = ExecutionProcessRepoState
        with self.node.database.connect() as connection:
            return connection.scalar(select(state.merge_commit).where(state.execution_process_id == execution_id))


@pytest.fixture
def made(node: FakeNode) -> Made:
    return Made(node)


def main(node: FakeNode) -> str:
    return node.git.branches(node.url)["main"]


def others_push(node: FakeNode, name: str, content: str) -> str:
    """Another person pushes a commit to main."""
    tip = main(node)
    commit = node.git.add_commit({**node.git.files_of(tip), name: content.encode()}, tip)
    node.git.move_branch(node.url, "main", commit)
    return commit


def dies(node: FakeNode, execution_id: UUID) -> None:
    """The worker is killed here: it writes nothing more, and its lease ends."""
    node.workers[0].control(execution_id).let_go()
    node.expire(execution_id)
    raise StepFailed("engine_error", "its worker is dead")


def lose(node: FakeNode, execution_id: UUID) -> None:
    """The node is lost: the reaper takes the execution over and ends it."""
    reaper = Claimant("reaper@node#1", "node", node.settings.pool, 5)
    with node.database.begin() as connection:
        taken = adopt(connection, execution_id, 1, reaper, lambda _: True)
        assert isinstance(taken, Claimed)
        finish(connection, execution_id, taken.fence, machine.failed(Reason.NODE_LOST, "the node is lost"))


def test_a_merge_pushes_one_commit_and_the_task_is_done(node, made):
    tip = main(node)
    merge = made.merge(message="Add the file")
    pending = made.view(merge)
    assert (pending["status"], pending["merge_commit"]) == ("pending", None)
    node.workers[0].run(pending["execution_id"])
    row, found = node.row(pending["execution_id"]), made.view(merge)
    assert (row["status"], row["run_reason"]) == ("completed", "merge"), row["error_reason"]
    assert (found["status"], found["source_commit"], found["target_commit"]) == ("merged", made.commit, tip)
    assert found["merge_commit"] == main(node) == made.merged_by(row["id"])
    assert node.git.files_of(main(node))[made.file] == b"mine\n"
    assert (made.head, made.task) == (made.commit, "done")
    kinds = [kind for kind, _ in node.events(row["id"])]
    assert kinds == ["execution.queued", "execution.started", "merge.merged", "execution.completed"]


def test_a_task_that_is_done_is_not_left_by_an_execution(node, made):
    node.workers[0].run(made.view(made.merge())["execution_id"])
    step = node.add(made.id, ScriptedStep())
    node.workers[0].run(step)
    assert (node.row(step)["status"], made.task) == ("completed", "done")


def test_a_cancelled_task_stays_cancelled(node, made):
    with node.database.begin() as connection:
        mine = "id = (SELECT task_id FROM workspaces WHERE id = :workspace)"
        connection.execute(text(f"UPDATE tasks SET status = 'cancelled' WHERE {mine}"), {"workspace": made.id})
    node.workers[0].run(made.view(made.merge())["execution_id"])
    assert made.task == "cancelled"


def test_a_conflict_names_the_files_and_nothing_changes(node, made):
    tip = others_push(node, made.file, "theirs\n")
    merge = made.merge(method=MergeMethod.MERGE)
    execution = made.view(merge)["execution_id"]
    node.workers[0].run(execution)
    row, found = node.row(execution), made.view(merge)
    assert (row["status"], row["reason"]) == ("failed", "merge_conflict")
    assert made.file in row["error_reason"]
    assert (found["status"], found["conflicts"], found["merge_commit"]) == ("failed", [made.file], None)
    assert found["error_reason"] == row["error_reason"]
    assert (main(node), made.head, made.task) == (tip, made.commit, "inreview")
    assert made.merged_by(execution) is None


def test_what_is_not_committed_is_not_merged(node, made):
    (made.clone / made.file).write_text("not committed\n")
    execution = made.view(made.merge())["execution_id"]
    node.workers[0].run(execution)
    assert node.git.files_of(main(node))[made.file] == b"mine\n"
    assert b"changes that are not committed; they are not merged" in node.log(execution)


def test_a_second_merge_brings_only_what_is_new(node, made):
    first = made.merge()
    node.workers[0].run(made.view(first)["execution_id"])
    again = made.merge()
    node.workers[0].run(made.view(again)["execution_id"])
    assert made.view(again)["merge_commit"] == made.view(first)["merge_commit"], "the same work is not merged twice"
    made.write(made.file, "more of mine\n")
    third = made.merge()
    node.workers[0].run(made.view(third)["execution_id"])
    assert made.view(third)["status"] == "merged", made.view(third)["error_reason"]
    assert node.git.files_of(main(node))[made.file] == b"more of mine\n"


def test_a_workspace_without_commits_has_nothing_to_merge(node, made):
    (made.clone / ".git/refs/heads" / made.branch).write_text(f"{made.base}\n")
    record_head(node.database, made.id, made.base)
    merge = made.merge()
    node.workers[0].run(made.view(merge)["execution_id"])
    assert "there is nothing to merge: branch main has all" in made.view(merge)["error_reason"]
    assert made.task == "inreview"


def test_a_target_that_moves_before_the_push_is_merged_into_again(node, made):
    merge = made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at("push", Moment.BEFORE, lambda: others_push(node, f"other-{made.id}", "1\n"))
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]
    assert b"has moved meanwhile; merging again" in node.log(execution)
    files = node.git.files_of(main(node))
    assert {made.file, f"other-{made.id}"} <= set(files)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("verb", ["after_state", "fetch", "merge", "push"])
def test_a_merge_is_completed_by_the_worker_that_takes_it_over(node, made, verb, moment):
    tip = main(node)
    merge = made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at(verb, moment, lambda: dies(node, execution))
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "running"
    assert (made.task, made.view(merge)["status"]) == ("inreview", "pending")
    node.workers[1].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]
    assert made.view(merge)["merge_commit"] == main(node) == made.merged_by(execution)
    assert node.git.parent_of(main(node)) == tip, "one commit, once"
    assert made.task == "done"
    assert [kind for kind, _ in node.events(execution)].count("merge.merged") == 1


def test_the_commit_that_was_stored_is_the_one_that_a_repeat_pushes(node, made):
    merge = made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at("push", Moment.BEFORE, lambda: dies(node, execution))
    node.workers[0].run(execution)
    with node.database.connect() as connection:
        stored = connection.scalar(text("SELECT prepared_commit FROM merges WHERE id = :id"), {"id": merge})
    assert stored is not None
    before = node.git.faults.calls("merge")
    node.workers[1].run(execution)
    assert main(node) == stored == made.view(merge)["merge_commit"]
    assert node.git.faults.calls("merge") == before, "no second commit was made"


def test_a_push_that_arrived_is_found_below_what_others_pushed_since(node, made):
    merge = made.merge()
    execution = made.view(merge)["execution_id"]

    def arrives_and_others_go_on() -> None:
        others_push(node, f"later-{made.id}", "1\n")
        dies(node, execution)

    node.git.faults.at("push", Moment.AFTER, arrives_and_others_go_on)
    node.workers[0].run(execution)
    later = main(node)
    node.workers[1].run(execution)
    assert made.view(merge)["merge_commit"] == node.git.parent_of(later)
    assert main(node) == later


def test_a_merge_whose_node_was_lost_after_the_push_is_found_by_the_next_one(node, made):
    merge = made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at("push", Moment.AFTER, lambda: dies(node, execution))
    node.workers[0].run(execution)
    pushed = main(node)
    lose(node, execution)
    assert (made.view(merge)["status"], made.task) == ("failed", "inreview")
    again = made.merge()
    node.workers[0].run(made.view(again)["execution_id"])
    assert (made.view(again)["status"], made.view(again)["merge_commit"]) == ("merged", pushed)
    assert (main(node), made.task) == (pushed, "done")


def test_a_killed_merge_changes_nothing(node, made):
    tip, merge = main(node), made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at("merge", Moment.AFTER, lambda: node.kill(execution))
    node.workers[0].run(execution)
    assert (node.row(execution)["status"], node.row(execution)["reason"]) == ("killed", "user")
    assert (main(node), made.view(merge)["status"], made.task) == (tip, "failed", "inreview")


def test_a_retry_goes_on_with_the_same_merge(node, made):
    merge = made.merge()
    execution = made.view(merge)["execution_id"]
    node.git.faults.at("merge", Moment.AFTER, lambda: node.kill(execution))
    node.workers[0].run(execution)
    with node.database.begin() as connection:
        again = retry.retry_execution(connection, execution, ME.owner, run_agent_again=False)
    node.workers[0].run(again)
    found = made.view(merge)
    assert (found["status"], found["execution_id"]) == ("merged", again)


def test_a_rebase_moves_branch_files_and_base_together(node, made):
    tip = others_push(node, f"theirs-{made.id}", "1\n")
    execution = made.rebase()
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]
    assert (made.stored_base, node.git.parent_of(made.head)) == (tip, tip)
    assert (made.clone / f"theirs-{made.id}").read_text() == "1\n"
    assert (made.clone / made.file).read_text() == "mine\n"
    assert made.task == "inreview"
    again = made.rebase()
    head = made.head
    node.workers[0].run(again)
    assert (made.head, made.stored_base) == (head, tip)
    assert b"already" in node.log(again)


def test_a_rebase_with_a_conflict_changes_nothing(node, made):
    others_push(node, made.file, "theirs\n")
    execution = made.rebase()
    node.workers[0].run(execution)
    row = node.row(execution)
    assert (row["status"], row["reason"]) == ("failed", "merge_conflict")
    assert made.file in row["error_reason"]
    assert (made.head, made.stored_base) == (made.commit, made.base)


def test_a_rebase_does_not_touch_changes_that_are_not_committed(node, made):
    others_push(node, f"theirs-{made.id}", "1\n")
    (made.clone / made.file).write_text("not committed\n")
    execution = made.rebase()
    node.workers[0].run(execution)
    row = node.row(execution)
    assert (row["reason"], made.head, made.stored_base) == ("rebase_failed", made.commit, made.base)
    assert (made.clone / made.file).read_text() == "not committed\n"
    assert made.file in row["error_reason"]


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("verb", ["after_state", "fetch", "replay", "reset"])
def test_an_interrupted_rebase_is_restored_and_repeated(node, made, verb, moment):
    tip = others_push(node, f"theirs-{made.id}", "1\n")
    execution = made.rebase()
    node.git.faults.at(verb, moment, lambda: dies(node, execution))
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "running"
    node.workers[1].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]
    assert (made.stored_base, node.git.parent_of(made.head)) == (tip, tip)
    assert (b"an interrupted rebase is undone" in node.log(execution)) == (verb == "reset")
    assert (made.clone / made.file).read_text() == "mine\n"


def test_a_rebase_that_was_interrupted_half_way_leaves_no_half(node, made):
    others_push(node, f"theirs-{made.id}", "1\n")
    execution = made.rebase()

    def half_done() -> None:
        (made.clone / f"theirs-{made.id}").write_text("1\n")  # the branch is still the old one
        dies(node, execution)

    node.git.faults.at("reset", Moment.BEFORE, half_done)
    node.workers[0].run(execution)
    node.workers[1].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]


def test_a_rebase_that_cannot_write_the_files_is_undone(node, made, monkeypatch):
    others_push(node, f"theirs-{made.id}", "1\n")
    reset, asked = node.git.reset, []

    def fails_once(request):
        asked.append(request.commit)
        if len(asked) == 1:
            raise StepFailed("oom", "git needs more memory")
        return reset(request)

    monkeypatch.setattr(node.git, "reset", fails_once)
    execution = made.rebase()
    node.workers[0].run(execution)
    assert (node.row(execution)["status"], node.row(execution)["reason"]) == ("failed", "oom")
    assert (asked[1], made.head, made.stored_base) == (made.commit, made.commit, made.base)


def test_work_that_was_merged_before_is_left_out_of_a_rebase(node, made):
    node.workers[0].run(made.view(made.merge())["execution_id"])
    tip = main(node)
    execution = made.rebase()
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "completed", node.row(execution)["error_reason"]
    assert (made.head, made.stored_base) == (tip, tip)
