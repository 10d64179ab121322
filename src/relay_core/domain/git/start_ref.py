"""The ref from which a workspace's branch starts: which names a text can stand for. Pure functions."""

import re

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import is_valid_branch

HEADS = "refs/heads/"
TAGS = "refs/tags/"
_COMMIT_ID = re.compile(r"[0-9a-fA-F]{7,40}")


def check_ref(ref: str, field: str) -> str:
    """Return the ref unchanged.

    Args:
        ref: a branch, tag, commit id or full ref name, as a client spells it.
        field: path of the ref in the request, for the error.

    Raises:
        InvalidInput: code ``ref_invalid``: git takes the text neither for a name nor for a commit id.
    """
    if not is_valid_branch(ref):
        raise InvalidInput(
            f"{ref!r} is no branch, tag, commit id or full ref name; expressions such as main~1 are not taken",
            code="ref_invalid",
            field=field,
        )
    return ref


def ref_names(ref: str) -> tuple[str, ...]:
    """Return the full names that the text can stand for, for example ``refs/heads/v1`` and ``refs/tags/v1``."""
    return (ref,) if ref.startswith("refs/") else (f"{HEADS}{ref}", f"{TAGS}{ref}")


def may_be_commit(ref: str) -> bool:
    """Return whether the text can be the id of a commit, or its first 7 or more digits."""
    return _COMMIT_ID.fullmatch(ref) is not None


def needs_own_fetch(ref: str) -> bool:
    """Return whether a fetch of all branches and tags leaves the ref out, as with ``refs/pull/7/head``."""
    return ref.startswith("refs/") and not ref.startswith((HEADS, TAGS))
