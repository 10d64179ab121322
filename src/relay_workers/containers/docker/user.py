"""Chooses the uid of a workspace's steps and builds the account entry for it. Pure, except `has_account`."""

import pwd
from collections.abc import Callable, Collection
from uuid import UUID

MAX_ID = 2**31 - 1
ACCOUNT_NAMES = ("agent", "relay", "relay-workspace")
"""Names for the account, in order of preference; the first one that the image does not use is taken."""
_NO_ACCOUNTS = b"root:x:0:0:root:/root:/bin/sh\n"


def resolve_uid(requested: int | None, image_uid: int | None, default_uid: int | None) -> int | None:
    """Return the uid of a workspace: that of the request, else of the image's ``USER``, else the node's default.

    Args:
        requested: the uid of the request; None if it has none. A request cannot name an account, because account names
            differ from image to image.
        image_uid: the uid of the image's user; None if it has none. Root (0) counts as none, because most images have
            simply not chosen a user.
        default_uid: the result of `relay_workers.ownership.node_identity.container_uid`.

    Returns:
        The uid; None if the workspace should get a uid that no other workspace has (`free_uid`).
    """
    return requested if requested is not None else image_uid or default_uid


def uid_in_passwd(user: str, passwd: bytes) -> int | None:
    """Return the uid of an image's ``USER``; None if that is empty or no account has the name.

    Args:
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid``.
        passwd: the content of the image's ``/etc/passwd``.
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
    """Return a uid that only this workspace uses; None if all of ``span`` are taken.

    The kernel limits inotify instances, pending signals and keys per uid over all containers, so workspaces that share
    a uid could exhaust each other's limits. The search starts at a position derived from the workspace's id. So a freed
    uid is not reused soon, and two installations on one host rarely choose the same one.

    Args:
        workspace_id: the workspace.
        span: the uids to choose from.
        taken: the uids of the node's live workspaces.
        is_account: returns whether the host has an account with a given uid.
    """
    first = workspace_id.int % len(span)
    candidates = (span[(first + step) % len(span)] for step in range(len(span)))
    return next((uid for uid in candidates if uid not in taken and not is_account(uid)), None)


def has_account(uid: int) -> bool:
    """Return whether this host has an account with that uid."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def with_account(passwd: bytes | None, uid: int, home: str) -> bytes | None:
    """Return an image's ``/etc/passwd`` with an account for ``uid`` added; None if it already has one.

    `whoami`, ssh, Node's ``os.userInfo()`` and similar programs fail for a uid without a name.

    Args:
        passwd: the content of the file; None if the image has no such file.
        uid: the uid of the workspace's steps.
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
