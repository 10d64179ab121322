"""Kill, silent engine, lost lease and the end of the process, in every order and at every stage of an execution.

On fakes of engine and git, with real Postgres and real log files; each fault was recorded from the real engine
(tests/conformance). Whatever comes first, these hold:

* one terminal event, the last of the operation; one final status;
* no final status beside a live process, unless ``leftover_on`` tells of it;
* no other step of the workspace runs until the leftovers are ended;
* the process of an execution is started once at most;
* no byte of the log is lost or doubled.
"""

import threading
from collections.abc import Iterator
from itertools import permutations
from uuid import UUID

import pytest

from relay_core.domain.vocabulary import RunReason
from relay_workers.testing.faults import Moment
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import FakeNode, final
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.fake_node"]

OWN_EVENTS = ("kill", "silent", "exit")
ORDERS = [
    *(order for size in range(4) for order in permutations(OWN_EVENTS, size)),
    *permutations((*OWN_EVENTS, "lost")),
]
"""All orders of all subsets while the lease holds, and all orders of all four events."""
LINE = "a line\n"
RUNS, ENDS = ScriptedStep(stdout=LINE, exit_code=None), ScriptedStep(stdout=LINE)
LEAVES = ScriptedStep(stdout=LINE, leaves=("sleep",))
STAGES = {
    "before the start": RUNS,
    "at the start": RUNS,
    "after the start": RUNS,
    "while it runs": RUNS,
    "at the end": LEAVES,
    "in the evidence": ENDS,
}
WAIT_SECONDS = 20

in_every_order = pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(order) or "nothing")


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"))
    made.add_worker("first")
    made.add_worker("second")
    yield made
    made.close()


class Case:
    """One execution, and the events that happen to it."""

    def __init__(self, node: FakeNode, execution_id: UUID, order: tuple[str, ...]) -> None:
        self.node = node
        self.id = execution_id
        self.order = order
        self.fired = threading.Event()

    def fire(self) -> None:
        """Let the events happen, in their order, in the caller's thread."""
        for event in self.order:
            getattr(self, event)()
        self.fired.set()

    def kill(self) -> None:
        self.node.kill(self.id)

    def silent(self) -> None:
        self.node.containers.faults.fall_silent()

    def lost(self) -> None:
        self.node.take_away(self.id)

    def exit(self) -> None:
        """The process ends by itself; nothing happens where it was not started or has ended."""
        step = self.node.step(self.id)
        if step is not None:
            self.node.containers.act(lambda: step.exit(0))

    def plan(self, stage: str) -> None:
        """Have the events happen at a stage, in the thread that comes to it."""
        moments = {
            "before the start": ("answers", Moment.BEFORE),
            "at the start": ("start", Moment.BEFORE),
            "after the start": ("start", Moment.AFTER),
            "at the probe": ("probe", Moment.BEFORE),
            "at the end": ("kill_execution", Moment.BEFORE),
        }
        if stage in moments:
            self.node.containers.faults.at(*moments[stage], self.fire)
        elif stage == "in the evidence":
            self.node.git.faults.at("after_state", Moment.BEFORE, self.fire)

    def must_end(self, runner: threading.Thread) -> None:
        """Wait for a runner; a process that no event was to end exits by itself, once the events have happened."""
        asked = {"kill", "lost"} & set(self.order)

        def has_ended() -> bool:
            if self.fired.is_set() and not asked:
                self.exit()
            return not (runner.is_alive() or self.is_served())

        eventually(has_ended, "the runner ends")

    def is_served(self) -> bool:
        """Whether a thread of a worker has it: a dev server's goes on after the task's."""
        return any(worker.control(self.id) is not None for worker in self.node.workers)

    def recover(self) -> None:
        """The engine answers again, leftovers are swept, and another worker adopts the execution."""
        self.node.containers.faults.answer_again()
        self.node.sweep()
        if not final(self.node.row(self.id)):
            self.node.expire(self.id)
            self.order = tuple(event for event in self.order if event == "kill")
            self.fired.set()
            self.must_end(self.node.begin(self.id, worker=1))
        self.node.sweep()


def must_be_whole(case: Case) -> None:
    node, row = case.node, case.node.row(case.id)
    broken, node.broken = node.broken, []
    assert broken == []
    assert final(row), row["status"]
    assert row["leftover_on"] is None
    assert node.alive(case.id) == []
    events = node.events(case.id)
    assert [event for event in events if event[1]] == [(f"execution.{row['status']}", True)] == events[-1:]
    assert node.starts(case.id) <= 1
    log = node.log(case.id)
    assert log in ({LINE.encode()} if row["status"] == "completed" else {b"", LINE.encode()})
    if row["status"] == "killed":
        assert "kill" in case.order


def must_hold_its_lane(case: Case, workspace: UUID) -> None:
    """Where a process may live behind a final status, the next step waits until it was ended."""
    row = case.node.row(case.id)
    if final(row) and row["leftover_on"] is not None:
        following = case.node.add(workspace, ScriptedStep())
        case.node.workers[0].run(following)
        assert case.node.row(following)["status"] == "queued"
        case.recover()
        case.node.workers[0].run(following)
        assert case.node.row(following)["status"] == "completed"


@in_every_order
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_with_evidence(node: FakeNode, stage: str, order: tuple[str, ...]) -> None:
    with node.workspace() as workspace:
        case = Case(node, node.add(workspace, STAGES[stage], reason=RunReason.CLEANUP_SCRIPT), order)
        case.plan(stage)
        runner = node.begin(case.id)
        if stage == "while it runs":
            eventually(lambda: node.starts(case.id), "it runs")
            case.fire()
        case.must_end(runner)
        must_hold_its_lane(case, workspace)
        case.recover()
        must_be_whole(case)


@in_every_order
@pytest.mark.parametrize("stage", ["at the probe", "while it runs"])
def test_a_dev_server(node: FakeNode, stage: str, order: tuple[str, ...]) -> None:
    with node.workspace() as workspace:
        script = ScriptedStep(stdout=LINE, exit_code=None, listens=True)
        case = Case(node, node.add(workspace, script, reason=RunReason.DEV_SERVER), order)
        case.plan(stage)
        runner = node.begin(case.id)
        if stage == "while it runs":
            eventually(lambda: "forward_port" in (node.row(case.id)["handle"] or {}), "it answers")
            case.fire()
        case.must_end(runner)
        must_hold_its_lane(case, workspace)
        case.recover()
        must_be_whole(case)
        assert node.workers[0].context.forwarder.ports == {}


@pytest.mark.parametrize(
    "order", [(), ("kill",), ("silent",), ("lost",)], ids=lambda order: "-".join(order) or "nothing"
)
def test_a_turn_of_an_agent(node: FakeNode, order: tuple[str, ...]) -> None:
    """As a step, with a thread that reads its output; the rest of its chain runs or ends with it."""
    workspace = node.submit(RUNS)
    case = Case(node, node.newest(workspace, RunReason.CODING_AGENT)["id"], order)
    runner = node.begin(case.id)
    eventually(lambda: node.starts(case.id), "it runs")
    case.fire()
    case.must_end(runner)
    must_hold_its_lane(case, workspace)
    case.recover()
    must_be_whole(case)


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_an_owner_that_lost_its_lease_writes_nothing(node: FakeNode, told: bool) -> None:
    """Also where it has not heard of it: the fence and the question before the evidence tell."""
    with node.workspace() as workspace:
        case = Case(node, node.add(workspace, ENDS, reason=RunReason.CLEANUP_SCRIPT), ("lost",))
        node.git.faults.at("after_state", Moment.AFTER, lambda: node.take_away(case.id, told=told))
        case.must_end(node.begin(case.id))
        assert node.row(case.id)["status"] == "running"
        case.recover()
        must_be_whole(case)
        assert node.row(case.id)["status"] == "completed"


def test_a_process_that_stays_costs_the_container_a_restart_and_the_workspace_an_event(node: FakeNode) -> None:
    with node.workspace() as workspace:
        case = Case(node, node.add(workspace, RUNS, reason=RunReason.CLEANUP_SCRIPT), ("kill",))
        runner = node.begin(case.id)
        eventually(lambda: node.starts(case.id), "it runs")
        node.containers.stay_once()
        case.fire()
        case.must_end(runner)
        must_be_whole(case)
        assert node.row(case.id)["status"] == "killed"
        assert "workspace.container_restarted" in node.kinds(workspace)


def test_a_container_that_is_removed_under_a_step(node: FakeNode) -> None:
    workspace = node.submit(RUNS)
    agent = node.newest(workspace, RunReason.CODING_AGENT)["id"]
    runner = node.begin(agent)
    eventually(lambda: node.starts(agent), "it runs")
    node.containers.remove_behind(node.container(workspace))
    runner.join(WAIT_SECONDS)
    row = node.row(agent)
    assert (row["status"], row["reason"], row["leftover_on"]) == ("failed", "container_missing", None)
    assert node.log(agent) == LINE.encode()
