"""Admission: which waiting runs may start now, and why each other one waits.

A run is admitted before the message of its first execution is sent, and holds its place until it is completed. Priority
comes first; then projects take turns, then the owners within a project, then age. A run that a limit holds back does
not hold back others.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from relay_core.domain.vocabulary import Priority

UNKNOWN_PLACES = 50
"""Runs that a pool may take of which no node is known yet."""
RAISE_SECONDS = 600.0
"""Seconds of waiting after which a run counts as one level higher, unless a setting says otherwise."""


class LimitKind(StrEnum):
    """The things that have limits on concurrent runs."""

    PROJECT = "project"
    OWNER = "owner"
    POOL = "pool"
    NODE = "node"


class WaitKind(StrEnum):
    """The kinds of reasons why a queued execution waits."""

    LANE = "lane"
    """Another step of the workspace has to end first."""
    LIMIT = "limit"
    """A limit on concurrent runs is reached."""
    CAPABILITY = "capability"
    """No living node of the pool declares a capability that the run needs."""
    NODE = "node"
    """No node can take it: none is online, or none has room."""
    WORKSPACE = "workspace"
    """The workspace is stopped."""


@dataclass(frozen=True)
class Wait:
    """Why a queued execution waits."""

    kind: WaitKind
    message: str
    """The reason as a clause for people."""
    limit: LimitKind | None = None
    name: str | None = None
    """Name of the project, owner, pool or node that has the limit."""
    max_runs: int | None = None
    capabilities: Sequence[str] = ()
    """Needed capabilities that no node declares."""
    executions: Sequence[UUID] = ()
    """Executions that hold the lane."""


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits for its admission; its first execution waits for nothing else."""

    id: UUID
    project_id: UUID
    owner: str
    pool: str
    priority: Priority
    waited_seconds: float
    needs: frozenset[str] = frozenset()
    node_id: str | None = None
    """Node of its workspace; None: any node of the pool may take it."""

    def level(self, raise_seconds: float) -> int:
        """Return the level of the priority, with one more for each ``raise_seconds`` of waiting, up to the highest."""
        return min(Priority.HIGH.level, self.priority.level + int(max(0.0, self.waited_seconds) // raise_seconds))


@dataclass(frozen=True)
class NodePlaces:
    """A node that is not offline, with the runs that it may have at once."""

    node_id: str
    pool: str
    places: int | None
    """Most runs at once; None: no limit is known."""
    taken: int
    """Admitted runs that are not completed and whose workspace is on the node."""
    declares: frozenset[str] = frozenset()
    takes_new: bool = True
    """Whether it takes workspaces that are on no node yet."""
    revoked: bool = False
    """Whether it starts nothing, not even in the workspaces that it has."""


@dataclass(frozen=True)
class Limits:
    """Most concurrent runs by project id, owner and pool; of what has no entry, the default of its kind applies."""

    own: Mapping[tuple[LimitKind, str], int] = field(default_factory=dict)
    default: Mapping[LimitKind, int] = field(default_factory=dict)

    def of(self, kind: LimitKind, name: str) -> int | None:
        """Return a limit; None: there is none."""
        return self.own.get((kind, name), self.default.get(kind))


@dataclass(frozen=True)
class Situation:
    """The facts that an admission depends on, all read in one transaction."""

    nodes: Sequence[NodePlaces] = ()
    """Nodes that are not offline."""
    known_pools: frozenset[str] = frozenset()
    """Pools of which a node is known, even if it is offline."""
    unplaced: Mapping[str, int] = field(default_factory=dict)
    """Admitted runs that are not completed and are on no node yet, by pool."""
    counts: Mapping[tuple[LimitKind, str], int] = field(default_factory=dict)
    """Admitted runs that are not completed by project id, owner and pool."""
    limits: Limits = field(default_factory=Limits)
    turns: Mapping[tuple[UUID, str], float] = field(default_factory=dict)
    """When a project and owner were last admitted, as a number that grows; no entry: never."""


@dataclass(frozen=True)
class Admitted:
    """A run that may start now."""

    run: WaitingRun
    node_id: str | None
    """Node that was chosen for it, because the run needs a capability; None: any node of the pool may take it."""


@dataclass(frozen=True)
class Decision:
    """The runs that are admitted, in the order of their admission, and why each other one waits."""

    admitted: Sequence[Admitted]
    waits: Mapping[UUID, Wait]


def decide(waiting: Iterable[WaitingRun], situation: Situation, raise_seconds: float = RAISE_SECONDS) -> Decision:
    """Return which of the waiting runs are admitted now, and why each of the others waits.

    Args:
        waiting: all waiting runs, in any order.
        situation: nodes, limits, counts and turns before this decision.
        raise_seconds: seconds of waiting that raise a run by one level.
    """
    levels: dict[int, list[WaitingRun]] = {}
    for run in waiting:
        levels.setdefault(run.level(raise_seconds), []).append(run)
    room = _Room(situation)
    turns = _Turns(situation.turns)
    for level in sorted(levels, reverse=True):
        _admit_level(levels[level], room, turns)
    return Decision(room.admitted, room.waits)


def _admit_level(runs: Sequence[WaitingRun], room: "_Room", turns: "_Turns") -> None:
    """Let the projects take turns: each admits one run, then the next project has its turn."""
    waiting: dict[UUID, dict[str, deque[WaitingRun]]] = {}
    for run in sorted(runs, key=lambda run: (-run.waited_seconds, run.id)):
        waiting.setdefault(run.project_id, {}).setdefault(run.owner, deque()).append(run)
    projects = deque(sorted(waiting, key=lambda one: (turns.of_project(one), -_oldest(waiting[one]), one)))
    while projects:
        project_id = projects.popleft()
        if _admit_one(project_id, waiting[project_id], room, turns):
            projects.append(project_id)


def _oldest(owners: Mapping[str, Sequence[WaitingRun]]) -> float:
    return max(runs[0].waited_seconds for runs in owners.values())


def _admit_one(project_id: UUID, owners: dict[str, deque[WaitingRun]], room: "_Room", turns: "_Turns") -> bool:
    """Admit the oldest possible run of the owner whose turn it is; return whether one was admitted."""
    for owner in sorted(owners, key=lambda one: (turns.of_owner(project_id, one), -owners[one][0].waited_seconds, one)):
        runs = owners[owner]
        taken = False
        while runs and not taken:
            taken = room.take(runs.popleft())
        if not runs:
            del owners[owner]
        if taken:
            turns.served(project_id, owner)
            return True
    return False


class _Turns:
    """When each project and owner was last admitted."""

    def __init__(self, served: Mapping[tuple[UUID, str], float]) -> None:
        self._owners = dict(served)
        self._projects: dict[UUID, float] = {}
        for (project_id, _), at in served.items():
            self._projects[project_id] = max(at, self._projects.get(project_id, at))
        self._latest = max(served.values(), default=0.0)

    def of_project(self, project_id: UUID) -> float:
        return self._projects.get(project_id, float("-inf"))

    def of_owner(self, project_id: UUID, owner: str) -> float:
        return self._owners.get((project_id, owner), float("-inf"))

    def served(self, project_id: UUID, owner: str) -> None:
        self._latest += 1.0
        self._owners[project_id, owner] = self._projects[project_id] = self._latest


class _Room:
    """The places that are left while runs are admitted one after another."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._nodes = {node.node_id: node for node in situation.nodes}
        self._taken = {node.node_id: node.taken for node in situation.nodes}
        self._of_pool: dict[str, list[NodePlaces]] = {}
        for node in situation.nodes:
            self._of_pool.setdefault(node.pool, []).append(node)
        self._unplaced = dict(situation.unplaced)
        self._counts = dict(situation.counts)
        self.admitted: list[Admitted] = []
        self.waits: dict[UUID, Wait] = {}

    def take(self, run: WaitingRun) -> bool:
        """Admit a run if there is a place for it, else note why it waits; return whether it was admitted."""
        found = self._reached(run) or self._find_place(run)
        if isinstance(found, Wait):
            self.waits[run.id] = found
            return False
        self.admitted.append(found)
        for key in _counted(run):
            self._counts[key] = self._counts.get(key, 0) + 1
        node_id = found.node_id or run.node_id
        if node_id is None:
            self._unplaced[run.pool] = self._unplaced.get(run.pool, 0) + 1
        else:
            self._taken[node_id] += 1
        return True

    def _reached(self, run: WaitingRun) -> Wait | None:
        """Return the limit of its project, owner or pool that holds a run back."""
        for kind, name in _counted(run):
            most, count = self._situation.limits.of(kind, name), self._counts.get((kind, name), 0)
            if most is not None and count >= most:
                message = f"the {kind} {name} has {count} of {most} runs at work"
                return Wait(WaitKind.LIMIT, message, kind, name, most)
        return None

    def _find_place(self, run: WaitingRun) -> Admitted | Wait:
        if run.node_id is not None:
            return self._on_its_node(run, run.node_id)
        nodes = self._of_pool.get(run.pool, [])
        if run.needs:
            return self._capable(run, nodes)
        if not nodes and run.pool in self._situation.known_pools:
            return Wait(WaitKind.NODE, f"no node of the pool {run.pool} is online")
        return self._in_pool(run, nodes)

    def _on_its_node(self, run: WaitingRun, node_id: str) -> Admitted | Wait:
        node = self._nodes.get(node_id)
        if node is None:
            return Wait(WaitKind.NODE, f"its node {node_id} is offline")
        if node.revoked:
            return Wait(WaitKind.NODE, f"its node {node_id} is revoked")
        return Admitted(run, None) if self._free(node) else self._full(LimitKind.NODE, node_id, [node])

    def _capable(self, run: WaitingRun, nodes: Sequence[NodePlaces]) -> Admitted | Wait:
        """Choose the node for a run with needs: the one with the most free places."""
        capable = [node for node in nodes if run.needs <= node.declares]
        if not capable:
            declared = frozenset[str]().union(*(node.declares for node in nodes))
            missing = sorted(run.needs - declared) or sorted(run.needs)
            message = f"no node of the pool {run.pool} declares {' and '.join(missing)}"
            return Wait(WaitKind.CAPABILITY, message, capabilities=missing)
        free = [node for node in capable if node.takes_new and self._free(node)]
        if not free or not self._free_in_pool(run.pool, nodes):
            return self._full(LimitKind.POOL, run.pool, capable)
        best = max(free, key=lambda node: (self._left(node), node.node_id))
        return Admitted(run, best.node_id)

    def _in_pool(self, run: WaitingRun, nodes: Sequence[NodePlaces]) -> Admitted | Wait:
        if not nodes:
            nodes = [NodePlaces("", run.pool, UNKNOWN_PLACES, 0)]
        return (
            Admitted(run, None) if self._free_in_pool(run.pool, nodes) else self._full(LimitKind.POOL, run.pool, nodes)
        )

    def _free_in_pool(self, pool: str, nodes: Sequence[NodePlaces]) -> bool:
        """Return whether the pool can start one more run soon, beside those that are admitted and on no node yet."""
        return sum(max(0.0, self._left(node)) for node in nodes if node.takes_new) > self._unplaced.get(pool, 0)

    def _free(self, node: NodePlaces) -> bool:
        return self._left(node) > 0

    def _left(self, node: NodePlaces) -> float:
        return float("inf") if node.places is None else node.places - self._taken.get(node.node_id, 0)

    def _full(self, kind: LimitKind, name: str, nodes: Sequence[NodePlaces]) -> Wait:
        open_nodes = [node for node in nodes if node.takes_new or kind is LimitKind.NODE]
        if not open_nodes:
            return Wait(WaitKind.NODE, f"no node of the pool {name} takes new workspaces")
        most = sum(node.places or 0 for node in open_nodes)
        taken = sum(self._taken.get(node.node_id, 0) for node in open_nodes)
        taken += self._unplaced.get(name, 0) if kind is LimitKind.POOL else 0
        message = f"no node has room ({min(taken, most)} of {most} workspaces are at work)"
        return Wait(WaitKind.LIMIT, message, kind, name, most)


def _counted(run: WaitingRun) -> tuple[tuple[LimitKind, str], ...]:
    """Return the limits that count a run, by kind and name."""
    return (
        (LimitKind.PROJECT, str(run.project_id)),
        (LimitKind.OWNER, run.owner),
        (LimitKind.POOL, run.pool),
    )
