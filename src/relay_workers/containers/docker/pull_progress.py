"""Tells the progress of a pull for the log of a clone. It tells numbers only: no text that a registry sent."""

import time
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 2.0
"""Least seconds between two states in the log."""
_MIB = 1 << 20
_ENDED = {"Download complete", "Pull complete", "Extracting", "Verifying Checksum"}


class PullProgress:
    """Adds up the layers of one pull and tells their sum as git tells its progress: a line that overwrites itself.

    Args:
        tell: gets the lines.
        clock: returns the time in seconds.
    """

    def __init__(self, tell: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._told_at = clock()
        self._told = False
        self._layers: dict[str, tuple[int, int]] = {}
        """Bytes that were downloaded and bytes altogether, by layer."""

    def begin(self, ref: str) -> None:
        """Tell that the pull of an image begins."""
        self._tell(f"relay: pulling image {ref}\n".encode())

    def take(self, event: Mapping[str, Any]) -> None:
        """Record a line of the engine's answer; tell the sum if the last one was told some seconds ago."""
        layer, status = str(event.get("id")), event.get("status")
        detail = event.get("progressDetail") or {}
        if status == "Downloading":
            done, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
            self._layers[layer] = (done, max(done, total))
        elif status in _ENDED and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        if self._layers and self._clock() - self._told_at >= SECONDS:
            self._told_at, self._told = self._clock(), True
            self._tell(self._line() + b"\r")

    def end(self) -> None:
        """Tell that the pull is done, if its progress was told."""
        if self._told:
            self._layers = {layer: (total, total) for layer, (_, total) in self._layers.items()}
            self._tell(self._line() + b", done.\n")

    def _line(self) -> bytes:
        done, total = (sum(layer[at] for layer in self._layers.values()) // _MIB for at in (0, 1))
        percent = 100 * done // max(1, total)
        return f"Pulling image: {percent:3d}% ({done}/{total}), MiB".encode()
