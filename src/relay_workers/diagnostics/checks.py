"""Judgements of `relay doctor` on services and nodes: pure functions from facts to a `Check`."""

from dataclasses import dataclass
from typing import Literal

from relay_core.domain import nodes
from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store.nodes.runtime_nodes import ListedNode

Level = Literal["ok", "warning", "error"]

CLOCK_SECONDS = 5.0
"""Largest difference between two clocks, in seconds, that causes no warning."""
LONG_QUEUE = 1000
"""Number of messages in a queue that causes a warning."""
FILES_OF_A_WORKER = 256
"""Open files that a worker needs without executions: sockets to database, Redis and engine, and the interpreter's own.
"""
FILES_OF_AN_EXECUTION = 8
"""Open files that one execution needs: two logs, a FIFO of its process, pipes of git, sockets of requests."""
FILES_OF_AN_API = 2048
"""Open files that an API process needs with a thousand clients that follow logs."""


@dataclass(frozen=True)
class Check:
    """The result of one examination by `relay doctor`."""

    check: str
    """Name of the examination; one examination may have several results."""
    level: Level
    message: str
    what_to_do: str = ""


def judge_clock(difference_seconds: float) -> Check:
    """Judge the clock of this host by its difference from Postgres' clock.

    Leases and deadlines use only Postgres' clock, so a wrong clock here does no harm but confuses people.
    """
    if abs(difference_seconds) <= CLOCK_SECONDS:
        return Check("clock", "ok", f"this host's clock and Postgres' differ by {difference_seconds:.1f} s")
    message = f"this host's clock is {difference_seconds:+.0f} s from Postgres'"
    return Check("clock", "warning", message, "synchronise the clocks: times in logs and in Flower are wrong")


def judge_open_files(limit: int, slots: int) -> Check:
    """Judge the limit of open files of a process.

    Args:
        limit: the hard limit; workers and API raise their own soft limit to it.
        slots: number of executions that a worker carries out at once.
    """
    needed = FILES_OF_A_WORKER + slots * FILES_OF_AN_EXECUTION
    facts = f"a process may have {limit} open files; a worker with {slots} slots needs {needed}"
    if limit >= needed and limit >= FILES_OF_AN_API:
        return Check("open files", "ok", facts)
    advice = "raise the hard limit of open files (LimitNOFILE= of systemd, --ulimit nofile= of Docker) to 65536"
    return Check("open files", "warning", f"{facts}, an API {FILES_OF_AN_API} for a thousand followers", advice)


def judge_queue(name: str, length: int) -> Check:
    """Judge a queue by the number of messages that wait in it."""
    facts = f"{length} messages wait in {name}"
    if length < LONG_QUEUE:
        return Check("queue", "ok", facts)
    return Check("queue", "warning", facts, "add workers, or raise RELAY_WORKER_CONCURRENCY and the node's limits")


def judge_redis(why_unfit: str | None) -> Check:
    """Judge a Redis that answers.

    Args:
        why_unfit: why it accepts no writes; None if it does.
    """
    if why_unfit is None:
        return Check("redis", "ok", "Redis answers and takes writes")
    advice = "see its maxmemory, its disk and its role: until it takes writes, no queued execution starts"
    return Check("redis", "error", f"Redis {why_unfit}", advice)


def judge_disk(directory: object, free: int, min_free: int, pressure: int) -> Check:
    """Judge the free disk space of a node.

    Args:
        directory: the data directory.
        free: bytes that are free there.
        min_free: bytes below which the node takes no new workspace.
        pressure: bytes below which the node stops executions.
    """
    facts = f"{free / (1 << 30):.1f} GiB are free in {directory}"
    if free >= min_free:
        return Check("disk", "ok", facts)
    level: Level = "error" if free < pressure else "warning"
    advice = (
        "free space: below RELAY_NODE_MIN_FREE_BYTES no new workspace comes here, "
        "below RELAY_NODE_PRESSURE_BYTES executions are ended"
    )
    return Check("disk", level, facts, advice)


def judge_node(listed: ListedNode) -> Check:
    """Judge a node by its liveness, the health it reports, and the capacity it has promised to workspaces."""
    node, age = listed.node, listed.age_seconds
    beat = "it has never sent a heartbeat" if age is None else f"its last heartbeat is {age:.0f} s old"
    promised = nodes.load_text(listed.promised.workspaces, listed.promised.memory_bytes, node.capacity)
    facts = f"{node.node_id} is {node.liveness}, reports {node.reported_health}; {beat}; {promised} are promised"
    if node.revoked_at is not None:
        advice = "let it work again with `relay revoke NODE --undo`, or stop its workers"
        return Check("node", "warning", f"{facts}; it is revoked and starts no step", advice)
    if node.liveness is not Liveness.ONLINE:
        return Check("node", "warning", facts, "start a worker there, or see its log")
    if node.reported_health not in {NodeHealth.OK, NodeHealth.DRAINING}:
        return Check("node", "warning", facts, "run `relay doctor` there")
    closed = f"; it takes no new workspace: {listed.closed}" if listed.closed else ""
    return Check("node", "ok", facts + closed)


def judge_git(version: tuple[int, int] | None, too_old: str | None, *, private_hosts_allowed: bool) -> Check:
    """Judge the git of this node.

    Args:
        version: major and minor version; None if git cannot be run.
        too_old: why this git cannot be forced to connect to the address that Relay checked before a fetch; None if it
            can.
        private_hosts_allowed: whether remotes may have any address, so that an old git does no harm.
    """
    if too_old is None and version is not None:
        return Check("git", "ok", f"git of this node is {version[0]}.{version[1]}")
    level: Level = "warning" if version is not None and private_hosts_allowed else "error"
    return Check("git", level, too_old or "", "install a newer git on this node, or clone over ssh until then")
