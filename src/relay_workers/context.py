"""What every part of a worker works with, made once by the bootstrap and passed as one argument."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from relay_core.doorbell import Doorbell
from relay_core.live_logs import LiveLogPublisher
from relay_core.postgres.lifecycle import Claimant
from relay_core.postgres.logs import LogStore
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_workers.capacity import Admission
from relay_workers.capture.pump import LogPump
from relay_workers.engine.forward import Forwarder
from relay_workers.engine.patience import Patience
from relay_workers.engine.port import ContainerEngine
from relay_workers.git.service import GitService
from relay_workers.git.tool import ToolRunner
from relay_workers.live import LiveRuns
from relay_workers.metrics import Metrics


@dataclass(frozen=True)
class WorkerContext:
    """The ports and facts of one worker."""

    settings: Settings
    claimant: Claimant
    database: Engine
    lease_database: Engine
    """One connection for the renewal of leases, which must not wait for the threads of runs."""
    doorbell: Doorbell
    engine: ContainerEngine
    patience: Patience
    """With the engine; ended when this worker goes away."""
    tool: ToolRunner
    git: GitService
    pump: LogPump
    logs: LogStore
    live_logs: LiveLogPublisher
    forwarder: Forwarder
    live: LiveRuns
    admission: Admission
    metrics: Metrics
    secrets: SecretBox

    def workspace_dir(self, workspace_id: object) -> Path:
        """Where a workspace lives on this node."""
        return self.settings.data_dir / "workspaces" / str(workspace_id)
