"""Push and reset as executions, on fakes of engine and git: their ends, and a worker that takes them over."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import ExecutionProcessRepoState, Workspace
from relay_core.store.workspaces.git_acts import PushRequest, ResetRequest, add_push, add_reset
from relay_workers.testing.faults import Moment
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode
from tests.support.recorded_heads import record_head

pytest_plugins = ["tests.support.fake_node"]

VERBS = ["after_state", "branch_at", "push"]


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"))
    made.add_worker("first")
    made.add_worker("second")
    yield made
    made.close()
    assert not made.broken


class Made:
    """A prepared workspace with a commit on its branch."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.id = node.submit(ScriptedStep())
        node.workers[0].run(node.newest(self.id, RunReason.CODING_AGENT)["id"])
        self.clone = node.settings.data_dir / "workspaces" / str(self.id) / "repos" / "remote"
        self.base = self.head
        self.agent = node.newest(self.id, RunReason.CODING_AGENT)["id"]
        (self.clone / "README").write_text(f"changed in {self.id}\n")
        with node.database.connect() as connection:
            self.branch = connection.scalar(select(Workspace.branch).where(Workspace.id == self.id))
        self.commit = self._commit()

    def _commit(self) -> str:
        """As an agent does: with the fake's own means."""
        files = {name: (self.clone / name).read_bytes() for name in ("README",)}
        commit = self.node.git.add_commit(files, self.base)
        (self.clone / ".git/refs/heads" / self.branch).write_text(f"{commit}\n")
        record_head(self.node.database, self.id, commit)
        return commit

    @property
    def head(self) -> str:
        return self.node.git.heads(self.clone.parent.parent, ["remote"])["remote"].commit or ""

    def push(self, **wanted: object) -> UUID:
        with self.node.database.begin() as connection:
            return add_push(connection, self.id, PushRequest(**wanted), ME)  # type: ignore[arg-type]

    def reset(self, **wanted: object) -> UUID:
        with self.node.database.begin() as connection:
            return add_reset(connection, self.id, ResetRequest(**wanted), ME)  # type: ignore[arg-type]

    def evidence(self, execution_id: UUID) -> tuple[str | None, str | None, bool | None]:
        state = ExecutionProcessRepoState
        columns = (state.before_head_commit, state.after_head_commit, state.dirty)
        with self.node.database.connect() as connection:
            rows = connection.execute(select(*columns).where(state.execution_process_id == execution_id))
            return tuple(rows.one())  # type: ignore[return-value]


@pytest.fixture
def made(node: FakeNode) -> Made:
    return Made(node)


def remote(node: FakeNode) -> dict[str, str]:
    return node.git.branches(node.url)


def test_a_push_is_an_execution_with_log_events_and_evidence(node, made):
    pushed = made.push()
    node.workers[0].run(pushed)
    row = node.row(pushed)
    assert (row["status"], row["exit_code"], row["run_reason"]) == ("completed", 0, "push"), row
    assert remote(node)[made.branch] == made.commit
    kinds = ["execution.queued", "execution.started", "execution.completed"]
    assert node.events(pushed) == [(kind, kind == kinds[-1]) for kind in kinds]
    assert f"pushing {made.commit} to branch {made.branch}".encode() in node.log(pushed)
    assert made.evidence(pushed) == (made.commit, made.commit, False)


def test_what_is_not_committed_is_not_pushed(node, made):
    (made.clone / "README").write_text("not committed\n")
    pushed = made.push(branch="other")
    node.workers[0].run(pushed)
    assert node.row(pushed)["status"] == "completed"
    assert remote(node)["other"] == made.commit
    assert b"changes that are not committed; they are not pushed" in node.log(pushed)


def test_a_rejected_push_says_why_and_leaves_the_lane(node, made):
    other = Made(node)
    node.workers[0].run(other.push(branch="shared"))
    pushed, following = made.push(branch="shared"), node.add(made.id, ScriptedStep())
    node.workers[0].run(pushed)
    row = node.row(pushed)
    assert (row["status"], row["reason"]) == ("failed", "push_rejected")
    assert "the branch has other commits" in row["error_reason"]
    assert row["error_reason"].encode() in node.log(pushed)
    assert remote(node)["shared"] == other.commit
    node.workers[0].run(following)
    assert node.row(following)["status"] == "completed"


def dies(node: FakeNode, execution_id: UUID) -> None:
    """The worker is killed here: it writes nothing more, and its lease ends."""
    node.workers[0].control(execution_id).let_go()
    node.expire(execution_id)
    raise StepFailed("engine_error", "its worker is dead")


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("verb", ["after_state", "push"])
def test_a_push_is_repeated_by_the_worker_that_takes_it_over(node, made, verb, moment):
    pushed = made.push()
    node.git.faults.at(verb, moment, lambda: dies(node, pushed))
    node.workers[0].run(pushed)
    assert node.row(pushed)["status"] == "running"
    node.workers[1].run(pushed)
    assert node.row(pushed)["status"] == "completed"
    assert remote(node)[made.branch] == made.commit
    assert [kind for kind, terminal in node.events(pushed) if terminal] == ["execution.completed"]
    assert made.evidence(pushed) == (made.commit, made.commit, False)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("verb", VERBS)
def test_a_forced_push_is_repeated_by_the_worker_that_takes_it_over(node, made, verb, moment):
    other = Made(node)
    node.workers[0].run(other.push(branch=made.branch))
    pushed = made.push(force=True)
    node.git.faults.at(verb, moment, lambda: dies(node, pushed))
    node.workers[0].run(pushed)
    node.workers[1].run(pushed)
    assert node.row(pushed)["status"] == "completed", node.row(pushed)["error_reason"]
    assert remote(node)[made.branch] == made.commit


@pytest.mark.parametrize("moment", Moment)
def test_a_forced_push_that_is_taken_over_keeps_what_was_pushed_in_between(node, made, moment):
    other, third = Made(node), Made(node)
    node.workers[0].run(other.push(branch=made.branch))
    pushed = made.push(force=True)

    def others_push_and_it_dies() -> None:
        node.git.move_branch(node.url, made.branch, third.commit)
        dies(node, pushed)

    node.git.faults.at("push", moment, others_push_and_it_dies)
    node.workers[0].run(pushed)
    node.workers[1].run(pushed)
    row = node.row(pushed)
    assert (row["status"], row["reason"]) == ("failed", "push_rejected")
    assert f"the branch has moved since this push began; it was at {other.commit} then" in row["error_reason"]
    assert remote(node)[made.branch] == third.commit
    again = made.push(force=True)
    node.workers[0].run(again)
    assert remote(node)[made.branch] == made.commit


def test_a_push_that_is_killed_ends_as_killed(node, made):
    pushed = made.push()
    node.git.faults.at("after_state", Moment.AFTER, lambda: node.kill(pushed))
    node.workers[0].run(pushed)
    assert (node.row(pushed)["status"], node.row(pushed)["reason"]) == ("killed", "user")
    assert made.branch not in remote(node)


def test_a_reset_goes_back_to_before_an_execution(node, made):
    back = made.reset(before=made.agent)
    node.workers[0].run(back)
    assert node.row(back)["status"] == "completed", node.row(back)["error_reason"]
    assert made.head == made.base
    assert (made.clone / "README").read_bytes() == b"hello\n"
    assert made.evidence(back) == (made.commit, made.base, False)
    forth = made.reset(before=back)
    node.workers[0].run(forth)
    assert (made.head, made.evidence(forth)) == (made.commit, (made.base, made.commit, False))


def test_changes_are_discarded_only_when_that_is_asked_for(node, made):
    (made.clone / "README").write_text("not committed\n")
    kept = made.reset(commit=made.base)
    node.workers[0].run(kept)
    row = node.row(kept)
    assert (row["status"], row["reason"]) == ("failed", "reset_failed")
    assert "has changes (README) that are not committed" in row["error_reason"]
    assert (made.clone / "README").read_text() == "not committed\n"
    assert made.evidence(kept)[:2] == (made.commit, made.commit)
    thrown = made.reset(commit=made.base, discard_changes=True)
    node.workers[0].run(thrown)
    assert node.row(thrown)["status"] == "completed"
    assert (made.clone / "README").read_bytes() == b"hello\n"
    assert b"the discarded changes are kept on the node as commit" in node.log(thrown)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("verb", ["resolve", "after_state", "reset"])
def test_a_reset_is_repeated_by_the_worker_that_takes_it_over(node, made, verb, moment):
    back = made.reset(commit=made.base)
    node.git.faults.at(verb, moment, lambda: dies(node, back))
    node.workers[0].run(back)
    assert node.row(back)["status"] == "running"
    node.workers[1].run(back)
    assert node.row(back)["status"] == "completed", node.row(back)["error_reason"]
    assert made.head == made.base
    assert made.evidence(back) == (made.commit, made.base, False), "HEAD before is what the first owner found"


def test_a_reset_that_was_interrupted_half_way_is_completed(node, made):
    back = made.reset(commit=made.base)

    def half_done() -> None:
        (made.clone / ".git/refs/heads" / made.branch).write_text(f"{made.base}\n")  # the files are still the old ones
        dies(node, back)

    node.git.faults.at("reset", Moment.BEFORE, half_done)
    node.workers[0].run(back)
    node.workers[1].run(back)
    assert node.row(back)["status"] == "completed", node.row(back)["error_reason"]
    assert (made.clone / "README").read_bytes() == b"hello\n"
    assert made.evidence(back) == (made.commit, made.base, False)


def test_git_acts_leave_the_status_of_the_task(node, made):
    before = node.kinds(made.id).count("task.status_changed")
    node.workers[0].run(made.push())
    assert node.kinds(made.id).count("task.status_changed") == before


def test_discarded_changes_that_cannot_be_kept_are_not_said_to_be_kept(node, made, monkeypatch):
    """A clone with changes that are too large is recorded with HEAD in their place."""
    (made.clone / "README").write_text("not committed\n")
    record = node.git.after_state

    def too_large(request):
        state = record(request)
        if not state.dirty:
            return state
        return replace(
            state, pinned_commit=state.after_head, problem="the changed files have 9 bytes, too many to keep"
        )

    monkeypatch.setattr(node.git, "after_state", too_large)
    thrown = made.reset(commit=made.base, discard_changes=True)
    node.workers[0].run(thrown)
    assert node.row(thrown)["status"] == "completed"
    log = node.log(thrown)
    assert b"are kept on the node" not in log
    assert b"remote: not all discarded changes are kept: the changed files have 9 bytes" in log


def test_a_clone_that_is_not_clean_after_a_reset_says_why(node, made, monkeypatch):
    record = node.git.after_state
    why = "not all changes are kept: inner/: a git repository of its own"
    monkeypatch.setattr(node.git, "after_state", lambda request: replace(record(request), dirty=True, problem=why))
    back = made.reset(commit=made.base, discard_changes=True)
    node.workers[0].run(back)
    assert f"remote: changes stay that a reset does not touch: {why}".encode() in node.log(back)


def test_a_push_to_a_remote_that_is_not_allowed_any_more_says_so(node, made, monkeypatch):
    def not_allowed(_request):
        raise InvalidInput("this server clones over https, ssh, not file", code="git_scheme_not_allowed")

    monkeypatch.setattr(node.git, "push", not_allowed)
    pushed = made.push()
    node.workers[0].run(pushed)
    row = node.row(pushed)
    assert (row["reason"], row["error_reason"]) == ("push_failed", "this server clones over https, ssh, not file")
