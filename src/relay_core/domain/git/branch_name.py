"""Names for workspaces' branches and for the directories of clones. Pure functions."""

import re
import unicodedata
from collections.abc import Sequence
from uuid import UUID

from relay_core.domain.errors import InvalidInput

MAX_SLUG_LENGTH = 40
MAX_BRANCH_BYTES = 200
MAX_REPO_NAME_LENGTH = 100

_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_REPO_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PARTIAL = ".partial-"


def branch_name(prefix: str, workspace_id: UUID, title: str) -> str:
    """Return ``{prefix}{8 hex digits}-{slug}``, the name of a workspace's branch.

    The digits are the first of the workspace's id. The slug is made of the letters and digits of the title; without
    any, it is left out.

    Raises:
        InvalidInput: the prefix makes no valid branch name.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain[:1000]))[:MAX_SLUG_LENGTH].strip("-")
    name = f"{prefix}{workspace_id.hex[:8]}" + (f"-{slug}" if slug else "")
    if not is_valid_branch(name):
        raise InvalidInput(f"branch prefix {prefix!r} makes no valid branch name", code="branch_prefix_invalid")
    return name


def is_valid_branch(name: str) -> bool:
    """Return whether git accepts a name as a branch and cannot mistake it for an option.

    The rules are those of ``git check-ref-format --branch``.
    """
    if not name or name.startswith("-") or name in {"@", "HEAD"} or _BAD_IN_REF.search(name):
        return False
    try:
        long = len(name.encode()) > MAX_BRANCH_BYTES
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return not (long or name.endswith(".") or any(_bad_component(part) for part in parts))


def is_valid_repo_name(name: str) -> bool:
    """Return whether the directory of a clone may have this name.

    It must be a single path component that is not hidden, does not look like an option and does not end in ``.git``.
    """
    plain = _REPO_NAME.fullmatch(name) is not None and len(name) <= MAX_REPO_NAME_LENGTH
    return plain and not name.lower().endswith(".git") and _PARTIAL not in name and not name.endswith(".")


def repo_name_from_url(url: str) -> str:
    """Return a directory name for a clone: the last part of the URL's path without unusual characters.

    It is ``repo`` if nothing usable is left. The name never contains ``/`` or NUL, starts with ``.`` or ``-``, or ends
    in ``.git``.
    """
    last = re.split(r"[/:\\]", url.rstrip("/\\: "))[-1]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).replace(_PARTIAL, "-")[:MAX_REPO_NAME_LENGTH]
    while name != (name := re.sub(r"(?i)\.git$", "", name).rstrip(".-")):
        pass
    name = name.lstrip(".-")
    return name if is_valid_repo_name(name) else "repo"


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names in the same order, with ``-2``, ``-3`` and so on added to repeated ones.

    Names that differ only in case count as equal.
    """
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 2
        while candidate.lower() in seen or (candidate != name and candidate.lower() in taken):
            candidate, number = f"{name[: MAX_REPO_NAME_LENGTH - 5]}-{number}", number + 1
        seen.add(candidate.lower())
        result.append(candidate)
    return result


def _bad_component(part: str) -> bool:
    return not part or part.startswith(".") or part.endswith(".lock")
