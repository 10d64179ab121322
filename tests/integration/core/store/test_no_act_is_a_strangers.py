"""Acts in random orders: HEAD moved by an execution is never taken for a stranger's, and a stranger's move always is.

Executions are claimed and ended through the store, as workers do. A clone is a commit id in memory here, and a look reads
it at the time that the node would: before the claim, at the end, or while no step runs, also in the middle of an act.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import Conflict
from relay_core.domain.git.watched_head import SeenHead
from relay_core.domain.vocabulary import Reason, RunReason, WorkspaceState
from relay_core.store.executions import finish as ends
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.executions.kill import kill
from relay_core.store.executions.leftovers import forget_leftover, leftovers
from relay_core.store.executions.retry import retry_execution
from relay_core.store.schema.tables import ExecutionProcess, Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from relay_core.store.views.git_states import git_state
from relay_core.store.workspaces import git_watch
from relay_core.store.workspaces.acknowledge import acknowledge
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.git_acts import PushRequest, ResetRequest, add_push, add_reset
from relay_core.store.workspaces.git_watch import Watched
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import RepoInput
from tests.support.store_acts import ME, WORKER, claim, submit

E = ExecutionProcess
NODE = WORKER.node_id
REPOS = [RepoInput(f"https://example.org/{name}.git", setup_script="s", parallel_setup_script=True) for name in "ab"]


@dataclass
class Clones:
    """A workspace whose clones are commit ids, and what happens to them."""

    db: Database
    workspace: UUID
    rng: random.Random
    heads: dict[UUID, str]
    claimed: dict[UUID, Claimed] = field(default_factory=dict)
    looks: list[tuple[Watched, dict[UUID, SeenHead]]] = field(default_factory=list)
    strange: bool = False
    """Whether a stranger has moved HEAD since the last acknowledgement."""

    def move(self) -> None:
        """HEAD of one clone, or of both, is at a new commit."""
        for repo in self.rng.sample(sorted(self.heads), self.rng.choice((1, 2))):
            self.heads[repo] = uuid4().hex + "0" * 8

    def states(self) -> dict[UUID, dict[str, str]]:
        return {repo: {"after_head_commit": head} for repo, head in self.heads.items()}

    def running(self, *, in_lane: bool) -> list[Claimed]:
        return [one for one in self.claimed.values() if one.run_reason.in_lane is in_lane]

    def begin_look(self) -> None:
        with self.db.connect() as connection:
            for watched in git_watch.of_node(connection, NODE):
                self.looks.append((watched, {repo: SeenHead(head) for repo, head in self.heads.items()}))

    def end_look(self) -> None:
        if self.looks:
            watched, heads = self.looks.pop(self.rng.randrange(len(self.looks)))
            with self.db.begin() as connection:
                git_watch.settle(connection, NODE, watched, heads)

    def look(self) -> None:
        self.begin_look()
        while self.looks:
            self.end_look()

    def add(self) -> None:
        acts: list[Callable] = [
            lambda c: add_step(c, self.workspace, StepRequest(RunReason.SETUP_SCRIPT, script="x", repo="a"), ME, {}),
            lambda c: add_step(c, self.workspace, StepRequest(RunReason.CODING_AGENT, prompt="p"), ME, {}),
            lambda c: add_step(c, self.workspace, StepRequest(RunReason.DEV_SERVER, script="d", repo="a"), ME, {}),
            lambda c: add_push(c, self.workspace, PushRequest(repo="a"), ME),
            lambda c: add_reset(c, self.workspace, ResetRequest(commit="0123456", repo="b"), ME),
        ]
        with self.db.begin() as connection:
            self.rng.choice(acts)(connection)

    def claim(self) -> None:
        with self.db.connect() as connection:
            queued = connection.scalars(
                select(E.id).where(E.workspace_id == self.workspace, E.status == "queued")
            ).all()
        for execution_id in queued:
            self.look()
            taken = claim(self.db, execution_id)
            if isinstance(taken, Claimed):
                assert not (self.strange and taken.run_reason.operation_class.mutates), "it began on strange commits"
                self.claimed[execution_id] = taken
                return

    def work(self) -> None:
        """A step of the lane, and only that, moves HEAD."""
        if self.running(in_lane=True):
            self.move()

    def end(self) -> None:
        if not self.claimed:
            return
        one = self.claimed.pop(self.rng.choice(sorted(self.claimed)))
        how = self.rng.choice(("completed", "failed", "killed", "lost", "without evidence"))
        if one.run_reason is RunReason.CLONE:  # or the workspace fails, and nothing more happens in it
            how = "completed"
        if how == "killed":
            with self.db.begin() as connection:
                kill(connection, [one.execution_id], "someone")
        transition = machine.completed(0) if how == "completed" else machine.failed(Reason.EXIT_CODE, "no", 1)
        evidence = Evidence() if how in {"lost", "without evidence"} else Evidence(self.states())
        left_on = NODE if how == "lost" else None
        with self.db.begin() as connection:
            ends.finish(connection, one.execution_id, one.fence, transition, evidence, left_on=left_on)
        if how == "lost" and one.run_reason.in_lane:
            self.look()
            self.move()  # its processes still run

    def clear_leftovers(self) -> None:
        with self.db.begin() as connection:
            for leftover in leftovers(connection, NODE):
                told = self.states() if self.rng.random() < 0.5 else {}
                forget_leftover(connection, leftover, NODE, told)

    def retry(self) -> None:
        with self.db.begin() as connection:
            ids = connection.scalars(select(E.id).where(E.workspace_id == self.workspace, E.status == "failed")).all()
            if ids:
                retry_execution(connection, self.rng.choice(ids), "someone", run_agent_again=True)

    def act(self) -> None:
        kinds = [self.begin_look, self.end_look, self.add, self.claim, self.claim, self.work, self.end, self.end]
        chosen = self.rng.choice([*kinds, self.clear_leftovers, self.retry])
        with suppress(Conflict):  # it cannot be done now
            chosen()

    def blocked(self) -> bool:
        with self.db.connect() as connection:
            return git_state(connection, self.workspace, ME)["acknowledgement_needed"]

    def idle(self) -> None:
        """Every step has ended, and is known to have."""
        for _ in range(100):
            while self.claimed:
                self.end()
            self.clear_leftovers()
            self.claim()
            if not self.claimed:
                return


def prepared(db: Database, rng: random.Random) -> Clones:
    made = submit(db, *REPOS)
    with db.begin() as connection:
        repos = connection.scalars(select(WorkspaceRepo.repo_id).where(WorkspaceRepo.workspace_id == made.workspace_id))
        heads = {repo: uuid4().hex + "0" * 8 for repo in repos}
        connection.execute(
            update(Workspace)
            .where(Workspace.id == made.workspace_id)
            .values(state=WorkspaceState.RUNNING, node_id=NODE, container_ref="/there", uid=1, container_id="c")
        )
    return Clones(db, made.workspace_id, rng, heads)


@pytest.mark.parametrize("seed", range(12))
def test_no_act_of_relay_is_taken_for_a_strangers(db, seed):
    clones = prepared(db, random.Random(seed))
    for _ in range(60):
        clones.act()
        assert not clones.blocked(), "HEAD was moved by executions only"
    clones.idle()
    clones.look()
    assert not clones.blocked()


@pytest.mark.parametrize("seed", range(12))
def test_every_strangers_move_in_an_idle_workspace_is_found_and_stops_the_next_step(db, seed):
    rng = random.Random(1000 + seed)
    clones = prepared(db, rng)
    for _ in range(3):
        for _ in range(20):
            clones.act()
        clones.idle()
        clones.look()  # what ended without evidence counts from here
        clones.looks.clear()
        clones.move()
        clones.strange = True
        for _ in range(5):
            clones.act()
        clones.clear_leftovers()  # of dev servers: while processes may still run, nothing is compared and nothing starts
        clones.look()
        assert clones.blocked()
        with db.begin() as connection, pytest.raises(Conflict) as caught:
            add_step(connection, clones.workspace, StepRequest(RunReason.SETUP_SCRIPT, script="x", repo="a"), ME, {})
        assert caught.value.code == "workspace_diverged"
        with db.begin() as connection:
            generation = git_state(connection, clones.workspace, ME)["generation"]
            acknowledge(connection, clones.workspace, generation, ME)
        clones.strange = False
        assert not clones.blocked()
