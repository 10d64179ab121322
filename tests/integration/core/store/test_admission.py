"""Room on nodes: decided by admission and by each claim, under the lock of the node's row, on a real Postgres."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text, update

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.limits import Limits
from relay_core.domain.nodes import Capacity
from relay_core.domain.vocabulary import NodeHealth, RunReason
from relay_core.settings import Settings
from relay_core.store.executions import claim as claims
from relay_core.store.executions import messages
from relay_core.store.executions.claim import Claimed, NotClaimed
from relay_core.store.nodes import placement, runtime_nodes
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode, Workspace
from relay_core.store.transaction import Database
from relay_core.store.views import execution_views
from relay_core.store.workspaces.add_step import queue_step
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run
from tests.support.store_acts import ME, OTHER, WORKER, claim, column, finish, submit

GIB = 1 << 30
REPO = RepoInput("https://example.org/a.git", setup_script="s")


@pytest.fixture
def one_node(db: Database) -> Database:
    """Only node-1 lives, and it takes two workspaces."""
    with db.begin() as connection:
        connection.execute(update(RuntimeNode).where(RuntimeNode.node_id == "node-2").values(liveness="offline"))
    capacity(db, max_workspaces=2)
    return db


def capacity(
    db: Database,
    max_workspaces: int | None = None,
    memory_bytes: int | None = None,
    pids: int | None = None,
) -> None:
    with db.begin() as connection:
        runtime_nodes.register(connection, "node-1", "default", Capacity(max_workspaces, memory_bytes, pids))


def submit_small(db: Database, memory_bytes: int) -> SubmittedRun:
    executor = ExecutorChoice("shell", "true")
    run = RunInput((REPO,), "do it", executor, Limits(memory_bytes=memory_bytes))
    with db.begin() as connection:
        return submit_run(connection, run, ME, Settings())


def to_the_end(db: Database, messages) -> None:
    due = list(messages)
    while due:
        due += finish(db, claim(db, due.pop(0).execution_id))


def make_ready(db: Database) -> None:
    with db.begin() as connection:
        connection.execute(update(Workspace).values(state="running"))


def add_step(db: Database, submitted: SubmittedRun):
    step = Action(script_step(RunReason.SETUP_SCRIPT, RepoScripts("a"), "echo"))
    with db.begin() as connection:
        return queue_step(connection, submitted.workspace_id, step, ME)


def waits(db: Database, execution_id) -> str | None:
    with db.connect() as connection:
        return execution_views.execution(connection, execution_id, ME)["queue"]["waits"]


def test_ten_claims_at_once_take_no_more_than_the_node_has_room_for(one_node):
    submitted = [submit(one_node) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda one: claim(one_node, one.execution_id), submitted))
    assert sum(isinstance(one, Claimed) for one in results) == 2
    assert len(one_node.publisher.take()) == 2, "the queue holds no more than the pool can start"


def test_ten_claims_at_once_promise_no_more_memory_than_there_is(one_node):
    capacity(one_node, memory_bytes=5 * GIB)
    submitted = [submit(one_node) for _ in range(10)]  # of 2 GiB each
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda one: claim(one_node, one.execution_id), submitted))
    assert sum(isinstance(one, Claimed) for one in results) == 2
    assert isinstance(claim(one_node, submit_small(one_node, GIB).execution_id), Claimed), "what fits comes in"


def test_ten_claims_at_once_promise_no_more_processes_than_the_host_can_have(one_node):
    capacity(one_node, pids=3 * Limits().pids + 1)
    submitted = [submit(one_node) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        claims = list(pool.map(lambda run: claim(one_node, run.execution_id), submitted))
    assert sum(isinstance(one, Claimed) for one in claims) == 3
    refused = [run for run, claimed in zip(submitted, claims, strict=True) if not isinstance(claimed, Claimed)]
    assert all(waits(one_node, run.execution_id) for run in refused)


def test_a_claim_is_two_requests_and_waits_for_no_node_that_has_promised_its_room(one_node):
    asked: list[str] = []
    event.listen(one_node.engine, "before_cursor_execute", lambda *values: asked.append(values[2]))
    [agent] = finish(one_node, claim(one_node, submit(one_node).execution_id))
    asked.clear()
    with one_node.begin() as other:
        other.execute(text("SELECT FROM runtime_nodes FOR NO KEY UPDATE"))
        with one_node.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert isinstance(claims.claim(connection, agent.execution_id, 1, WORKER), Claimed)
    assert [statement.partition("FROM ")[2].partition("(")[0] for statement in asked[2:]] == [
        "lock_for_claim",
        "take_claim",
    ]


def test_a_workspace_between_two_steps_keeps_its_room(one_node):
    capacity(one_node, max_workspaces=1)
    first, second = submit(one_node), submit(one_node)
    due = finish(one_node, claim(one_node, first.execution_id))
    refused = claim(one_node, second.execution_id)
    assert isinstance(refused, NotClaimed), "nothing of the first one runs, and its chain goes on"
    assert column(one_node, due[0].execution_id, "node_id") == "node-1"
    to_the_end(one_node, due)
    assert column(one_node, second.execution_id, "status") == "completed", "the end of the first one admitted it"


def test_a_further_step_of_an_idle_workspace_waits_for_room_too(one_node):
    capacity(one_node, max_workspaces=1)
    first = submit(one_node)
    to_the_end(one_node, one_node.publisher.take())
    make_ready(one_node)
    other = claim(one_node, submit(one_node).execution_id)
    added = add_step(one_node, first)
    refused = claim(one_node, added)
    assert isinstance(refused, NotClaimed)
    assert (refused.why, refused.waits) == ("its run is not admitted yet", None), "its admission sends its message"
    assert waits(one_node, added) == "no node has room (1 of 1 workspaces are at work)"
    to_the_end(one_node, finish(one_node, other))
    assert column(one_node, added, "status") == "completed", "it was admitted when the other one ended"


def test_an_admitted_step_of_an_idle_workspace_waits_for_memory_too(one_node):
    capacity(one_node, memory_bytes=3 * GIB)
    first = submit(one_node)
    to_the_end(one_node, one_node.publisher.take())
    make_ready(one_node)
    other = claim(one_node, submit(one_node).execution_id)
    added = add_step(one_node, first)
    refused = claim(one_node, added)
    assert isinstance(refused, NotClaimed)
    assert refused.waits.queue == "node.node-1"
    assert refused.why == "the node has no room: 2.0 of 3.0 GiB promised, 2.0 GiB more asked for"
    assert column(one_node, added, "fence") == 0, "a refused claim writes nothing"
    to_the_end(one_node, finish(one_node, other))
    assert isinstance(claim(one_node, added), Claimed)


def test_an_empty_node_takes_a_workspace_larger_than_itself(one_node):
    capacity(one_node, memory_bytes=GIB)
    assert isinstance(claim(one_node, submit(one_node).execution_id), Claimed)
    assert isinstance(claim(one_node, submit_small(one_node, 16 << 20).execution_id), NotClaimed)


def test_a_draining_node_finishes_what_it_has_and_takes_nothing_new(one_node):
    first, second = submit(one_node), submit(one_node)
    due = finish(one_node, claim(one_node, first.execution_id))
    with one_node.begin() as connection:
        runtime_nodes.set_draining(connection, "node-1", draining=True)
    assert "draining" in claim(one_node, second.execution_id).why
    assert waits(one_node, second.execution_id) == "no node has room (node-1 is draining)"
    to_the_end(one_node, due)
    with one_node.connect() as connection:
        assert placement.why_closed(connection, "node-1") == "it is draining"


def test_another_node_with_room_takes_what_one_refused(one_node):
    capacity(one_node, memory_bytes=GIB)
    claim(one_node, submit(one_node).execution_id)
    second = submit(one_node)
    assert isinstance(claim(one_node, second.execution_id), NotClaimed)
    assert isinstance(claim(one_node, second.execution_id, OTHER), Claimed)


def test_why_a_step_waits_is_told(one_node):
    capacity(one_node, memory_bytes=5 * GIB)
    running = [submit(one_node) for _ in range(2)]
    for one in running:
        claim(one_node, one.execution_id)
    waiting = submit(one_node)
    assert waits(one_node, waiting.execution_id) == "no node has room (4.0 of 5.0 GiB promised, 2.0 GiB more asked for)"
    with one_node.begin() as connection:
        connection.execute(update(RuntimeNode).values(reported_health=NodeHealth.DISK_PRESSURE))
    assert "short of disk space" in waits(one_node, waiting.execution_id)
    with one_node.begin() as connection:
        connection.execute(update(RuntimeNode).values(liveness="offline"))
    assert waits(one_node, waiting.execution_id) == "no node of the pool default is online"


def test_what_its_disk_refuses_is_due_again_too(one_node):
    submitted = submit(one_node)
    with one_node.begin() as connection:
        refused = claims.claim(connection, submitted.execution_id, 1, WORKER, full="5 bytes free")
    assert (refused.why, refused.waits.execution_id) == ("the node has no room: 5 bytes free", submitted.execution_id)


def test_a_lost_message_is_found_behind_a_long_queue(one_node):
    """x14: the oldest rows of one queue filled the window for all."""
    capacity(one_node, max_workspaces=1000)
    first = submit(one_node)
    (lost,) = finish(one_node, claim(one_node, first.execution_id))
    waiting = [submit(one_node) for _ in range(12)]
    with one_node.begin() as connection:
        connection.execute(update(ExecutionProcess).values(published_at=None, created_at="2020-01-01"))
        connection.execute(
            update(ExecutionProcess).where(ExecutionProcess.id == lost.execution_id).values(created_at="2020-01-02")
        )
        undispatched = {one.queue: one for one in messages.undispatched(connection, 15, limit_per_queue=5)}
    assert [message.execution_id for message in undispatched["node.node-1"].messages] == [lost.execution_id]
    assert (undispatched["pool.default"].startable, len(undispatched["pool.default"].messages)) == (len(waiting), 5)
