"""Reduce git's progress output for a log: of a line that git overwrites hundreds of times, keep only some states."""

import re
import time
from collections.abc import Callable

SECONDS = 5.0
"""Minimum time between two kept states of an overwritten line."""
_LONGEST_LINE = 64 << 10
_BEHIND_ENDS = re.compile(rb"(?<=[\r\n])")


class ProgressLog:
    """Passes complete lines to a function; of states that git overwrites (carriage return), only one per `SECONDS`.

    Args:
        target: called with the kept output.
        clock: returns the time in seconds.
    """

    def __init__(self, target: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._clock = clock
        self._last_state_at = clock()
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Process the next bytes of git's stderr; they may begin and end in the middle of a line."""
        data = self._rest + data
        shown = bytearray()
        *lines, self._rest = _BEHIND_ENDS.split(data)
        for line in lines:
            if line.endswith(b"\n") or self._due():
                shown += line
        if len(self._rest) > _LONGEST_LINE:
            shown += self._rest
            self._rest = b""
        if shown:
            self._target(bytes(shown))

    def end(self) -> None:
        """Pass the last line to `target` if no line end follows it; called after the last byte."""
        if self._rest:
            self._target(self._rest)
        self._rest = b""

    def _due(self) -> bool:
        now = self._clock()
        if now - self._last_state_at < SECONDS:
            return False
        self._last_state_at = now
        return True
