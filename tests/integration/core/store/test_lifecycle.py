"""Claims, the lane, finishing, killing and events on a real Postgres, with concurrent connections."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain import execution as machine
from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.errors import Stale
from relay_core.domain.process_handle import VERSION, ProcessHandle
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.store import events
from relay_core.store.executions import finish as ends
from relay_core.store.executions import leases, owned
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimed, NotClaimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.executions.kill import request_kill
from relay_core.store.schema.tables import Event, ExecutionProcess, Lane, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import add_step, preparation
from relay_core.store.workspaces.submit import RepoInput
from tests.support.store_acts import ME, OTHER, WORKER, claim, column, finish, ids_of, run_to_end, submit, task_status


def test_a_chain_runs_step_by_step_and_ends_in_review(db):
    submitted = submit(db)
    assert task_status(db, submitted) == "todo"
    ran = [reason for reason, _ in run_to_end(db, db.publisher.take())]
    assert ran == ["clone", "setup_script", "coding_agent", "cleanup_script"]
    assert task_status(db, submitted) == "inreview"


def test_an_end_without_evidence_is_two_requests_and_that_of_its_message(db):
    claimed = claim(db, submit(db).execution_id)
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *values: asked.append(values[2]))
    assert len(finish(db, claimed)) == 1
    functions = [statement.partition(" FROM ")[2].partition("(") for statement in asked if "(" in statement]
    assert [name for name, found, _ in functions if found] == ["lock_for_end", "write_end", "admit_at_once"]


def test_the_task_is_in_progress_while_a_step_runs(db):
    submitted = submit(db)
    claim(db, submitted.execution_id)
    assert task_status(db, submitted) == "inprogress"


def test_fifty_copies_of_a_message_make_one_claim(db):
    submitted = submit(db)
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: claim(db, submitted.execution_id), range(50)))
    assert sum(isinstance(result, Claimed) for result in results) == 1
    assert column(db, submitted.execution_id, "fence") == 1


def test_another_attempt_or_node_does_not_claim(db):
    submitted = submit(db)
    assert isinstance(claim(db, submitted.execution_id, attempt=2), NotClaimed)
    first = claim(db, submitted.execution_id)
    due = finish(db, first)
    assert due[0].queue == "node.node-1", "from the first claim on, everything goes to that node"
    assert isinstance(claim(db, due[0].execution_id, OTHER), NotClaimed)


def test_a_stale_fence_writes_nothing(db):
    submitted = submit(db)
    claimed = claim(db, submitted.execution_id)
    with db.begin() as connection:
        adopt = update(ExecutionProcess).where(ExecutionProcess.id == claimed.execution_id)
        connection.execute(adopt.values(fence=ExecutionProcess.fence + 1, owner="w2@node-1"))
    with pytest.raises(Stale), db.begin() as connection:
        ends.finish(connection, claimed.execution_id, claimed.fence, machine.completed(0))
    with pytest.raises(Stale), db.begin() as connection:
        owned.update_owned(connection, claimed.execution_id, claimed.fence, handle={})
    assert column(db, claimed.execution_id, "status") == "running"


def test_an_adopter_reads_a_handle_without_a_version_and_leaves_a_newer_one(db):
    claimed = claim(db, submit(db).execution_id)
    run_dir = f"/workspace/runs/{claimed.execution_id}/1"
    row = update(ExecutionProcess).where(ExecutionProcess.id == claimed.execution_id)
    with db.begin() as connection:
        connection.execute(row.values(handle={"version": VERSION + 1, "gid": claimed.gid}))
    with db.begin() as connection:
        refused = adopt(connection, claimed.execution_id, 1, WORKER, lambda _: True)
    assert isinstance(refused, NotClaimed)
    assert f"version {VERSION + 1}" in refused.why
    with db.begin() as connection:
        connection.execute(row.values(handle={"gid": claimed.gid, "exec_id": "e", "run_dir": run_dir}))
    with db.begin() as connection:
        adopted = adopt(connection, claimed.execution_id, 1, WORKER, lambda _: True)
    assert (adopted.fence, adopted.handle) == (2, ProcessHandle(claimed.gid, 1, version=0))


@pytest.mark.proves("T002-01")
def test_the_second_mutating_run_waits_for_the_first_ones_end(db):
    submitted = submit(db, RepoInput("https://example.org/a.git"))
    finish(db, claim(db, submitted.execution_id))
    step = Action(script_step(RunReason.SETUP_SCRIPT, RepoScripts("a"), "echo"))
    with db.begin() as connection:
        connection.execute(update(Workspace).values(state="running"))
        added = add_step.queue_step(connection, submitted.workspace_id, step, ME)
    refused = claim(db, added)
    assert isinstance(refused, NotClaimed)
    assert refused.why == "its run is not admitted yet"
    agent = next(i for i in ids_of(db, submitted.workspace_id) if column(db, i, "run_reason") == "coding_agent")
    claimed = claim(db, agent)
    assert isinstance(claim(db, added), NotClaimed)
    due = finish(db, claimed)
    assert [message.execution_id for message in due] == [added]
    assert isinstance(claim(db, added), Claimed)
    assert column(db, added, "started_at") >= column(db, agent, "completed_at")


@pytest.mark.proves("T002-02")
def test_runs_in_two_workspaces_of_one_project_overlap(db):
    first, second = submit(db), submit(db)
    assert first.project_id == second.project_id
    assert isinstance(claim(db, first.execution_id), Claimed)
    assert isinstance(claim(db, second.execution_id), Claimed)


def test_the_database_itself_refuses_two_lane_holders(db):
    submitted = submit(db)
    claim(db, submitted.execution_id)
    with db.connect() as connection:
        row = connection.execute(select(ExecutionProcess).where(ExecutionProcess.id == submitted.execution_id))
        values = dict(row.mappings().one())
    for name in ("lane_group_id", "id", "group_id"):
        del values[name]
    values["task_id"] = uuid4()
    with pytest.raises(IntegrityError, match="execution_holds_lane"), db.begin() as connection:
        connection.execute(insert(ExecutionProcess).values(**values))
    with pytest.raises(IntegrityError), db.begin() as connection:
        connection.execute(update(Lane).values(group_id=None))


def test_parallel_setup_scripts_share_the_lane_and_one_failure_ends_the_chain_after_the_siblings(db):
    repos = [
        RepoInput(f"https://example.org/{name}.git", setup_script="s", parallel_setup_script=True)
        for name in ("a", "b")
    ]
    submitted = submit(db, *repos)
    due = finish(db, claim(db, submitted.execution_id))
    assert len(due) == 2
    first, second = (claim(db, message.execution_id) for message in due)
    assert finish(db, first, machine.failed(Reason.EXIT_CODE, "exit 7", 7)) == []
    assert task_status(db, submitted) == "inprogress"
    assert finish(db, second) == []
    assert task_status(db, submitted) == "inreview"
    assert len(ids_of(db, submitted.workspace_id)) == 3, "no agent was created"


def test_a_step_of_a_deleted_workspace_ends_without_a_claim(db):
    submitted = submit(db)
    with db.begin() as connection:
        connection.execute(update(Workspace).values(deleted_at=text("now()")))
    assert isinstance(claim(db, submitted.execution_id), NotClaimed)
    assert column(db, submitted.execution_id, "status") == "failed"
    assert column(db, submitted.execution_id, "reason") == "workspace_gone"


def test_killing_what_waits_ends_it_at_once_and_once(db):
    submitted = submit(db)
    for _ in range(2):
        with db.begin() as connection:
            request_kill(connection, submitted.execution_id, "me")
        assert column(db, submitted.execution_id, "status") == Status.KILLED
    assert isinstance(claim(db, submitted.execution_id), NotClaimed)
    assert task_status(db, submitted) == "inreview"
    with db.connect() as connection:
        kinds = [event.kind for event in events.of_operation(connection, submitted.execution_id)]
    assert kinds == ["execution.queued", "execution.killed"]


def test_killing_what_runs_is_recorded_once_and_told_with_the_lease(db):
    submitted = submit(db)
    claimed = claim(db, submitted.execution_id)
    for _ in range(2):
        with db.begin() as connection:
            assert request_kill(connection, claimed.execution_id, "me").owner == WORKER.owner
    with db.begin() as connection:
        renewed = leases.renew(connection, WORKER.owner, WORKER.node_id, 30)
        assert leases.still_owned(connection, WORKER.owner, [claimed.execution_id]) == {claimed.execution_id: 1}
    assert renewed.killed == {claimed.execution_id}
    with db.connect() as connection:
        kinds = [event.kind for event in events.of_operation(connection, claimed.execution_id)]
    assert kinds == ["execution.queued", "execution.started", "execution.kill_requested"]


@pytest.mark.proves("T002-05")
def test_every_operation_has_a_gapless_sequence_and_one_terminal_event_the_last(db):
    submit(db)
    ran = run_to_end(db, db.publisher.take())
    with db.connect() as connection:
        for _, execution_id in ran:
            rows = events.of_operation(connection, execution_id)
            assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
            assert [row.terminal for row in rows] == [False] * (len(rows) - 1) + [True]


@pytest.mark.proves("T002-18")
def test_the_database_refuses_a_second_terminal_event_and_a_doubled_sequence(db):
    submitted = submit(db)
    finish(db, claim(db, submitted.execution_id))
    values = {"workspace_id": submitted.workspace_id, "operation_id": submitted.execution_id, "kind": "x"}
    with pytest.raises(IntegrityError, match="events_one_terminal"), db.begin() as connection:
        connection.execute(insert(Event).values(**values, workspace_seq=900, sequence=900, terminal=True))
    with pytest.raises(IntegrityError, match="events_operation_sequence"), db.begin() as connection:
        connection.execute(insert(Event).values(**values, workspace_seq=901, sequence=1))


@pytest.mark.proves("T002-03")
def test_readers_never_see_after_heads_without_a_final_status(db):
    """T002-03: one transaction writes both, so a reader in the middle sees neither."""
    submitted = submit(db)
    claimed = claim(db, submitted.execution_id)
    with db.connect() as connection:
        repo_id = connection.scalar(text("SELECT repo_id FROM workspace_repos"))
    evidence = Evidence(repo_states={repo_id: {"after_head_commit": "a" * 40}})
    query = text(
        "SELECT count(*) FROM execution_processes e LEFT JOIN execution_process_repo_states s "
        "ON s.execution_process_id = e.id WHERE (s.after_head_commit IS NOT NULL) <> (e.status = 'completed') "
        "AND e.run_reason = 'clone'"
    )
    with db.begin() as writer:
        ends.finish(writer, claimed.execution_id, claimed.fence, machine.completed(0), evidence)
        with db.connect() as reader:
            assert reader.scalar(query) == 0
    with db.connect() as reader:
        assert reader.scalar(query) == 0
    assert column(db, claimed.execution_id, "status") == "completed"


def test_no_two_workspaces_of_a_node_get_the_same_uid(db: Database):
    """Asked for at once, they are served one after the other; a uid is free again once the files are gone."""
    placed = [submit(db).workspace_id for _ in range(6)]
    with db.begin() as connection:
        values = {"node_id": "node-1", "container_ref": "/somewhere"}
        connection.execute(update(Workspace).where(Workspace.id.in_(placed)).values(values))

    def reserve(workspace_id: UUID) -> int | None:
        with db.begin() as connection:
            return preparation.reserve_uid(
                connection, workspace_id, "node-1", lambda taken: min(set(range(70, 75)) - taken, default=None)
            )

    with ThreadPoolExecutor(6) as pool:
        uids = list(pool.map(reserve, placed))
    assert sorted(uid or 0 for uid in uids) == [0, 70, 71, 72, 73, 74], "the sixth finds none free"
    first = next(one for one, uid in zip(placed, uids, strict=True) if uid == 72)
    assert reserve(first) == 72, "repeated, it is the same"
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == first).values(container_ref=None))
    assert reserve(next(one for one, uid in zip(placed, uids, strict=True) if uid is None)) == 72
