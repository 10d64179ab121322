"""The secrets that are masked in the output of one live execution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from relay_core.domain.logs.masking import SecretMask


@dataclass
class LiveSecrets:
    """The mask of one live execution.

    It grows when a secret is stored or given to another execution of the workspace.
    """

    workspace_id: UUID
    mask: SecretMask
    """Shared by all code that stores texts of the execution, except the capture of its log."""
    tell_capture: Callable[[Sequence[bytes]], None]
    """Passes the values to the capture, which masks the log itself."""
    stamp: tuple[Any, ...] | None = None
    """Version in Postgres of the values in `mask`; None before the first comparison."""

    def set_secrets(self, values: Sequence[bytes]) -> None:
        """Mask exactly these values from now on. Does nothing if they are the values that are masked already."""
        if tuple(values) != self.mask.secrets:
            self.mask.set_secrets(values)
            self.tell_capture(values)
