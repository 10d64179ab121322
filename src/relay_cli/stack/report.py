"""What the local stack tells the person at the keyboard: one line per thing done, on standard error."""

import sys


def say(message: str) -> None:
    """Prints one line at once; standard output stays free for answers."""
    print(f"relay: {message}", file=sys.stderr, flush=True)
