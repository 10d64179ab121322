"""Patterns of files that git does not have, and that a workspace gets all the same: `.env`, local certificates.

One pattern a line, or separated by commas, relative to the root of the repository, with `/` between names. `*` and `?`
stand for characters within a name, `**` for any number of directories. A blank line and one that begins with `#` count
for nothing.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from relay_core.domain.errors import InvalidInput

MOST_PATTERNS = 100
MOST_PATH_BYTES = 1024
"""Most bytes of the path of a stored file."""
MOST_NAME_BYTES = 255
MOST_FILES = 500
"""Most files that one repository's patterns copy."""
_WILD = frozenset("*?[")

Pattern = tuple[str, ...]
"""The names of a path, each a pattern; `**` stands for any number of them."""


def parse(text: str | None) -> list[Pattern]:
    """Return the patterns of a text.

    Raises:
        InvalidInput: `copy_files_invalid`: a pattern leads out of the repository or into `.git`, or there are too many.
    """
    lines = [line.strip() for part in (text or "").splitlines() for line in part.split(",")]
    found = [_pattern(line) for line in lines if line and not line.startswith("#")]
    if len(found) > MOST_PATTERNS:
        raise _invalid(f"copy_files has {len(found)} patterns; at most {MOST_PATTERNS} are allowed")
    return found


def stored_path(text: str) -> Pattern:
    """Return the names of the path at which a stored file is put into clones.

    Raises:
        InvalidInput: `file_path_invalid`: the path leads out of the repository or into `.git`, is too long, or has
            characters that cannot be printed.
    """
    names = tuple(text.split("/"))
    inside = "" not in names and not {".", ".."} & set(names) and all(name.lower() != ".git" for name in names)
    plain = text.isprintable() and not {'"', "\\"} & set(text)
    if not (inside and plain and _fits(text, MOST_PATH_BYTES) and all(_fits(name, MOST_NAME_BYTES) for name in names)):
        message = (
            "the path of a file must be relative to the root of the repository, without .., .git, quotes, \\ and "
            f"characters that cannot be printed, of at most {MOST_PATH_BYTES} bytes, and {MOST_NAME_BYTES} in a name"
        )
        raise InvalidInput(message, code="file_path_invalid", field="path")
    return names


def matches(pattern: Pattern, path: Sequence[str]) -> bool:
    """Return whether a path, as its names, matches a pattern; upper and lower case differ."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(matches(pattern[1:], path[start:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and matches(pattern[1:], path[1:])


def may_lead_to(pattern: Pattern, directory: Sequence[str]) -> bool:
    """Return whether a file below a directory, given as its names, may match a pattern."""
    for place, name in enumerate(directory):
        if place >= len(pattern) - 1 and "**" not in pattern[: place + 1]:
            return False
        if pattern[place] == "**":
            return True
        if not fnmatchcase(name, pattern[place]):
            return False
    return True


def _pattern(line: str) -> Pattern:
    names = tuple(name for name in line.split("/") if name != ".")
    if line.startswith("/") or "" in names or ".." in names or "\0" in line or "\\" in line or not names:
        raise _invalid(f"{line!r} is no pattern of a file in the repository: it must be relative, without .. and \\")
    if any(name.lower() == ".git" for name in names):
        raise _invalid(f"{line!r} leads into .git, whose files are never copied")
    if names.count("**") > 3:
        raise _invalid(f"{line!r} has more than three **")
    return names


def _fits(text: str, most_bytes: int) -> bool:
    return len(text.encode("utf-8", "surrogatepass")) <= most_bytes


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, code="copy_files_invalid", field="copy_files")
