"""Cleanup scripts run after turns that changed something, also after follow-ups, and after no other turn."""

from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions import finish as ends
from relay_core.store.executions.finish import Evidence
from relay_core.store.schema.tables import Event, ExecutionProcessRepoState, Session, Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from relay_core.store.workspaces.follow_up import add_follow_up
from relay_core.store.workspaces.submit import RepoInput, SubmittedRun
from tests.support.store_acts import ME, claim, column, finish, ids_of, submit, task_status

TWO = [RepoInput(f"https://example.org/{name}.git", cleanup_script=f"clean {name}") for name in "ab"]
CLAUDE = ExecutorChoice("claude-code")
CHANGED = {"after_head_commit": "new", "dirty": False}
UNCHANGED = {"after_head_commit": "old", "dirty": False}


def agent_of(db: Database, submitted: SubmittedRun):
    """The claimed turn of a run whose clone is done, with the git state before it."""
    finish(db, claim(db, submitted.execution_id))
    [turn] = [one for one in ids_of(db, submitted.workspace_id) if column(db, one, "run_reason") == "coding_agent"]
    return begun(db, submitted.workspace_id, turn)


def begun(db: Database, workspace_id: UUID, turn: UUID):
    claimed = claim(db, turn)
    with db.begin() as connection:
        found = select(WorkspaceRepo.repo_id).where(WorkspaceRepo.workspace_id == workspace_id)
        for repo_id in connection.scalars(found.order_by(WorkspaceRepo.position)).all():
            row = {"execution_process_id": turn, "repo_id": repo_id, "before_head_commit": "old"}
            connection.execute(insert(ExecutionProcessRepoState).values(row))
    return claimed


def end(db: Database, claimed, *states: dict, transition=None) -> list[RunReason]:
    """End a turn with the git states of its repositories; the kinds of the steps that follow."""
    db.publisher.take()
    with db.begin() as connection:
        of_turn = select(ExecutionProcessRepoState.repo_id).join(
            WorkspaceRepo, WorkspaceRepo.repo_id == ExecutionProcessRepoState.repo_id
        )
        mine = of_turn.where(ExecutionProcessRepoState.execution_process_id == claimed.execution_id)
        repos = connection.scalars(mine.order_by(WorkspaceRepo.position)).all()
        evidence = Evidence(dict(zip(repos, states, strict=True)))
        ends.finish(connection, claimed.execution_id, claimed.fence, transition or machine.completed(0), evidence)
    return [message.run_reason for message in db.publisher.take()]


def skipped(db: Database, execution_id: UUID) -> bool:
    with db.connect() as connection:
        kinds = connection.scalars(
            select(Event.kind).where(Event.operation_id == execution_id).order_by(Event.sequence)
        )
        return list(kinds)[-2:] == ["execution.cleanup_skipped", "execution.completed"]


@pytest.mark.parametrize(
    ("states", "cleans"),
    [
        ((UNCHANGED, UNCHANGED), False),
        ((UNCHANGED, CHANGED), True),
        ((UNCHANGED, {**UNCHANGED, "dirty": True}), True),
        ((UNCHANGED, {**UNCHANGED, "dirty": None}), True),
        ((UNCHANGED, {**UNCHANGED, "problem": "it could not be read"}), True),
        ((UNCHANGED, {"after_head_commit": None, "problem": "gone"}), True),
    ],
)
def test_a_turn_is_cleaned_up_after_unless_it_certainly_changed_nothing(db: Database, states, cleans: bool) -> None:
    submitted = submit(db, *TWO)
    turn = agent_of(db, submitted)
    assert end(db, turn, *states) == ([RunReason.CLEANUP_SCRIPT] if cleans else [])
    assert skipped(db, turn.execution_id) is not cleans
    assert task_status(db, submitted) == ("inprogress" if cleans else "inreview")


def test_a_failed_turn_is_not_cleaned_up_after(db: Database) -> None:
    turn = agent_of(db, submit(db, *TWO))
    assert end(db, turn, CHANGED, CHANGED, transition=machine.failed(Reason.EXIT_CODE, "3", exit_code=3)) == []
    assert not skipped(db, turn.execution_id)


def test_a_follow_up_is_cleaned_up_after_and_so_is_a_later_one_that_waits(db: Database) -> None:
    submitted = submit(db, *TWO)
    end(db, agent_of(db, submitted), UNCHANGED, UNCHANGED)
    with db.begin() as connection:
        session = connection.scalar(select(Session.id).where(Session.workspace_id == submitted.workspace_id))
        connection.execute(update(Session).values(executor=CLAUDE.name, executor_config=CLAUDE.as_json()))
        connection.execute(update(Workspace).values(state="running"))
        follow_up = add_follow_up(connection, session, "and now?", ME)
    assert end(db, begun(db, submitted.workspace_id, follow_up), CHANGED, UNCHANGED) == [RunReason.CLEANUP_SCRIPT]
    reasons = [column(db, one, "run_reason") for one in ids_of(db, submitted.workspace_id)]
    assert reasons == ["clone", "coding_agent", "coding_agent", "cleanup_script"]
    [first] = [one for one in ids_of(db, submitted.workspace_id) if column(db, one, "run_reason") == "cleanup_script"]
    assert [message.run_reason for message in finish(db, claim(db, first))] == [RunReason.CLEANUP_SCRIPT]
