"""Show the logs of steps that run at the same time side by side: each line begins with the name of its step."""

from collections.abc import Sequence

LONGEST_LINE = 64 << 10
"""Bytes after which a line without an end is shown as a line of its own."""


def names_of(steps: Sequence[tuple[str, str | None]]) -> list[str]:
    """Return the names that tell steps apart, all of the same length: the repositories, else kind and repository.

    Args:
        steps: kind and repository of each step.
    """
    repos = [repo for _, repo in steps if repo]
    short = len(set(repos)) == len(steps)
    names = [repo or kind if short else f"{kind} {repo or ''}".rstrip() for kind, repo in steps]
    width = max(map(len, names), default=0)
    return [name.ljust(width) for name in names]


class PrefixedLines:
    """Puts a prefix before each line of a log; keeps an incomplete line until its end arrives.

    Args:
        prefix: what each line begins with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the log, and return the lines that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LONGEST_LINE:
            lines.append(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        return b"".join(self._prefix + line + b"\n" for line in lines)

    def end(self) -> bytes:
        """Return the incomplete line that is left, as a line; nothing if there is none."""
        return self.feed(b"\n") if self._rest else b""
