"""The uid that the steps of a workspace run as, and the account that programs find for it. Pure, but `has_account`."""

import pwd
from collections.abc import Callable, Collection
from uuid import UUID

MAX_ID = 2**31 - 1
ACCOUNT_NAMES = ("agent", "relay", "relay-workspace")
"""Names for the account; the first that the image does not have is taken."""
_NO_ACCOUNTS = b"root:x:0:0:root:/root:/bin/sh\n"


def resolve_uid(requested: int | None, image_uid: int | None, default_uid: int | None) -> int | None:
    """The uid of a workspace: that of the request, else of the image's ``USER``, else the node's default.

    Args:
        requested: a number, as names of accounts differ from image to image; None: the request has none.
        image_uid: the image's user. Root (0) counts as none, as most images have not chosen a user.
        default_uid: `relay_workers.ownership.node_identity.container_uid`.

    Returns:
        The uid, or None where the workspace is to get a uid of its own (`free_uid`).
    """
    return requested if requested is not None else image_uid or default_uid


def uid_in_passwd(user: str, passwd: bytes) -> int | None:
    """The uid of an image's ``USER``; None where that is empty or no account.

    Args:
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid``.
        passwd: the image's ``/etc/passwd``.
    """
    name = user.split(":", 1)[0]
    if not name:
        return None
    if name.isascii() and name.isdecimal():
        return int(name) if int(name) <= MAX_ID else None
    for line in passwd.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isascii() and fields[2].isdecimal():
            return int(fields[2])
    return None


def free_uid(workspace_id: UUID, span: range, taken: Collection[int], is_account: Callable[[int], bool]) -> int | None:
    """A uid for one workspace alone; None where all of ``span`` are used.

    The kernel counts inotify instances, pending signals and keys by uid over all containers, so workspaces that share
    a uid could use up each other's. The search begins at a place that follows from the id: so a uid is not used again
    soon, and two installations on one host seldom choose the same.

    Args:
        workspace_id: the workspace.
        span: the uids to choose from.
        taken: uids of live workspaces of the node.
        is_account: whether the host has an account with a uid.
    """
    first = workspace_id.int % len(span)
    candidates = (span[(first + step) % len(span)] for step in range(len(span)))
    return next((uid for uid in candidates if uid not in taken and not is_account(uid)), None)


def has_account(uid: int) -> bool:
    """Whether this host has an account with that uid."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def with_account(passwd: bytes | None, uid: int, home: str) -> bytes | None:
    """An image's ``/etc/passwd`` with an account for ``uid``; None where it needs no change.

    `whoami`, ssh, Node's ``os.userInfo()`` and the like fail for a uid without a name.

    Args:
        passwd: the content; None where the image has no such file.
        uid: of the workspace's steps.
        home: the path of their home directory.
    """
    lines = [line.split(b":") for line in (passwd or b"").splitlines()]
    if any(len(fields) > 2 and fields[2] == b"%d" % uid for fields in lines):
        return None
    names = {fields[0] for fields in lines}
    name = next((candidate for candidate in ACCOUNT_NAMES if candidate.encode() not in names), f"relay-{uid}")
    text = _NO_ACCOUNTS if passwd is None else passwd
    ended = text if text.endswith(b"\n") or not text else text + b"\n"
    return ended + f"{name}:x:{uid}:{uid}:Relay workspace:{home}:/bin/sh\n".encode()
