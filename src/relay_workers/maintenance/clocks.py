"""Makes all clocks of a worker. A clock is a thread that calls one function periodically (`Ticker`).

There is no Celery beat and no leader: every worker runs all clocks. A sweep that concerns all nodes is done by the
worker that has its turn (`SweepTurns`). A clock waits for at most one external service; a clock that needs only
Postgres never waits for the container engine or for Redis.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from relay_workers.execution import git_watch, secret_refresh
from relay_workers.execution.assembly import (
    make_anchors,
    make_git_watch,
    make_partial_evidence,
    make_remade_containers,
    make_tokens,
)
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.step_log import stored_ends
from relay_workers.maintenance import (
    database_upkeep,
    disk_limits,
    disk_pressure,
    heartbeat,
    pool_queue,
    presence,
    pump_watchdog,
    requeue,
    tool_leftovers,
)
from relay_workers.maintenance.adoption import Adoption, OrphanFinder
from relay_workers.maintenance.disk_limits import DiskLimits
from relay_workers.maintenance.disk_meter import DiskMeter
from relay_workers.maintenance.disk_pressure import DiskPressure
from relay_workers.maintenance.divergence import DivergenceFinder
from relay_workers.maintenance.divergence_repairs import DivergenceRepairs
from relay_workers.maintenance.divergence_sweep import DivergenceSweep
from relay_workers.maintenance.expired_workspaces import EXPIRY_SECONDS, ExpiredWorkspaces
from relay_workers.maintenance.heartbeat import Heartbeat
from relay_workers.maintenance.leftovers import Leftovers
from relay_workers.maintenance.mirror_purges import MirrorPurges
from relay_workers.maintenance.pull_requests import PullRequests
from relay_workers.maintenance.quarantine import Quarantine
from relay_workers.maintenance.reaper import Reaper
from relay_workers.maintenance.remakes import Remakes
from relay_workers.maintenance.sweep_turns import SweepTurns
from relay_workers.maintenance.ticker import Ticker
from relay_workers.maintenance.workspace_requests import WorkspaceRequests

SWEEP_SECONDS = 5.0
"""Interval of most clocks, in seconds."""
VITAL = frozenset({"heartbeat", "leases", "sweeps", "admission", "adoption"})
"""Clocks without which executions are lost or never end. If one of them stands still, the worker should be restarted.

They wait for Postgres and for nothing else.
"""


def make_clocks(context: WorkerContext, adopt: Callable[[UUID, int], None]) -> list[Ticker]:
    """Make the clocks of a worker, without starting them.

    Args:
        context: the adapters and facts of the worker.
        adopt: `relay_workers.celery.detached_tasks.DetachedTasks.adopt`.
    """
    turns = SweepTurns(context.database)
    context.leases.told = turns.tell
    vital = _vital_clocks(context, turns, adopt)
    return [*vital, *_database_clocks(context, turns), *_node_clocks(context), *_disk_clocks(context)]


def _vital_clocks(context: WorkerContext, turns: SweepTurns, adopt: Callable[[UUID, int], None]) -> list[Ticker]:
    settings, database, claimant = context.settings, context.database, context.claimant
    dispatcher, metrics = context.dispatcher, context.metrics
    beats = Heartbeat(settings, claimant, database, context.containers)
    adoption = Adoption(orphan_finder(context), context.live, dispatcher, metrics, adopt)
    follow = partial(pool_queue.sweep, claimant.node_id, database, context.admission, dispatcher)
    admission = Ticker("admission", SWEEP_SECONDS, follow)
    context.admission.look_soon = admission.call_soon
    return [
        Ticker("heartbeat", settings.node_heartbeat_seconds, beats.beat),
        Ticker("capabilities", heartbeat.CAPABILITIES_SECONDS, beats.ask_engine),
        Ticker("leases", settings.lease_renew_seconds, context.leases.renew),
        turns.clock("sweeps", partial(presence.sweep, database, settings.presence, metrics)),
        admission,
        Ticker("adoption", SWEEP_SECONDS, adoption.sweep),
    ]


def _database_clocks(context: WorkerContext, turns: SweepTurns) -> list[Ticker]:
    settings, database, dispatcher, metrics = context.settings, context.database, context.dispatcher, context.metrics
    log_ends = partial(stored_ends, context.logs)
    reaper = Reaper(database, context.claimant.owner, settings.presence, log_ends, context.live_logs)
    refresh = secret_refresh.SecretRefresh(database, context.secrets, context.live)
    asked = PullRequests(database, make_tokens(context), settings.pull_request_poll_seconds)
    upkeep = partial(database_upkeep.sweep, database, settings, metrics)
    return [
        turns.clock("messages", partial(requeue.sweep, database, dispatcher, metrics)),
        turns.clock("reaper", lambda: metrics.swept("lost_run", reaper.sweep())),
        turns.clock("upkeep", upkeep),
        turns.clock("pull_requests", lambda: metrics.swept("pull_requests", asked.sweep())),
        Ticker("watchdog", pump_watchdog.WATCHDOG_SECONDS, partial(pump_watchdog.check, context.pump)),
        Ticker("secrets", secret_refresh.LOOK_SECONDS, refresh.sweep),
    ]


def _node_clocks(context: WorkerContext) -> list[Ticker]:
    data_dir, node_id, metrics = context.settings.data_dir, context.claimant.node_id, context.metrics
    requests = WorkspaceRequests(node_id, data_dir, context.database, context.containers, metrics)
    tools = partial(tool_leftovers.sweep, data_dir, node_id, context.tool, metrics)
    left = make_leftovers(context)
    mirrors = MirrorPurges(node_id, context.database, context.git)
    remakes = Remakes(node_id, data_dir, context.database, make_remade_containers(context), metrics)

    def purges() -> None:
        metrics.swept("mirrors", mirrors.sweep())

    def carry_out() -> None:
        requests.sweep()
        metrics.swept("leftovers", left.sweep())

    return [
        Ticker("engine", SWEEP_SECONDS, carry_out),
        Ticker("divergence", SWEEP_SECONDS, DivergenceSweep(divergence_finder(context), metrics).sweep),
        Ticker("mirrors", SWEEP_SECONDS, purges),
        Ticker("anchors", SWEEP_SECONDS, make_anchors(context).sweep),
        Ticker("quarantine", SWEEP_SECONDS, make_quarantine(context).sweep),
        Ticker("restores", SWEEP_SECONDS, make_quarantine(context).sweep_restores),
        Ticker("remakes", SWEEP_SECONDS, remakes.sweep),
        Ticker("expiry", EXPIRY_SECONDS, make_expired_workspaces(context).sweep),
        Ticker("git_state", git_watch.LOOK_SECONDS, make_git_watch(context).sweep),
        Ticker("leavings", tool_leftovers.SWEEP_SECONDS, tools),
    ]


def _disk_clocks(context: WorkerContext) -> list[Ticker]:
    live, metrics = context.live, context.metrics
    meter = DiskMeter(context.containers)
    pressure = DiskPressure(context.settings, live, meter, context.pump, metrics)
    return [
        Ticker("disk", disk_limits.MEASURE_SECONDS, DiskLimits(live, meter, metrics).sweep),
        Ticker("pressure", disk_pressure.PRESSURE_SECONDS, pressure.sweep),
    ]


def make_expired_workspaces(context: WorkerContext) -> ExpiredWorkspaces:
    """Make the sweep that keeps the work of idle workspaces of this node, and then deletes them."""
    node_id = context.claimant.node_id
    return ExpiredWorkspaces(node_id, context.settings, context.database, context.git, context.secrets, context.metrics)


def make_leftovers(context: WorkerContext) -> Leftovers:
    """Make the sweep that kills processes which ended executions left on this node."""
    node_id, data_dir = context.claimant.node_id, context.settings.data_dir
    evidence = make_partial_evidence(context)
    return Leftovers(node_id, data_dir, context.database, context.containers, context.git, evidence)


def make_quarantine(context: WorkerContext) -> Quarantine:
    """Make the part that keeps, restores and removes the files of deleted workspaces of this node."""
    places = (context.claimant.node_id, context.settings)
    return Quarantine(*places, context.database, context.containers, context.git, context.metrics)


def orphan_finder(context: WorkerContext) -> OrphanFinder:
    """Make the finder of orphaned executions of this node."""
    return OrphanFinder(context.database, context.claimant, context.settings.data_dir)


def divergence_finder(context: WorkerContext) -> DivergenceFinder:
    """Make the finder of differences between this node and Postgres."""
    node_id, data_dir, database = context.claimant.node_id, context.settings.data_dir, context.database
    repairs = DivergenceRepairs(node_id, data_dir, database, context.containers, make_quarantine(context))
    return DivergenceFinder(node_id, data_dir, database, context.containers, repairs)
