"""Secrets that are stored, or given to another execution, while one runs: it masks them too, a moment later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.store.projects import secrets
from relay_core.store.workspaces import workspace_rows
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.secret_values import to_mask

LOOK_SECONDS = 1.0
"""Between two looks, each one query for all that runs with secrets here."""

log = structlog.get_logger(__name__)


@dataclass
class LiveSecrets:
    """What is masked of one live execution."""

    workspace_id: UUID
    mask: SecretMask
    """Shared by all that store texts of it."""
    tell_capture: Callable[[Sequence[bytes]], None]
    stamp: tuple[Any, ...] | None = None
    """Of the values in `mask`; None before the first look."""

    def learn(self, values: Sequence[bytes]) -> None:
        """Mask these from now on."""
        if tuple(values) != self.mask.secrets:
            self.mask.learn(values)
            self.tell_capture(values)


def sweep(context: WorkerContext) -> None:
    """Look what has changed, and tell those that mask it."""
    if live := [control.secrets for control in context.live.all() if control.secrets is not None]:
        refresh(context, live)


def refresh(context: WorkerContext, live: Sequence[LiveSecrets]) -> None:
    """The same for some."""
    with context.database.connect() as connection:
        stamps = secrets.stamps(connection, list({one.workspace_id for one in live}))
    changed = [one for one in live if one.stamp != stamps[one.workspace_id]]
    for workspace_id in {one.workspace_id for one in changed}:
        with context.database.connect() as connection:
            row = workspace_rows.load(connection, workspace_id)
        try:
            values = to_mask(context.secrets, row)
        except StepFailed as error:  # what runs keeps the mask that it has
            log.warning("a new secret cannot be masked", workspace_id=str(workspace_id), error=str(error))
            continue
        for one in changed:
            if one.workspace_id == workspace_id:
                one.learn(values)
                one.stamp = stamps[workspace_id]
