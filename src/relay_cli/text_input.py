"""Reads a text for a request: from an option, a file, or standard input."""

import sys
from pathlib import Path

from relay_cli.errors import CommandFailed


def read_text(given: str | None, file: Path | None, what: str) -> str | None:
    """Return the text that a person gave; None if there is none.

    Args:
        given: the text itself; None if it was not given.
        file: a file that contains it, `-` for standard input; None if none was named.
        what: what the text is, for errors.

    Raises:
        CommandFailed: both are given, or the file cannot be read as text.
    """
    if given is not None and file is not None:
        raise CommandFailed(f"give {what} either itself or as a file", 2)
    if file is None:
        return given
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{what} cannot be read: {error}", 2) from None
