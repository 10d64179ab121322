"""Builds a worker: settings → adapters → Celery app. Celery's signals then start and stop the worker's threads."""

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
import structlog
from celery import Celery
from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down
from celery.worker.state import active_requests

from relay_core.domain.message import node_queue, pool_queue
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.logging_setup import bind_to_logs, configure_logging
from relay_core.queue.background import BackgroundDispatcher
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import CeleryDispatcher, Dispatcher
from relay_core.queue.redis_check import why_unfit
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions.claim import Claimant
from relay_core.store.logs.log_store import LogStore
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.revision import check_schema
from relay_core.store.transaction import Database
from relay_workers.capture.pump import SCAN_SECONDS, LogPump
from relay_workers.celery.detached_tasks import DetachedTasks
from relay_workers.celery.intake import Intake, RelayConsumer
from relay_workers.celery.revocations import Revocations, register_commands
from relay_workers.celery.tasks import TaskRequest, register
from relay_workers.containers.docker.client import KILL_TIMEOUT_SECONDS, connect, connect_high_level
from relay_workers.containers.docker.data_dir_probe import IN_CONTAINER, check_data_dir
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.docker.forward import Forwarder
from relay_workers.containers.docker.tool_container import DockerToolRunner
from relay_workers.containers.pid1.install import install_programs
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.containers.self_check import check_once
from relay_workers.execution.assembly import make_runner
from relay_workers.execution.context import WorkerContext
from relay_workers.git.service import GitService
from relay_workers.health import ClockState, Health, HealthServer, judge
from relay_workers.host_files.private_dirs import close_to_others
from relay_workers.maintenance.clocks import VITAL, make_clocks
from relay_workers.maintenance.ticker import Ticker
from relay_workers.metrics import Metrics
from relay_workers.ownership.admission import Admission, QueueIntake, capacity_of
from relay_workers.ownership.lease_notices import LeaseNotices
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import LiveExecutions
from relay_workers.ownership.node_identity import NodeIdentity, default_concurrency, identify


@dataclass(frozen=True)
class Worker:
    """A worker that is ready to be run by Celery."""

    app: Celery
    identity: NodeIdentity
    context: WorkerContext

    def run(self) -> int:
        """Work until the worker is stopped; return the exit code, which is 1 if the worker failed.

        Celery's command line is left out: its modules cost about 0.1 s of processor time in each start.
        """
        settings = self.context.settings
        worker = self.app.Worker(
            hostname=self.identity.worker,
            pool_cls="threads",
            concurrency=settings.worker_concurrency or default_concurrency(),
            loglevel=settings.log_level,
            task_events=True,
            without_gossip=True,
            without_mingle=True,
        )
        worker.start()
        return int(worker.exitcode or 0)


def make_worker(settings: Settings) -> Worker:
    """Check the services and directories that a worker needs, connect to them, and build the worker.

    Raises:
        SchemaMismatch: the database has the schema of another version of Relay.
        EngineUnavailable: no container engine answers.
        DirectoryNotPrivate: a directory of the node cannot be closed to other accounts.
        DataDirElsewhere: this worker runs in a container whose data directory the container engine does not see.
        NoStepsHere: no step can be run on this node.
    """
    prepare_logs(settings.log_level)
    if opened := close_to_others(settings.data_dir):
        structlog.get_logger(__name__).info("directories were open to other accounts and are closed", names=opened)
    identity = identify(settings)
    engine = make_database(settings, application=identity.owner)
    with engine.connect() as connection:
        check_schema(connection)
    app = make_app(settings, identity.node_id)
    dispatcher = BackgroundDispatcher(CeleryDispatcher(app, engine))
    database = Database(engine, dispatcher, raise_seconds=settings.priority_raise_seconds)
    intake = make_intake(settings, identity.node_id)
    context = make_context(settings, identity, database, dispatcher, intake)
    if IN_CONTAINER.exists():
        check_data_dir(settings.data_dir, context.tool, settings.git_image)
    check_once(context.containers, settings.data_dir, settings.git_image, settings.container_network)
    with database.begin() as connection:
        capacity, declares = capacity_of(settings), settings.node_capabilities
        runtime_nodes.register(connection, identity.node_id, settings.pool, capacity, declares)
    context.leases.renew()
    runner = make_runner(context)
    register(app, runner.run)
    bind_to_logs(node_id=identity.node_id, worker=identity.worker)
    revocations = Revocations(database, context.live)
    TaskRequest.live, TaskRequest.revocations = context.live, revocations
    TaskRequest.api_url = settings.api_public_url
    RelayConsumer.intake = intake
    register_commands(revocations)
    _start_with_celery(context, DetachedTasks(runner.run), revocations)
    worker_shutdown.connect(lambda **_: dispatcher.close(), weak=False)
    return Worker(app, identity, context)


def make_intake(settings: Settings, node_id: str) -> Intake:
    """Return the queues of a worker: the node's own one is open, the pool's one is closed at first.

    The pool's queue is opened once the node is known to have free capacity.
    """
    return Intake({node_queue(node_id): True, pool_queue(settings.pool): False})


def make_context(
    settings: Settings,
    identity: NodeIdentity,
    database: Database,
    dispatcher: Dispatcher,
    intake: QueueIntake | None = None,
) -> WorkerContext:
    """Make the adapters of a worker, connected to their services. No thread is started.

    Args:
        settings: the worker's settings.
        identity: the identity of this worker and its node.
        database: Relay's database.
        dispatcher: sends messages.
        intake: opens and closes the worker's queues; None in a process that consumes no queue.
    """
    api = connect(settings.docker_host)
    retry = RetryWhileSilent(settings.engine_patience_seconds)
    containers = DockerContainers(api, retry, connect(settings.docker_host, timeout_seconds=KILL_TIMEOUT_SECONDS))
    install_programs(settings.data_dir)
    tool = DockerToolRunner(connect_high_level(settings.docker_host), retry, identity.owner)
    logs = LogStore(database)
    live_logs = LiveLogPublisher(settings)
    claimant = Claimant(identity.owner, identity.node_id, settings.pool, settings.lease_seconds)
    live = LiveExecutions()
    intake = intake or make_intake(settings, identity.node_id)
    renewals = Database(make_database(settings, application=identity.owner, connections=1), dispatcher)
    return WorkerContext(
        settings=settings,
        claimant=claimant,
        database=database,
        leases=Leases(database, renewals, claimant, live),
        dispatcher=dispatcher,
        containers=containers,
        retry_while_silent=retry,
        tool=tool,
        git=GitService(settings, tool),
        pump=LogPump(logs, live_logs),
        logs=logs,
        live_logs=live_logs,
        forwarder=Forwarder(containers),
        live=live,
        admission=Admission(settings, intake),
        metrics=Metrics(),
        secrets=SecretBox.of(settings),
    )


def _start_with_celery(context: WorkerContext, detached: DetachedTasks, revocations: Revocations) -> None:
    """Start and stop the worker's threads at Celery's signals.

    They start before Celery connects to its broker, because executions do not need it. At a shutdown all executions are
    left to other workers.
    """
    clocks = make_clocks(context, detached.adopt)
    _serve_health(context, clocks)
    (renewals,) = [clock for clock in clocks if clock.name == "leases"]
    notices = LeaseNotices(context.database, context.claimant.owner, renewals.call_soon)

    @worker_init.connect(weak=False)
    def begin(**_: Any) -> None:
        context.pump.start()
        revocations.start()
        for clock in clocks:
            clock.start()
        notices.start()

    def leave() -> None:
        context.live.let_all_go()
        context.retry_while_silent.stop()

    RelayConsumer.leave_executions = staticmethod(leave)
    worker_shutting_down.connect(lambda **_: leave(), weak=False)

    @worker_shutdown.connect(weak=False)
    def shutdown(**_: Any) -> None:
        for clock in clocks:
            clock.stop()
        context.pump.stop()


def _serve_health(context: WorkerContext, clocks: Sequence[Ticker]) -> None:
    settings, live = context.settings, context.live
    context.metrics.watch(
        {
            "slots_total": lambda: settings.worker_concurrency or default_concurrency(),
            "slots_used": lambda: len(active_requests),
            "runs_live": lambda: len(live.all()),
            "lease_age_seconds": lambda: context.leases.age_seconds,
            "log_unstored_bytes": lambda: sum(backlog.unstored_bytes for backlog in context.pump.backlogs().values()),
            "log_store_wait_seconds": lambda: context.pump.store_wait_seconds,
        }
    )
    context.metrics.watch_clocks({clock.name: partial(_age, clock) for clock in clocks})
    if settings.worker_http_port is None:
        return

    def health() -> Health:
        states = {
            clock.name: ClockState(clock.age_seconds, clock.interval_seconds, clock.name in VITAL) for clock in clocks
        }
        states["log pump"] = ClockState(context.pump.age_seconds, SCAN_SECONDS, vital=True)
        return judge(states, redis_takes_writes=_redis_takes_writes(settings))

    server = HealthServer((settings.worker_http_host, settings.worker_http_port), health, context.metrics.text)
    structlog.get_logger(__name__).info("health and metrics are served", port=server.port)


def _age(clock: Ticker) -> float:
    return clock.age_seconds


def _redis_takes_writes(settings: Settings) -> bool:
    with redis.Redis.from_url(settings.redis_url, socket_timeout=1, socket_connect_timeout=1) as client:
        return why_unfit(client) is None


def prepare_logs(level: str) -> None:
    """Configure logging so that Celery neither replaces it nor logs the text that is written to stdout."""
    configure_logging(level)
    logging.getLogger("celery.redirected").setLevel(logging.ERROR)
    setup_logging.connect(lambda **_: None, weak=False)


def prepare_environment() -> None:
    """Set the umask of this process, and silence Celery's warning about root."""
    # Users in containers read run directories and mirrors, so the caller's umask must not matter. `private_dirs` closes
    # the data directory to other accounts.
    os.umask(0o022)
    # Celery warns if a worker runs as root, because of pickle; messages are JSON here, and mounts and chown need root.
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
