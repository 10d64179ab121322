"""What the local stack tells the person at the keyboard: one line per thing done, on standard error."""

import sys

from relay_cli.terminal import indented


def say(message: str) -> None:
    """Prints one line at once; standard output stays free for answers."""
    print(f"relay: {indented(message)}", file=sys.stderr, flush=True)
