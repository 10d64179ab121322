"""What `relay doctor` looks at: the services, this node, and all that a sweep would mend. Looking changes nothing."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import redis
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from relay_core.celery_app import KEY_PREFIX, make_app
from relay_core.domain.doorbell import node_queue, pool_queue
from relay_core.domain.errors import RelayError, StepFailed
from relay_core.postgres import adoption, executions, nodes
from relay_core.postgres.engine import make_engine
from relay_core.postgres.migrate import check_schema
from relay_core.settings import Settings
from relay_workers import divergence
from relay_workers.bootstrap import make_context
from relay_workers.context import WorkerContext
from relay_workers.node import NodeIdentity, is_dead, read_node_id

Level = Literal["ok", "warning", "error"]

CLOCK_SECONDS = 5.0
LATE_SECONDS = 60.0
"""A queued step or a kill that nobody has taken up for so long is told."""
LONG_QUEUE = 1000


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    what_to_do: str = ""


def examine(settings: Settings) -> list[Check]:
    """All checks; what cannot be looked at is itself told, and the next is looked at."""
    checks = [*_guarded("database", lambda: _database(settings)), *_guarded("redis", lambda: _redis(settings))]
    if any(check.level == "error" for check in checks):
        return checks
    checks += _guarded("disk", lambda: [_disk(settings)])
    return checks + _guarded("engine", lambda: _of_node(settings))


def _of_node(settings: Settings) -> list[Check]:
    checks: list[Check] = []
    with _inspector(settings) as context:
        checks += _guarded("nodes", lambda: _nodes(context))
        checks += _guarded("rows", lambda: _late_rows(context))
        checks += _guarded("engine", lambda: _engine(context))
        checks += _guarded("orphans", lambda: [_orphan(one) for one in _orphans(context)])
        checks += _guarded("divergence", lambda: [_difference(one) for one in divergence.find_all(context)])
    return checks


def fix(settings: Settings) -> list[str]:
    """Do at once what the sweeps of this node would do; what was done, line by line."""
    with _inspector(settings) as context:
        found = divergence.find_all(context)
        done = [f"mended {one.kind}: {one.message}" for one in found if divergence.mend(one)]
        orphans = _orphans(context)
        with context.database.connect() as connection:
            late = executions.unrung(connection, LATE_SECONDS)
        context.doorbell.ring([*(one.ring for one in orphans), *late])
        done += [f"rang for execution {one.ring.execution_id}, whose worker {one.owner} is gone" for one in orphans]
        done += [f"rang again for execution {ring.execution_id}" for ring in late]
    return done


@contextmanager
def _inspector(settings: Settings) -> Iterator[WorkerContext]:
    """A worker's parts without a worker: no name of one is taken, nothing is started."""
    node_id = read_node_id(settings.data_dir)
    database = make_engine(settings, application="doctor")
    identity = NodeIdentity(node_id, f"doctor@{node_id}", f"doctor@{node_id}#", -1)
    try:
        context = make_context(settings, identity, database, make_app(settings, node_id))
        context.patience.end()  # an engine that is away is what we want to hear of
        yield context
    finally:
        database.dispose()


def _guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look() or [Check(name, "ok", "nothing to tell")]
    except (RelayError, SQLAlchemyError, redis.RedisError, OSError) as error:
        return [Check(name, "error", str(error).splitlines()[0], "see the message; the other checks go on")]


def _database(settings: Settings) -> list[Check]:
    engine = make_engine(settings, application="doctor")
    try:
        with engine.connect() as connection:
            check_schema(connection)
            there = float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
    finally:
        engine.dispose()
    return [Check("schema", "ok", "the database has this version's schema"), judge_clock(time.time() - there)]


def judge_clock(difference_seconds: float) -> Check:
    """Leases and deadlines use Postgres' clock alone; a clock that is off only confuses people."""
    if abs(difference_seconds) <= CLOCK_SECONDS:
        return Check("clock", "ok", f"this host's clock and Postgres' differ by {difference_seconds:.1f} s")
    message = f"this host's clock is {difference_seconds:+.0f} s from Postgres'"
    return Check("clock", "warning", message, "synchronise the clocks: times in logs and in Flower are wrong")


def _redis(settings: Settings) -> list[Check]:
    queues = [pool_queue(settings.pool), node_queue(read_node_id(settings.data_dir))]
    with redis.Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
        client.ping()
        answers: list[Any] = [client.llen(KEY_PREFIX + name) for name in queues]
    return [judge_queue(name, int(length)) for name, length in zip(queues, answers, strict=True)]


def judge_queue(name: str, length: int) -> Check:
    """How many messages wait."""
    told = f"{length} messages wait in {name}"
    if length < LONG_QUEUE:
        return Check("queue", "ok", told)
    return Check("queue", "warning", told, "add workers, or raise RELAY_WORKER_CONCURRENCY and the node's limits")


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.data_dir).free
    told = f"{free >> 20} MiB are free in {settings.data_dir}"
    if free >= settings.node_min_free_bytes:
        return Check("disk", "ok", told)
    level: Level = "error" if free < settings.node_pressure_bytes else "warning"
    todo = "free space: below RELAY_NODE_MIN_FREE_BYTES no new workspace comes here, below …_PRESSURE_BYTES runs end"
    return Check("disk", level, told, todo)


def _nodes(context: WorkerContext) -> list[Check]:
    with context.database.connect() as connection:
        rows = nodes.list_nodes(connection)
    levels: dict[str, Level] = {"online": "ok", "degraded": "warning"}
    return [
        Check(
            "node",
            levels.get(str(row["liveness"]), "warning"),
            f"{row['node_id']} is {row['liveness']}, says {row['reported_health']}",
            "" if row["liveness"] == "online" else "start a worker there, or see its log",
        )
        for row in rows
    ]


_LATE = {
    "queued": (
        "status = 'queued' AND coalesce(not_before, created_at) < now() - make_interval(secs => :late)",
        "waits for a worker",
        "see that a worker of its pool runs and is not full: `relay nodes`",
    ),
    "kill": (
        "status = 'running' AND kill_requested_at < now() - make_interval(secs => :late)",
        "was asked to end and runs",
        "see the worker's log; is the container engine slow?",
    ),
    "lease": (
        "status = 'running' AND lease_until < now()",
        "has an owner whose lease is over",
        "a worker of its node adopts it; start one there",
    ),
}


def _late_rows(context: WorkerContext) -> list[Check]:
    with context.database.connect() as connection:
        return [check for name in _LATE for check in _late(connection, name)]


def _late(connection: Connection, name: str) -> list[Check]:
    condition, told, todo = _LATE[name]
    rows = connection.execute(
        text(f"SELECT id FROM execution_processes WHERE {condition} ORDER BY created_at LIMIT 20"),  # noqa: S608 - ours
        {"late": LATE_SECONDS},
    )
    return [Check(name, "warning", f"execution {row.id} {told}", todo) for row in rows]


def _engine(context: WorkerContext) -> list[Check]:
    settings, engine = context.settings, context.engine
    checks = [Check("engine", "ok", f"the container engine answers, version {engine.info().version}")]
    for image in (settings.git_image, settings.default_image):
        try:
            engine.ensure_image(image, pull=False)
        except StepFailed as error:
            checks.append(Check("image", "error", str(error), "build it with `relay up`, or pull it"))
        else:
            checks.append(Check("image", "ok", f"{image} is here"))
    return checks


def _orphans(context: WorkerContext) -> list[adoption.Held]:
    with context.database.connect() as connection:
        held = adoption.held_by_others(connection, context.claimant)
    return adoption.orphans(held, partial(is_dead, context.settings.data_dir))


def _orphan(held: adoption.Held) -> Check:
    why = "its lease is over" if held.expired else "its worker is dead"
    message = f"execution {held.ring.execution_id} of {held.owner}: {why}"
    return Check("orphan", "warning", message, "a worker of this node adopts it; `--fix` rings for it")


def _difference(finding: divergence.Finding) -> Check:
    wait = f"; the sweep waits {finding.grace_seconds:.0f} s before it mends it" if finding.grace_seconds else ""
    return Check(finding.kind, "warning", finding.message, f"a worker's sweep mends it, or `--fix` now{wait}")
