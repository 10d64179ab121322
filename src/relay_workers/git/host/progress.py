"""Progress of git for a log: a line that overwrites itself hundreds of times is told now and then, and at its end."""

import re
import time
from collections.abc import Callable

SECONDS = 5.0
"""Between two states of a line that goes on."""
_LONGEST_LINE = 64 << 10
_BEHIND_ENDS = re.compile(rb"(?<=[\r\n])")


class ProgressLog:
    """Passes lines on; of the states that end in a carriage return only one in `SECONDS`."""

    def __init__(self, target: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._clock = clock
        self._told = clock()
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take what git wrote, cut anywhere."""
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
        """Pass on what has no line end."""
        if self._rest:
            self._target(self._rest)
        self._rest = b""

    def _due(self) -> bool:
        now = self._clock()
        if now - self._told < SECONDS:
            return False
        self._told = now
        return True
