"""`relay doctor`: examines the services, this node, and what its sweeps would repair. `examine` changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.settings import Settings
from relay_core.store.executions import messages
from relay_core.store.executions.adopt import HeldExecution
from relay_core.store.outage import SQLAlchemyError
from relay_core.store.transaction import Database
from relay_workers.bootstrap import make_context
from relay_workers.containers.self_check import check_steps
from relay_workers.diagnostics import host_facts, service_facts
from relay_workers.diagnostics.checks import Check
from relay_workers.execution.context import WorkerContext
from relay_workers.maintenance.clocks import divergence_finder, orphan_finder
from relay_workers.maintenance.divergence import Divergence
from relay_workers.maintenance.divergence_sweep import repair
from relay_workers.maintenance.requeue import SEND_AGAIN_SECONDS
from relay_workers.ownership.node_identity import NodeIdentity, read_node_id

_UNAVAILABLE = (RelayError, SQLAlchemyError, redis.RedisError, OSError)
"""Errors of a part that does not answer or is broken; the examination of the other parts goes on."""


def examine(settings: Settings) -> list[Check]:
    """Do all examinations. If one fails, its error is reported as a result, and the next one follows."""
    database = _guarded("database", lambda: service_facts.examine_database(settings))
    checks = [
        *database,
        *_guarded("redis", lambda: service_facts.examine_redis(settings)),
        *_guarded("disk", lambda: host_facts.examine_disk(settings)),
        *_guarded("open files", lambda: host_facts.examine_open_files(settings)),
        *_guarded("host", lambda: host_facts.examine_host(settings)),
        *_guarded("git", lambda: host_facts.examine_git(settings)),
        *_guarded("engine", lambda: _examine_engine(settings)),
    ]
    if any(check.level == "error" for check in database):
        return checks  # only Postgres knows about nodes and executions
    checks += _guarded("nodes", lambda: service_facts.examine_nodes(settings))
    checks += _guarded("rows", lambda: service_facts.examine_late_executions(settings))
    if any(check.check == "engine" and check.level == "error" for check in checks):
        return checks
    with _worker_parts(settings) as context:
        checks += _guarded("orphans", lambda: [_orphan(orphan) for orphan in orphan_finder(context).find()])
        found = _guarded("divergence", lambda: [_divergence(found) for found in divergence_finder(context).find_all()])
        return checks + found


def fix(settings: Settings) -> list[str]:
    """Do immediately what the sweeps of this node would do.

    Returns:
        A line for each thing that was done; if an error stopped the work, a last line with the error.
    """
    done: list[str] = []
    try:
        with _worker_parts(settings) as context:
            _fix(context, done)
    except _UNAVAILABLE as error:
        done.append(f"cannot go on: {_first_line(error)}")
    return done


def _fix(context: WorkerContext, done: list[str]) -> None:
    done += [
        f"repaired {divergence.kind}: {divergence.message}"
        for divergence in divergence_finder(context).find_all()
        if repair(divergence)
    ]
    orphans = orphan_finder(context).find()
    with context.database.connect() as connection:
        late = messages.undispatched(connection, SEND_AGAIN_SECONDS)
    context.dispatcher.dispatch(orphan.message for orphan in orphans)
    done += [
        f"sent a message for execution {orphan.message.execution_id}, whose worker {orphan.owner} is gone"
        for orphan in orphans
    ]
    if dispatched := context.dispatcher.dispatch_again(late):
        done.append(f"sent messages again for {dispatched} queued executions")


@contextmanager
def _worker_parts(settings: Settings) -> Iterator[WorkerContext]:
    """Make the parts of a worker of this node, without taking a worker's name and without starting a thread."""
    node_id = read_node_id(settings.data_dir)
    identity = NodeIdentity(node_id, f"doctor@{node_id}", f"doctor@{node_id}#", -1)
    with service_facts.connected(settings) as engine:
        dispatcher = CeleryDispatcher(make_app(settings, node_id), engine)
        context = make_context(
            settings, identity, Database(engine, dispatcher, raise_seconds=settings.priority_raise_seconds), dispatcher
        )
        context.retry_while_silent.stop()  # report an engine that does not answer, do not wait for it
        yield context


def _guarded(name: str, examination: Callable[[], list[Check]]) -> list[Check]:
    """Do an examination and return its results. An error becomes a result under the examination's name."""
    try:
        return examination() or [Check(name, "ok", "nothing to report")]
    except _UNAVAILABLE as error:
        return [Check(name, "error", _first_line(error), "see the message; the other checks go on")]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _examine_engine(settings: Settings) -> list[Check]:
    with _worker_parts(settings) as context:
        containers = context.containers
        checks = [Check("engine", "ok", f"the container engine answers, version {containers.info().version}")]
        for image in (settings.git_image, settings.default_image):
            try:
                containers.ensure_image(image)
            except StepFailed as error:
                checks.append(Check("image", "error", str(error), "build it with `relay up`, or pull it"))
            else:
                checks.append(Check("image", "ok", f"{image} is here"))
        if all(check.level == "ok" for check in checks):
            check_steps(containers, settings.data_dir, settings.git_image, settings.container_network)
            checks.append(Check("steps", "ok", "a step was started, reached and killed in a container"))
        return checks


def _orphan(orphan: HeldExecution) -> Check:
    why = "its lease has expired" if orphan.expired else "its worker is dead"
    message = f"execution {orphan.message.execution_id} of {orphan.owner}: {why}"
    return Check("orphan", "warning", message, "a worker of this node adopts it; `--fix` sends its message")


def _divergence(divergence: Divergence) -> Check:
    seconds = divergence.grace_seconds
    wait = f"; the sweep waits {seconds:.0f} s before it does" if seconds else ""
    advice = f"a worker's sweep repairs it, or `--fix` now{wait}"
    return Check(divergence.kind, "warning", divergence.message, advice)
