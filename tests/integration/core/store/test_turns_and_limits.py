"""Priorities, turns, limits and capabilities, from the event log of runs that pass through a real Postgres."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from sqlalchemy import event, select, text

from relay_core.domain.admission import LimitKind
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.events import TERMINAL, EventKind
from relay_core.domain.limits import Limits
from relay_core.domain.nodes import Capacity
from relay_core.domain.vocabulary import Priority, RunReason, Scope
from relay_core.settings import Settings
from relay_core.store.admission import admit, facts, run_limits
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed
from relay_core.store.executions.kill import kill
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import projects
from relay_core.store.schema.tables import Event, ExecutionProcess, Run, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.views import execution_views
from relay_core.store.workspaces import condition, git_watch
from relay_core.store.workspaces.add_step import queue_step
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run
from tests.support.store_acts import ME, OTHER, WORKER, claim, finish

E = ExecutionProcess
REPO = RepoInput("https://example.org/a.git")
ANN, BOB = (Principal(name, frozenset({Scope.WRITE, Scope.ADMIN})) for name in ("ann", "bob"))
SHOP_LIMIT, BANK_LIMIT, POOL_LIMIT = 4, 2, 5


def submit(db: Database, by: Principal = ME, **more) -> SubmittedRun:
    run = RunInput((REPO,), "do it", ExecutorChoice("shell", "true"), Limits(), **more)
    with db.begin() as connection:
        return submit_run(connection, run, by, Settings())


def limit(db: Database, kind: LimitKind, name: str, most: int) -> None:
    with db.begin() as connection:
        run_limits.put(connection, kind, name, most)


def waits_for(db: Database, run: SubmittedRun) -> dict | None:
    with db.connect() as connection:
        return execution_views.execution(connection, run.execution_id, ANN)["waits_for"]


def sent(db: Database) -> list[UUID]:
    return [message.execution_id for message in db.publisher.take()]


def sweep(db: Database) -> list[UUID]:
    with db.begin() as connection:
        return [message.execution_id for message in admit.sweep(connection)]


def project(db: Database, name: str) -> UUID:
    with db.begin() as connection:
        return projects.create(connection, projects.ProjectInput(name), ANN)


@dataclass
class Replay:
    """The runs at work and those that wait, as the event log tells."""

    limits: dict[UUID, int]
    waiting: dict[UUID, tuple[int, UUID, str]] = field(default_factory=dict)
    """Priority, project and owner."""
    at_work: dict[UUID, UUID] = field(default_factory=dict)
    """Project by run."""
    served: dict[tuple[UUID, str], int] = field(default_factory=dict)
    most: Counter = field(default_factory=Counter)

    def has_place(self, project_id: UUID) -> bool:
        return list(self.at_work.values()).count(project_id) < self.limits[project_id]

    def start(self, run_id: UUID, at: int) -> None:
        level, project_id, owner = self.waiting.pop(run_id)
        assert len(self.at_work) < POOL_LIMIT
        assert self.has_place(project_id)
        for other, of_other, _ in self.waiting.values():
            assert not (self.has_place(of_other) and other > level), "a higher priority that could start waits"
        rivals = [one for one in self.waiting.values() if one[0] == level and self.has_place(one[1])]
        assert self.turn(project_id) <= min((self.turn(one[1]) for one in rivals), default=at), "another project's turn"
        mine = self.served.get((project_id, owner), 0)
        owners = [self.served.get(one[1:], 0) for one in rivals if one[1] == project_id]
        assert mine <= min(owners, default=at), "another owner's turn"
        self.at_work[run_id] = project_id
        self.served[project_id, owner] = at
        self.most[project_id] = max(self.most[project_id], list(self.at_work.values()).count(project_id))
        self.most["all"] = max(self.most["all"], len(self.at_work))

    def turn(self, project_id: UUID) -> int:
        return max((at for (one, _), at in self.served.items() if one == project_id), default=0)


def log_of(db: Database) -> Iterator[tuple[int, str, UUID, int, UUID, str]]:
    columns = (Event.id, Event.kind, Run.id.label("run"), Run.priority, Run.project_id, Run.created_by)
    statement = select(*columns).join(E, E.id == Event.operation_id).join(Run, Run.id == E.run_id).order_by(Event.id)
    with db.connect() as connection:
        yield from connection.execute(statement).all()


def test_sixty_runs_of_two_projects_keep_priorities_turns_and_limits_at_every_moment(db: Database) -> None:
    shop, bank = project(db, "shop"), project(db, "bank")
    limit(db, LimitKind.PROJECT, str(shop), SHOP_LIMIT)
    limit(db, LimitKind.PROJECT, str(bank), BANK_LIMIT)
    limit(db, LimitKind.POOL, "default", POOL_LIMIT)
    dice = random.Random(7)
    work: list[Claimed] = []

    def take(messages) -> None:
        for message in messages:
            claimed = claim(db, message.execution_id)
            assert isinstance(claimed, Claimed)
            work.append(claimed)

    for number in range(60):
        submit(
            db,
            dice.choice([ANN, BOB]),
            project_id=dice.choice([shop, bank]),
            priority=list(Priority)[number % 3],
        )
        take(db.publisher.take())
    while work:
        take(finish(db, work.pop(dice.randrange(len(work)))))
    terminal = set(TERMINAL.values())
    replay, steps = Replay({shop: SHOP_LIMIT, bank: BANK_LIMIT}), Counter()
    for at, kind, run_id, level, project_id, owner in log_of(db):
        if kind == EventKind.EXECUTION_QUEUED and run_id not in replay.at_work:
            replay.waiting[run_id] = (level, project_id, owner)
        elif kind == EventKind.EXECUTION_STARTED and run_id in replay.waiting:
            replay.start(run_id, at)
        elif kind in terminal:
            steps[run_id] += 1
            if steps[run_id] == 2:  # its clone, then its agent
                del replay.at_work[run_id]
    assert (len(steps), replay.waiting, replay.at_work) == (60, {}, {})
    assert replay.most == {shop: SHOP_LIMIT, bank: BANK_LIMIT, "all": POOL_LIMIT}, "the limits were reached"


def test_submissions_at_once_exceed_no_limit_and_the_queue_holds_what_can_start(db: Database) -> None:
    with db.begin() as connection:
        for node in ("node-1", "node-2"):
            runtime_nodes.register(connection, node, "default", Capacity(3, None))
    limit(db, LimitKind.OWNER, "*", 4)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda number: submit(db, ANN if number % 2 else BOB), range(24)))
    assert len(sent(db)) == 6
    with db.connect() as connection:
        admitted = select(Run.owner, Run.id).where(Run.admitted_at.is_not(None))
        assert Counter(row.owner for row in connection.execute(admitted)).most_common(1)[0][1] <= 4
    assert sum(waits_for(db, run) is not None for run in runs) == 18
    assert not sweep(db)


def test_a_limit_that_is_raised_or_removed_lets_waiting_runs_in_at_once(db: Database) -> None:
    limit(db, LimitKind.OWNER, ME.owner, 0)
    first, second = submit(db), submit(db)
    assert not sent(db)
    assert waits_for(db, first) == {
        "kind": "limit",
        "limit": "owner",
        "name": ME.owner,
        "max_runs": 0,
        "capabilities": (),
        "executions": (),
        "message": "the owner someone has 0 of 0 runs at work",
    }
    assert isinstance(claim(db, first.execution_id), NotClaimed), "a message that came before its time"
    limit(db, LimitKind.OWNER, ME.owner, 1)
    assert sent(db) == [first.execution_id]
    with db.begin() as connection:
        run_limits.remove(connection, LimitKind.OWNER, ME.owner)
    assert sent(db) == [second.execution_id]


def test_why_a_run_waits_is_told_by_the_setting_for_raised_priorities(db: Database) -> None:
    quick = Database(db.engine, db.publisher, raise_seconds=100)
    limit(db, LimitKind.OWNER, ME.owner, 0)
    old, fresh = submit(db, priority=Priority.LOW), submit(db)
    with db.begin() as connection:
        back = text("UPDATE execution_processes SET created_at = created_at - interval '250 s' WHERE id = :id")
        connection.execute(back, {"id": old.execution_id})
        connection.execute(text("UPDATE run_limits SET max_runs = 1"))
    assert (waits_for(db, old) is None, waits_for(db, fresh) is None) == (False, True)
    assert (waits_for(quick, old) is None, waits_for(quick, fresh) is None) == (True, False)
    assert sweep(quick) == [old.execution_id]


def test_the_kill_of_a_waiting_or_of_a_working_run_leaves_no_place_unused(db: Database) -> None:
    limit(db, LimitKind.POOL, "default", 1)
    first, second, third = (submit(db) for _ in range(3))
    for one in (second, first):
        with db.begin() as connection:
            kill(connection, [one.execution_id], "someone")
    assert sent(db)[-1] == third.execution_id


@pytest.mark.proves("T003-33")
def test_a_needed_capability_places_the_run_where_it_is_declared_and_nowhere_else(db: Database) -> None:
    """T003-33."""
    needy = submit(db, needs=["gpu"])
    plain = submit(db)
    assert sent(db) == [plain.execution_id]
    wait = waits_for(db, needy)
    assert (wait["kind"], wait["capabilities"]) == ("capability", ["gpu"])
    assert wait["message"] == "no node of the pool default declares gpu"
    for node in (WORKER, OTHER):
        assert isinstance(claim(db, needy.execution_id, node), NotClaimed)
    with db.begin() as connection:
        runtime_nodes.register(connection, "node-2", "default", Capacity(None, None), ["gpu", "kvm"])
    assert sweep(db) == [needy.execution_id]
    refused = claim(db, needy.execution_id, WORKER)
    assert isinstance(refused, NotClaimed)
    assert refused.why == "placed on another node"
    claimed = claim(db, needy.execution_id, OTHER)
    assert isinstance(claimed, Claimed)
    [following] = finish(db, claimed)
    assert following.queue == "node.node-2"


def test_a_node_that_does_not_declare_it_any_more_takes_no_step(db: Database) -> None:
    with db.begin() as connection:
        runtime_nodes.register(connection, "node-2", "default", Capacity(None, None), ["gpu"])
    needy = submit(db, needs=["gpu"])
    assert sent(db) == [needy.execution_id]
    with db.begin() as connection:
        runtime_nodes.register(connection, "node-2", "default", Capacity(None, None))
    refused = claim(db, needy.execution_id, OTHER)
    assert isinstance(refused, NotClaimed)
    assert refused.why == "the node does not declare gpu"


def test_a_node_that_went_offline_gives_its_places_back_and_what_never_began_goes_elsewhere(db: Database) -> None:
    with db.begin() as connection:
        for node in ("node-1", "node-2"):
            runtime_nodes.register(connection, node, "default", Capacity(1 if node == "node-1" else 2, None), ["gpu"])
    needy = submit(db, needs=["gpu"])
    assert sent(db) == [needy.execution_id]
    with db.begin() as connection:
        placed = connection.scalar(select(Workspace.node_id).where(Workspace.id == needy.workspace_id))
        connection.execute(
            text("UPDATE runtime_nodes SET liveness = 'offline' WHERE node_id = :node"), {"node": placed}
        )
    assert placed == "node-2", "the one with more places"
    assert sweep(db) == [needy.execution_id]
    assert isinstance(claim(db, needy.execution_id, WORKER), Claimed)


def test_a_further_step_waits_for_the_lane_and_is_admitted_when_it_is_free(db: Database) -> None:
    first = submit(db)
    claimed = claim(db, first.execution_id)
    assert isinstance(claimed, Claimed)
    step = Action(script_step(RunReason.SETUP_SCRIPT, RepoScripts("a"), "echo"))
    with db.begin() as connection:
        connection.execute(text("UPDATE workspaces SET state = 'running'"))
        added = queue_step(connection, first.workspace_id, step, ME)
    assert added not in sent(db)
    with db.connect() as connection:
        wait = execution_views.execution(connection, added, ANN)["waits_for"]
    assert (wait["kind"], wait["executions"]) == ("lane", [first.execution_id])
    [agent] = finish(db, claimed)
    last = claim(db, agent.execution_id)
    assert isinstance(last, Claimed)
    assert [message.execution_id for message in finish(db, last)] == [added]


def test_an_uncontended_submission_and_end_take_one_statement_for_admission(db: Database) -> None:
    submit(db)
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_more) -> None:
        statements.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    run = submit(db)
    event.remove(db.engine, "before_cursor_execute", note)
    asked = [one for one in statements if "admit_at_once" in one]
    assert len(asked) == 1
    assert statements[-1] == asked[0], "and the messages are its answer"
    assert sent(db)[-1] == run.execution_id


def test_a_run_that_is_admitted_keeps_its_place_until_it_is_completed_and_a_retry_asks_again(db: Database) -> None:
    limit(db, LimitKind.POOL, "default", 1)
    first, second = submit(db), submit(db)
    assert sent(db) == [first.execution_id]
    claimed = claim(db, first.execution_id, Claimant("w1@node-1", "node-1", "default", 30))
    assert isinstance(claimed, Claimed)
    [agent] = finish(db, claimed)
    assert agent.run_reason == "coding_agent", "the chain goes on before the other run"
    claimed = claim(db, agent.execution_id)
    assert isinstance(claimed, Claimed)
    assert [message.execution_id for message in finish(db, claimed)] == [second.execution_id]


def test_a_diverged_workspace_gives_its_place_back_until_it_is_acknowledged(db: Database) -> None:
    limit(db, LimitKind.POOL, "default", 1)
    first, second = submit(db), submit(db)
    [agent] = finish(db, claim(db, first.execution_id))

    def mark(*, diverged: bool) -> None:
        with db.begin() as connection:
            connection.execute(text("UPDATE workspaces SET state = 'running'"))
            git_watch.mark(connection, condition.lock(connection, first.workspace_id), diverged=diverged)

    mark(diverged=True)
    assert sweep(db) == [second.execution_id]
    [last] = finish(db, claim(db, second.execution_id))
    assert finish(db, claim(db, last.execution_id)) == [], "the first one waits for a person"
    assert sweep(db) == []
    mark(diverged=False)
    assert sent(db) == [agent.execution_id]


def test_submissions_of_one_repository_do_not_wait_for_each_other(db: Database) -> None:
    """Only the first one of all, which makes the project and the repository, keeps others waiting."""
    submit(db)
    run = RunInput((REPO,), "do it", ExecutorChoice("shell", "true"), Limits())
    with db.begin() as slow:
        submit_run(slow, run, ME, Settings())
        with ThreadPoolExecutor(3) as pool:
            others = [pool.submit(submit, db) for _ in range(3)]
            assert all(one.result(timeout=20).project_id for one in others)
    assert len(sent(db)) == 5


@pytest.mark.parametrize("many", [0, 1000])
def test_many_runs_that_cannot_start_hold_back_no_other_of_their_owner(db: Database, monkeypatch, many: int) -> None:
    monkeypatch.setattr(facts, "MOST_OF_A_GROUP", 3)
    monkeypatch.setattr(facts, "MANY", many)
    needy = [submit(db, needs=["gpu"]) for _ in range(4)]
    plain = submit(db)
    assert sent(db) == [plain.execution_id]
    wait = waits_for(db, needy[-1])
    assert wait is not None, "a run behind the ones that are read at once waits for the same"
    assert wait["capabilities"] == ["gpu"]


def test_a_submission_asks_no_more_when_others_wait_and_there_is_no_place(db: Database) -> None:
    limit(db, LimitKind.POOL, "default", 1)
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *values: asked.append(values[2]))
    counts = []
    for _ in range(4):
        asked.clear()
        submit(db)
        counts.append(len(asked))
    assert len(sent(db)) == 1
    assert len(set(counts[1:])) == 1
    assert counts[1] <= counts[0], "the first one inserts project and repository"


def test_a_message_is_noted_as_sent_in_the_transaction_that_sends_it(db: Database) -> None:
    limit(db, LimitKind.POOL, "default", 1)
    first, second = submit(db), submit(db)
    noted = select(E.id).where(E.published_at.is_not(None), E.publish_count == 1)
    with db.connect() as connection:
        assert list(connection.scalars(noted)) == [first.execution_id]
    with db.begin() as connection:
        kill(connection, [first.execution_id], "someone")
    with db.connect() as connection:
        assert set(connection.scalars(noted)) == {first.execution_id, second.execution_id}
