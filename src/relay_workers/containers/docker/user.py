"""Which user a container's steps run as, and the account that programs look up for it."""

import pwd
from collections.abc import Callable, Collection
from uuid import UUID

MAX_ID = 2**31 - 1
ACCOUNT_NAMES = ("agent", "relay", "relay-workspace")
"""Names of the account; the first that the image does not have."""
_NO_ACCOUNTS = b"root:x:0:0:root:/root:/bin/sh\n"


def resolve_uid(requested: int | None, image_uid: int | None, default_uid: int | None) -> int | None:
    """The uid of a workspace: what the request says, else the image's ``USER``, else the node's default.

    Args:
        requested: a number; names of accounts differ from image to image.
        image_uid: the image's user. Root counts as none: most images have simply not chosen.
        default_uid: `relay_workers.ownership.node_identity.container_uid`.

    Returns:
        None: none of them names one; the workspace gets a uid of its own (`free_uid`).
    """
    return requested if requested is not None else image_uid or default_uid


def uid_in_passwd(user: str, passwd: bytes) -> int | None:
    """The number of an image's ``USER`` (``name``, ``uid:group``…), by its ``/etc/passwd``; None for no user."""
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
    """A uid of ``span`` that no live workspace of the node and no account of the host has; None where all are used.

    The kernel counts inotify instances, pending signals and keys by uid over all containers: workspaces that share a
    uid could use up each other's. The search begins at a place that the id gives, so a uid is not soon used again, and
    two installations on one host seldom meet.
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
        passwd: None: the image has no such file.
        uid: of the workspace's steps.
        home: their home directory.
    """
    lines = [line.split(b":") for line in (passwd or b"").splitlines()]
    if any(len(fields) > 2 and fields[2] == b"%d" % uid for fields in lines):
        return None
    names = {fields[0] for fields in lines}
    name = next((one for one in ACCOUNT_NAMES if one.encode() not in names), f"relay-{uid}")
    text = _NO_ACCOUNTS if passwd is None else passwd
    ended = text if text.endswith(b"\n") or not text else text + b"\n"
    return ended + f"{name}:x:{uid}:{uid}:Relay workspace:{home}:/bin/sh\n".encode()
