"""Secrets masked in the output of one live execution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relay_core.domain.logs.masking import SecretMask


@dataclass
class LiveSecrets:
    """The mask of one live execution, which grows when a secret is stored or given to another execution."""

    workspace_id: UUID
    mask: SecretMask
    """Shared by everything that stores texts of the execution, except the capture of its log."""
    tell_capture: Callable[[Sequence[bytes]], None]
    """Gives the values to the capture, which masks the log itself."""
    stamp: tuple[Any, ...] | None = None
    """Version of the values in `mask`, as Postgres has it; None before the first comparison."""

    def learn(self, values: Sequence[bytes]) -> None:
        """Mask these values from now on; does nothing when they are the values masked already."""
        if tuple(values) != self.mask.secrets:
            self.mask.learn(values)
            self.tell_capture(values)
