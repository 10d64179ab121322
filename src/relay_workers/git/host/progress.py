"""Read git's progress output: for a log, keep only some states of a line that git overwrites hundreds of times."""

import re
import time
from collections.abc import Callable

from relay_core.domain.git.fetch_progress import FetchProgress, read_progress

SECONDS = 5.0
"""Minimum time between two kept states of an overwritten line."""
_LONGEST_LINE = 64 << 10
_OF_THE_NODE = b"Cloning into bare repository "
"""Begin of a line that names a directory of the node; it is left out of logs."""
_BEHIND_ENDS = re.compile(rb"(?<=[\r\n])")


class ProgressLog:
    """Passes complete lines to a function; of states that git overwrites (carriage return), only one per `SECONDS`.

    Args:
        target: called with the kept output.
        clock: returns the time in seconds.
        on_state: called with each state of a fetch, also with those that are not kept; None: not called. It must not
            block, because git waits meanwhile.
    """

    def __init__(
        self,
        target: Callable[[bytes], None],
        clock: Callable[[], float] = time.monotonic,
        on_state: Callable[[FetchProgress], None] | None = None,
    ) -> None:
        self._target = target
        self._on_state = on_state
        self._clock = clock
        self._last_state_at = clock()
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Process the next bytes of git's stderr; they may begin and end in the middle of a line."""
        data = self._rest + data
        shown = bytearray()
        *lines, self._rest = _BEHIND_ENDS.split(data)
        for line in lines:
            self._tell_state(line)
            if not line.startswith(_OF_THE_NODE) and (line.endswith(b"\n") or self._due()):
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

    def _tell_state(self, line: bytes) -> None:
        if self._on_state is not None and (state := read_progress(line)) is not None:
            self._on_state(state)

    def _due(self) -> bool:
        now = self._clock()
        if now - self._last_state_at < SECONDS:
            return False
        self._last_state_at = now
        return True
