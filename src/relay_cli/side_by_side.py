"""Show steps that run at the same time side by side, as `docker compose` does: `app | line`."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from relay_cli.log_stream import Writer
from relay_cli.rendering.style import Style
from relay_core.console.terminal_text import safe_line
from relay_core.domain.logs.side_by_side import PrefixedLines, names_of

COLOURS = ("cyan", "yellow", "green", "magenta")


class Stopped(Exception):  # noqa: N818 - no error: the person has interrupted the command
    """Raised in the thread of a step when the command no longer shows it."""


class Turnstile:
    """Lets one thread at a time write, and none after `stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until this thread may write; it may while the block runs.

        Raises:
            Stopped: the command no longer shows the step.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            yield

    def stop(self, writers: Sequence["PrefixedWriter"]) -> None:
        """Let the writers write what they keep of a line, and then nothing more."""
        with self._lock:
            self._stopped = True
            for writer in writers:
                writer.write_rest()


class PrefixedWriter:
    """Writes whole lines, each after the name of its step.

    Args:
        target: gets the lines.
        turnstile: that of all steps that are shown together.
        prefix: what each line begins with.
    """

    def __init__(self, target: Writer, turnstile: Turnstile, prefix: bytes) -> None:
        self._target = target
        self._turnstile = turnstile
        self._lines = PrefixedLines(prefix)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the log."""
        with self._turnstile.turn():
            self._target.write(self._lines.feed(data))

    def end_line(self) -> None:
        """Write the line that has not ended, as a line."""
        with self._turnstile.turn():
            self.write_rest()

    def write_rest(self) -> None:
        """Do the same for a caller that has the turn."""
        self._target.write(self._lines.end())


Show = Callable[[dict[str, Any], Mapping[str, PrefixedWriter]], object]
"""Shows a step to its end on the given writers."""


def show_side_by_side(
    steps: Sequence[dict[str, Any]], writers: Mapping[str, Writer], styles: Mapping[str, Style], show: Show
) -> None:
    """Show steps until all of them have ended; their lines are mixed as they arrive.

    Args:
        steps: the steps, as the API answers with them.
        writers: a writer for each stream.
        styles: colours of the names, by stream.
        show: is called in a thread for each step.

    Raises:
        Exception: the first error of ``show``; the other steps are shown to their ends before.
        KeyboardInterrupt: the person interrupted the command. What was taken is written, and nothing after it.
    """
    turnstile, errors, threads = Turnstile(), list[Exception](), list[threading.Thread]()
    made: list[PrefixedWriter] = []

    def follow(step: dict[str, Any], own: Mapping[str, PrefixedWriter]) -> None:
        try:
            show(step, own)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - raised again in the command's own thread
            errors.append(error)

    names = names_of([(step["run_reason"], step["repo"]) for step in steps])
    for place, (step, name) in enumerate(zip(steps, names, strict=True)):
        before, colour = f"{safe_line(name)} | ", COLOURS[place % len(COLOURS)]
        own = {
            stream: PrefixedWriter(writer, turnstile, styles[stream].paint(before, colour).encode())
            for stream, writer in writers.items()
        }
        made += own.values()
        threads.append(threading.Thread(target=follow, args=(step, own), daemon=True))
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        turnstile.stop(made)
        raise
    if errors:
        raise errors[0]
