"""What `relay doctor` concludes from what it has seen: pure decisions, each on facts that somebody else gathered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from relay_core.domain.nodes import room
from relay_core.domain.nodes.room import Capacity
from relay_core.domain.vocabulary import Liveness, NodeHealth

Level = Literal["ok", "warning", "error"]

CLOCK_SECONDS = 5.0
LONG_QUEUE = 1000
FILES_OF_A_WORKER = 256
"""Sockets of the database, Redis and the engine, and what the interpreter has open."""
FILES_OF_A_RUN = 8
"""Two logs and a FIFO of its process, pipes of git, sockets while something is asked for."""
FILES_OF_AN_API = 2048


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    what_to_do: str = ""


def judge_clock(difference_seconds: float) -> Check:
    """Leases and deadlines use Postgres' clock alone; a clock that is off only confuses people."""
    if abs(difference_seconds) <= CLOCK_SECONDS:
        return Check("clock", "ok", f"this host's clock and Postgres' differ by {difference_seconds:.1f} s")
    message = f"this host's clock is {difference_seconds:+.0f} s from Postgres'"
    return Check("clock", "warning", message, "synchronise the clocks: times in logs and in Flower are wrong")


def judge_open_files(limit: int, slots: int) -> Check:
    """What a worker with so many slots may open; ``limit`` is what it raises its own to."""
    needed = FILES_OF_A_WORKER + slots * FILES_OF_A_RUN
    told = f"a process may have {limit} open files; a worker with {slots} slots needs {needed}"
    if limit >= needed and limit >= FILES_OF_AN_API:
        return Check("open files", "ok", told)
    todo = "raise the hard limit of open files (LimitNOFILE= of systemd, --ulimit nofile= of Docker) to 65536"
    return Check("open files", "warning", f"{told}, an API {FILES_OF_AN_API} for a thousand followers", todo)


def judge_queue(name: str, length: int) -> Check:
    """How many messages wait."""
    told = f"{length} messages wait in {name}"
    if length < LONG_QUEUE:
        return Check("queue", "ok", told)
    return Check("queue", "warning", told, "add workers, or raise RELAY_WORKER_CONCURRENCY and the node's limits")


def judge_disk(directory: object, free: int, min_free: int, pressure: int) -> Check:
    """Whether the node takes new workspaces, all three in bytes."""
    told = f"{free >> 20} MiB are free in {directory}"
    if free >= min_free:
        return Check("disk", "ok", told)
    level: Level = "error" if free < pressure else "warning"
    todo = "free space: below RELAY_NODE_MIN_FREE_BYTES no new workspace comes here, below …_PRESSURE_BYTES runs end"
    return Check("disk", level, told, todo)


def judge_node(row: Mapping[str, Any]) -> Check:
    """A node by its row: what its silence tells, and what it says of itself."""
    age = row["age_seconds"]
    beat = "it has never beaten" if age is None else f"its last heartbeat is {age:.0f} s old"
    load, capacity = row["promised"], Capacity(row["max_workspaces"], row["memory_bytes"])
    promised = room.told(load.workspaces, load.memory_bytes, capacity)
    told = f"{row['node_id']} is {row['liveness']}, says {row['reported_health']}; {beat}; {promised} are promised"
    if row["liveness"] != Liveness.ONLINE:
        return Check("node", "warning", told, "start a worker there, or see its log")
    if row["reported_health"] in {NodeHealth.DISK_PRESSURE, NodeHealth.ENGINE_UNAVAILABLE}:
        return Check("node", "warning", told, "run `relay doctor` there")
    return Check("node", "ok", told)
