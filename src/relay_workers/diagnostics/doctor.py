"""What `relay doctor` looks at: the services, this node, and all that a sweep would mend. Looking changes nothing."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import redis
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.message import node_queue, pool_queue
from relay_core.open_files import raise_open_files
from relay_core.queue.celery_app import KEY_PREFIX, make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.queue.redis_check import why_unfit
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions import takeover, transitions
from relay_core.store.nodes import admission, registry
from relay_core.store.schema.migrate import check_schema
from relay_workers.bootstrap import make_context
from relay_workers.diagnostics import host_facts
from relay_workers.diagnostics.checks import Check, judge_clock, judge_disk, judge_node, judge_open_files, judge_queue
from relay_workers.execution.context import WorkerContext
from relay_workers.git.host.version import git_version, too_old_to_pin
from relay_workers.maintenance import divergence
from relay_workers.maintenance.ticks import DISPATCH_AGAIN_SECONDS
from relay_workers.ownership.node_identity import NodeIdentity, default_concurrency, is_dead, read_node_id

LATE_SECONDS = 60.0
"""A queued step or a kill that nobody has taken up for so long is told."""
ROWS = 20
"""Told of each kind; the others are of the same kind."""


def examine(settings: Settings) -> list[Check]:
    """All checks; what cannot be looked at is itself told, and the next is looked at."""
    database = _guarded("database", lambda: _database(settings))
    checks = [
        *database,
        *_guarded("redis", lambda: _redis(settings)),
        *_guarded("disk", lambda: [_disk(settings)]),
        *_guarded("open files", lambda: [_open_files(settings)]),
        *_guarded("host", lambda: host_facts.look(settings)),
        *_guarded("git", lambda: examine_git(settings)),
        *_guarded("engine", lambda: _containers(settings)),
    ]
    if any(check.level == "error" for check in database):
        return checks  # nobody else knows of nodes and rows
    checks += _guarded("nodes", lambda: _nodes(settings)) + _guarded("rows", lambda: _late_rows(settings))
    if any(check.check == "engine" and check.level == "error" for check in checks):
        return checks
    with _inspector(settings) as context:
        checks += _guarded("orphans", lambda: [_orphan(one) for one in _orphans(context)])
        return checks + _guarded("divergence", lambda: [_difference(one) for one in divergence.find_all(context)])


def fix(settings: Settings) -> list[str]:
    """Do at once what the sweeps of this node would do; what was done, line by line, and where it could not go on."""
    done: list[str] = []
    try:
        with _inspector(settings) as context:
            _mend(context, done)
    except _AWAY as error:
        done.append(f"cannot go on: {_first_line(error)}")
    return done


def _mend(context: WorkerContext, done: list[str]) -> None:
    done += [f"mended {one.kind}: {one.message}" for one in divergence.find_all(context) if divergence.mend(one)]
    orphans = _orphans(context)
    with context.database.connect() as connection:
        late = transitions.undispatched(connection, DISPATCH_AGAIN_SECONDS)
    context.dispatcher.dispatch(one.message for one in orphans)
    done += [
        f"sent a message for execution {one.message.execution_id}, whose worker {one.owner} is gone" for one in orphans
    ]
    if dispatched := context.dispatcher.dispatch_again(late):
        done.append(f"sent messages again for {dispatched} queued executions")


@contextmanager
def _inspector(settings: Settings) -> Iterator[WorkerContext]:
    """A worker's parts without a worker: no name of one is taken, nothing is started."""
    node_id = read_node_id(settings.data_dir)
    identity = NodeIdentity(node_id, f"doctor@{node_id}", f"doctor@{node_id}#", -1)
    with _connected(settings) as database:
        dispatcher = CeleryDispatcher(make_app(settings, node_id), database)
        context = make_context(settings, identity, database, dispatcher)
        context.retry_while_silent.stop()  # an engine that is away is what we want to hear of
        yield context


@contextmanager
def _connected(settings: Settings) -> Iterator[Engine]:
    database = make_database(settings, application="doctor")
    try:
        yield database
    finally:
        database.dispose()


_AWAY = (RelayError, SQLAlchemyError, redis.RedisError, OSError)


def _guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look() or [Check(name, "ok", "nothing to tell")]
    except _AWAY as error:
        return [Check(name, "error", _first_line(error), "see the message; the other checks go on")]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _database(settings: Settings) -> list[Check]:
    with _connected(settings) as database, database.connect() as connection:
        check_schema(connection)
        there = float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
    return [Check("schema", "ok", "the database has this version's schema"), judge_clock(time.time() - there)]


def _open_files(settings: Settings) -> Check:
    return judge_open_files(raise_open_files(), settings.worker_concurrency or default_concurrency())


def _redis(settings: Settings) -> list[Check]:
    queues = [pool_queue(settings.pool), node_queue(read_node_id(settings.data_dir))]
    with redis.Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
        client.ping()
        why = why_unfit(client)
        answers: list[Any] = [client.llen(KEY_PREFIX + name) for name in queues]
    waiting = [judge_queue(name, int(length)) for name, length in zip(queues, answers, strict=True)]
    return [_judge_redis(why), *waiting]


def _judge_redis(why: str | None) -> Check:
    if why is None:
        return Check("redis", "ok", "Redis answers and takes writes")
    todo = "see its maxmemory, its disk and its role: until it takes writes, no queued run starts"
    return Check("redis", "error", f"Redis {why}", todo)


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.data_dir).free
    return judge_disk(settings.data_dir, free, settings.node_min_free_bytes, settings.node_pressure_bytes)


def _nodes(settings: Settings) -> list[Check]:
    with _connected(settings) as database, database.connect() as connection:
        return [judge_node(row) for row in registry.list_nodes(connection)]


def examine_git(settings: Settings) -> list[Check]:
    """Whether the node's git can be held to an address."""
    version = git_version()
    old = too_old_to_pin(version)
    if old is None and version is not None:
        return [Check("git", "ok", f"git of this node is {version[0]}.{version[1]}")]
    harmless = version is not None and settings.git_allow_private_hosts
    return [
        Check(
            "git",
            "warning" if harmless else "error",
            old or "",
            "install a newer git on this node, or clone over ssh until then",
        )
    ]


_LATE = {
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


def _late_rows(settings: Settings) -> list[Check]:
    todo = "see that a worker of its pool runs and is not full: `relay nodes`"
    with _connected(settings) as database, database.connect() as connection:
        waiting = transitions.startable(connection, LATE_SECONDS, limit=ROWS)
        whys = {one: admission.why_waits(connection, one) or "for a worker" for one in waiting}
        queued = [Check("queued", "warning", f"execution {one} waits: {why}", todo) for one, why in whys.items()]
        return queued + [check for name in _LATE for check in _late(connection, name)]


def _late(connection: Connection, name: str) -> list[Check]:
    condition, told, todo = _LATE[name]
    rows = connection.execute(
        text(f"SELECT id FROM execution_processes WHERE {condition} ORDER BY created_at LIMIT {ROWS}"),  # noqa: S608 - ours
        {"late": LATE_SECONDS},
    )
    return [Check(name, "warning", f"execution {row.id} {told}", todo) for row in rows]


def _containers(settings: Settings) -> list[Check]:
    with _inspector(settings) as context:
        containers = context.containers
        checks = [Check("engine", "ok", f"the container engine answers, version {containers.info().version}")]
        for image in (settings.git_image, settings.default_image):
            try:
                containers.ensure_image(image)
            except StepFailed as error:
                checks.append(Check("image", "error", str(error), "build it with `relay up`, or pull it"))
            else:
                checks.append(Check("image", "ok", f"{image} is here"))
        return checks


def _orphans(context: WorkerContext) -> list[takeover.Held]:
    with context.database.connect() as connection:
        held = takeover.held(connection, context.claimant)
    return takeover.orphans(held, partial(is_dead, context.settings.data_dir))


def _orphan(held: takeover.Held) -> Check:
    why = "its lease is over" if held.expired else "its worker is dead"
    message = f"execution {held.message.execution_id} of {held.owner}: {why}"
    return Check("orphan", "warning", message, "a worker of this node adopts it; `--fix` sends its message")


def _difference(finding: divergence.Finding) -> Check:
    wait = f"; the sweep waits {finding.grace_seconds:.0f} s before it mends it" if finding.grace_seconds else ""
    return Check(finding.kind, "warning", finding.message, f"a worker's sweep mends it, or `--fix` now{wait}")
