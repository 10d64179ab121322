"""The adapters and facts from which one worker is built. Only `assembly` and `maintenance.clocks` take parts of it."""

from dataclasses import dataclass

from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.queue.dispatcher import Dispatcher
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_workers.capture.pump import LogPump
from relay_workers.containers.forwarding import PortForwarder
from relay_workers.containers.port import Containers
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.port import Git
from relay_workers.metrics import Metrics
from relay_workers.ownership.admission import Admission
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import LiveExecutions


@dataclass(frozen=True)
class WorkerContext:
    """The adapters and facts of one worker (`bootstrap.make_context` makes them)."""

    settings: Settings
    claimant: Claimant
    database: Database
    leases: Leases
    dispatcher: Dispatcher
    containers: Containers
    retry_while_silent: RetryWhileSilent
    """Repeats calls to a container engine that does not answer; its retries stop when this worker shuts down."""
    tool: ToolRunner
    git: Git
    pump: LogPump
    logs: LogStore
    live_logs: LiveLogPublisher
    forwarder: PortForwarder
    live: LiveExecutions
    admission: Admission
    metrics: Metrics
    secrets: SecretBox
