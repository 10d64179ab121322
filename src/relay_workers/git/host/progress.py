"""Thins out git's progress for a log: of a line that git overwrites hundreds of times, only some states are kept."""

import re
import time
from collections.abc import Callable

SECONDS = 5.0
"""Shortest time between two states of one line that are kept."""
_LONGEST_LINE = 64 << 10
_BEHIND_ENDS = re.compile(rb"(?<=[\r\n])")


class ProgressLog:
    """Passes on complete lines, and one state that ends in a carriage return per `SECONDS`."""

    def __init__(self, target: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._clock = clock
        self._last_state_at = clock()
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take the next bytes of git's stderr, which may be cut anywhere."""
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
        """Pass on the last line if it has no line end."""
        if self._rest:
            self._target(self._rest)
        self._rest = b""

    def _due(self) -> bool:
        now = self._clock()
        if now - self._last_state_at < SECONDS:
            return False
        self._last_state_at = now
        return True
